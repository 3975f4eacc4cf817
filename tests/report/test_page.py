"""What a page holds; that it works is in test_browser.py."""

from __future__ import annotations

import base64
import gzip
import hashlib
import http.client
import json
import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from PIL import Image

from sdbatch import api
from sdbatch.api import reporting, serving
from sdbatch.errors import StoreError, UsageError
from sdbatch.report import page
from sdbatch.store import images

RunJob = Callable[..., "api.RunReport"]
JOB: dict[str, Any] = {
    "name": "pages", "prompt": "a {color} star <b>", "steps": 1, "render": {"threads": 1, "batch_size": 3},
    "grid": {"color": ["red", "blue"], "seed": [7, 8, 9]},
}  # fmt: skip


def data(path: Path) -> dict[str, Any]:
    found = re.search(rb'id="data">([^<]*)<', path.read_bytes())
    assert found is not None
    content: dict[str, Any] = json.loads(gzip.decompress(base64.b64decode(found[1])))
    return content


def values(content: dict[str, Any], name: str) -> list[Any]:
    if name in content["constants"]:
        return [content["constants"][name]] * content["rows"]
    (column,) = [one for one in content["columns"] if one["name"] == name]
    return column.get("values") or [column["dict"][code] for code in column["codes"]]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, run_job: RunJob) -> Path:
    folder = tmp_path_factory.mktemp("page")
    run_job(JOB, folder / "run")
    return folder / "run"


def test_a_page_holds_what_the_manifest_says(run: Path) -> None:
    report = api.report(run)
    assert (report.path, report.pictures, report.failed, report.beside) == (str(run / "report.html"), 6, 0, None)
    found = data(run / "report.html")
    assert (found["rows"], found["left"], found["axes"]) == (6, 0, ["seed", "field_color", "prompt"])
    assert values(found, "seed") == [7, 8, 9, 7, 8, 9], "in the order of the job"
    assert values(found, "field_color") == ["red"] * 3 + ["blue"] * 3 and found["constants"]["steps"] == 1
    for path, text in zip(values(found, "path"), values(found, "a1111"), strict=True):
        texts = images.read_texts((run / path).read_bytes())
        assert texts is not None and texts.parameters == text
    assert all(one.startswith("data:image/webp;base64,") for one in found["thumbs"]["inline"])
    assert sum(found["bins"]["counts"]) == 6
    text = (run / "report.html").read_text()
    assert "<title>pages</title>" in text and "{{" not in text.split("<style>")[0]
    assert not re.findall(r"(?:src|href)=[\"']?(?!data:)[a-z/]", text.split("<script>")[0]), "nothing is loaded"
    before = (run / "report.html").read_bytes()
    api.report(run)
    one, other = (re.sub(rb'"when":"[^"]*"', b"", gzip.decompress(_packed(text))) for text in (before, _now(run)))
    assert one == other


def _now(run: Path) -> bytes:
    return (run / "report.html").read_bytes()


def _packed(text: bytes) -> bytes:
    found = re.search(rb'id="data">([^<]*)<', text)
    assert found is not None
    return base64.b64decode(found[1])


def test_of_many_the_thumbnails_lie_beside_and_are_made_once(run: Path, tmp_path: Path) -> None:
    report = api.report(run, tmp_path / "a.html", inline=5)
    assert report.beside == str(tmp_path / "a-thumbs")
    found = data(tmp_path / "a.html")
    files = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "a-thumbs").iterdir()}
    assert set(files) == {f"{row}.webp" for row in values(found, "row")} and found["thumbs"]["beside"] == "a-thumbs"
    with Image.open(tmp_path / "a-thumbs" / next(iter(files))) as image:
        assert (image.size, image.format) == ((64, 64), "WEBP"), "a small picture is not enlarged"
    api.report(run, tmp_path / "a.html", inline=5)
    assert {path.name: path.stat().st_mtime_ns for path in (tmp_path / "a-thumbs").iterdir()} == files


def test_a_title_is_text() -> None:
    table = pa.table({name: pa.array([], pa.string()) for name in ("row", "path", "mode", "prompt", "model")})
    made = page.page(page.Content("</title><script>", "/x", "now", table))
    assert b"<title>&lt;/title&gt;&lt;script&gt;</title>" in made


def test_a_hundred_thousand_rows_are_a_page_of_some_megabytes() -> None:
    count = 100_000
    table = pa.table({
        "row": [hashlib.sha256(str(at).encode()).hexdigest()[:20] for at in range(count)],
        "path": [f"images/{at}.png" for at in range(count)], "mode": ["txt2img"] * count, "seed": list(range(count)),
        "prompt": [f"a thing, number {at % 500}" for at in range(count)], "model": ["demo"] * count,
        "finished_at": ["2026-01-01T00:00:00+00:00"] * count, "id": ["x"] * count, "stage": ["main"] * count,
    })  # fmt: skip
    made = page.page(page.Content("many", "/x", "now", table))
    assert len(made) < 6 << 20


