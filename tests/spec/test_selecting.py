"""Which records a later stage takes."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdbatch.spec import selecting
from sdbatch.spec.schema import Top


def records(*values: Any) -> list[dict[str, Any] | None]:
    return [None if value is None else {"score": value, "prompt": "p", "phash": "0"} for value in values]


def chosen(found: list[dict[str, Any] | None], top: Top, pending: list[bool] | None = None) -> list[bool | None]:
    return selecting.top(found, pending or [False] * len(found), [f"{at:03}" for at in range(len(found))], top)


def test_the_greatest_of_each_group() -> None:
    found = records(1.0, 5.0, 3.0, 4.0)
    for at, record in enumerate(found):
        assert record is not None
        record["prompt"] = "ab"[at % 2]
    assert chosen(found, Top("score", ("prompt",), 1)) == [False, True, True, False]
    assert chosen(found, Top("score", (), 2)) == [False, True, False, True]


def test_alike_the_row_key_decides_and_what_has_no_score_comes_last() -> None:
    assert chosen(records(2.0, 2.0), Top("score")) == [True, False]
    found = records(-1.0, 0.0)
    assert found[1] is not None
    found[1]["score"] = None
    assert chosen(found, Top("score")) == [True, False]


def test_nothing_is_known_while_any_is_pending() -> None:
    assert chosen(records(1.0, None), Top("score"), [False, True]) == [None, None]
    assert chosen(records(1.0, None), Top("score"), [False, False]) == [True, False], "that one is left out for good"


def test_what_looks_like_a_better_one_is_left_out() -> None:
    found = records(9.0, 8.0, 7.0)
    for record, phash in zip(found, ("ff00", "ff01", "00ff"), strict=True):
        assert record is not None
        record["phash"] = phash
    assert chosen(found, Top("score", (), 2)) == [True, True, False]
    assert chosen(found, Top("score", (), 2, distinct=4)) == [True, False, True]


def test_names_that_records_do_not_have() -> None:
    with pytest.raises(ValueError, match="no 'scor'; did you mean 'score'"):
        chosen(records(1.0), Top("scor"))
    with pytest.raises(ValueError, match="is not a number"):
        chosen(records(1.0), Top("prompt"))


@given(st.lists(st.tuples(st.sampled_from("abc"), st.floats(-5, 5)), max_size=20), st.integers(1, 4))
def test_as_a_sort_would_have_it(rows: list[tuple[str, float]], most: int) -> None:
    found: list[dict[str, Any] | None] = [{"group": group, "score": score} for group, score in rows]
    best = chosen(found, Top("score", ("group",), most))
    for group in "abc":
        scores = [score for name, score in rows if name == group]
        taken = sorted((rows[at][1] for at, one in enumerate(best) if one and rows[at][0] == group), reverse=True)
        assert taken == sorted(scores, reverse=True)[:most]
