"""The ladder: what a renderer does when memory runs out, and what it learns from that."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from sdbatch import api
from sdbatch.render import memory
from sdbatch.render.batch import Picture
from sdbatch.render.memory import Ladder, Rung
from sdbatch.render.renderer import Renderer
from sdbatch.sources.names import Sources
from sdbatch.types import Render, Row

JOB: dict[str, Any] = {"mode": "txt2img", "prompt": "a red star", "steps": 2, "grid": {"seed": [1, 2, 3, 4]}}


@pytest.mark.parametrize(
    ("oom", "offload", "expected"),
    [
        ("degrade", True, [Rung(8), Rung(8, True), Rung(4, True), Rung(2, True), Rung(1, True), Rung(1, True, True)]),
        ("degrade", False, [Rung(8), Rung(4), Rung(2), Rung(1), Rung(1, False, True)]),
        ("fail", True, [Rung(8), Rung(8, True)]),
        ("fail", False, [Rung(8)]),
    ],
)
def test_the_rungs(oom: str, offload: bool, expected: list[Rung], rendering: Any) -> None:
    render: Render = replace(rendering.RENDER, oom=oom)
    ladder = Ladder(render, offload)
    assert ladder.rungs(8) == expected
    for rung in expected[1:]:
        assert ladder.down("a", 8) and ladder.at("a", 8) == rung
    assert not ladder.down("a", 8) and ladder.at("a", 8) == expected[-1]
    assert ladder.at("b", 8) == expected[0]  # learnt for that kind of batch alone


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (torch.OutOfMemoryError("CUDA out of memory."), True),
        (MemoryError(), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"), True),
        (RuntimeError("shapes cannot be multiplied"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_what_is_a_lack_of_memory(error: Exception, expected: bool) -> None:
    assert memory.ran_out(error) == expected


class Scarce:
    """Runs out of memory for as long as `fits` says so of a batch's shape and its pipeline."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, fits: Callable[[int, Any], bool]) -> None:
        self.tried: list[int] = []
        drawn = Renderer._drawn

        def scarce(renderer: Renderer, context: Any, rows: Sequence[Row], size: int) -> Any:
            self.tried.append(size)
            if not fits(size, context.pipe):
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
            return drawn(renderer, context, rows, size)

        monkeypatch.setattr(Renderer, "_drawn", scarce)


def rows_of(rig: Any) -> list[Row]:
    found: list[Row] = rig.rows(JOB)
    return found


def renderer(rig: Any, offload: bool = False, **changes: Any) -> Renderer:
    made = Renderer(replace(rig.render, **changes), Sources(rig.base))
    made._ladder = Ladder(replace(rig.render, **changes), offload)
    return made


def pixels(found: Sequence[Any]) -> list[Any]:
    assert all(isinstance(one, Picture) for one in found), found
    return [one.pixels for one in found]


