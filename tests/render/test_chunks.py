"""Where chunks end, by AUTOMATIC1111's rules worked out by hand."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AddedToken, CLIPTokenizer

from sdbatch.render.chunks import Chunk, Cutter
from sdbatch.sources.models import EMBEDDED

BEGIN, END = 644, 645


def load() -> Any:
    return CLIPTokenizer.from_pretrained(str(EMBEDDED / "demo" / "tokenizer"), local_files_only=True)


TOKENIZER = load()
CUTTER = Cutter(TOKENIZER, 77)


def cut(text: str, syntax: str = "a1111") -> list[list[str]]:
    """Words of each chunk."""
    found = []
    for chunk in CUTTER.cut(text, syntax):
        assert len(chunk.ids) == len(chunk.weights) == 77
        assert chunk.ids[0] == BEGIN and set(chunk.ids[chunk.real - 1 :]) == {END}
        found.append([TOKENIZER.decode([token]).strip() for token in chunk.ids[1 : chunk.real - 1]])
    return found


def test_a_short_text_is_one_chunk_of_the_tokenizers_own_ids() -> None:
    whole = TOKENIZER("a red star", padding="max_length", max_length=77)
    (chunk,) = CUTTER.cut("a red star", "a1111")
    assert list(chunk.ids) == whole.input_ids
    assert chunk.real == sum(whole.attention_mask)
    assert CUTTER.cut("", "a1111") == [Chunk((BEGIN, *[END] * 76), (1.0,) * 77, 2)]


@pytest.mark.parametrize(
    ("words", "lengths"),
    [(75, [75]), (76, [75, 1]), (80, [75, 5]), (150, [75, 75]), (200, [75, 75, 50])],
)
@pytest.mark.parametrize("syntax", ["a1111", "plain"])
def test_long_texts(words: int, lengths: list[int], syntax: str) -> None:
    text = (["red", "blue"] * 100)[:words]
    chunks = cut(" ".join(text), syntax)
    assert [len(chunk) for chunk in chunks] == lengths
    assert [word for chunk in chunks for word in chunk] == text


@pytest.mark.parametrize(
    ("before", "after", "lengths"),
    [
        (55, 20, [56, 20]),  # the comma is the 20th from the end of the 75
        (54, 21, [75, 1]),
        (60, 30, [61, 30]),
        (60, 14, [75]),
        (74, 5, [75, 5]),
        (75, 5, [75, 6]),  # the comma itself is what no longer fits
    ],
)
def test_a_comma_near_the_end(before: int, after: int, lengths: list[int]) -> None:
    text = " ".join(["red"] * before) + ", " + " ".join(["blue"] * after)
    assert [len(chunk) for chunk in cut(text)] == lengths


def test_break() -> None:
    assert cut("a red star BREAK a blue ring") == [["a", "red", "star"], ["a", "blue", "ring"]]
    assert cut("BREAK a BREAK BREAK star BREAK") == [[], ["a"], [], ["star"]]
    assert cut("BREAK") == [[]]
    assert len(cut("star BREAK ring", "plain")) == 1
    red = " ".join(["red"] * 80)
    assert [len(chunk) for chunk in cut(f"{red} BREAK star")] == [75, 5, 1]


def test_weights_follow_their_tokens() -> None:
    first, second = CUTTER.cut(" ".join(["red"] * 70) + " (blue blue blue blue blue blue blue:1.5) [star]", "a1111")
    assert first.weights == (*[1.0] * 71, *[1.5] * 5, 1.0)
    assert second.weights == (1.0, 1.5, 1.5, 1 / 1.1, *[1.0] * 73)
    (chunk,) = CUTTER.cut("(red:1.5)", "plain")
    assert set(chunk.weights) == {1.0}
    # (, red, :, 1, ., 5, )
    assert chunk.real == 2 + len(TOKENIZER("(red:1.5)", add_special_tokens=False).input_ids)


@pytest.mark.parametrize(("before", "lengths"), [(72, [75]), (73, [73, 3]), (74, [74, 3])])
def test_an_embedding_of_several_vectors_stays_together(before: int, lengths: list[int]) -> None:
    tokenizer = load()
    tokenizer.add_tokens([AddedToken(word, normalized=False) for word in ("blob", "blob_1", "blob_2", "blobs")])
    taught = Cutter(tokenizer, 77)
    chunks = taught.cut(" ".join(["red"] * before) + " (blob:1.2)", "a1111")
    assert [chunk.real - 2 for chunk in chunks] == lengths
    ids = tokenizer.convert_tokens_to_ids(["blob", "blob_1", "blob_2"])
    assert [token for chunk in chunks for token in chunk.ids if token > END] == ids
    (chunk,) = taught.cut("blobs", "a1111")
    assert chunk.ids[1] == tokenizer.convert_tokens_to_ids("blobs") and chunk.real == 3


def test_an_embedding_longer_than_a_chunk() -> None:
    tokenizer = load()
    words = ["blob", *(f"blob_{at}" for at in range(1, 80))]
    tokenizer.add_tokens([AddedToken(word, normalized=False) for word in words])
    chunks = Cutter(tokenizer, 77).cut("red blob", "a1111")
    assert [chunk.real - 2 for chunk in chunks] == [1, 75, 5]


@given(st.text(max_size=300))
@settings(deadline=None)
def test_plain_text_loses_no_token(text: str) -> None:
    ids = TOKENIZER(text, add_special_tokens=False).input_ids
    chunks = CUTTER.cut(text, "plain")
    assert [token for chunk in chunks for token in chunk.ids[1 : chunk.real - 1]] == ids
    assert len(chunks) == 1 or all(chunk.real > 2 for chunk in chunks)


def test_half_a_surrogate_pair() -> None:
    assert CUTTER.cut("a \ud800 star", "plain") == CUTTER.cut("a ? star", "plain")
