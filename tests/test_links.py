"""Links in inputs: those that stay below where the path starts are followed, others only into $SDBATCH_ROOTS."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml

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
        (folder / "x.png").write_bytes(images.plain_png(np.full((8, 8, 3), 255, np.uint8)))
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
    assert found.sha256 == MISSING + name and AWAY in str(found.problem) and files.ROOTS in str(found.problem)
    with pytest.raises(InputError, match=AWAY):
        masks.read(name, base / "own" / "x.png", (8, 8), base)
    monkeypatch.setenv(files.ROOTS, f"/nowhere:{base.parent / 'secret'}")
    assert Sources(base).inputs.find(name).problem is None
    assert masks.read(name, base / "own" / "x.png", (8, 8), base).all()


@pytest.mark.parametrize("name", ["near.png", "own/x.png", "../secret/x.png", "{}/link.png", "{}/../secret/x.png"])
def test_what_a_user_wrote_out_and_links_that_stay_are_followed(base: Path, name: str) -> None:
    assert Sources(base).inputs.find(name.format(base)).problem is None


def test_a_path_that_goes_up_may_go_no_higher_by_links(base: Path) -> None:
    """As a run's own job.yaml writes the paths of its spec."""
    (base.parent / "run").mkdir()
    assert Sources(base.parent / "run").inputs.find("../jobs/near.png").problem is None
    (base / "out.png").symlink_to("/proc/self/exe")
    assert AWAY in str(Sources(base.parent / "run").inputs.find("../jobs/out.png").problem)


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


def test_a_row_fails_and_the_others_go_on(base: Path, tmp_path: Path, run_job: Callable[..., api.RunReport]) -> None:
    (base / "t.jsonl").write_text('{"image": "link.png"}\n{"image": "near.png"}\n')
    spec = {"mode": "img2img", "rows": "t.jsonl", "prompt": "a star", "steps": 1, "width": 64, "height": 64}
    (base / "job.yaml").write_text(yaml.safe_dump(spec))
    report = run_job(base / "job.yaml", tmp_path / "run", executor="local")
    assert (report.done, report.failed) == (1, 1)
