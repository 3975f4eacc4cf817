"""Rows with fine-tunes, prompts of several lengths, and SDXL, through spec and renderer as a run has them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sdbatch.errors import ModelError, SpecError

JOB: dict[str, Any] = {"prompt": "a large red star in the center on a white background", "steps": 2, "seed": 3}


@pytest.fixture
def tuned(rig: Any, handmade: Any) -> Any:
    """The rig, with fine-tunes `a` and `b` beside its spec."""
    folder = rig.base / "loras"
    folder.mkdir(exist_ok=True)
    for seed, name in enumerate("ab"):
        made: Path = handmade.lora(name, seed).path
        target = folder / made.name
        if not target.exists():
            made.rename(target)
    return rig


def test_base_lora_base_by_leases_that_take_turns(tuned: Any, rendering: Any) -> None:
    (base,) = tuned.together(JOB)
    (first,) = tuned.together({**JOB, "loras": ["a"]})
    (again,) = tuned.together(JOB)
    (other,) = tuned.together({**JOB, "loras": [{"name": "a", "weight": 0.5}, "b"]})
    (last,) = tuned.together(JOB)
    assert np.array_equal(base, again) and np.array_equal(base, last)
    assert len({one.tobytes() for one in (base, first, other)}) == 3
    (first_again,) = tuned.together({**JOB, "loras": ["a"]})
    assert np.array_equal(first, first_again)
    (fresh,) = rendering.Rig(tuned.base).together({**JOB, "loras": ["a"]})  # with no prompt encoded by the base before
    assert np.array_equal(first, fresh)


def test_a_tag_in_the_prompt_is_the_parameter(tuned: Any) -> None:
    tagged = {**JOB, "prompt": JOB["prompt"] + "<lora:a:0.5>"}
    (row,) = tuned.rows(tagged)
    (named,) = tuned.rows({**JOB, "loras": [{"name": "a", "weight": 0.5}]})
    assert row.id == named.id
    assert row.params["loras"] == [{"name": "a", "weight": 0.5}] and row.params["prompt"] == JOB["prompt"]
    assert row.templates["prompt"].endswith("<lora:a:0.5>")
    (plain,) = tuned.rows({**tagged, "prompt_syntax": "plain"})
    assert plain.params["loras"] is None and plain.params["prompt"] == tagged["prompt"]


def test_fine_tunes_are_an_axis_and_their_contents_are_in_the_id(tuned: Any) -> None:
    rows = tuned.rows({**JOB, "grid": {"loras": [[], ["a"], ["b"], [{"name": "a", "weight": 0.3}]]}})
    assert len({row.id for row in rows}) == 4
    (same,) = tuned.rows({**JOB, "loras": ["loras/a.safetensors"]})
    assert same.id == rows[1].id


@pytest.mark.parametrize("name", ["nothing", "loras/a.pt"])
def test_a_fine_tune_that_is_not_there_is_said_at_planning(name: str, tuned: Any) -> None:
    with pytest.raises(ModelError, match=name):
        tuned.rows({**JOB, "loras": [name]})


def test_a_tag_that_is_none_is_said(tuned: Any) -> None:
    with pytest.raises(SpecError, match="lora"):
        tuned.rows({**JOB, "prompt": "a star <lora:a:much>"})


def test_a_long_prompt_beside_a_short_one_is_each_alone(rig: Any) -> None:
    long = ", ".join(["a large red star in the center on a white background"] * 12)
    job = {**JOB, "grid": {"prompt": [long, JOB["prompt"], f"({JOB['prompt']}:1.3) BREAK a blue moon"]}}
    together = rig.together(job)
    assert len({one.tobytes() for one in together}) == 3
    for one, other in zip(together, rig.draw(job), strict=True):
        assert np.array_equal(one, other)


def test_variants_follow_from_the_seed_and_stand_in_the_row(rig: Any) -> None:
    (rig.base / "wildcards").mkdir(exist_ok=True)
    (rig.base / "wildcards" / "shape.txt").write_text("star\nmoon\nring\n", "utf-8")
    job = {**JOB, "prompt": "a {red|green|blue} __shape__", "grid": {"seed": list(range(12))}}
    prompts = [row.params["prompt"] for row in rig.rows(job)]
    assert len(set(prompts)) > 3 and all(len(text.split()) == 3 for text in prompts)
    assert [row.params["prompt"] for row in rig.rows(job)] == prompts
    assert rig.rows({**job, "grid": {"seed": [7]}})[0].params["prompt"] == prompts[7]
    every = rig.rows({**JOB, "prompt": {"combinatorial": "a {red|blue} __shape__"}})
    assert [row.params["prompt"] for row in every][:2] == ["a red star", "a red moon"] and len(every) == 6
    with pytest.raises(SpecError, match="nothing"):
        rig.rows({**JOB, "prompt": "a __nothing__"})


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["txt2img", "img2img", "inpaint"])
def test_sdxl_rows_alone_and_together(mode: str, rig: Any, tiny: Any) -> None:
    tiny.sdxl(rig.base / f"xl-{mode}")
    pictures = [rig.scene(f"{mode}-{color}.png", color=color) for color in ("red", "blue")]
    job = {**JOB, "model": f"xl-{mode}", "mode": mode, "width": 64, "height": 64, "scheduler": "euler_a"}
    axes: dict[str, Any] = {"seed": [1, 2, 3]}
    if mode != "txt2img":
        job, axes = {**job, "strength": 0.7}, {**axes, "image": pictures}
    if mode == "inpaint":
        job["mask"] = [8, 8, 30, 30]
    together = rig.together({**job, "grid": axes})
    assert len({one.tobytes() for one in together}) == len(together)
    for one, other in zip(together, rig.draw({**job, "grid": axes}), strict=True):
        assert np.array_equal(one, other)
    if mode == "inpaint":
        assert np.array_equal(together[0][:8], rig.read(pictures[0])[:8])


def test_another_vae_and_the_models_own_again(rig: Any) -> None:
    from diffusers import AutoencoderKL

    from sdbatch.sources.models import EMBEDDED

    vae = AutoencoderKL.from_pretrained(EMBEDDED / "demo" / "vae")
    vae.decoder.conv_out.bias.data += 0.3
    vae.save_pretrained(rig.base / "bright")
    (own,) = rig.together(JOB)
    (other,) = rig.together({**JOB, "vae": "bright"})
    (again,) = rig.together(JOB)
    assert np.array_equal(own, again) and other.mean() > own.mean() + 5
    first, second = (rig.rows({**JOB, **more})[0].id for more in ({}, {"vae": "bright"}))
    assert first != second
