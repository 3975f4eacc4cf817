"""64 rows by two Ray actors, start included, against the example of Ray's own documentation.

python benchmarks/ray_loop.py [--rows 64] [--rounds 3] [--threads N]

The example is "Stable Diffusion Batch Prediction with Ray Data" (Ray's documentation up to 2.x): `ray.data`,
`map_batches` over a class that holds the pipeline, `batch_size=1`, a pool of actors. Its seeds are mended (it sets
`pipe.generator`, which nothing reads), it writes the same files, and for CPUs it leaves out float16, xformers and
its other sampler. A second one has our batch size. Every run is a process of its own; timed from the outside, from
its start to its end, and to its first picture.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import timing
import ways

ACTORS = 2


def ours(job: Path, out: Path, threads: int | None) -> None:
    """`sdbatch run --executor ray --actors 2`."""
    from sdbatch.cli import main as command

    sys.argv = ["sdbatch", "run", str(job), "--out", str(out), "--executor", "ray", "--actors", str(ACTORS), "--quiet"]
    if threads is not None:
        sys.argv += ["--set", f"render.threads={threads}"]
    command.run()


def example(work: list[dict[str, Any]], out: Path, size: int) -> None:
    """What Ray documents."""
    import pandas as pd
    import ray
    import ray.data

    class PredictCallable:
        def __init__(self, model: str, out: str) -> None:
            import torch
            from diffusers import StableDiffusionPipeline

            self.pipe = StableDiffusionPipeline.from_pretrained(model, safety_checker=None, dtype=torch.float32)
            self.pipe.set_progress_bar_config(disable=True)
            self.out = Path(out)

        def __call__(self, batch: pd.DataFrame) -> pd.DataFrame:
            import torch

            draws = [torch.Generator("cpu").manual_seed(int(seed)) for seed in batch["seed"]]
            images = self.pipe(
                list(batch["prompt"]),
                num_inference_steps=ways.STEPS,
                guidance_scale=ways.GUIDANCE,
                width=64,
                height=64,
                generator=draws,
            ).images
            for name, image in zip(batch["name"], images, strict=True):
                image.save(self.out / name)
            return batch[["name"]]

    out.mkdir(parents=True)
    ray.init(logging_level="ERROR", log_to_driver=False, include_dashboard=False, num_cpus=ACTORS + 1)
    ray.data.DataContext.get_current().enable_progress_bars = False
    rows = ray.data.from_pandas(pd.DataFrame(work)).repartition(len(work) // size)
    made = rows.map_batches(
        PredictCallable,
        batch_size=size,
        fn_constructor_kwargs={"model": str(ways.DEMO), "out": str(out)},
        compute=ray.data.ActorPoolStrategy(size=ACTORS),
        batch_format="pandas",
        num_cpus=1,
    ).take_all()
    assert len(made) == len(work), len(made)


def timed(kind: str, folder: Path, number: int, extra: list[str]) -> tuple[float, float]:
    """One run in a process of its own: its seconds, and the seconds to the first picture."""
    out = folder / f"{kind}-{number}"
    command = [sys.executable, __file__, "--child", kind, "--folder", str(folder), "--out", str(out), *extra]
    began, started = time.time(), time.perf_counter()
    ended = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    taken = time.perf_counter() - started
    print(f"  round {number}: {kind} {taken:.2f} s", file=sys.stderr, flush=True)
    files = list(out.rglob("*.png"))
    want = len(json.loads((folder / "work.json").read_text(encoding="utf-8")))
    if ended.returncode or len(files) != want:
        raise RuntimeError(f"{kind}: exit code {ended.returncode}, {len(files)} pictures\n{ended.stdout[-3000:]}")
    return taken, min(file.stat().st_mtime for file in files) - began


def measure(folder: Path, rows: int, rounds: int, extra: list[str]) -> list[dict[str, Any]]:
    """Take turns; the first round warms the file cache up and does not count."""
    job = ways.write_job(ways.demo_job(rows), folder)
    (folder / "work.json").write_text(json.dumps(ways.calls(job, rows)), encoding="utf-8")
    kinds = ("sdbatch", "example", "example batched")
    whole: dict[str, list[float]] = {kind: [] for kind in kinds}
    first: dict[str, list[float]] = {kind: [] for kind in kinds}
    for number in range(1 + rounds):
        for kind in kinds:
            taken, to_first = timed(kind, folder, number, extra)
            if number:
                whole[kind].append(taken)
                first[kind].append(to_first)
    what = f"{rows} demo rows, {ACTORS} Ray actors, start included"
    return [
        timing.compared(what, whole, "sdbatch", "example", 1.5),
        timing.compared("its first picture on disk", first, "sdbatch", "example", 1.0),
        timing.compared(what, whole, "sdbatch", "example batched", None),
        timing.compared("its first picture on disk", first, "sdbatch", "example batched", None),
    ]


def main() -> None:
    """Measure, and print one JSON object."""
    parser = timing.options(__doc__, rounds=3)
    parser.add_argument("--rows", type=int, default=64)
    parser.add_argument("--threads", type=int, help="render.threads of ours (default: its own)")
    parser.add_argument("--child", help="what one of its processes does")
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    if options.child == "sdbatch":
        ours(options.folder / "job.yaml", options.out, options.threads)
    elif options.child:
        work = json.loads((options.folder / "work.json").read_text(encoding="utf-8"))
        example(work, options.out, ways.batch_size(64, 64) if options.child == "example batched" else 1)
    else:
        extra = [] if options.threads is None else ["--threads", str(options.threads)]
        with tempfile.TemporaryDirectory(prefix="sdbatch-bench-") as name:
            timing.report("ray_loop", measure(Path(name), options.rows, options.rounds, extra))


if __name__ == "__main__":
    main()
