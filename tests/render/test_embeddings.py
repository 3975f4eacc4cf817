"""Textual inversion: the words, their vectors, and the tokenizer as it was."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from sdbatch.errors import ModelError
from sdbatch.render.embeddings import flatten
from sdbatch.render.finetunes import FineTunes

Handmade = Any


def same(one: torch.Tensor, other: torch.Tensor) -> bool:
    return bool(torch.equal(one, other))


def test_embeddings_on_and_off(demo_pipe: Any, handmade: Handmade) -> None:
    one, three = handmade.embedding("one", 1), handmade.embedding("MyStar", 3)
    base = handmade.rendered(demo_pipe)
    tunes = FineTunes(demo_pipe)
    tunes.use([], [(one, "<blob>"), (three, "MyStar")], None)
    assert same(handmade.rendered(demo_pipe), base), "a prompt without the words is drawn as before"
    assert not same(handmade.rendered(demo_pipe, f"{handmade.prompt} <blob>"), base)
    both = handmade.rendered(demo_pipe, f"{handmade.prompt} <blob> MyStar")
    tunes.use([], [(three, "MyStar"), (one, "<blob>")], None)
    assert same(handmade.rendered(demo_pipe, f"{handmade.prompt} <blob> MyStar"), both), "their order does not matter"
    tunes.clear()
    assert same(handmade.rendered(demo_pipe), base)


@pytest.mark.parametrize("spelled", ["MyStar", "mystar"])
def test_all_vectors_of_a_word_reach_the_text_encoder(demo_pipe: Any, handmade: Handmade, spelled: str) -> None:
    tune = handmade.embedding("MyStar", 3)
    tunes = FineTunes(demo_pipe)
    tunes.use([], [(tune, "MyStar")], None)
    text = demo_pipe.maybe_convert_prompt(f"a {spelled}, red", demo_pipe.tokenizer)
    ids = demo_pipe.tokenizer(text).input_ids
    vectors = demo_pipe.text_encoder.get_input_embeddings()(torch.tensor(ids)).detach()
    tunes.clear()
    draw = torch.Generator().manual_seed(3)
    assert same(vectors[2:5], torch.randn((3, 128), generator=draw))
    plain = demo_pipe.text_encoder.get_input_embeddings()(
        torch.tensor(demo_pipe.tokenizer("a , red").input_ids)
    ).detach()
    assert same(torch.cat([vectors[:2], vectors[5:]]), plain)


def test_a_diffusers_embedding_is_one_vector_under_its_word(demo_pipe: Any, handmade: Handmade) -> None:
    vector = torch.randn(128, generator=torch.Generator().manual_seed(0))
    tune = handmade.saved("learned", {"<cat>": vector}, "embedding")
    other = handmade.load()
    other.load_textual_inversion({"<cat>": vector})
    tunes = FineTunes(demo_pipe)
    tunes.use([], [(tune, "<cat>")], None)
    assert same(handmade.rendered(demo_pipe, "a <cat>"), handmade.rendered(other, "a <cat>"))
    tunes.clear()


@pytest.mark.parametrize("word", ["star", "Star", "<|endoftext|>", "st"])
def test_a_word_that_means_something_already(demo_pipe: Any, handmade: Handmade, word: str) -> None:
    with pytest.raises(ModelError, match=r"embedding 'x': .* means something to the model already; give it a word"):
        FineTunes(demo_pipe).use([], [(handmade.embedding("x", 1), word)], None)


def test_words_that_meet(demo_pipe: Any, handmade: Handmade) -> None:
    three, one = handmade.embedding("foo", 3), handmade.embedding("bar", 1)
    with pytest.raises(ModelError, match="embedding 'bar': 'foo_1' is another embedding's word"):
        FineTunes(demo_pipe).use([], [(three, "foo"), (one, "foo_1")], None)


def test_an_embedding_for_another_model(demo_pipe: Any, handmade: Handmade) -> None:
    with pytest.raises(ModelError, match=r"embedding 'wide': .* its vectors have 768 numbers, this one's 128"):
        FineTunes(demo_pipe).use([], [(handmade.embedding("wide", 1, 768), "wide")], None)
    two = handmade.saved("xl", {"clip_l": torch.ones(1, 128), "clip_g": torch.ones(1, 64)}, "embedding")
    with pytest.raises(ModelError, match="for two text encoders, and this one has one"):
        FineTunes(demo_pipe).use([], [(two, "xl")], None)


def test_a_text_ends_where_it_did_before_words_were_added(demo_pipe: Any, handmade: Handmade) -> None:
    """In an old configuration the end is the highest token of a text, and words that are added are higher."""
    demo_pipe.text_encoder.eos_token_id = 2
    try:
        tunes = FineTunes(demo_pipe)
        tunes.use([], [(handmade.embedding("blub", 1), "blub")], None)
        ids = torch.tensor([demo_pipe.tokenizer("a blub star").input_ids])
        found = demo_pipe.text_encoder(ids)
        assert same(found.pooler_output[0], found.last_hidden_state[0, -1])
        tunes.clear()
        assert demo_pipe.text_encoder.eos_token_id == 2
    finally:
        demo_pipe.text_encoder.eos_token_id = demo_pipe.text_encoder.config.eos_token_id


def test_flattening_what_others_pickled() -> None:
    vectors = torch.nn.Parameter(torch.randn(3, 8))
    tensors, metadata = flatten({"string_to_token": {"*": 265}, "string_to_param": {"*": vectors}, "name": "x"})
    assert list(tensors) == ["emb_params"] and same(tensors["emb_params"], vectors) and metadata["name"] == "x"
    assert not tensors["emb_params"].requires_grad
    tensors, _ = flatten({"<cat>": vectors[0]})
    assert list(tensors) == ["<cat>"] and tensors["<cat>"].shape == (8,)
    tensors, _ = flatten({"clip_l": vectors, "clip_g": vectors})
    assert set(tensors) == {"clip_l", "clip_g"}


@pytest.mark.parametrize(
    "state",
    [
        None, [], {}, {"a": 1}, {"a": torch.ones(3, 3, 3)}, {"a": torch.ones(2, dtype=torch.int64)}, {1: torch.ones(3)},
        {"a": torch.ones(3), "b": torch.ones(3)}, {"string_to_param": {}}, {"string_to_param": {"*": 3}},
        {"a": torch.empty(0, 3)},
    ],
)  # fmt: skip
def test_flattening_what_is_no_embedding(state: Any) -> None:
    assert flatten(state) is None
