"""sdbatch verify: rows made again from the manifest alone, in directories that were left alone, moved and altered."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from verified import JOB, alter, by_path, soft_lora, verify

from sdbatch import api
from sdbatch.api.again import WITHIN
from sdbatch.api.comparing import DIFFERENT, EXACT, FAILED
from sdbatch.errors import StoreError, UsageError
from sdbatch.modes import available, get
from sdbatch.render.renderer import Renderer
from sdbatch.sources.models import EMBEDDED
from sdbatch.store.directory import RunDirectory
from sdbatch.store.watermark import SIDE_MIN

Runner = Callable[..., api.RunReport]
ROWS: list[dict[str, Any]] = [
    {"mode": "txt2img", "prompt": "a (red:1.3) star, {{a|b}}", "loras": ["soft"], "width": 72},
    {"mode": "img2img", "image": "in/a.png", "strength": 0.5, "fit": "native"},
    {"mode": "inpaint", "image": "in/a.png", "mask": "in/mask.png", "model": "demo-inpaint"},
    {"mode": "inpaint", "image": "in/a.png", "mask": [8, 8, 24, 24], "padding_mask_crop": 4},
    {"mode": "outpaint", "image": "in/a.png", "outpaint": {"left": 16}},
    {"mode": "depth2img", "image": "in/a.png", "model": "demo-depth"},
    {
        "mode": "controlnet", "control_image": "in/a.png", "controlnet": "demo-controlnet",
        "control_preprocessor": "canny",
    },
    {"mode": "upscale", "image": "in/small.png", "model": "demo-upscaler", "guidance_scale": 1.0},
    {"mode": "upscale", "image": "in/small.png", "scale": 2, "tile": 48, "overlap": 8},
]  # fmt: skip


def state(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Bytes and times of every file and folder."""
    return {
        str(path.relative_to(folder)): (path.stat().st_mtime_ns, path.read_bytes() if path.is_file() else b"")
        for path in [folder, *folder.rglob("*")]
    }


