"""The command line as a user meets it: exit codes, what goes to which stream, and what is loaded."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from sdbatch.errors import EXIT_TRY_LATER, EXIT_USAGE
from sdbatch.store.base import LocalStore

Command = Callable[..., subprocess.CompletedProcess[str]]
Write = Callable[[str, str], Path]
JOB = """
name: small
prompt: "a {color} star"
steps: 1
render: {threads: 1}
grid: {color: [red, blue], seed: [1, 2]}
"""
TORCH = re.compile(r"\| +torch$", re.MULTILINE)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory in which the job was run, by a process of its own; `first.json` is what it printed."""
    home = tmp_path_factory.mktemp("made")
    (home / "small.yaml").write_text(JOB, encoding="utf-8")
    done = traced(home, "run", "small.yaml", "--out", "run", "--json")
    assert done.returncode == 0, done.stderr[-2000:]
    assert TORCH.search(done.stderr), "the pattern must see torch where it is loaded"
    (home / "first.json").write_text(done.stdout, encoding="utf-8")
    return home


def traced(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command line with every import named on standard error."""
    command = [sys.executable, "-X", "importtime", "-c", "from sdbatch.cli.main import run; run()", *arguments]
    return subprocess.run(command, cwd=home, capture_output=True, text=True, timeout=120, check=False)


def loaded(done: subprocess.CompletedProcess[str]) -> set[str]:
    """The modules that a traced command imported."""
    return set(re.findall(r"\| +([\w.]+)$", done.stderr, re.MULTILINE))


def printed(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    """The one JSON object on standard output."""
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert isinstance(found, dict) and found["schema"] == 1
    return found


def test_a_run_says_what_it_made(made: Path) -> None:
    report = json.loads((made / "first.json").read_text(encoding="utf-8"))
    expected = {"rows": 4, "done": 4, "made": 4, "failed": 0, "left": 0, "retired": 0, "stopped": False, "schema": 1}
    assert expected.items() <= report.items()
    table = pd.read_parquet(made / "run" / "manifest")
    assert sorted(table["prompt"]) == ["a blue star"] * 2 + ["a red star"] * 2
    assert all((made / "run" / path).is_file() for path in table["path"])


def test_a_run_with_nothing_left_makes_nothing_and_loads_no_torch(made: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in (made / "run" / "images").iterdir()}
    done = traced(made, "run", "small.yaml", "--out", "run", "--json")
    report = printed(done)
    assert (report["made"], report["done"], report["left"]) == (0, 4, 0)
    assert not TORCH.search(done.stderr)
    assert {path: path.stat().st_mtime_ns for path in (made / "run" / "images").iterdir()} == before


@pytest.mark.parametrize("arguments", [("--help",), ("plan", "small.yaml", "--out", "new"), ("status", "run")])
def test_what_only_looks_loads_neither_pandas_nor_pillow_nor_what_it_does_not_call(
    made: Path, arguments: tuple[str, ...]
) -> None:
    done = traced(made, *arguments)
    assert done.returncode == 0, done.stderr[-2000:]
    there = loaded(done)
    assert "sdbatch.cli.main" in there
    assert not there & {"pandas", "torch", "ray", "diffusers", "transformers", "PIL", "sdbatch.api.running"}


def test_plan_says_what_a_run_would_do_and_loads_no_torch(made: Path) -> None:
    done = traced(made, "plan", "small.yaml", "--out", "run", "--set", "grid.seed=[1, 2, 3]", "--json")
    report = printed(done)
    assert not TORCH.search(done.stderr)
    assert not loaded(done) & {
        "ray",
        "diffusers",
        "sdbatch.api.replaying",
        "sdbatch.api.importing",
        "sdbatch.store.images",
    }
    expected = {"rows": 6, "done": 4, "left": 2, "batches": 1, "padded_share": 0.75, "model_loads": 1, "retired": 0}
    assert expected.items() <= report.items()
    (cell,) = report["cells"]
    assert (cell["rows"], cell["batch_size"], cell["model"], cell["width"]) == (2, 8, "demo", 64)
    assert report["seconds"] > 0 and report["bytes"] > 0


def test_status(made: Path, sdbatch: Command) -> None:
    found = printed(sdbatch("status", made / "run", "--json"))
    expected = {"rows": 4, "done": 4, "failed": 0, "left": 0, "retired": 0, "job": "small"}
    assert expected.items() <= found.items()


def test_status_of_what_is_no_run(sdbatch: Command, tmp_path: Path) -> None:
    done = sdbatch("status", tmp_path / "nothing")
    assert done.returncode == 74 and "not a run directory" in done.stderr and done.stdout == ""


def test_another_batch_size_is_refused(made: Path, sdbatch: Command) -> None:
    done = sdbatch("run", made / "small.yaml", "--out", made / "run", "--batch-size", "2")
    assert done.returncode == EXIT_USAGE
    assert (
        "render.batch_size was auto (a table by device and size), now 2" in done.stderr
        and "--allow-mixed" in done.stderr
    )


def test_another_job_is_refused(made: Path, sdbatch: Command, write: Write) -> None:
    done = sdbatch("run", write("other.yaml", JOB.replace("small", "other")), "--out", made / "run")
    assert done.returncode == EXIT_USAGE
    assert "begun by job 'small'" in done.stderr and "--adopt" in done.stderr


def test_a_directory_in_use_is_try_later(made: Path, sdbatch: Command) -> None:
    with LocalStore(made / "run").lock():
        done = sdbatch("run", made / "small.yaml", "--out", made / "run", "--json")
    assert done.returncode == EXIT_TRY_LATER
    assert "another run holds this directory" in done.stderr and done.stdout == ""


@pytest.mark.slow
def test_limit_then_a_run_of_the_directory_goes_on(sdbatch: Command, write: Write, tmp_path: Path) -> None:
    job = write("job.yaml", JOB)
    first = printed(sdbatch("run", job, "--limit", 1, "--json"))
    assert (first["made"], first["left"], first["limited"]) == (1, 3, True)
    second = sdbatch("run", "runs/small")
    assert second.returncode == 0, second.stderr
    assert second.stdout == "runs/small\n"
    assert "4 rows, 1 done before, 3 to make" in second.stderr and "3 made in" in second.stderr
    assert len(pd.read_parquet(tmp_path / "runs" / "small" / "manifest")) == 4


def test_a_bare_table_is_a_job(sdbatch: Command, write: Write, tmp_path: Path) -> None:
    table = write("tables/words.csv", "prompt,seed,steps,label\na star,1,1,x\na star,1,1,y\n")
    report = printed(sdbatch("run", table, "--model", "demo", "--out", "out", "--json", "--quiet"))
    assert (report["rows"], report["made"]) == (2, 2)
    found = pd.read_parquet(tmp_path / "out" / "manifest")
    assert sorted(found["field_label"]) == ["x", "y"]
    assert found["id"].nunique() == 1 and len(list((tmp_path / "out" / "images").iterdir())) == 1


def test_a_row_that_fails_is_written_down_and_the_others_are_made(
    sdbatch: Command, write: Write, tmp_path: Path
) -> None:
    # WebP holds at most 16,383 pixels a side, which shows only when the picture is there.
    text = "{name: odd, prompt: a star, steps: 1, height: 16, grid: {width: [64, 16384]}, output: {format: webp}}"
    done = sdbatch("run", write("odd.yaml", text), "--json")
    assert done.returncode == 1, done.stderr
    report = json.loads(done.stdout)
    assert (report["made"], report["failed"], report["left"]) == (1, 1, 1)
    assert "failed: RowError: " in done.stderr and "16383" in done.stderr.replace(",", "")
    assert pd.read_parquet(tmp_path / "runs" / "odd" / "manifest")["width"].tolist() == [64]
    (lost,) = pd.read_parquet(tmp_path / "runs" / "odd" / "failures").to_dict("records")
    assert (lost["error"], lost["attempt"]) == ("RowError", 1)
    again = sdbatch("run", "odd.yaml", "--no-retry", "--json")
    assert again.returncode == 1 and json.loads(again.stdout)["made"] == 0
    assert len(list((tmp_path / "runs" / "odd" / "failures").iterdir())) == 1


def test_a_dry_run_makes_nothing(sdbatch: Command, write: Write, tmp_path: Path) -> None:
    report = printed(sdbatch("run", write("job.yaml", JOB), "--dry-run", "--json"))
    assert (report["rows"], report["left"]) == (4, 4)
    assert not (tmp_path / "runs").exists()


def test_validate_names_file_line_and_key_of_every_mistake(sdbatch: Command, write: Write) -> None:
    write("bad.yaml", "prompt: a star\nstep: 5\nseed: -1\nscheduler: ddimm\n")
    done = sdbatch("validate", "bad.yaml")
    assert done.returncode == EXIT_USAGE and done.stdout == ""
    first, second, third = done.stderr.splitlines()
    assert first.startswith("bad.yaml:2: step: unknown key; did you mean 'steps'?")
    assert second.startswith("bad.yaml:3: seed: ") and "0 to 4294967295" in second
    assert third.startswith("bad.yaml:4: scheduler: ") and "'ddim'" in third


def test_validate_checks_rows_and_says_what_is_sound(sdbatch: Command, write: Write) -> None:
    write("good.yaml", JOB)
    write("names.yaml", JOB + 'output: {filename: "{color}"}\n')
    done = sdbatch("validate", "good.yaml", "names.yaml")
    assert done.returncode == EXIT_USAGE
    assert done.stdout == "good.yaml: sound\n"
    assert "output.filename: rows 1 and 2 would both be 'images/red.png'" in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["run", "job.yaml", "--wher", "x"], ["plan", "job.yaml", "--where", "x"], ["nothing"], ["run"],
        ["run", "job.yaml", "--executor", "slurm"], ["run", "job.yaml", "--limit", "many"],
        ["run", "job.yaml", "--executor", "local", "--actors", "2"],
        ["run", "job.yaml", "--executor", "local", "--recycle", "2"], ["run", "none.yaml"],
        ["run", "job.yaml", "--set", "steps"], ["models", "info", "demo-none"],
        ["run", "job.yaml", "--max-failures", "few"],
    ],
)  # fmt: skip
def test_a_wrong_command_exits_with_2_and_one_text(arguments: list[str], sdbatch: Command, write: Write) -> None:
    write("job.yaml", JOB)
    done = sdbatch(*arguments)
    assert done.returncode == EXIT_USAGE, done.stderr
    assert done.stderr.strip() and "Traceback" not in done.stderr
    assert done.stdout == ""


def test_init_writes_a_starter_that_is_sound_and_keeps_what_is_there(sdbatch: Command, tmp_path: Path) -> None:
    done = sdbatch("init", "here")
    assert done.returncode == 0
    assert all(Path(tmp_path, line).is_file() for line in done.stdout.splitlines())
    job = tmp_path / "here" / "jobs" / "demo.yaml"
    assert sdbatch("validate", *sorted(job.parent.glob("*.yaml"))).returncode == 0
    job.write_text("mine", encoding="utf-8")
    again = sdbatch("init", "here")
    assert "demo.yaml (kept: it was there)" in again.stdout
    assert job.read_text(encoding="utf-8") == "mine"


def test_schema_is_a_json_schema_that_the_job_fits(sdbatch: Command) -> None:
    import jsonschema
    import yaml

    schema = json.loads(sdbatch("schema").stdout)
    jsonschema.validators.validator_for(schema).check_schema(schema)
    jsonschema.validate(yaml.safe_load(JOB), schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"step": 5}, schema)


def test_models_info(sdbatch: Command) -> None:
    about = printed(sdbatch("models", "info", "demo", "--json"))
    modes = ["controlnet", "img2img", "inpaint", "outpaint", "txt2img", "upscale"]
    wanted = {"name": "demo", "kind": "sd", "size": [64, 64], "modes": modes, "revision": None}
    assert {key: about[key] for key in wanted} == wanted
    assert re.fullmatch("[0-9a-f]{64}", about["hash"]) and Path(about["path"], "model_index.json").is_file()


def test_doctor_finds_nothing_missing(sdbatch: Command) -> None:
    about = printed(sdbatch("doctor", "--json"))
    assert about["missing"] == [] and "demo" in about["models"] and about["devices"] and about["threads"] >= 1


def test_version_and_help(sdbatch: Command) -> None:
    assert re.fullmatch(r"sdbatch \d+\.\d+\.\d+\S*\n", sdbatch("--version").stdout)
    assert "Usage" in sdbatch("run", "--help").stdout
