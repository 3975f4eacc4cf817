"""What every test shares: no network, no user's cache, a quiet Ray, one thread."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from sdbatch import api

ROOT = Path(__file__).resolve().parent.parent

_ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "OMP_NUM_THREADS": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DEDUP_LOGS": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "NO_COLOR": "1",
    "COLUMNS": "120",
}
# Here, not in a hook: conftest files further down may import the libraries that read it before any hook is called.
os.environ.update(_ENVIRONMENT)
_caches: list[tempfile.TemporaryDirectory[str]] = []


def pytest_configure() -> None:
    """Give hashes and the like a cache of the tests' own."""
    _caches.append(tempfile.TemporaryDirectory(prefix="sdbatch-tests-"))
    os.environ["XDG_CACHE_HOME"] = _caches[0].name
    for name in ("FORCE_COLOR", "RAY_ADDRESS"):
        os.environ.pop(name, None)


def pytest_unconfigure() -> None:
    while _caches:
        _caches.pop().cleanup()


@pytest.fixture(scope="session")
def root() -> Path:
    """The project's own folder, with jobs/ and prompts/ in it."""
    return ROOT


@pytest.fixture
def cwd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder that is the working directory for the length of the test."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, str], Path]:
    """Write a text file below the test's folder: `write("jobs/a.yaml", text)` gives its path."""

    def _write(name: str, text: str) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    return _write


@pytest.fixture
def sdbatch(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run the command line as a user would, in a process of its own and the test's folder: `sdbatch("plan", job)`."""

    def _sdbatch(*arguments: object, timeout: float = 300) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", "from sdbatch.cli.main import run; run()", *map(str, arguments)]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=timeout, check=False)

    return _sdbatch


class _Quiet:
    """A listener that keeps what it hears."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def begin(self, planned: Any, left: int, directory: Path) -> None:
        self.said.append(f"{planned.rows} {planned.done} {left}")

    def rows(self, count: int) -> None: ...

    def result(self, result: Any) -> None: ...

    def say(self, text: str) -> None:
        self.said.append(text)


@pytest.fixture(scope="session")
def run_job() -> Callable[..., api.RunReport]:
    """Run a job, a mapping or a spec's path: `run_job({"prompt": "a star"}, directory, limit=4, executor="ray")`."""

    def _run(
        job: Mapping[str, Any] | Path, directory: Path, *, stopping: Callable[[], bool] = lambda: False, **options: Any
    ) -> api.RunReport:
        import yaml

        from sdbatch import api

        # One thread: as fast as two for a model this small, and steady beside other tests.
        if isinstance(job, Path):
            ready = api.job(job, out=directory, overrides=["render.threads=1"])
        else:
            spec = directory.parent / "spec.yaml"
            job = {**job, "render": {"threads": 1, **job.get("render", {})}}
            spec.write_text(yaml.safe_dump(job, sort_keys=False), encoding="utf-8")
            ready = api.job(spec, out=directory)
        return api.run(ready, api.RunOptions(**options), _Quiet(), stopping)

    return _run


@pytest.fixture(scope="session")
def tiny() -> Any:
    """The makers of tests/tiny.py: `sd(folder, channels=9)`, `sdxl(folder)`, `latent_upscaler(folder)`."""
    return _helper("tiny")


@pytest.fixture(scope="session")
def original() -> Any:
    """The makers of tests/original.py: checkpoints in the original layout out of diffusers' networks."""
    return _helper("original")


@pytest.fixture(scope="session")
def fakehub() -> Any:
    """tests/fakehub.py: `with fakehub.serve() as hub: hub.put("owner/name", files)`."""
    return _helper("fakehub")


@pytest.fixture(scope="session")
def rendering() -> Any:
    """tests/rendering.py: `Rig`, `scene`, `distance`, `RENDER`."""
    return _helper("rendering")


@pytest.fixture(scope="module")
def rig(rendering: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A module's folder of inputs and its renderer: `rig.draw({"mode": "img2img", ...})`. A name is written once."""
    return rendering.Rig(tmp_path_factory.mktemp("rig"))


def _helper(name: str) -> Any:
    """A module of this folder, which is no package."""
    from importlib import util

    spec = util.spec_from_file_location(f"tests_{name}", ROOT / "tests" / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module
