"""Links in inputs: those that stay below where the path starts are followed, others only into $SDBATCH_ROOTS."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import numpy as np
import pytest
import yaml
from verified import verify

from sdbatch import api
from sdbatch.errors import InputError, ModelError, SdbatchError
from sdbatch.sources import files, globs, masks
from sdbatch.sources.inputs import MISSING
from sdbatch.sources.names import Sources
from sdbatch.store import images

AWAY = "which is not in"


@pytest.fixture
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A spec's folder with a stranger's links in it, beside a folder with what is not theirs."""
    monkeypatch.delenv(files.ROOTS, raising=False)
    base, secret = tmp_path / "jobs", tmp_path / "secret"
    for folder in (base, base / "own", base / "loras", secret):
        folder.mkdir()
    for folder in (base / "own", secret):
        (folder / "x.png").write_bytes(images.plain("mask", np.full((8, 8, 3), 255, np.uint8)))
    (secret / "t.csv").write_text("prompt\nmine\n")
    (secret / "x.safetensors").write_bytes(b"")
    (base / "link.png").symlink_to(secret / "x.png")
    (base / "near.png").symlink_to("own/x.png")
    (base / "folder").symlink_to(secret)
    (base / "t.csv").symlink_to(secret / "t.csv")
    (base / "loras" / "x.safetensors").symlink_to(secret / "x.safetensors")
    return base


def told(base: Path, **spec: object) -> str:
    (base / "job.yaml").write_text(yaml.safe_dump({"prompt": "a star", **spec}))
    try:
        return "\n".join(str(problem) for problem in api.validate(base / "job.yaml"))
    except SdbatchError as error:
        return str(error)


