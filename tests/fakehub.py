"""A small Hugging Face hub on 127.0.0.1: the addresses that sdbatch asks for, with the headers that matter."""

from __future__ import annotations

import hashlib
import json
import re
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import unquote, urlsplit

_API = re.compile(r"/api/models/(?P<repo>[^/]+/[^/]+)/revision/(?P<revision>.+)")
_RESOLVE = re.compile(r"/(?P<repo>[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/(?P<file>.+)")


def commit(number: int) -> str:
    return f"{number:040x}"


def read(folder: Path) -> dict[str, bytes]:
    """The files of a folder, by their paths with `/`."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(files)}


@dataclass
class Hub:
    """What the hub holds and how it behaves; changed by tests while it serves.

    Attributes:
        repos: id → commit → file → bytes.
        refs: id → branch or tag → commit.
        token: what a request must carry, where one is asked for.
        gated: ids whose terms nobody has accepted.
        cut: file → after how many bytes of an answer the connection is cut, once.
        status: what every request is answered with, where something is wrong with the hub itself.
        asked: (method, path, Range) of every request, in order.
    """

    repos: dict[str, dict[str, Mapping[str, bytes]]] = field(default_factory=dict)
    refs: dict[str, dict[str, str]] = field(default_factory=dict)
    token: str | None = None
    gated: set[str] = field(default_factory=set)
    cut: dict[str, list[int]] = field(default_factory=dict)
    status: int | None = None
    asked: list[tuple[str, str, str | None]] = field(default_factory=list)
    url: str = ""

    def put(self, repo: str, files: Mapping[str, bytes], number: int = 1, ref: str = "main") -> str:
        """Add a commit, to which `ref` points from now on."""
        self.repos.setdefault(repo, {})[commit(number)] = dict(files)
        self.refs.setdefault(repo, {})[ref] = commit(number)
        return commit(number)

    def got(self, end: str) -> list[str | None]:
        """The Range of each GET for files whose path ends so."""
        return [part for method, path, part in self.asked if method == "GET" and path.endswith(end)]


@contextmanager
def serve() -> Iterator[Hub]:
    """A hub for the length of the block."""
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub}))
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def reach(monkeypatch: Any, url: str, *, offline: bool = False) -> None:
    """Let the library, which reads its environment when it is imported, ask this address."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", url)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", url + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", offline)
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 100_000)  # what a cut loses is less than that


def closed() -> str:
    """An address where nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None: ...

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        hub, path = self.hub, unquote(urlsplit(self.path).path)
        hub.asked.append((self.command, path, self.headers["Range"]))
        found = _API.fullmatch(path) or _RESOLVE.fullmatch(path)
        if hub.status:
            return self._refuse(hub.status, "")
        if found is None or found["repo"] not in hub.repos:
            return self._refuse(404, "RepoNotFound")
        repo = found["repo"]
        if hub.token and self.headers["Authorization"] != f"Bearer {hub.token}":
            return self._refuse(401, "RepoNotFound")
        if repo in hub.gated:
            return self._refuse(403, "GatedRepo")
        sha = hub.refs[repo].get(found["revision"], found["revision"])
        if sha not in hub.repos[repo]:
            return self._refuse(404, "RevisionNotFound")
        files = hub.repos[repo][sha]
        if "file" not in found.groupdict():
            return self._list(repo, sha, files)
        if found["file"] not in files:
            return self._refuse(404, "EntryNotFound")
        return self._file(found["file"], sha, files[found["file"]])

    def _refuse(self, status: int, code: str) -> None:
        self.send_response(status)
        self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _list(self, repo: str, sha: str, files: Mapping[str, bytes]) -> None:
        siblings = []
        for name, data in files.items():
            one: dict[str, Any] = {"rfilename": name, "size": len(data), "blobId": _etag("x", data)}
            if _large(name):
                one["lfs"] = {"sha256": _etag(name, data), "size": len(data), "pointerSize": 130}
            siblings.append(one)
        body = json.dumps({"_id": "1", "id": repo, "modelId": repo, "sha": sha, "siblings": siblings}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _file(self, name: str, sha: str, data: bytes) -> None:
        part = re.fullmatch(r"bytes=(\d+)-", self.headers["Range"] or "")
        start = int(part[1]) if part else 0
        self.send_response(206 if part else 200)
        self.send_header("X-Repo-Commit", sha)
        self.send_header("ETag", f'"{_etag(name, data)}"')
        self.send_header("X-Linked-Size", str(len(data)))
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(len(data) - start))
        if part:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        self.end_headers()
        if self.command == "HEAD":
            return
        cuts = self.hub.cut.get(name)
        if cuts:
            self.wfile.write(data[start : start + cuts.pop(0)])
            self.close_connection = True
            return
        self.wfile.write(data[start:])


def _large(name: str) -> bool:
    return name.endswith((".safetensors", ".bin"))


def _etag(name: str, data: bytes) -> str:
    return hashlib.sha256(data).hexdigest() if _large(name) else hashlib.sha1(b"blob" + data).hexdigest()
