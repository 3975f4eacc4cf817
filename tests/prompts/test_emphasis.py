"""Emphasis, against AUTOMATIC1111's rules worked out by hand."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sdbatch.prompts.emphasis import Piece, parse

MARKERS = "()[]\\"
PLAIN = st.text().filter(lambda text: not any(marker in text for marker in MARKERS) and "BREAK" not in text)
BITS = [*MARKERS, ":", "1", ".", "-", " ", "\t", "a", "é", "BREAK", ":1.3)"]
MARKED = st.lists(st.sampled_from(BITS), max_size=60).map("".join)


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("", [("", 1)]),
        ("a cat", [("a cat", 1)]),
        ("a (cat)", [("a ", 1), ("cat", 1.1)]),
        ("a [cat]", [("a ", 1), ("cat", 1 / 1.1)]),
        ("a ((cat))", [("a ", 1), ("cat", 1.1 * 1.1)]),
        ("(a (cat:1.5) sat)", [("a ", 1.1), ("cat", 1.5 * 1.1), (" sat", 1.1)]),
        ("[a (cat:2)]", [("a ", 1 / 1.1), ("cat", 2 / 1.1)]),
        ("(a:1.3)", [("a", 1.3)]),
        ("(a: 1.3 ) b", [("a", 1.3), (" b", 1)]),
        ("(a:-.5)", [("a", -0.5)]),
        ("(a:+2.)", [("a", 2)]),
        ("(a:0)", [("a", 0)]),
        ("(a:b:1.2)", [("a:b", 1.2)]),
        ("[a:1.3]", [("a:1.3", 1 / 1.1)]),
        ("a:1.3) b", [("a:1.3) b", 1)]),
        ("(a:1.2.3)", [("a:1.2.3", 1.1)]),
        ("(a:.)", [("a:.", 1.1)]),
        ("(a:1.3", [("a:1.3", 1.1)]),
        ("((a:1.3)", [("a", 1.3 * 1.1)]),
        ("(a b", [("a b", 1.1)]),
        ("a [b (c", [("a ", 1), ("b ", 1 / 1.1), ("c", 1.1 / 1.1)]),
        ("a) b]", [("a) b]", 1)]),
        ("(a [b) c]", [("a ", 1.1), ("b", 1.1 * (1 / 1.1)), (" c", 1 / 1.1)]),
        (r"\(a\) \[b\] \\", [(r"(a) [b] " + "\\", 1)]),
        (r"(a \(b\):1.4)", [("a (b)", 1.4)]),
        (r"a\b\:c", [("ab:c", 1)]),
        ("()", [("", 1)]),
        ("a()b", [("ab", 1)]),
        ("a(\\)b)c", [("a", 1), (")b", 1.1), ("c", 1)]),
        ("a (red\tcat) \n b", [("a ", 1), ("red\tcat", 1.1), (" \n b", 1)]),
        ("BREAKFAST OUTBREAK _BREAK", [("BREAKFAST OUTBREAK _BREAK", 1)]),
        ("break (it)", [("break ", 1), ("it", 1.1)]),
    ],
)
def test_one_section(text: str, pieces: list[tuple[str, float]]) -> None:
    (found,) = parse(text)
    assert [piece.text for piece in found] == [text for text, _ in pieces]
    assert [piece.weight for piece in found] == pytest.approx([weight for _, weight in pieces], rel=1e-12)


@pytest.mark.parametrize(
    ("text", "sections"),
    [
        ("a BREAK b", [[("a", 1)], [("b", 1)]]),
        ("a,BREAK,b", [[("a,", 1)], [(",b", 1)]]),
        ("a BREAK", [[("a", 1)], []]),
        ("BREAK a", [[], [("a", 1)]]),
        ("a BREAK BREAK b", [[("a", 1)], [], [("b", 1)]]),
        ("(a) BREAK (b:2)", [[("a", 1.1)], [("b", 2)]]),
        ("(a BREAK b:2) c", [[("a", 2)], [("b", 2), (" c", 1)]]),
        ("(BREAK)", [[], []]),
    ],
)
def test_breaks(text: str, sections: list[list[tuple[str, float]]]) -> None:
    assert [[tuple(piece) for piece in section] for section in parse(text)] == sections


@given(PLAIN)
def test_a_text_without_markers_is_one_piece(text: str) -> None:
    assert parse(text) == ((Piece(text, 1.0),),)


@given(MARKED)
@settings(deadline=None)  # the first text waits for the grammar
def test_any_text_has_a_meaning(text: str) -> None:
    sections = parse(text)
    assert sections
    assert sections == ((Piece("", 1.0),),) or all(piece.text for section in sections for piece in section)
    if "\\" not in re.sub(r"\\[()\[\]\\]", "", text):  # one that escapes nothing is an empty piece with a weight
        for section in sections:
            assert all(one.weight != other.weight for one, other in zip(section, section[1:], strict=False))


def test_an_empty_piece_parts_its_neighbours_as_in_automatic1111() -> None:
    assert parse(")(\\:1.3))") == ((Piece(")", 1.0), Piece(")", 1.0)),)


@settings(deadline=None)
@given(st.lists(st.tuples(PLAIN.filter(lambda text: ":" not in text), st.sampled_from(["", "()", "[]", "(:"]))))
def test_texts_joined_keep_all_characters_but_the_markers(parts: list[tuple[str, str]]) -> None:
    marked = {"": "{}", "()": "({})", "[]": "[{}]", "(:": "({}:1.25)"}
    text = "".join(marked[kind].format(part) for part, kind in parts)
    if "BREAK" not in text:
        assert "".join(piece.text for section in parse(text) for piece in section) == "".join(p for p, _ in parts)


@given(st.text())
@settings(deadline=None)
def test_escaped_text_is_the_text(text: str) -> None:
    escaped = "".join(f"\\{char}" if char in MARKERS else char for char in text)
    if "BREAK" not in text:
        assert parse(escaped) == ((Piece(text, 1.0),),)


@pytest.mark.parametrize("unit", ["(", "[", "(a", "(a)", "\\", " ", ":(", "BREAK ", ": ", ")"])
def test_any_length_in_bounded_time(unit: str) -> None:
    length = 20_000
    text = unit * (length // len(unit)) + "("
    begun = time.perf_counter()
    parse(text)
    assert time.perf_counter() - begun < 10


def test_brackets_nested_beyond_what_could_recurse() -> None:
    ((piece,),) = parse("(" * 100_000)
    assert piece == Piece("", 1.0)
    ((piece,),) = parse("(" * 5000 + "a" + ")" * 5000)
    assert piece.weight == pytest.approx(1.1**5000, rel=1e-9)
