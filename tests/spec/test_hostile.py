"""Specs that mean harm: each ends in one clear error, soon and in little memory, and nothing is run or left behind."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sdbatch import api
from sdbatch.errors import SdbatchError, StoreError
from sdbatch.parameters import PARAMETERS
from sdbatch.spec import load
from sdbatch.spec.schema import FORMS, KEYS, OUTPUT_KEYS, RENDER

Write = Callable[[str], Path]
LONG = "a" * 5000
IMAGE = "mode: img2img\nimage: "


def said(path: Path) -> list[str]:
    """What is wrong with a spec; anything but an error of ours fails the test."""
    try:
        return [str(problem) for problem in api.validate(path)]
    except SdbatchError as error:
        return [str(error)]


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("prompt: '{a}{b}'\ngrid: {a: {range: [0, 1099511627775]}, b: {range: [0, 1099511627775]}}", "at most 100,000"),
        ("grid:\n  seed: {random: 18446744073709551615}", "rows; at most"),
        ("zip: {seed: {range: [0, 200000000]}, eta: {linspace: [0, 1, 200000000]}}", "rows; at most"),
        ("zip: {seed: {random: 9000000}, eta: {linspace: [0, 1, 9000000]}}", "list 18,000,000 values"),
        ("seed: {range: [0, .inf]}", "whole numbers"),
        ("eta: {linspace: [0, .nan, 3]}", "[start, stop, count]"),
        ("guidance_scale: {linspace: [-1.7e308, 1.7e308, 3]}", "finite"),
        ("prompt: {combinatorial: '" + "{a|b|c|d|e|f|g|h}" * 20 + "'}", "more than 100,000 texts"),
        ("prompt: {combinatorial: '{10$$" + "|".join("abcdefghijklmnop") + "}'}", "more than 100,000 texts"),
        ("prompt: {combinatorial: '" + "{a|b}" * 16 + "x" * 2000 + "'}", "characters together"),
        ("prompt: '" + "{a|" * 5000 + "b" + "}" * 5000 + "'", "more than 16 deep"),
        ("prompt: '{" + "9" * 5000 + "$$a|b}'", "prompt"),
        ("prompt: '{seed.__class__}'", "nothing provides|no stage"),
        ("prompt: '{seed:1000000000d}'", "not a format"),
        ("output: {filename: '{seed:1000000000d}'}", "not a format"),
        ('output: {filename: "a\\0b"}', "not a text"),
        ("output: {filename: '/etc/x'}", "relative"),
        (f"output: {{dir: {LONG}}}", "too long"),
        (f"model: {LONG}", "no such folder"),
        (f"vae: {'a/' * 3000}", "no such folder"),
        ("model: ~nobody-has-this-name/x", "no such folder"),
        ('model: "\\0"', "no such folder"),
        (f"loras: {LONG}.safetensors", "no such file"),
        ("loras: ~nobody-has-this-name/x.safetensors", "no such file"),
        (f"prompt: '<lora:{LONG}:1>'", "LoRA"),
        ("prompt: '<lora:../../../etc/passwd:1>'", "LoRA"),
        (f"wildcards: {LONG}", "no such folder"),
        (f"fine_tunes: {LONG}", "no such folder"),
        (f"rows: {LONG}.csv", "cannot be read"),
        (f"seed: {{file: {LONG}}}", "cannot be read"),
        ('seed: {file: "a\\0b"}', "cannot be read"),
        (f'{IMAGE}{{glob: "{"[" * 3000}"}}', "no file matches"),
        ("output: {c2pa: {cert: /etc/passwd, key: /etc/passwd}}", "c2pa"),
        ("mode: outpaint\nimage: x\noutpaint: {left: 1.0e300}", "outpaint"),
        ("mask: " + "[" * 100_000, "not YAML"),
        ("".join(" " * deep + "a:\n" for deep in range(2000)), "50 deep"),
        ("? &a {b: *a}\n: 1", "anchor"),
    ],
)
def test_one_clear_error(write: Write, text: str, part: str) -> None:
    (first, *_) = said(write(text))
    assert any(each in first for each in part.split("|")), first


@pytest.mark.parametrize(
    "text", [f"{IMAGE}{LONG}", f'{IMAGE}"a\\0b"', f"{IMAGE}/dev/zero", "prompt: '{x[0]} {seed!r}'"]
)
def test_what_only_its_rows_suffer_from(write: Write, text: str) -> None:
    assert said(write(text)) == []


@pytest.mark.parametrize(
    "tag",
    ["!!python/object/apply:os.system [{}]", "!!python/object/new:os.system [{}]", "!!python/name:os.system {}",
     "!!python/module:os {}", "!!binary {}", "!!set {{{}}}"],
)  # fmt: skip
def test_a_tag_runs_nothing(write: Write, tag: str, tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    for text in (f"prompt: {tag}", f"wildcards: .\nprompt: __w__\nmask: {tag}", tag):
        (first, *_) = said(write(text.format(f"touch {mark}")))
        assert ":1:" in first or "tag" in first
    (tmp_path / "jobs" / "w.yaml").write_text(f"w: {tag}".format(f"'touch {mark}'"))
    assert said(write("wildcards: .\nprompt: __w__\n")), "a wildcard file is no safer place"
    assert not mark.exists()


def peak(path: Path) -> tuple[int, str]:
    """MiB that `sdbatch plan` of a spec takes at most, in a process of its own, and what it says."""
    code = (
        "import sys; from sdbatch.cli import main; sys.argv = ['sdbatch', 'plan', sys.argv[1]]; main._guarded()\n"
        # Not ru_maxrss, which begins with what the process that starts this one held.
        "print(next(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    return int(done.stdout.split()[-1]) >> 10, done.stderr


def test_billions_of_rows_are_refused_before_memory_is_used(write: Write) -> None:
    small, _ = peak(write("seed: 1\n"))
    thousand = "{linspace: [0, 1, 1000]}"
    for text in (
        "grid:\n" + "".join(f"  {name}: {thousand}\n" for name in ("eta", "strength", "control_start", "control_end")),
        "prompt: '{a}{b}'\ngrid:\n" + "".join(f"  {name}: {{random: 9999999}}\n" for name in ("a", "b", "seed")),
    ):
        large, told = peak(write(text))
        assert "rows; at most 100,000,000" in told
        assert large < small + 20, "MiB more than a job of one row"


def test_a_glob_goes_through_no_ring_and_has_an_end(write: Write, tmp_path: Path) -> None:
    path = write(IMAGE + "{glob: '**/*.png'}")
    there = path.parent
    (there / "a").mkdir()
    (there / "a" / "x.png").write_bytes(b"")
    for name in ("b", "c", "d"):
        (there / name).symlink_to(there)
        (there / "a" / name).symlink_to("..")
    assert load.job(path).axes[0].values == ["a/x.png"]


WORDS = st.sampled_from(
    ["", "..", "~", "/", "\0", "{seed}", "{a|b}", "__x__", "<lora:a:1>", "(((", "{seed:09d}", "demo"]
)
TEXTS = st.text(max_size=12) | WORDS
LEAVES = st.none() | st.booleans() | st.integers(-(2**66), 2**66) | st.floats() | TEXTS
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(FORMS) | TEXTS, inner, max_size=2),
    max_leaves=6,
)
AXES = st.dictionaries(st.sampled_from([*PARAMETERS]) | TEXTS, st.lists(VALUES, max_size=3) | VALUES, max_size=3)
BY_KEY = {
    **dict.fromkeys(KEYS, VALUES),
    **dict.fromkeys(("grid", "zip"), AXES),
    **dict.fromkeys(("include", "exclude"), st.lists(AXES, max_size=2)),
    "mode": st.sampled_from(["txt2img", "img2img", "inpaint", "outpaint", "depth2img", "controlnet", "upscale"]),
    "output": st.dictionaries(st.sampled_from(OUTPUT_KEYS), VALUES, max_size=2),
    "render": st.dictionaries(st.sampled_from([*RENDER]), VALUES, max_size=2),
}
GOOD: list[dict[str, object]] = [
    {"prompt": "a star"},
    {"mode": "inpaint", "model": "demo-inpaint", "image": "x.png", "mask": [0, 0, 8, 8]},
    {"mode": "controlnet", "controlnet": "demo-controlnet", "control_image": "x.png"},
    {"mode": "outpaint", "image": "x.png", "outpaint": {"left": 8}},
    {"mode": "depth2img", "model": "demo-depth", "image": "x.png", "strength": 0.5},
    {"mode": "upscale", "model": "demo-upscaler", "image": "x.png"},
]
"""Each has few keys replaced, so that what is wrong is not said at once."""
SPECS = st.lists(st.sampled_from(KEYS), min_size=1, max_size=2, unique=True).flatmap(
    lambda keys: st.builds(
        dict.__or__, st.sampled_from(GOOD), st.fixed_dictionaries({key: BY_KEY[key] for key in keys})
    )
)


@settings(deadline=None, max_examples=200, suppress_health_check=list(HealthCheck))
@given(SPECS)
def test_any_mapping_gives_a_plan_or_an_error_of_ours(tmp_path: Path, spec: dict[str, object]) -> None:
    import yaml

    path = tmp_path / "job.yaml"
    path.write_bytes(yaml.safe_dump(spec, allow_unicode=True, sort_keys=False).encode("utf-8", "surrogatepass"))
    said(path)


@settings(deadline=None, max_examples=150, suppress_health_check=list(HealthCheck))
@given(st.text(st.sampled_from("seed:grid{}[]&*!|>'\"#%@\n -1.e?,~<") | st.characters(), max_size=80) | st.binary())
def test_any_text_gives_a_plan_or_an_error_of_ours(tmp_path: Path, text: str | bytes) -> None:
    path = tmp_path / "job.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass"))
    said(path)


def test_a_path_that_cannot_be_is_an_error_of_ours(write: Write, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="too long"):
        api.job(write("seed: 1\n"), out=tmp_path / LONG)
    assert os.listdir(tmp_path) == ["jobs"]


def test_a_device_is_no_list_of_values(write: Write) -> None:
    assert "not a regular file" in said(write("seed: {file: /dev/zero}"))[0]


def test_a_field_that_variants_put_together_is_told_as_any_other() -> None:
    from sdbatch.errors import Problem, SpecError
    from sdbatch.spec.columns import Column
    from sdbatch.spec.filling import Filler

    given = {name: Column([one.default]) for name, one in PARAMETERS.items()} | {"prompt": Column(["{seed:d60}"])}
    with pytest.raises(SpecError, match="not a format"):
        Filler(None, lambda key, message: Problem(None, None, key, message)).fill(given, {})