def test_offloading_changes_no_bits(rig: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = rows_of(rig)
    plain = pixels(renderer(rig).render(rows, 4))
    Scarce(monkeypatch, lambda size, pipe: hasattr(pipe.unet, "_hf_hook"))
    made = renderer(rig, offload=True).render(rows, 4)
    assert all(np.array_equal(one, other) for one, other in zip(pixels(made), plain, strict=True))
    assert {(one.size, *one.degraded) for one in made if isinstance(one, Picture)} == {(4,)}


def test_a_smaller_batch_has_the_pixels_of_that_shape_and_is_learnt(rig: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = rows_of(rig)
    wanted = [*pixels(renderer(rig).render(rows[:2], 2)), *pixels(renderer(rig).render(rows[2:], 2))]
    scarce = Scarce(monkeypatch, lambda size, pipe: size <= 2)
    poor = renderer(rig)
    made = poor.render(rows, 4)
    assert scarce.tried == [4, 2, 2]
    assert all(np.array_equal(one, other) for one, other in zip(pixels(made), wanted, strict=True))
    assert [(one.size, one.degraded) for one in made if isinstance(one, Picture)] == [(2, {"batch_size": 2})] * 4
    poor.render(rows[:1], 4)
    assert scarce.tried == [4, 2, 2, 2]


def test_the_last_rung_is_tiles_and_they_are_put_away_again(rig: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    Scarce(monkeypatch, lambda size, pipe: pipe.vae.use_tiling)
    poor = renderer(rig)
    (made,) = poor.render(rows_of(rig)[:1], 2)
    assert isinstance(made, Picture) and made.degraded == {"batch_size": 1, "vae_tiling": True}
    assert not any(pipe.vae.use_tiling or pipe.vae.use_slicing for pipe in poor._models._pipes.values())


def test_without_another_rung_it_is_an_error(rig: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    scarce = Scarce(monkeypatch, lambda size, pipe: False)
    with pytest.raises(torch.OutOfMemoryError):
        renderer(rig).render(rows_of(rig), 4)
    assert scarce.tried == [4, 2, 1, 1]
    with pytest.raises(torch.OutOfMemoryError):
        renderer(rig, oom="fail").render(rows_of(rig), 4)
    assert scarce.tried == [4, 2, 1, 1, 4]


def test_the_vae_in_float32(rig: Any) -> None:
    """What is made of a model in bfloat16 then, and that the VAE is as it was afterwards."""
    rows = rows_of(rig)[:2]
    half = renderer(rig, dtype="bfloat16")
    before = pixels(half.render(rows, 2))
    made = half.render(rows, 2, precise=True)
    assert {str(one.degraded) for one in made if isinstance(one, Picture)} == {"{'vae_dtype': 'float32'}"}
    distance = np.abs(np.int16(pixels(made)[0]) - np.int16(before[0]))
    assert distance.max() > 0 and distance.mean() < 2
    assert all(np.array_equal(a, b) for a, b in zip(pixels(half.render(rows, 2)), before, strict=True))
    whole = renderer(rig).render(rows, 2, precise=True)
    assert {str(one.degraded) for one in whole if isinstance(one, Picture)} == {"{}"}  # it is float32 already


def test_a_black_picture_is_none(rig: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from sdbatch.render.modes import txt2img

    drawn = txt2img.draw

    def blackened(batch: Any, prepared: Any) -> list[Picture]:
        made = drawn(batch, prepared)
        return [replace(one, pixels=one.pixels * 0) if at == 1 else one for at, one in enumerate(made)]

    monkeypatch.setattr(txt2img, "draw", blackened)
    found = renderer(rig).render(rows_of(rig), 4)
    assert [type(one).__name__ for one in found] == ["Picture", "PictureError", "Picture", "Picture"]


def test_a_run_records_what_it_did_without(
    run_job: Callable[..., api.RunReport], tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    Scarce(monkeypatch, lambda size, pipe: size <= 1)
    job = {**JOB, "render": {"batch_size": 2}}
    assert run_job(job, tmp_path / "run").made == 4
    table = pd.read_parquet(tmp_path / "run" / "manifest")
    assert set(table.degraded) == {'{"batch_size": 1}'} and set(table.batch_size) == {1}
    assert api.status(tmp_path / "run").degraded == 4
    monkeypatch.undo()
    assert run_job({**JOB, "render": {"batch_size": 1}}, tmp_path / "one").made == 4
    alone = pd.read_parquet(tmp_path / "one" / "manifest")
    assert set(alone.fingerprint) == set(table.fingerprint)  # the same pixels, in the same way
    assert dict(zip(alone.id, alone.pixel_sha256, strict=True)) == dict(zip(table.id, table.pixel_sha256, strict=True))
    Scarce(monkeypatch, lambda size, pipe: False)
    report = run_job(job, tmp_path / "none")
    assert (report.made, report.failed) == (0, 4)
    assert set(pd.read_parquet(tmp_path / "none" / "failures").error) == {"OutOfMemoryError"}
    monkeypatch.undo()
    assert run_job(job, tmp_path / "none", retry="inputerror").made == 0
    assert run_job(job, tmp_path / "none", retry="oom").made == 4
