"""Prompt embeddings: plain diffusers' own bits where nothing is marked, and AUTOMATIC1111's formula where it is."""

from __future__ import annotations

import gc
import weakref
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sdbatch.errors import ModelError
from sdbatch.render import text as text_room
from sdbatch.render.finetunes import FineTunes
from sdbatch.render.text import Texts
from sdbatch.sources.models import EMBEDDED

Handmade = Any
PROMPT = "a large red star in the center on a white background"
PLAIN = st.text(max_size=30).filter(lambda text: not set(text) & set("()[]\\") and "BREAK" not in text)
ONE = {"clip_skip": None, "syntax": "a1111", "chunks": 1}


@pytest.fixture(scope="module")
def demo() -> Any:
    return diffusers.StableDiffusionPipeline.from_pretrained(EMBEDDED / "demo", torch_dtype=torch.float32)


@pytest.fixture(scope="module")
def sd(tiny: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    return diffusers.StableDiffusionPipeline.from_pretrained(tiny.sd(tmp_path_factory.mktemp("sd")))


@pytest.fixture(scope="module")
def sdxl(tiny: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    return diffusers.StableDiffusionXLPipeline.from_pretrained(tiny.sdxl(tmp_path_factory.mktemp("sdxl")))


@pytest.fixture(scope="module")
def latent(tiny: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tiny.latent_upscaler(tmp_path_factory.mktemp("latent"))
    return diffusers.StableDiffusionLatentUpscalePipeline.from_pretrained(folder)


def same(one: torch.Tensor, other: torch.Tensor) -> bool:
    return one.dtype == other.dtype and torch.equal(one, other)


def plain(pipe: Any, text: str, **options: Any) -> Any:
    """What the pipeline itself makes of one text."""
    with torch.no_grad():
        return pipe.encode_prompt(
            text, device="cpu", num_images_per_prompt=1, do_classifier_free_guidance=False, **options
        )


def embeds(pipe: Any, text: str, **options: Any) -> torch.Tensor:
    return Texts(pipe).encode([text], **{**ONE, **options}).embeds


@given(PLAIN)
@settings(deadline=None, max_examples=60)
def test_a_prompt_without_markers_is_plain_diffusers(demo: Any, sd: Any, text: str) -> None:
    for pipe in (demo, sd):
        found = Texts(pipe).encode([text], **ONE)
        assert same(found.embeds, plain(pipe, text)[0]) and found.pooled is None


@given(PLAIN, st.sampled_from([None, 0, 1, 2]))
@settings(deadline=None, max_examples=60)
def test_two_encoders_are_plain_diffusers(sdxl: Any, text: str, clip_skip: int | None) -> None:
    found = Texts(sdxl).encode([text], **{**ONE, "clip_skip": clip_skip})
    want, _, pooled, _ = plain(sdxl, text, clip_skip=clip_skip)
    assert same(found.embeds, want) and found.embeds.shape == (1, 77, 32 + 48)
    assert found.pooled is not None and same(found.pooled, pooled)


@given(PLAIN)
@settings(deadline=None, max_examples=30)
def test_the_latent_upscaler_is_plain_diffusers(latent: Any, text: str) -> None:
    found = Texts(latent).encode([text], **ONE)
    with torch.no_grad():
        want, _, pooled, _ = latent.encode_prompt(text, device="cpu", do_classifier_free_guidance=False)
    assert same(found.embeds, want) and found.pooled is not None and same(found.pooled, pooled)


def test_in_half_precision() -> None:
    pipe = diffusers.StableDiffusionPipeline.from_pretrained(EMBEDDED / "demo", torch_dtype=torch.float16)
    assert same(embeds(pipe, PROMPT), plain(pipe, PROMPT)[0])
    marked = embeds(pipe, PROMPT.replace("red", "(red:1.4)"))
    assert marked.dtype == torch.float16 and torch.isfinite(marked).all()


def test_an_encoder_that_masks_its_padding(tiny: Any, tmp_path: Path) -> None:
    pipe = diffusers.StableDiffusionPipeline.from_pretrained(tiny.sd(tmp_path))
    without = embeds(pipe, PROMPT)
    pipe.text_encoder.config.use_attention_mask = True
    assert same(embeds(pipe, PROMPT), plain(pipe, PROMPT)[0])
    assert not same(embeds(pipe, PROMPT), without)


def test_clip_skip(demo: Any, sd: Any) -> None:
    for pipe, layers in ((demo, 2), (sd, 3)):
        encoder = pipe.text_encoder
        core = getattr(encoder, "text_model", encoder)
        ids = pipe.tokenizer(PROMPT, padding="max_length", max_length=77, return_tensors="pt").input_ids
        with torch.no_grad():
            states = encoder(ids, output_hidden_states=True).hidden_states
            assert len(states) == layers + 1
            for skip in range(layers + 1):
                norm = core.final_layer_norm
                x = states[layers - skip].numpy().astype(np.float64)
                x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + norm.eps)
                by_hand = x * norm.weight.numpy() + norm.bias.numpy()
                found = embeds(pipe, PROMPT, clip_skip=skip)
                np.testing.assert_allclose(found.numpy(), by_hand, atol=2e-5)
        assert same(embeds(pipe, PROMPT, clip_skip=0), embeds(pipe, PROMPT))
        assert not same(embeds(pipe, PROMPT, clip_skip=1), embeds(pipe, PROMPT))


def test_more_clip_skip_than_layers(demo: Any, sdxl: Any) -> None:
    with pytest.raises(ModelError, match=r"clip_skip 3: this text encoder has 2 layers; at most 2"):
        embeds(demo, PROMPT, clip_skip=3)
    with pytest.raises(ModelError, match=r"clip_skip 3: this text encoder has 3 layers; at most 2"):
        embeds(sdxl, PROMPT, clip_skip=3)


def weighted(z: np.ndarray[Any, Any], weights: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """AUTOMATIC1111's formula over one chunk, in float64."""
    z = z.astype(np.float64)
    marked = z * weights[None, :, None]
    return marked * (z.mean() / marked.mean())


def test_weights_by_hand(demo: Any) -> None:
    found = embeds(demo, "a (red:1.5) star, ((large)) [ring]").numpy()
    weights = np.ones(77)
    weights[[2, 5, 6]] = 1.5, 1.1 * 1.1, 1 / 1.1  # after the begin: a red star , large ring
    np.testing.assert_allclose(
        found, weighted(plain(demo, "a red star, large ring")[0].numpy(), weights), rtol=1e-4, atol=1e-6
    )


def test_each_encoder_is_weighted_on_its_own(sdxl: Any) -> None:
    found = Texts(sdxl).encode(["a (red:0.5) star"], **ONE)
    want, _, pooled, _ = plain(sdxl, "a red star")
    weights = np.ones(77)
    weights[2] = 0.5
    by_hand = [weighted(want.numpy()[..., part], weights) for part in (slice(0, 32), slice(32, None))]
    np.testing.assert_allclose(found.embeds.numpy(), np.concatenate(by_hand, -1), rtol=1e-4, atol=1e-6)
    assert found.pooled is not None and same(found.pooled, pooled), "what is pooled has no weights"


def test_the_mean_is_kept_chunk_by_chunk(demo: Any) -> None:
    marked = embeds(demo, "(red:1.5) star BREAK [blue] ring", chunks=2)
    for part, text in enumerate(("red star", "blue ring")):
        assert marked[:, part * 77 : (part + 1) * 77].mean() == pytest.approx(float(plain(demo, text)[0].mean()), 1e-4)
    assert same(marked[:, :77], embeds(demo, "(red:1.5) star")), "nor does the other chunk change it"


def test_weight_1_changes_nothing_and_0_is_a_weight(demo: Any) -> None:
    assert same(embeds(demo, "a (red:1.0) star"), embeds(demo, "a red star"))
    gone = embeds(demo, "a (red:0) star")
    assert torch.isfinite(gone).all() and not gone[0, 2].any() and gone[0, 3].any()


def test_plain_syntax_has_no_emphasis(demo: Any) -> None:
    for text in ("a (red:1.5) star [ring] \\(", "a BREAK b"):
        assert same(embeds(demo, text, syntax="plain"), plain(demo, text)[0])
    texts = Texts(demo)
    assert texts.chunks("a BREAK b", "plain") == 1 and texts.chunks("a BREAK b", "a1111") == 2
    assert not same(texts.encode(["(a)"], **ONE).embeds, texts.encode(["(a)"], **{**ONE, "syntax": "plain"}).embeds)


@pytest.mark.parametrize(("words", "chunks"), [(75, 1), (80, 2), (200, 3)])
def test_long_prompts(demo: Any, sdxl: Any, words: int, chunks: int) -> None:
    parts = [" ".join(["red"] * min(75, words - start)) for start in range(0, words, 75)]
    for pipe in (demo, sdxl):
        texts = Texts(pipe)
        assert texts.chunks(" ".join(parts), "a1111") == chunks
        found = texts.encode([" ".join(parts)], **{**ONE, "chunks": chunks})
        each = [plain(pipe, part) for part in parts]
        assert same(found.embeds, torch.cat([one[0] for one in each], dim=1))
        if found.pooled is not None:
            assert same(found.pooled, each[0][2]), "of the first chunk"


def test_shorter_texts_are_made_up_with_empty_chunks(demo: Any, sdxl: Any) -> None:
    for pipe in (demo, sdxl):
        found = Texts(pipe).encode([PROMPT, ""], **{**ONE, "chunks": 3}).embeds
        nothing = plain(pipe, "")[0]
        assert same(found[:1], torch.cat([plain(pipe, PROMPT)[0], nothing, nothing], dim=1))
        assert same(found[1:], torch.cat([nothing] * 3, dim=1))


def test_bits_do_not_follow_from_neighbours_or_from_what_is_kept(demo: Any) -> None:
    texts = [PROMPT, "a (blue:1.3) ring", "", " ".join(["red"] * 90), PROMPT]
    room = Texts(demo)
    together = room.encode(texts, **{**ONE, "chunks": 2}).embeds
    for at, text in enumerate(texts):
        assert same(together[at : at + 1], Texts(demo).encode([text], **{**ONE, "chunks": 2}).embeds)
    assert same(room.encode(texts[::-1], **{**ONE, "chunks": 2}).embeds, together.flip(0))


def test_each_text_is_encoded_once_and_few_are_kept(demo: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    room, calls = Texts(demo), []
    made = room._call
    monkeypatch.setattr(room, "_call", lambda *given: calls.append(1) or made(*given))
    room.encode([PROMPT, PROMPT, "a"], **ONE)
    room.encode([PROMPT, "a"], **ONE)
    assert len(calls) == 2
    room.encode([PROMPT], **{**ONE, "clip_skip": 1})
    room.encode([PROMPT], **{**ONE, "syntax": "plain"})
    assert len(calls) == 4
    monkeypatch.setattr(text_room, "KEPT_BYTES", 2 * 77 * 128 * 4)
    room.encode(["b", "c", "d"], **ONE)
    assert [key[0] for key in room._kept] == ["c", "d"]
    assert room._bytes == sum(embeds.nbytes for embeds, _ in room._kept.values())
    monkeypatch.setattr(text_room, "KEPT", 1)
    room.encode(["e"], **ONE)
    assert [key[0] for key in room._kept] == ["e"]
    room.forget()
    calls.clear()
    room.encode(["e"], **ONE)
    assert len(calls) == 1


def test_what_is_kept_goes_with_its_texts(demo: Any) -> None:
    """At once: the collector of cycles cannot know how much a tensor holds, and a job of two modes drops many."""
    texts = Texts(demo)
    texts.encode([PROMPT], **ONE)
    gone = weakref.ref(texts)
    gc.disable()
    try:
        del texts
        assert gone() is None
    finally:
        gc.enable()


@pytest.mark.parametrize("word", ["MyStar", "mystar"])
def test_words_of_several_vectors(demo_pipe: Any, handmade: Handmade, word: str) -> None:
    tunes, room = FineTunes(demo_pipe), Texts(demo_pipe)
    before = room.encode([f"a {word}, red"], **ONE).embeds
    tunes.use([], [(handmade.embedding("MyStar", 3), "MyStar"), (handmade.embedding("one", 1), "<blob>")], None)
    try:
        room.forget()
        for text in (f"a {word}, red", f"{word}", f"a <blob>{word} {word}"):
            assert same(room.encode([text], **ONE).embeds, plain(demo_pipe, text)[0])
        found = room.encode([f"a ({word}:1.5), red"], **ONE).embeds
        weights = np.ones(77)
        weights[2:5] = 1.5  # all three vectors
        want = weighted(plain(demo_pipe, f"a {word}, red")[0].detach().numpy(), weights)
        np.testing.assert_allclose(found.numpy(), want, rtol=1e-4, atol=1e-6)
    finally:
        tunes.clear()
    room.forget()
    assert same(room.encode([f"a {word}, red"], **ONE).embeds, before)


def test_chunks_go_through_together_and_no_text_knows_its_neighbours(demo: Any, sdxl: Any) -> None:
    long = " ".join(["red"] * 80)
    texts = ["a red star", "a (blue:1.3) ring", long, "a red star", "", "two squares", "a heart"]
    for pipe in (demo, sdxl):
        shapes: list[int] = []

        def counted(module: Any, given: Any, shapes: list[int] = shapes) -> None:
            shapes.append(len(given[0]))

        hook = pipe.text_encoder.register_forward_pre_hook(counted)
        together = Texts(pipe, 4)
        found = together.encode(texts, **{**ONE, "chunks": 2})
        assert shapes == [4, 4], "six texts of seven chunks, always as many at once"
        together.encode(texts, **{**ONE, "chunks": 2})
        assert shapes == [4, 4], "known by now"
        hook.remove()
        for at, text in enumerate(texts):
            alone = Texts(pipe, 4).encode([text], **{**ONE, "chunks": 2})
            assert same(found.embeds[at : at + 1], alone.embeds), text
            assert torch.allclose(alone.embeds, Texts(pipe).encode([text], **{**ONE, "chunks": 2}).embeds, atol=1e-4)
            if found.pooled is not None and alone.pooled is not None:
                assert same(found.pooled[at : at + 1], alone.pooled), text