def test_what_cannot_be_done_is_said(run: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"\.html file"):
        api.report(run, tmp_path / "a.pdf")
    with pytest.raises(StoreError, match="none"):
        api.report(tmp_path / "none")
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError):
        api.report(run, tmp_path / "file" / "a.html")
    assert not list(tmp_path.glob(".*part"))


def test_the_bundle_is_of_the_sources_that_are_here(root: Path) -> None:
    digest = hashlib.sha256()
    for path in sorted((root / "web" / "src").iterdir()):
        digest.update(path.name.encode() + path.read_bytes())
    assert f'name="sources" content="{digest.hexdigest()}"' in page.PAGE.read_text(), "make page"


@pytest.fixture
def served(run: Path) -> Iterator[tuple[Path, str]]:
    with serving.Server(run) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        yield run, server.url
        server.shutdown()
        thread.join()


def ask(url: str, path: str, method: str = "GET", **headers: str) -> tuple[int, bytes, Any]:
    connection = http.client.HTTPConnection(url.split("/")[2], timeout=20)
    connection.putrequest(method, path, skip_host="host" in headers)
    for name, value in headers.items():
        connection.putheader(name.replace("_", "-"), value)
    connection.endheaders()
    answer = connection.getresponse()
    found = answer.status, answer.read(), answer.headers
    connection.close()
    return found


def test_what_is_served(served: tuple[Path, str]) -> None:
    run, url = served
    assert url.startswith("http://127.0.0.1:")
    status, text, _ = ask(url, "/")
    assert status == 200 and b"<title>pages" in text
    status, packed, headers = ask(url, "/data")
    content = json.loads(gzip.decompress(packed))
    assert status == 200 and content["thumbs"]["served"]
    assert ask(url, "/data", If_None_Match=headers["ETag"])[:2] == (304, b"")
    path, row = values(content, "path")[0], values(content, "row")[0]
    assert ask(url, f"/{path}")[1] == (run / path).read_bytes()
    status, small, headers = ask(url, f"/thumbs/{row}.webp")
    assert status == 200 and small[8:12] == b"WEBP" and headers["Content-Type"] == "image/webp"


def test_nothing_else_is_served(served: tuple[Path, str]) -> None:
    run, url = served
    (run / "images" / "secret.png").write_bytes(b"x")
    hostile = [
        "/job.yaml", "/../page/run/job.yaml", "/images/../job.yaml", "/images/%2e%2e/job.yaml", "//etc/passwd",
        "/%2fetc%2fpasswd", "/images/secret.png", "/manifest/", "/thumbs/../../job.webp", "/thumbs/x.webp", "/images/",
        "/images/a%00.png",
    ]  # fmt: skip
    for path in hostile:
        assert ask(url, path)[0] == 404, path
    assert ask(url, "/", method="POST")[0] == 501 and ask(url, "/", method="PUT")[0] == 501
    assert ask(url, "/data", host="evil.example:80")[0] == 403
    (run / "images" / "secret.png").unlink()


def test_who_asks_sees_what_is_new(tmp_path: Path, run_job: RunJob) -> None:
    run_job(JOB, tmp_path / "run", limit=2)
    with serving.Server(tmp_path / "run") as server:
        assert json.loads(gzip.decompress(server.look()))["left"] == 4
        run_job(JOB, tmp_path / "run")
        found = json.loads(gzip.decompress(server.look()))
        assert (found["rows"], found["left"]) == (6, 0)
    assert reporting.content(tmp_path / "run").left == 0


def test_a_picture_that_is_made_again_has_a_new_thumbnail_and_a_port_may_be_taken(
    tmp_path: Path, run_job: RunJob
) -> None:
    job = {**JOB, "output": {"filename": "{color}-{seed}"}}
    run_job(job, tmp_path / "run")
    with serving.Server(tmp_path / "run") as server:
        row = next(iter(server._rows))
        before = server.thumbnail(row)
        path = tmp_path / "run" / server._rows[row]
        Image.new("RGB", (64, 64), "white").save(path)
        assert server.thumbnail(row) == before, "kept"
        run_job({**job, "grid": {**JOB["grid"], "seed": [7, 8, 9, 10]}}, tmp_path / "run")
        server.look()
        assert server.thumbnail(row) != before
        with pytest.raises(UsageError, match=f"--port {server.server_address[1]}: Address already in use"):
            api.serve(tmp_path / "run", server.server_address[1])