@pytest.fixture(scope="module")
def everything(run_job: Runner, rendering: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run of every mode and with its inputs, at another place than where it was made."""
    home = tmp_path_factory.mktemp("everything") / "made"
    rig = rendering.Rig(home)
    rig.scene("in/a.png", color="green")
    rig.save("in/mask.png", np.pad(np.full((32, 32), 255, np.uint8), 16))
    rig.save("in/small.png", rig.read("in/a.png")[::2, ::2])
    soft_lora(home / "loras" / "soft.safetensors", 1)
    lines = [{"prompt": "a star", "seed": at, **row, "n": at} for at, row in enumerate(ROWS)]
    (home / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in lines))
    job = {"rows": "rows.jsonl", "steps": 2, "scheduler": "euler_a", "output": {"filename": "{mode}-{n}"}}
    (home / "spec.yaml").write_text(json.dumps({**job, "render": {"batch_size": 1}}))
    assert run_job(home / "spec.yaml", home / "runs" / "all").made == len(ROWS)
    return home.rename(home.with_name("moved"))


@pytest.fixture(scope="module")
def made(run_job: Runner, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("verified") / "run"
    run_job(JOB, run)
    return run


@pytest.fixture
def run(made: Path, tmp_path: Path) -> Path:
    """A copy, to be altered."""
    return Path(shutil.copytree(made, tmp_path / "copy"))


def test_every_mode_is_exact_in_a_folder_that_was_moved_and_nothing_is_written(everything: Path) -> None:
    before = state(everything)
    with RunDirectory(everything / "runs" / "all").lock():  # and a run may be at work there
        held = state(everything)
        report = verify(everything / "runs" / "all", sample="100%")
        assert state(everything) == held
    assert {one.path: one.about for one in report.pictures if not one.plain} == {}
    assert report.counts == {EXACT: len(ROWS)} and report.exit_code == 0
    with_models = {name for name in available() if get(name).PIPELINES != {"sd": ""}}
    assert {path.split("-")[0] for path in by_path(report)} == with_models
    assert before.keys() <= state(everything).keys()


def test_inputs_fine_tunes_and_models_that_are_others_now_are_named(everything: Path, tmp_path: Path) -> None:
    home = Path(shutil.copytree(everything, tmp_path / "again"))
    Image.new("RGB", (64, 64), "blue").save(home / "in" / "a.png")
    soft_lora(home / "loras" / "soft.safetensors", 2)
    (home / "in" / "mask.png").unlink()
    alter(home / "runs" / "all", {"upscale-7.png": {"model": "models/none"}, "outpaint-4.png": {"outpaint": "{"}})
    found = by_path(verify(home / "runs" / "all"))
    assert found.keys() == {f"{row['mode']}-{at}.png" for at, row in enumerate(ROWS)} - {"upscale-8.png"}
    (reason,) = found["img2img-1.png"].reasons
    assert found["img2img-1.png"].result == DIFFERENT and found["img2img-1.png"].apart
    assert reason == f"image in/a.png is another file than it was made from ({home / 'in' / 'a.png'})"
    assert found["controlnet-6.png"].reasons[0].startswith("control_image in/a.png is another file")
    assert found["txt2img-0.png"].reasons == ("lora soft is another than it was made with",)
    gone = found["inpaint-2.png"]
    assert gone.result == FAILED and f"{home / 'in' / 'mask.png'}: no such file" in gone.about
    assert gone.reasons[1:] == ("mask in/mask.png is gone",)
    assert found["upscale-7.png"].result == FAILED
    assert "ModelError: model 'models/none': is not in the local cache" in found["upscale-7.png"].about
    assert found["outpaint-4.png"].about.startswith("ValueError: outpaint: not JSON")


def test_what_was_changed_is_told(run: Path) -> None:
    torn, gone = run / "images/red/3.png", run / "images/blue/1.png"
    torn.write_bytes(torn.read_bytes()[:200])
    gone.unlink()
    other = {"pixel_sha256": "0" * 64, "fingerprint": "0" * 20}
    changes: dict[str, dict[str, Any]] = {
        "red/1.png": {"seed": 77},
        "red/2.png": {**other, "versions": json.dumps({"torch": "1.0.0", "flax": "3"})},
        "red/3.png": {**other, "device": "cuda NVIDIA H100", "dtype": "float16", "threads": None},
        "blue/2.png": {"pixel_sha256": "0" * 64},
        "blue/3.png": {"batch_size": 0},
    }
    alter(run, changes)
    report = verify(run)
    found = by_path(report)
    assert report.exit_code == 1 and report.counts == {EXACT: 1, WITHIN: 2, DIFFERENT: 2, FAILED: 1}
    seed = found["red/1.png"]
    assert seed.result == DIFFERENT and seed.apart and seed.apart.max > 2 and seed.apart.psnr
    assert "its parameters do not give its id" in seed.reasons[0]
    library = found["red/2.png"]
    assert library.result == WITHIN and library.apart and library.apart.max == 0 and library.apart.psnr is None
    here = torch.__version__.split("+")[0]
    assert {f"torch 1.0.0 then, {here} here", "flax 3 then, none here"} <= set(library.reasons)
    elsewhere = found["red/3.png"]
    assert elsewhere.result == DIFFERENT and "its file cannot be decoded" in elsewhere.about
    assert any(one.startswith("device cuda NVIDIA H100 then, cpu ") for one in elsewhere.reasons)
    assert "dtype float16 then, float32 here" in elsewhere.reasons
    assert found["blue/1.png"].result == EXACT and found["blue/1.png"].about == "its file is gone"
    assert "nothing that the fingerprint holds is otherwise here" in found["blue/2.png"].about
    assert found["blue/3.png"].result == FAILED and "batch_size 0" in found["blue/3.png"].about
    assert report.reasons[f"torch 1.0.0 then, {here} here"] == 1
    assert verify(run, tolerance=255).counts.get(DIFFERENT) == 1  # the torn one: its distance is not known


def test_a_sample_is_the_same_each_time_and_follows_what_is_there(made: Path, run: Path) -> None:
    first = verify(made, sample="2")
    assert first.verified == 2 and first.rows == 6 and first.sampled
    assert list(by_path(first)) == list(by_path(verify(run, sample="34%")))  # a copy: the same ones
    drawn = set()
    for at in range(4):
        alter(run, {"red/1.png": {"pixel_sha256": f"{at:064}"}})
        drawn |= set(by_path(verify(run, sample="1")))
    assert len(drawn) > 1
    for wrong in ("x", "1.5", "%"):
        with pytest.raises(UsageError, match="--sample"):
            verify(made, sample=wrong)
    with pytest.raises(UsageError, match="--tolerance"):
        verify(made, tolerance=float("nan"))


@pytest.mark.parametrize("format", ["jpeg", "webp"])
def test_lossy_files_and_watermarks(run_job: Runner, tmp_path: Path, format: str) -> None:
    run = tmp_path / "run"
    output = {"filename": "{seed}", "format": format, "quality": 60, "watermark": "mine"}
    job = {"prompt": "a star", "steps": 1, "width": SIDE_MIN, "height": SIDE_MIN, "grid": {"seed": [1, 2]}}
    run_job({**job, "output": output, "render": {"batch_size": 1}}, run)
    assert verify(run).counts == {EXACT: 2}
    name = f"1.{'jpg' if format == 'jpeg' else format}"
    alter(run, {name: {"pixel_sha256": "0" * 64}, name.replace("1", "2"): {"watermark": None}})
    report = verify(run, tolerance=0)
    assert report.counts == {WITHIN: 1, DIFFERENT: 1}  # the file is that which the pixels give again
    assert [one.path for one in report.pictures if one.result == WITHIN] == [f"images/{name}"]


def test_a_model_beside_the_spec_that_is_missing_or_another(run_job: Runner, tmp_path: Path) -> None:
    home = tmp_path / "home"
    shutil.copytree(EMBEDDED / "demo", home / "own")
    run_job({**JOB, "model": "own", "grid": {"color": ["red"], "seed": [1]}}, home / "run")
    moved = home.rename(tmp_path / "moved")
    assert verify(moved / "run").counts == {EXACT: 1}
    weights = moved / "own" / "vae" / "diffusion_pytorch_model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-2000:] = bytes(2000)
    weights.write_bytes(data)
    (other,) = verify(moved / "run").pictures
    assert other.reasons[0] == "model own is another" and any(one.startswith("model ") for one in other.reasons[1:])
    copy = Path(shutil.copytree(moved / "run", tmp_path / "elsewhere" / "run"))
    shutil.rmtree(moved / "own")
    (missing,) = verify(copy).pictures
    assert missing.result == FAILED and missing.about.startswith("ModelError: model 'own': no such folder")


def test_one_row_that_fails_leaves_its_batch_alone(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = Renderer._drawn

    def picky(renderer: Renderer, context: Any, rows: Any, size: int) -> Any:
        if any(row.params["seed"] == 2 for row in rows):
            raise ValueError("not two")
        return drawn(renderer, context, rows, size)

    monkeypatch.setattr(Renderer, "_drawn", picky)
    report = verify(run)
    assert report.counts == {EXACT: 4, FAILED: 2} and report.exit_code == 1
    assert {one.about for one in report.pictures} == {"ValueError: not two"}


def test_without_its_other_papers_and_when_asked_to_stop(run: Path) -> None:
    (run / "job.yaml").unlink()
    assert verify(run).counts == {EXACT: 6}
    (run / "runs.jsonl").unlink()
    assert verify(run).counts == {EXACT: 6}
    stopped = verify(run, stopping=lambda: True)
    assert stopped.stopped and stopped.exit_code == 130 and stopped.verified == 2  # a batch
    with pytest.raises(StoreError, match="not a run directory"):
        verify(run.parent)


@pytest.mark.slow
def test_the_command(run: Path, sdbatch: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    alter(run, {"red/1.png": {"seed": 77}})
    done = sdbatch("verify", run)
    assert done.returncode == 1 and "different  images/red/1.png" in done.stdout
    assert done.stdout.endswith(f"{run}: 6 of 6 rows made again: 5 exact, 1 different\n")
    done = sdbatch("verify", run, "--sample", "1", "--tolerance", "255", "--json")
    report = json.loads(done.stdout)
    assert (done.returncode, report["schema"], report["verified"], len(report["pictures"])) == (0, 1, 1, 1)
