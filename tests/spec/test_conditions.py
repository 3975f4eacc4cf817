"""Conditions on rows: what they mean, that nothing is run, and that any text is one or an error."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdbatch.spec import conditions

ROW: dict[str, Any] = {
    "seed": 3, "steps": 20, "color": "red", "eta": 0.5, "image": None, "caption": "7", "score": "5.50", "base.seed": 9,
    "flag": True, "masks": [0, 8],
}  # fmt: skip


def holds(text: str) -> bool:
    condition = conditions.parse(text)
    return condition({name: ROW[name] for name in condition.names})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("seed < 4", True),
        ("seed < 3", False),
        ("seed <= 3 and color == 'red'", True),
        ("seed != 3", False),
        ('color == "blue" or eta >= .5', True),
        ("not color == 'red'", False),
        ("not (seed == 3 and eta == 1)", True),
        ("color == 'blue' or color == 'red' and seed == 4", False),
        ("(color == 'blue' or color == 'red') and seed == 3", True),
        ("steps in [10, 20]", True),
        ("color not in ['red', 'blue']", False),
        ("seed in []", False),
        ("2 < seed <= 3", True),
        ("seed == 3.0", True),
        ("caption == 7", True),
        ("caption == 7.0", True),
        ("caption in [7]", True),
        ("score >= 5.5", True),
        ("caption > 10", False),
        ("seed == -3", False),
        ("-4 < seed", True),
        ("image == null", True),
        ("image != null", False),
        ("image < 3", False),
        ("image > 3", False),
        ("image == 'null'", False),
        ("base.seed == 9", True),
        ("flag", True),
        ("not flag", False),
        ("flag == true", True),
        ("flag == 1", False),
        ("masks == [0, 8]", True),
        ("color == 'Red'", False),
        ("color < 'ren'", True),
        ("true", True),
        ("  seed == 3 ", True),
    ],
)
def test_what_conditions_mean(text: str, expected: bool) -> None:
    assert holds(text) is expected


def test_what_a_condition_reads_is_known_beforehand() -> None:
    assert conditions.parse("a == 1 and (b.c in [a, d] or true)").names == ("a", "b.c", "d")


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "seed =",
        "seed = 3",
        "seed ==",
        "== 3",
        "(seed == 3",
        "'red",
        "seed == 3 and",
        "seed 3",
        "seed is null",
        "seed == 3; color == 'red'",
        "__import__('os').system('touch mark')",
        "color.upper() == 'RED'",
        "a.b.c == 1",
        "seed + 1 == 4",
        "lambda: 1",
        "[x for x in seed]",
        "masks[0] == 0",
        "f'{seed}' == '3'",
        "(yield)",
        "seed == 1j",
        "b'red' == color",
        "{1} == 2",
        "seed if flag else eta",
        "a := 3",
        "*a",
        "seed == ...",
        "~seed == 3",
        "a\0b",
        "-'x' == color",
        "1 if 2 else 3",
        "seed ** 9 ** 9 == 1",
        "(" * 300 + "1" + ")" * 300,
        "not " * 3000 + "flag",
        "x" * 2001,
    ],
)
def test_what_is_no_condition(text: str) -> None:
    with pytest.raises(ValueError, match=r"is no condition|longer|brackets"):
        conditions.parse(text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("seed", "3 is neither true nor false"),
        ("color < 3", "have no order"),
        ("flag < 3", "have no order"),
        ("seed in 3", "3 is no list"),
        ("color in 'red'", "is no list"),
        ("not color", "neither true nor false"),
        ("seed == 3 and steps", "neither true nor false"),
        ("masks < 3", "have no order"),
    ],
)
def test_what_cannot_be_told(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        holds(text)


@given(st.text(max_size=40))
def test_any_text_is_a_condition_or_an_error(text: str) -> None:
    with suppress(ValueError):
        condition = conditions.parse(text)
        condition(dict.fromkeys(condition.names, 1))


VALUES = st.one_of(st.integers(-5, 5), st.floats(-5, 5), st.sampled_from(["red", "blue", "3", "-1.5"]), st.none())


@given(VALUES, VALUES, st.sampled_from(["==", "!=", "<", "<=", ">", ">="]))
def test_every_sign_has_its_opposite(left: Any, right: Any, sign: str) -> None:
    opposite = {"==": "!=", "<": ">=", ">": "<="}
    if sign not in opposite or (sign != "==" and None in (left, right)):
        return
    row = {"a": left, "b": right}
    with suppress(ValueError):
        assert conditions.parse(f"a {sign} b")(row) != conditions.parse(f"a {opposite[sign]} b")(row)
