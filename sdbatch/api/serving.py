"""A run's page on 127.0.0.1, which follows the run: it reads, and writes nothing."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

from sdbatch import prepare
from sdbatch.api import reporting
from sdbatch.errors import SdbatchError, UsageError
from sdbatch.report import page, thumbs
from sdbatch.sources import remote
from sdbatch.store.directory import JOB, RunDirectory
from sdbatch.store.manifest import FAILURES, FOLDER

HOST = "127.0.0.1"
KINDS = {".png": "image/png", ".webp": "image/webp", ".jpg": "image/jpeg", ".jpeg": "image/jpeg"}
_HELD = 512


class Server(ThreadingHTTPServer):
    """Serves one run.

    What may be read are the page, its data, and the pictures that the manifest names; a path is looked up among
    those, never opened as it comes.

    Args:
        port: 0 is any that is free.
    """

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, directory: Path, port: int = 0) -> None:
        self.directory = directory
        self._there = prepare.readable(directory)
        self._lock = threading.Lock()
        self._stamp: tuple[object, ...] | None = None
        self._title, self._data = "", b""
        self._rows: dict[str, str] = {}
        self._paths: frozenset[str] = frozenset()
        self.thumbnail = lru_cache(_HELD)(self._thumbnail)
        self.look()
        super().__init__((HOST, port), Handler)

    @property
    def url(self) -> str:
        """Where the page is."""
        return f"http://{HOST}:{self.server_address[1]}/"

    def look(self) -> bytes:
        """The data as they are now; read again where the directory has changed."""
        with self._lock:
            stamp = _stamp(self._there)
            if stamp != self._stamp:
                found = reporting.content(self.directory, served=True)
                self._title, self._data, self._stamp = found.title, page.packed(found), stamp
                self._rows = dict(reporting.pictures(found))
                self._paths = frozenset(self._rows.values())
                self.thumbnail.cache_clear()  # a picture may have been made again
            return self._data

    def page(self) -> bytes:
        """The page with what is known now."""
        data = self.look()
        return page.around(self._title, data)

    def picture(self, path: str) -> Path | None:
        """A picture's file, if the manifest names it."""
        return self._there.path / path if path in self._paths else None

    def _thumbnail(self, row: str) -> bytes | None:
        path = self._rows.get(row)
        if path is None:
            return None
        try:
            return thumbs.webp(self._there.path / path)
        except OSError:
            return None


def _stamp(there: RunDirectory) -> tuple[object, ...]:
    """What changes when a run goes on; in a bucket, where folders have no times, the parts' names alone."""
    paths = [path for name in (FOLDER, FAILURES) for path in there.store.list(name)]
    parts = tuple((path, _changed(there.path / path)) for path in paths)
    return there.store.read(JOB), parts


def _changed(path: Path) -> int | None:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return None


class Handler(BaseHTTPRequestHandler):
    """Answers one request; anything but GET is refused."""

    server: Server
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "sdbatch", ""

    def do_GET(self) -> None:
        """The page, its data, a thumbnail, or a picture."""
        # Another site's name that leads here must not read a user's pictures (DNS rebinding).
        if (self.headers.get("Host") or "").partition(":")[0] not in (HOST, "localhost"):
            self.send_error(HTTPStatus.FORBIDDEN)
            return
        path = unquote(urlsplit(self.path).path)
        try:
            answer = self._answer(path)
        except SdbatchError as error:
            self.send_error(HTTPStatus.INTERNAL_SERVER_ERROR, json.dumps(str(error))[1:200])
            return
        if answer is None:
            self.send_error(HTTPStatus.NOT_FOUND)
            return
        kind, data = answer
        tag = f'"{hashlib.sha256(data).hexdigest()[:20]}"'
        same = self.headers.get("If-None-Match") == tag
        self.send_response(HTTPStatus.NOT_MODIFIED if same else HTTPStatus.OK)
        for name, value in (("Content-Type", kind), ("ETag", tag), ("Cache-Control", "no-cache"),
                            ("X-Content-Type-Options", "nosniff"), ("Cross-Origin-Resource-Policy", "same-origin"),
                            ("Content-Length", "0" if same else str(len(data)))):  # fmt: skip
            self.send_header(name, value)
        self.end_headers()
        if not same:
            with suppress(ConnectionError):  # who asked has gone
                self.wfile.write(data)

    def _answer(self, path: str) -> tuple[str, bytes] | None:
        if path == "/":
            return "text/html; charset=utf-8", self.server.page()
        if path == "/data":
            return "application/octet-stream", self.server.look()
        if path.startswith("/thumbs/") and path.endswith(".webp"):
            small = self.server.thumbnail(path.removeprefix("/thumbs/").removesuffix(".webp"))
            return None if small is None else ("image/webp", small)
        found = self.server.picture(path.removeprefix("/"))
        if found is None:
            return None
        try:
            return KINDS.get(found.suffix.lower(), "application/octet-stream"), remote.present(found).read_bytes()
        except OSError:
            return None

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: a page that is open asks every two seconds."""


def serve(directory: Path, port: int = 0, *, ready: Callable[[str], None] = lambda url: None) -> None:
    """Serve a run's page until interrupted.

    Args:
        ready: told the address.

    Raises:
        StoreError: it is no run directory.
        UsageError: the port is taken.
    """
    try:
        server = Server(directory, port)
    except OSError as error:
        raise UsageError(f"--port {port}: {error.strerror or error}") from error
    with server, suppress(KeyboardInterrupt):
        ready(server.url)
        server.serve_forever()
