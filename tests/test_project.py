"""The project as a whole: its papers agree with its code, its examples are sound, its command line is light."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

import sdbatch
from sdbatch.parameters import PARAMETERS, SCHEDULERS
from sdbatch.spec.recipes import KEYS as RECIPES

ROOT = Path(__file__).resolve().parent.parent
JOBS = sorted((ROOT / "jobs").glob("*.yaml"))
HEAVY = ("torch", "ray", "diffusers", "transformers", "pandas", "pyarrow")
NOT_PARAMETERS = {"name", "stages", "grid", "zip", "rows", "exclude", "include", "output", "render"}
# Spelled in two pieces, so that this file does not hold what it looks for.
PRIVATE = [re.compile(rb"(?<![\w.])/" + name + rb"/[\w.]") for name in (b"work", b"root", b"home", b"Users", b"opt")]
HOSTS = [re.compile(rb"index-" + rb"url"), re.compile(rb"find-" + rb"links"), re.compile(rb"trusted-" + rb"host")]


def load(path: Path) -> dict[str, Any]:
    spec = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert isinstance(spec, dict)
    return spec


def tracked() -> list[Path]:
    """The files of the repository: what git tracks or would, were it added."""
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout.split(b"\0")
    return [path for name in names if name and (path := ROOT / name.decode()).is_file()]


def make_targets() -> set[str]:
    return set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))


def test_changelog_and_code_name_the_same_version() -> None:
    versions = re.findall(r"^## \[(\d[^\]]*)\]", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert versions, "no version in CHANGELOG.md"
    assert versions[0] == sdbatch.__version__


def test_constraints_pin_every_dependency() -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    assert [pin for pin in pins if not re.fullmatch(r"[\w.-]+==[\w.]+", pin)] == []
    pinned = {plain(pin.split("==")[0]) for pin in pins}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = [
        *project["dependencies"],
        *(name for extra in project["optional-dependencies"].values() for name in extra),
    ]
    assert {plain(re.split(r"[\[><=~! ]", name)[0]) for name in wanted} - pinned == set()


def plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


@pytest.mark.parametrize("path", JOBS, ids=lambda path: path.stem)
def test_example_job_has_known_keys(path: Path) -> None:
    spec = load(path)
    assert set(spec) <= NOT_PARAMETERS | set(PARAMETERS) | {"recipe", *RECIPES.get(spec.get("recipe", ""), {})}
    assert spec["name"] == path.stem, "the run directory is found by the file's name"


@pytest.mark.parametrize("path", JOBS, ids=lambda path: path.stem)
def test_example_job_names_the_schema_and_explains_itself(path: Path) -> None:
    first, second = path.read_text(encoding="utf-8").splitlines()[:2]
    assert first == "# yaml-language-server: $schema=../docs/job.schema.json"
    assert second.startswith("# ")


@pytest.mark.parametrize("path", JOBS, ids=lambda path: path.stem)
def test_example_job_reads_files_that_are_there(path: Path) -> None:
    spec = load(path)
    axes = [*spec.get("grid", {}).values(), *spec.get("zip", {}).values()]
    names = [axis["file"] for axis in axes if isinstance(axis, dict) and "file" in axis]
    names += [spec["rows"]] if "rows" in spec else []
    assert [name for name in names if not (path.parent / name).is_file()] == []


def test_demo_job_is_a_sweep_of_at_least_48_pictures() -> None:
    spec = load(ROOT / "jobs" / "demo.yaml")
    start, stop = spec["grid"]["seed"]["range"]
    assert len(spec["zip"]["color"]) * len(spec["grid"]["shape"]) * (stop - start) >= 48


def test_samplers_job_holds_every_sampler() -> None:
    assert load(ROOT / "jobs" / "samplers.yaml")["grid"]["scheduler"] == list(SCHEDULERS)


def test_command_line_loads_nothing_heavy() -> None:
    code = f"import sys, sdbatch.cli.main; print(*[name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == []


def test_who_gives_work_to_actors_loads_nothing_that_renders() -> None:
    heavy = ("torch", "diffusers", "pandas")
    code = f"import sys, sdbatch.workers.ray; print(*[name for name in {heavy!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.split()) == (0, []), done.stderr


def test_no_file_mentions_a_private_path_or_an_index() -> None:
    found = [
        f"{path.relative_to(ROOT)}: {pattern.pattern!r}"
        for path in tracked()
        if path.suffix not in {".png", ".safetensors"}
        for pattern in PRIVATE + HOSTS
        if pattern.search(path.read_bytes())
    ]
    assert found == []


def test_readme_commands_are_make_targets() -> None:
    named = set(re.findall(r"\bmake ([a-z-]+)", (ROOT / "README.md").read_text(encoding="utf-8")))
    assert {"demo", "test"} <= named
    assert named <= make_targets()


def test_make_help_lists_every_target() -> None:
    helped = subprocess.run(
        ["make", "--no-print-directory", "help"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert set(re.findall(r"^  make ([a-z-]+)", helped.stdout, re.MULTILINE)) == make_targets()


def test_readme_links_lead_somewhere() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)", text)
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_generated_pages_are_current() -> None:
    command = [sys.executable, "docs/generate.py", "--check"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_test_that_a_page_names_is_there() -> None:
    named = re.findall(
        r"`(tests/[\w/.]+?)(?:::(\w+))?`", "".join(path.read_text() for path in (ROOT / "docs").glob("*.md"))
    )
    assert len(named) > 30
    for name, test in named:
        assert (ROOT / name).exists(), name
        assert not test or re.search(rf"^def {test}\(", (ROOT / name).read_text(), re.MULTILINE), f"{name}::{test}"
