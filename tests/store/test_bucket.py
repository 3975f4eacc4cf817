"""A run directory in a bucket, by the server of moto on this machine: what a disk promises holds there too."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from buckets import Faulty, serving
from verified import Quiet, soft_lora

from sdbatch import api
from sdbatch.errors import BusyError, StoreError
from sdbatch.sources import remote
from sdbatch.store.bucket import BucketStore
from sdbatch.store.directory import RunDirectory
from sdbatch.store.owner import OWNER

Write = Callable[..., Path]
RunJob = Callable[..., "api.RunReport"]
URL = "s3://sweeps"
JOB = """
model: demo
prompt: "a large {color} star"
steps: 1
grid: {color: [red, blue], seed: {range: [0, 3]}}
stages:
  - {name: base}
  - {name: vary, mode: img2img, input: base, seed: "{base.seed}"}
render: {threads: 1, batch_size: 3}
"""


@pytest.fixture(scope="module")
def server() -> Iterator[Faulty]:
    with serving() as faulty:
        yield faulty


@pytest.fixture
def bucket(server: Faulty, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Faulty:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(remote, "_looked", set())
    server.share = 0.0
    return server


def named(request: pytest.FixtureRequest) -> str:
    return f"{URL}/{request.node.name}"


@pytest.fixture(params=["s3", "memory"])
def store(request: pytest.FixtureRequest, bucket: Faulty) -> BucketStore:
    return BucketStore(f"{request.param}://sweeps/{request.node.name.partition('[')[0]}")


def test_objects_are_put_read_listed_and_taken_away(store: BucketStore) -> None:
    assert store.read("a/b.bin") is None and store.list("a") == [] and store.size("a/b.bin") is None
    store.replace("a/b.bin", b"one")
    store.replace("a/b.bin", b"two")
    store.create("a/c.bin", b"three")
    store.replace("a/deep/d.bin", b"four")
    assert store.read("a/b.bin") == b"two" and store.list("a") == ["a/b.bin", "a/c.bin"]
    assert store.exists("a/b.bin") and store.size("a/c.bin") == 5
    store.create("a/c.bin", b"three")  # as where the first answer was lost
    with pytest.raises(StoreError, match="is there already"):
        store.create("a/c.bin", b"another")
    store.move("a/b.bin", "e/b.bin")
    store.remove("a/c.bin")
    store.remove("a/c.bin")
    assert store.list("a") == [] and store.read("e/b.bin") == b"two"
    with pytest.raises(StoreError, match="would leave"):
        store.replace("../x", b"")


def test_lines_are_objects_in_order_and_of_notes_the_last_counts(store: BucketStore) -> None:
    for number in range(3):
        store.append("log.jsonl", f"line {number}")
        store.note("attempts/one.jsonl", f"note {number}")
    assert store.read("log.jsonl") == b"line 0\nline 1\nline 2\n" and len(store.list("log.jsonl.d")) == 3
    assert store.read("attempts/one.jsonl") == b"note 2\n"


def test_one_run_at_a_time_and_a_dead_ones_lock_is_taken_over(store: BucketStore) -> None:
    other = BucketStore(store.url)
    with store.lock():
        store.confirm()
        with pytest.raises(BusyError, match="another run holds this directory"), other.lock():
            pass
    assert store.read(OWNER) is None
    with store.lock():
        owner = store._holder()
        assert owner is not None
        elsewhere = json.dumps(asdict(replace(owner, place="another machine", token="x")))
        store.replace(OWNER, elsewhere.encode())
        with pytest.raises(BusyError, match="took this directory over"):
            store.confirm()
        with pytest.raises(BusyError), other.lock():
            pass
        with BucketStore(store.url, stale=-1.0).lock():
            assert store._holder() != replace(owner, token="x")
    dead = json.dumps(asdict(replace(owner, pid=2**22 + 1)))
    store.replace(OWNER, dead.encode())
    with other.lock():
        assert other._holder() is not None
    assert store.list("") == [] or not any("taken" in path for path in store.list(""))


@pytest.mark.slow
def test_a_run_comes_to_its_end_whatever_the_bucket_does(
    bucket: Faulty, write: Write, run_job: RunJob, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    out = Path(named(request))
    job = write("job.yaml", JOB)
    whole = run_job(job, tmp_path / "disk")
    bucket.share, made = 0.15, 0
    for limit in (2, 5, None):
        report = run_job(job, out, limit=limit)
        made += report.made
    bucket.share = 0.0
    assert min(bucket.met[kind] for kind in ("error", "cut before", "cut after")) > 0, bucket.met
    assert (made, report.left, report.rows, report.directory) == (12, 0, whole.rows, named(request))
    assert recorded(out) == recorded(tmp_path / "disk") and len(set(recorded(out))) == 12
    again = run_job(out, out)
    assert (again.made, again.done) == (0, 12)
    assert api.fsck(out).findings == ()
    assert api.verify(out, Quiet(), sample="3").counts == {"exact": 3}
    status = api.status(out)
    assert (status.rows, status.done, status.left) == (12, 12, 0)
    store = BucketStore(named(request))
    assert not any(path.startswith(OWNER) for path in store.list("")), "no lock is left"
    events = [json.loads(line)["event"] for line in (store.read("log.jsonl") or b"").splitlines()]
    assert events.count("run_finished") == 4


def recorded(directory: Path) -> list[tuple[str, str]]:
    """Row key and pixels of every line."""
    table = RunDirectory(directory).manifest().read(["row", "pixel_sha256"])
    return sorted(zip(*(column.to_pylist() for column in table.columns), strict=True))


def test_what_fsck_finds_is_made_again(
    bucket: Faulty, write: Write, run_job: RunJob, request: pytest.FixtureRequest
) -> None:
    out, store = Path(named(request)), BucketStore(named(request))
    job = write("job.yaml", "model: demo\nprompt: a star\nsteps: 1\ngrid: {seed: [1, 2]}\nrender: {threads: 1}\n")
    run_job(job, out)
    first, second = store.list("images")
    store.remove(first)
    store.replace(second, (store.read(second) or b"")[:200])
    assert {finding.kind for finding in api.fsck(out, repair=True).findings} == {"missing", "torn"}
    assert run_job(job, out).made == 2 and api.fsck(out).findings == ()


def test_a_bucket_that_is_out_of_reach_is_said_and_asked_no_more_than_so_often(
    bucket: Faulty, write: Write, run_job: RunJob, request: pytest.FixtureRequest
) -> None:
    job = write("job.yaml", "prompt: a star\nsteps: 1\n")
    bucket.share = 1.0
    with pytest.raises(StoreError) as caught:
        run_job(job, Path(named(request)))
    assert named(request) in str(caught.value) and f"after {remote.TRIES} tries" in str(caught.value)
    assert "knows-this" not in str(caught.value) and "nobody" not in str(caught.value)


def test_specs_tables_prompts_pictures_and_models_by_url(
    bucket: Faulty, root: Path, run_job: RunJob, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    store = BucketStore(named(request))
    spec = "model: model\nmode: img2img\nimage: photos/a.png\nrows: rows.csv\nsteps: 1\nrender: {threads: 1}\n"
    spec += "loras: [soft]\nprompt: a __color__ star\n"
    spec += f"grid: {{strength: [1.0], negative_prompt: {{file: {named(request)}/words.txt}}}}\n"
    store.replace("job.yaml", spec.encode())
    store.replace("rows.csv", b"seed\n1\n2\n")
    store.replace("words.txt", b"# none\nblurry\n")
    store.replace("wildcards/color.txt", b"red\n")
    soft_lora(tmp_path / "soft.safetensors", 1)
    store.replace("loras/soft.safetensors", (tmp_path / "soft.safetensors").read_bytes())
    store.replace("photos/a.png", (root / "jobs/pictures/small-heart.png").read_bytes())
    demo = Path(api.model("demo")["path"])
    for file in sorted(path for path in demo.rglob("*") if path.is_file()):
        store.replace(f"model/{file.relative_to(demo).as_posix()}", file.read_bytes())
    report = run_job(Path(f"{named(request)}/job.yaml"), tmp_path / "run")
    assert (report.made, report.failed) == (2, 0)
    kept = (tmp_path / "run" / "job.yaml").read_text()
    assert f"image: {named(request)}/photos/a.png" in kept and f"rows: {named(request)}/rows.csv" in kept
    assert f"wildcards: {named(request)}/wildcards" in kept
    line = RunDirectory(tmp_path / "run").manifest().read().to_pylist()[0]
    assert line["prompt"] == "a red star" and "soft" in line["fine_tunes"]
    assert run_job(tmp_path / "run", tmp_path / "run").made == 0
    store.replace("photos/a.png", (root / "jobs/pictures/small-heart.png").read_bytes()[:100])
    remote._looked.clear()
    assert api.verify(tmp_path / "run", Quiet()).counts == {"not made": 2}, "another picture than it was made from"
    gone = Path(f"{named(request)}/no.yaml")
    (problem,) = api.validate(gone)
    assert problem.file == f"{named(request)}/no.yaml" and "no such file" in problem.message.lower()


def test_file_urls_are_files(write: Write, run_job: RunJob, tmp_path: Path) -> None:
    job = write("job.yaml", "prompt: a star\nsteps: 1\nmodel: demo\nrender: {threads: 1}\n")
    report = run_job(Path(f"file://{job}"), Path(f"file://{tmp_path}/run"))
    assert report.made == 1 and (tmp_path / "run" / "job.yaml").is_file()


_FETCH = "import sys; from sdbatch.sources import remote; remote.folder(remote.located(sys.argv[1]))"


def test_a_model_is_fetched_once_a_machine(bucket: Faulty, request: pytest.FixtureRequest) -> None:
    store = BucketStore(named(request))
    for number in range(3):
        store.replace(f"model/{number}.safetensors", bytes(100_000))
    before = Counter(bucket.seen)
    command = [sys.executable, "-c", _FETCH, f"{named(request)}/model"]
    workers = [subprocess.Popen(command) for _ in range(3)]
    assert [worker.wait() for worker in workers] == [0, 0, 0]
    fetched = Counter(bucket.seen) - before
    gets = {path: count for (method, path), count in fetched.items() if method == "GET" and "safetensors" in path}
    assert sorted(gets.values()) == [1, 1, 1], gets


@pytest.mark.ray
def test_actors_put_their_pictures_into_the_bucket(
    bucket: Faulty, write: Write, run_job: RunJob, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    out, job = Path(named(request)), write("job.yaml", JOB)
    report = run_job(job, out, executor="ray", actors=2)
    assert (report.made, report.left, report.failed) == (12, 0, 0)
    run_job(job, tmp_path / "disk")
    assert recorded(out) == recorded(tmp_path / "disk")
    assert api.fsck(out).findings == ()