@pytest.mark.parametrize("name", ["link.png", "folder/x.png", "own/../link.png", "./folder/../folder/x.png"])
def test_an_input_is_not_looked_at_through_a_link_that_leads_away(
    base: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = Sources(base).inputs.find(name)
    assert (
        found.sha256 == MISSING + os.path.abspath(found.path)
        and AWAY in str(found.problem)
        and files.ROOTS in str(found.problem)
    )
    with pytest.raises(InputError, match=AWAY):
        masks.read(name, base / "own" / "x.png", (8, 8), base)
    monkeypatch.setenv(files.ROOTS, f"/nowhere:{base.parent / 'secret'}")
    assert Sources(base).inputs.find(name).problem is None
    assert masks.read(name, base / "own" / "x.png", (8, 8), base).all()


@pytest.mark.parametrize("name", ["near.png", "own/x.png", "../secret/x.png", "{}/link.png", "{}/../secret/x.png"])
def test_what_a_user_wrote_out_and_links_that_stay_are_followed(base: Path, name: str) -> None:
    assert Sources(base).inputs.find(name.format(base)).problem is None


def test_a_path_that_goes_up_may_go_no_higher_by_links(base: Path) -> None:
    (base.parent / "secret" / "near.png").symlink_to("../jobs/own/x.png")
    assert Sources(base).inputs.find("../secret/near.png").problem is None
    (base.parent / "secret" / "out.png").symlink_to("/proc/self/exe")
    assert AWAY in str(Sources(base).inputs.find("../secret/out.png").problem)


@pytest.mark.parametrize("run", ["run", "jobs/run", "../elsewhere/run"])
def test_links_are_measured_from_the_spec_that_named_them(base: Path, run: str) -> None:
    """As a run's own job.yaml writes the paths of its spec."""
    start = base.parent / run
    up = os.path.relpath(base, start)
    found = [Sources(start, within=base).inputs.find(f"{up}/{name}") for name in ("near.png", "link.png")]
    assert [AWAY in str(one.problem) for one in found] == [False, True]
    (base / "loras" / "near.safetensors").symlink_to("../own/x.png")
    for name, away in (("near", False), ("x", True)):
        with pytest.raises(ModelError) as wrong:  # what may be looked at is no safetensors file
            Sources(start, within=base).finetunes.find("lora", f"{up}/loras/{name}.safetensors")
        assert (AWAY in str(wrong.value)) is away
    with pytest.raises(InputError, match=AWAY):
        masks.read(f"{up}/link.png", base / "own" / "x.png", (8, 8), start, within=base)
    assert masks.read(f"{up}/near.png", base / "own" / "x.png", (8, 8), start, within=base).all()


def test_a_spec_folder_that_is_a_link_itself(base: Path) -> None:
    (base.parent / "other").symlink_to(base)
    assert Sources(base.parent / "other").inputs.find("near.png").problem is None
    assert Sources(base.parent / "other").inputs.find("link.png").problem


def test_globs(base: Path) -> None:
    found = globs.files("*.png", base)
    assert found == ["link.png", "near.png"]
    assert [bool(Sources(base).inputs.find(name).problem) for name in found] == [True, False]
    for pattern in (f"{base}/*.png", f"{base}/**/*.png", f"{base}/fol*/x.png"):
        assert AWAY in told(base, mode="img2img", image={"glob": pattern}), pattern
    assert AWAY not in told(base, mode="img2img", image={"glob": f"{base}/own/*.png"})
    assert AWAY not in told(base, mode="img2img", image={"glob": f"{base}/folder/*.png"}), "it is named itself"


def test_tables_and_lists(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for spec in ({"rows": "t.csv"}, {"rows": "folder/t.csv"}, {"prompt": {"file": "t.csv"}}):
        spec = {"prompt": None, **spec} if "rows" in spec else spec
        assert AWAY in told(base, **spec), spec
    monkeypatch.setenv(files.ROOTS, str(base.parent))
    assert told(base, prompt={"file": "t.csv"}) == ""
    assert AWAY not in told(base, rows="t.csv", prompt=None)


@pytest.mark.parametrize("name", ["x", "loras/x.safetensors"])
def test_fine_tunes(base: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ModelError, match=AWAY):
        Sources(base).finetunes.find("lora", name)
    monkeypatch.setenv(files.ROOTS, str(base.parent))
    with pytest.raises(ModelError, match="safetensors"):  # it is looked at now, and is empty
        Sources(base).finetunes.find("lora", name)


ROW = {"mode": "img2img", "prompt": "a star", "steps": 1, "width": 64, "height": 64}


@pytest.mark.slow
@pytest.mark.parametrize("out", ["jobs/run", "run", "deep/er/run"])
@pytest.mark.parametrize("spec", [{"rows": "t.jsonl"}, {"grid": {"image": ["link.png", "near.png"]}}])
def test_a_row_fails_and_the_others_go_on_also_when_the_directory_is_run(
    base: Path,
    tmp_path: Path,
    run_job: Callable[..., api.RunReport],
    sdbatch: Callable[..., CompletedProcess[str]],
    out: str,
    spec: dict[str, object],
) -> None:
    (base / "t.jsonl").write_text('{"image": "link.png"}\n{"image": "near.png"}\n')
    (base / "job.yaml").write_text(yaml.safe_dump({**ROW, **spec}))
    report = run_job(base / "job.yaml", tmp_path / out, executor="local")
    assert (report.done, report.failed) == (1, 1)
    for moved in (False, True):  # with its inputs, to where no path of the runs' records is valid
        if moved:
            whole = tmp_path / "moved"
            whole.mkdir()
            for folder in ("jobs", "secret", out.partition("/")[0]):
                if (tmp_path / folder).exists():
                    (tmp_path / folder).rename(whole / folder)
        directory = tmp_path / ("moved" if moved else "") / out
        again = run_job(directory, None, executor="local")
        assert (again.done, again.failed, again.made) == (1, 1, 0), "a link that was refused is refused from there too"
    (made,) = (directory / "images").iterdir()
    assert verify(directory).counts == {"exact": 1}
    kept = sdbatch("replay", made, "--out", "again", "--json")
    assert [one["result"] for one in json.loads(kept.stdout)["pictures"]] == ["exact"], kept.stderr


@pytest.mark.slow
def test_what_was_made_before_a_link_was_turned_is_not_made_again_through_it(
    base: Path,
    tmp_path: Path,
    run_job: Callable[..., api.RunReport],
    sdbatch: Callable[..., CompletedProcess[str]],
) -> None:
    """`verify` and `replay` find a run's inputs by their names, and follow the links that the run followed."""
    (base / "job.yaml").write_text(yaml.safe_dump({**ROW, "image": "near.png"}))
    run_job(base / "job.yaml", tmp_path / "run", executor="local")
    again = run_job(tmp_path / "run", None, executor="local")
    assert again.made == 0
    (made,) = (tmp_path / "run" / "images").iterdir()
    (base / "near.png").unlink()
    (base / "near.png").symlink_to(base.parent / "secret" / "x.png")
    assert verify(tmp_path / "run").counts == {"not made": 1}
    kept = sdbatch("replay", made, "--out", "again")
    assert kept.returncode == 1 and AWAY in kept.stderr + kept.stdout
