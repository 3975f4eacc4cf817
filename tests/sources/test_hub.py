"""Hub models: what is asked of the hub, what is fetched, and what is said when it cannot be had."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from hubmodel import NAME, WANTED, WEIGHTS, files, resolve

from sdbatch.errors import ModelError
from sdbatch.sources import fetching
from sdbatch.sources.hashes import HashCache
from sdbatch.sources.hub import snapshot
from sdbatch.sources.models import ModelSource


class Heard:
    """A watcher that keeps what it is told."""

    def __init__(self) -> None:
        self.begun: list[tuple[str, str, int, int]] = []
        self.size = 0

    def begin(self, name: str, commit: str, files: int, size: int) -> None:
        self.begun.append((name, commit, files, size))

    def received(self, size: int) -> None:
        self.size += size


def test_what_is_read_is_fetched_and_nothing_else(hub: Any, home: Path, tmp_path: Path) -> None:
    heard = Heard()
    with fetching.watching(heard):
        found = resolve(tmp_path)
    commit = hub.refs[NAME]["main"]
    assert (found.path, found.revision, found.kind) == (home / "snapshots" / commit, commit, "sd")
    assert files(found.path) == WANTED
    rest = {name: data for name, data in WANTED.items() if name != "model_index.json"}
    assert heard.begun == [(NAME, commit, len(rest), sum(map(len, rest.values())))]
    assert heard.size == sum(map(len, rest.values()))
    assert (home / "refs" / "main").read_text() == commit
    gets = [path.split("/resolve/")[1].split("/", 1)[1] for method, path, _ in hub.asked if "/resolve/" in path]
    order = list(dict.fromkeys(gets))
    assert order[0] == "model_index.json"
    assert all(name.endswith(".safetensors") for name in order[-2:]), "a folder with its weights is whole"


def test_a_folder_of_the_same_files_has_the_same_hash(hub: Any, tmp_path: Path) -> None:
    found = resolve(tmp_path)
    for name, data in WANTED.items():
        (tmp_path / "copy" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "copy" / name).write_bytes(data)
    assert ModelSource(tmp_path, cache=HashCache(tmp_path / "hashes")).resolve("copy").hash == found.hash


def test_once_fetched_only_the_commit_is_asked_for(hub: Any, tmp_path: Path) -> None:
    first = resolve(tmp_path)
    hub.asked.clear()
    assert resolve(tmp_path) == first
    assert [path for _, path, _ in hub.asked] == [f"/api/models/{NAME}/revision/main"]
    hub.asked.clear()
    assert resolve(tmp_path, first.revision) == first
    assert resolve(tmp_path, pins={NAME: first.revision}) == first
    assert hub.asked == [], "nobody is asked about a commit that is here"


def test_branches_tags_and_pull_requests(hub: Any, home: Path, tmp_path: Path) -> None:
    first = resolve(tmp_path).revision
    new = {**WANTED, f"vae/{WEIGHTS}": b"other"}
    for number, ref in enumerate(("v2", "refs/pr/3", "main"), 2):
        commit = hub.put(NAME, new, number, ref)
        assert resolve(tmp_path, ref).revision == commit
        assert (home / "refs" / ref).read_text() == commit
    assert resolve(tmp_path).revision == commit != first
    assert resolve(tmp_path, pins={NAME: first}).revision == first
    hub.asked.clear()
    assert resolve(tmp_path, first).revision == first
    assert hub.asked == []


def test_what_two_commits_share_is_fetched_once(hub: Any, tmp_path: Path) -> None:
    resolve(tmp_path)
    hub.put(NAME, {**WANTED, f"vae/{WEIGHTS}": b"other"}, 2)
    hub.asked.clear()
    assert files(resolve(tmp_path).path)[f"vae/{WEIGHTS}"] == b"other"
    assert hub.got(f"unet/{WEIGHTS}") == []


@pytest.mark.parametrize("url", ["refused", "offline"])
def test_without_the_hub_the_cache_serves(
    url: str, fakehub: Any, hub: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = resolve(tmp_path)
    fakehub.reach(monkeypatch, fakehub.closed() if url == "refused" else hub.url, offline=url == "offline")
    hub.asked.clear()
    assert resolve(tmp_path) == resolve(tmp_path, "main") == resolve(tmp_path, found.revision) == found
    assert hub.asked == []


def test_a_hub_that_is_down_is_done_without(hub: Any, tmp_path: Path) -> None:
    found = resolve(tmp_path)
    hub.status = 503
    assert resolve(tmp_path) == found
    with pytest.raises(ModelError, match="answered with HTTP 503"):
        snapshot(NAME, None, pulling=True)


def cut_once(hub: Any, name: str, *sizes: int) -> None:
    hub.cut[name] = list(sizes)


def test_a_cut_connection_is_taken_up_again(hub: Any, tmp_path: Path) -> None:
    cut_once(hub, f"unet/{WEIGHTS}", 300_000)
    heard = Heard()
    with fetching.watching(heard):
        found = resolve(tmp_path)
    assert files(found.path) == WANTED
    assert hub.got(f"unet/{WEIGHTS}") == [None, "bytes=300000-"]
    assert heard.size == heard.begun[0][3]


def test_a_stopped_download_goes_on(hub: Any, home: Path, tmp_path: Path) -> None:
    class Stop(Heard):
        def received(self, size: int) -> None:
            super().received(size)
            if self.size > 200_000:
                raise KeyboardInterrupt

    cut_once(hub, f"unet/{WEIGHTS}", 300_000)
    with fetching.watching(Stop()), pytest.raises(KeyboardInterrupt):
        resolve(tmp_path)
    (partial,) = home.glob("blobs/*.partial")
    kept = partial.stat().st_size
    assert kept >= 100_000
    hub.cut.clear()
    hub.asked.clear()
    assert files(resolve(tmp_path).path) == WANTED
    assert hub.got(f"unet/{WEIGHTS}") == [f"bytes={kept}-"]
    assert not list(home.glob("blobs/*.partial"))


@pytest.mark.parametrize("left", [b"x" * 1000, b"x" * 1_024_000, b"x" * 2_000_000])
def test_what_is_left_of_another_file_is_not_believed(left: bytes, hub: Any, home: Path, tmp_path: Path) -> None:
    sha256 = hashlib.sha256(WANTED[f"unet/{WEIGHTS}"]).hexdigest()
    (home / "blobs").mkdir(parents=True)
    (home / "blobs" / f"{sha256}.partial").write_bytes(left)
    if len(left) <= len(WANTED[f"unet/{WEIGHTS}"]):
        with pytest.raises(ModelError, match=rf"unet/{WEIGHTS} arrived damaged; fetch it again"):
            resolve(tmp_path)
    assert files(resolve(tmp_path).path) == WANTED


def test_half_a_snapshot_is_not_taken_for_a_whole_one(
    fakehub: Any, hub: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = resolve(tmp_path)
    (found.path / "unet" / WEIGHTS).unlink()
    fakehub.reach(monkeypatch, hub.url, offline=True)
    with pytest.raises(ModelError, match=rf"HF_HUB_OFFLINE is set; .*sdbatch models pull {NAME} fetches it"):
        resolve(tmp_path)
    fakehub.reach(monkeypatch, hub.url)
    assert files(resolve(tmp_path, found.revision).path) == WANTED
    assert hub.got(f"unet/{WEIGHTS}") == [None], "its blob is still there"


def test_fp16_where_there_is_nothing_else_and_all_shards(hub: Any, tmp_path: Path) -> None:
    unet = "unet/diffusion_pytorch_model"
    index = json.dumps({"weight_map": {"a": "diffusion_pytorch_model.fp16-00001-of-00001.safetensors"}}).encode()
    others = {name: data for name, data in WANTED.items() if name != f"unet/{WEIGHTS}"}
    half = {f"{unet}.fp16-00001-of-00001.safetensors": b"half", f"{unet}.safetensors.index.fp16.json": index}
    hub.put(NAME, {**others, **half, f"{unet}.non_ema.safetensors": b"no"}, 2)
    assert files(resolve(tmp_path).path) == {**others, **half}


def test_a_safety_checker_comes_along_as_safetensors(hub: Any, tmp_path: Path) -> None:
    checker = {"safety_checker/config.json": b"{}", "safety_checker/model.safetensors": b"checker"}
    hub.put(NAME, {**WANTED, **checker, "safety_checker/pytorch_model.bin": b"pickle"}, 2)
    assert files(resolve(tmp_path).path) == {**WANTED, **checker}
    pickle = {"safety_checker/config.json": b"{}", "safety_checker/pytorch_model.bin": b"pickle"}
    hub.put(NAME, {**WANTED, **pickle}, 3)
    assert files(resolve(tmp_path).path) == WANTED, "a checker that could not be loaded is not there at all"


def test_a_lone_part(hub: Any, tmp_path: Path) -> None:
    wanted = {"config.json": b'{"_class_name": "ControlNetModel"}', WEIGHTS: b"weights"}
    hub.put(NAME, {**wanted, "diffusion_pytorch_model.bin": b"pickle", "LICENSE.txt": b"free", "x.json": b"{}"}, 2)
    found = resolve(tmp_path)
    assert (found.kind, files(found.path)) == ("controlnet", wanted)
