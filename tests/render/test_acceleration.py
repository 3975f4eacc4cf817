"""Lossy speed-ups: exact row by row, gone without a trace, and nothing random in them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from sdbatch.errors import ModelError, RowError, SpecError
from sdbatch.render import acceleration

CACHE, MERGE, BOTH = {"deepcache": 2}, {"tome": 0.5}, {"deepcache": 3, "tome": 0.25}
JOB: dict[str, Any] = {"prompt": "a large red star in the center on a white background", "steps": 4, "seed": 3}
SIZE = (64, 64)


def own(unet: torch.nn.Module) -> list[Any]:
    """Class, attributes and hooks of every module."""
    return [
        (name, type(module), sorted(vars(module)), len(module._forward_pre_hooks), vars(module).get("forward"))
        for name, module in unet.named_modules()
    ]


@pytest.fixture
def watched(handmade: Any) -> Iterator[Any]:
    """The demo model, of whose UNet not an attribute may be left changed."""
    pipe = handmade.load()
    before = own(pipe.unet)
    yield pipe
    assert own(pipe.unet) == before


@pytest.mark.parametrize("wanted", [CACHE, MERGE, BOTH], ids=str)
def test_the_next_batch_is_made_as_if_nothing_had_been(wanted: Any, rig: Any, rendering: Any) -> None:
    sped = {**JOB, "accelerate": wanted}
    (base,) = rig.together(JOB)
    (first,) = rig.together(sped)
    (again,) = rig.together(JOB)
    (second,) = rig.together(sped)
    assert np.array_equal(base, again) and np.array_equal(first, second)
    assert 0 < rendering.distance(base, first) < 40
    (fresh,) = rendering.Rig(rig.base).together(sped)  # the first picture of a process
    assert np.array_equal(first, fresh)


@pytest.mark.parametrize(
    ("wanted", "more"),
    [
        (CACHE, {"scheduler": "euler_a"}),
        (MERGE, {"scheduler": "heun", "guidance_scale": 1}),
        (BOTH, {"scheduler": "dpmpp_sde"}),
        (BOTH, {"scheduler": "pndm", "guidance_scale": 1}),
    ],
    ids=str,
)
def test_rows_alone_and_together(wanted: Any, more: Mapping[str, Any], rig: Any) -> None:
    job = {**JOB, **more, "accelerate": wanted, "grid": {"seed": list(range(6))}}
    together = rig.together(job)
    assert len({one.tobytes() for one in together}) == 6
    for one, other in zip(together, rig.draw(job), strict=True):
        assert np.array_equal(one, other)
    turned = rig.together({**job, "grid": {"seed": [5, 9, 3, 0]}})
    assert np.array_equal(turned[0], together[5]) and np.array_equal(turned[3], together[0])


@pytest.mark.parametrize("wanted", [CACHE, MERGE], ids=str)
def test_with_fine_tunes(wanted: Any, rig: Any, handmade: Any) -> None:
    folder = rig.base / "loras"
    folder.mkdir(exist_ok=True)
    if not (folder / "a.safetensors").exists():
        handmade.lora("a").path.rename(folder / "a.safetensors")
    tuned = {**JOB, "loras": ["a"]}
    job = {**tuned, "accelerate": wanted}
    plain, (first,), (again,) = rig.together(tuned)[0], rig.together(job), rig.together(job)
    (bare,) = rig.together({**JOB, "accelerate": wanted})
    assert np.array_equal(first, again) and np.array_equal(plain, rig.together(tuned)[0])
    assert len({one.tobytes() for one in (plain, first, bare)}) == 3


MODES: dict[str, dict[str, Any]] = {
    "img2img": {"image": "in.png", "strength": 1},
    "inpaint": {"image": "in.png", "mask": [8, 8, 40, 40], "model": "demo-inpaint", "strength": 1},
    "outpaint": {"image": "in.png", "outpaint": {"right": 16}},
    "depth2img": {"image": "in.png", "model": "demo-depth", "strength": 1},
    "controlnet": {"control_image": "in.png", "controlnet": "demo-controlnet", "control_preprocessor": "canny"},
}


@pytest.mark.parametrize("mode", MODES)
def test_every_mode_that_has_it(mode: str, rig: Any) -> None:
    if not (rig.base / "in.png").exists():
        rig.scene("in.png", color="green")
    job = {**JOB, "mode": mode, **MODES[mode]}
    axis: dict[str, Any] = {"accelerate": [None, CACHE, MERGE, BOTH]}
    made = rig.draw({**job, "grid": axis})
    assert len({one.tobytes() for one in made}) == 4
    together = rig.together({**job, "accelerate": BOTH, "grid": {"seed": [1, 3]}})
    assert np.array_equal(together[1], made[3])


def test_upscale_has_no_use_for_it(rig: Any) -> None:
    rig.scene("small.png")
    job = {"mode": "upscale", "model": "demo-upscaler", "image": "small.png", "accelerate": CACHE}
    with pytest.raises(SpecError, match="accelerate: mode upscale has no use for it"):
        rig.rows(job)


def test_it_is_part_of_the_id_and_of_the_batch_key(rig: Any) -> None:
    axis = {"accelerate": [None, {"deepcache": 2}, {"deepcache": 3}, {"tome": 0.5}, {"tome": 0.5, "deepcache": 2}]}
    job = {**JOB, "grid": axis}
    rows = rig.rows(job)
    assert len({row.id for row in rows}) == len(rows) == len(rig.keys(job))
    assert rows[0].id == rig.rows(JOB)[0].id
    assert rows[1].id == rig.rows({**JOB, "accelerate": {"deepcache": 2.0}})[0].id
    assert rows[4].id == rig.rows({**JOB, "accelerate": {"deepcache": 2, "tome": 0.5}})[0].id


def test_what_is_wrong_is_said_with_its_key(rig: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SpecError, match="accelerate: unknown key 'tomes'; did you mean 'tome'"):
        rig.rows({**JOB, "accelerate": {"tomes": 0.5}})
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(SpecError, match=r"accelerate: needs the package DeepCache: pip install \"sdbatch\[accelerate"):
        rig.rows({**JOB, "accelerate": CACHE})


@pytest.mark.parametrize("wanted", [MERGE, BOTH], ids=str)
def test_nothing_follows_from_the_global_random_state(wanted: Any, rig: Any) -> None:
    job = {**JOB, "accelerate": wanted, "guidance_scale": 3}
    torch.manual_seed(1)
    before = torch.get_rng_state()
    (one,) = rig.together(job)
    assert torch.equal(before, torch.get_rng_state())
    torch.manual_seed(2)
    (other,) = rig.together(job)
    assert np.array_equal(one, other)


@pytest.mark.parametrize(
    ("scheduler", "interval", "whole"),
    [("ddim", 2, 3), ("ddim", 5, 1), ("ddim", 6, 1), ("heun", 2, 5), ("dpmpp_sde", 3, 3), ("pndm", 4, 2)],
)
def test_one_call_of_so_many_is_whole(scheduler: str, interval: int, whole: int, rig: Any) -> None:
    """Five steps: five calls, nine of samplers that call twice a step but for the last, six of `pndm`."""
    seen: list[int] = []
    job = {**JOB, "steps": 5, "scheduler": scheduler, "accelerate": {"deepcache": interval}}
    rig.together(job)  # so that the model is loaded
    unet = next(iter(rig.renderer._models._pipes.values())).unet
    hook = unet.mid_block.resnets[0].register_forward_hook(lambda *given: seen.append(1))
    rig.together(job)
    hook.remove()
    assert len(seen) == whole


@pytest.mark.parametrize("wanted", [CACHE, MERGE, BOTH], ids=str)
def test_an_error_leaves_nothing_behind(wanted: Any, watched: Any) -> None:
    with pytest.raises(ZeroDivisionError), acceleration.on(watched, wanted, SIZE):
        raise ZeroDivisionError


def test_a_unet_that_does_not_fit_is_told_and_left_alone(watched: Any) -> None:
    with pytest.raises(RowError, match="at 8 x 64 there are no 2 x 2 tokens"), acceleration.on(watched, MERGE, (8, 64)):
        pass
    bare = SimpleNamespace(unet=torch.nn.Module(), vae_scale_factor=8)
    bare.unet.down_blocks, bare.unet.mid_block = torch.nn.ModuleList([torch.nn.Identity()]), None
    with pytest.raises(ModelError, match="no attention"), acceleration.on(bare, MERGE, SIZE):
        pass
    with pytest.raises(ModelError, match="no middle block"), acceleration.on(bare, CACHE, SIZE):
        pass


@pytest.mark.parametrize("size", [(16, 16), (24, 40), (72, 16), (40, 24)], ids=str)
@pytest.mark.parametrize("ratio", [0.01, 0.75])
def test_odd_sizes_can_be_merged(size: tuple[int, int], ratio: float, rig: Any) -> None:
    (made,) = rig.together({**JOB, "width": size[0], "height": size[1], "steps": 1, "accelerate": {"tome": ratio}})
    assert made.shape == (size[1], size[0], 3)


def test_a_package_that_is_missing_where_it_runs(watched: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ModelError, match=r"tomesd.*sdbatch\[accelerate\]"), acceleration.on(watched, MERGE, SIZE):
        pass


def test_what_is_compiled_or_offloaded_comes_back(watched: Any) -> None:
    def elsewhere(*given: Any, **named: Any) -> Any:
        return type(watched.unet).forward(watched.unet, *given, **named)

    def compiled(*given: Any, **named: Any) -> Any:
        raise AssertionError("what is compiled does not see the change")

    watched.unet.forward, watched.unet._compiled_call_impl = elsewhere, compiled
    with acceleration.on(watched, CACHE, SIZE), torch.inference_mode():
        seen = torch.zeros(1, 4, 16, 16), 10, torch.zeros(1, 77, 128)
        assert torch.isfinite(watched.unet(*seen).sample).all()
    assert (watched.unet.forward, watched.unet._compiled_call_impl) == (elsewhere, compiled)
    del watched.unet.forward, watched.unet._compiled_call_impl


@pytest.mark.slow
@pytest.mark.parametrize("wanted", [CACHE, MERGE, BOTH], ids=str)
def test_sdxl(wanted: Any, tiny: Any, rig: Any) -> None:
    folder: Path = rig.base / "xl"
    if not folder.exists():
        tiny.sdxl(folder)
    job = {**JOB, "model": "xl", "width": 64, "height": 64, "grid": {"seed": [1, 2, 3]}}
    plain, together = rig.together(job), rig.together({**job, "accelerate": wanted})
    for one, other, base in zip(together, rig.draw({**job, "accelerate": wanted}), plain, strict=True):
        assert np.array_equal(one, other) and not np.array_equal(one, base)


@pytest.mark.parametrize("before", [(False, False), (True, True), (True, False)], ids=str)
def test_sums_have_an_order_while_tokens_are_merged(before: tuple[bool, bool], watched: Any) -> None:
    def told() -> tuple[bool, bool]:
        return torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()

    given = told()
    torch.use_deterministic_algorithms(before[0], warn_only=before[1])
    try:
        with acceleration.on(watched, MERGE, SIZE):
            assert told() == (True, True)
        assert told() == before
    finally:
        torch.use_deterministic_algorithms(given[0], warn_only=given[1])
