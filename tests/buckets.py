"""A bucket on this machine, and a way to it on which answers are lost, late, or errors."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

KINDS = ("error", "cut before", "cut after", "slow")
_HOP = {"connection", "transfer-encoding", "content-length", "expect", "host"}


class Faulty:
    """A proxy that does one of KINDS to a share of the requests; which ones is drawn from a seed.

    Attributes:
        share: of requests that do not go well.
        met: how often each kind was done.
        seen: method and path of each request.
    """

    def __init__(self, target: str, share: float = 0.0, seed: int = 0) -> None:
        self.share, self.met, self.seen = share, Counter[str](), list[tuple[str, str]]()
        self._random, self._lock = random.Random(seed), threading.Lock()
        handler = type("Handler", (_Handler,), {"faulty": self, "target": target})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def address(self) -> str:
        host, port = self._server.server_address[:2]
        return f"http://{host!s}:{port}"

    def draw(self) -> str | None:
        with self._lock:
            if self._random.random() >= self.share:
                return None
            kind = self._random.choice(KINDS)
            self.met[kind] += 1
            return kind

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    """One request: handed on to `target`, or not."""

    protocol_version = "HTTP/1.1"
    faulty: Faulty
    target: str

    def handle_any(self) -> None:
        body = self._body()
        self.faulty.seen.append((self.command, self.path))
        kind = self.faulty.draw()
        if kind == "slow":
            time.sleep(0.05)
        if kind == "error":
            return self._answer(500, {}, b"<Error><Code>InternalError</Code></Error>")
        if kind == "cut before":
            return self._cut()
        headers = {name: value for name, value in self.headers.items() if name.lower() not in _HOP}
        with closing(HTTPConnection(self.target, timeout=60)) as through:
            through.request(self.command, self.path, body or None, headers)
            answer = through.getresponse()
            found = answer.status, dict(answer.headers), answer.read()
        return self._cut() if kind == "cut after" else self._answer(*found)

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = handle_any  # names of the library's

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass
        return b"".join(parts)

    def _answer(self, code: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response(code)
        for name, value in headers.items():
            if name.lower() not in _HOP:
                self.send_header(name, value)
        length = headers.get("Content-Length", "0") if self.command == "HEAD" else str(len(body))
        self.send_header("Content-Length", length)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _cut(self) -> None:
        self.close_connection = True
        self.connection.close()

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: the tests tell what came of it."""


@contextmanager
def serving() -> Iterator[Faulty]:
    """A bucket named `sweeps` behind a proxy without faults yet; the environment leads to it."""
    import boto3
    from moto.server import ThreadedMotoServer

    from sdbatch.sources import remote

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    faulty = Faulty(f"{host}:{port}")
    given = {"AWS_ENDPOINT_URL": faulty.address, "AWS_ACCESS_KEY_ID": "nobody", "AWS_SECRET_ACCESS_KEY": "knows-this",
             "AWS_DEFAULT_REGION": "us-east-1"}  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        for name, value in given.items():
            patch.setenv(name, value)
        patch.setattr(remote, "WAIT_SECONDS", 0.01)
        remote.system.cache_clear()
        boto3.client("s3", endpoint_url=f"http://{host}:{port}").create_bucket(Bucket="sweeps")
        try:
            yield faulty
        finally:
            remote.system.cache_clear()
            faulty.close()
            server.stop()
