"""Fields are filled once and never read again; file names never leave their directory."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdbatch.spec import templates

TEXTS = st.text(st.sampled_from("ab{}|:$.0_d \\/é") | st.characters(), max_size=40)


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("{color} cat", "red cat"),
        ("{seed:06d}", "000007"),
        ("{guidance_scale}", "4.0"),
        ("{guidance_scale:.2f}", "4.00"),
        ("{number:03d} {number:.1f}", "012 12.0"),
        ("{on}{none}{box}", "true[1,2]"),
        ("{a|b} {2$$a|b} {0.5::x|y} {a::b|c}", "{a|b} {2$$a|b} {0.5::x|y} {a::b|c}"),
        ("{x|{a|b}} {x|{color}}", "{x|{a|b}} {x|red}"),
        ("{{color}} {{{color}}}", "{color} {red}"),
        ("}} {{ } {", "} { } {"),
        ("{color.__class__.x} {color[0]} {color!r} {0} {}", "{color.__class__.x} {color[0]} {color!r} {0} {}"),
        ("{color:>5}|{color:<5}|", "  red|red  |"),
        ("{größe}", "klein"),
    ],
)
def test_fill(template: str, expected: str) -> None:
    values = {"color": "red", "seed": 7, "guidance_scale": 4.0, "number": "12", "on": True, "none": None}
    values |= {"box": [1, 2], "größe": "klein"}
    assert templates.compile(template).fill(values) == expected


def test_fields_are_named_once_in_order() -> None:
    assert templates.fields("{b} {a:03d} {b} {a|b} {main.seed} {{c}}") == ("b", "a", "main.seed")


@pytest.mark.parametrize("template", ["{a:q}", "{a:9999d}", "{a:.9999f}", "{a:{b}}x{c:zz}", "{a: x}"])
def test_bad_format_is_refused(template: str) -> None:
    with pytest.raises(ValueError, match="not a format"):
        templates.compile(template)


@pytest.mark.parametrize(("value", "form"), [("x", "d"), (1.5, "d"), (None, "d"), ([1], "d"), (10**400, "f")])
def test_format_that_does_not_fit(value: object, form: str) -> None:
    template = templates.compile(f"{{a:{form}}}")
    if value is None:
        assert template.fill({"a": None}) == ""
        return
    with pytest.raises(ValueError, match="does not fit"):
        template.fill({"a": value})


def test_missing_field_is_named() -> None:
    with pytest.raises(ValueError, match=r"nothing provides \{b\}"):
        templates.compile("{a}{b}").fill({"a": 1})


@given(TEXTS, TEXTS)
def test_only_value_errors_and_values_are_never_read_again(template: str, value: str) -> None:
    try:
        compiled = templates.compile(template)
        once = compiled.fill(dict.fromkeys(compiled.fields, "\ue000"))
        filled = compiled.fill(dict.fromkeys(compiled.fields, value))
    except ValueError:
        return
    if all(not part.format for part in compiled.parts if isinstance(part, templates.Field)):
        assert filled == once.replace("\ue000", value) or "\ue000" in template


@given(st.text(max_size=60))
def test_braces_doubled_are_literal(text: str) -> None:
    doubled = text.replace("{", "{{").replace("}", "}}")
    assert templates.compile(doubled).fill({}) == text


@given(st.text(st.characters() | st.sampled_from("./\\ :C"), max_size=300), TEXTS)
def test_file_names_never_escape(value: str, template: str) -> None:
    name = templates.safe_name(value)
    assert name == templates.safe_name(name)
    for text in ("{a}", "{a}/{a}", "../{a}/..//x", template):
        try:
            path = templates.file_name(templates.compile(text), {"a": value, "b": value})
        except ValueError:
            continue
        for part in path.split("/"):
            assert part not in ("", ".", "..")
            assert not set(part) & set('\\<>:"|?*\0\n')
            assert len(part.encode()) <= templates.NAME_BYTES
            assert part == part.rstrip(". ")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("a/b", "a_b"),
        ("..", "_"),
        ("", "_"),
        ("CON", "CON_"),
        ("nul.txt", "nul_.txt"),
        ("com1", "com1_"),
        ("COM10", "COM10"),
        ("x. .", "x"),
        ("e\u0301", "é"),
        ("a\nb\x7f", "a_b_"),
    ],
)
def test_safe_name(value: str, expected: str) -> None:
    assert templates.safe_name(value) == expected


def test_slash_of_the_template_parts_folders_and_of_a_value_does_not() -> None:
    template = templates.compile("{color}/{shape}-{seed:06d}")
    assert templates.file_name(template, {"color": "a/b", "shape": "../x", "seed": 1}) == "a_b/.._x-000001"


def test_long_names_stay_distinct() -> None:
    one, two = templates.safe_name("é" * 200 + "1"), templates.safe_name("é" * 200 + "2")
    assert one != two
    assert len(one.encode()) <= templates.NAME_BYTES
