"""What strangers' bytes meet first, one function each: nothing but an error of sdbatch's own may come out of any."""

from __future__ import annotations

import atexit
import contextlib
import functools
import io
import json
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from sdbatch import api, foreign
from sdbatch.errors import Problem, SdbatchError
from sdbatch.parameters import PARAMETERS
from sdbatch.prompts import emphasis
from sdbatch.sources import depths, pictures
from sdbatch.spec.columns import Column
from sdbatch.spec.filling import Filler
from sdbatch.store import carried, images

SUFFIXES = (".csv", ".jsonl", ".parquet")
PIXELS = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)


@functools.cache
def folder() -> Path:
    """A folder of this process's own."""
    path = Path(tempfile.mkdtemp(prefix="sdbatch-fuzz-"))
    atexit.register(shutil.rmtree, path, ignore_errors=True)
    return path


def put(name: str, data: bytes) -> Path:
    path = folder() / name
    path.write_bytes(data)
    return path


def spec(data: bytes) -> None:
    """The text of a job."""
    with contextlib.suppress(SdbatchError):
        api.validate(put("job.yaml", data))


def table(data: bytes) -> None:
    """A table; the first byte says of which kind."""
    suffix = SUFFIXES[data[0] % len(SUFFIXES)] if data else ".csv"
    with contextlib.suppress(SdbatchError):
        api.validate(put(f"t{suffix}", data[1:]))


def prompt(data: bytes) -> None:
    """A prompt: variants, fields, tags and weights, beside a folder of wildcards."""
    wildcards = folder() / "wildcards"
    if not wildcards.is_dir():
        wildcards.mkdir()
        (wildcards / "a.txt").write_text("red\n{x|y}\n__b__\n")
        (wildcards / "b.yaml").write_text("[1, 2::two]")
    text = data.decode("utf-8", "replace")
    given = {name: Column([one.default]) for name, one in PARAMETERS.items()}
    given |= {"prompt": Column([text]), "seed": Column([len(data)])}
    with contextlib.suppress(SdbatchError):
        filler = Filler(wildcards, lambda key, message: Problem(None, None, key, message))
        for made in filler.fill(given, {"color": Column(["red"])})["prompt"].values:
            emphasis.parse(str(made))
    emphasis.parse(text)


def metadata(data: bytes) -> None:
    """The texts of a picture; the first byte says under which keyword."""
    at, text = (data[0] if data else 0), data[1:].decode("utf-8", "replace")
    foreign.read({foreign.KEYS[at % len(foreign.KEYS)]: text})
    put("m.png", images.encode(PIXELS, "png", None, images.Texts(text, "")))
    with contextlib.suppress(SdbatchError):
        foreign.read(carried.texts(folder() / "m.png"))


def picture(data: bytes) -> None:
    """The bytes of a picture or a depth map."""
    images.read_texts(data)
    for name, readers in (("p.png", (carried.texts, carried.lossless, pictures.read, depths.read)),
                          ("p.npy", (depths.size, depths.read))):  # fmt: skip
        path = put(name, data)
        for read in readers:
            with contextlib.suppress(SdbatchError):
                read(path)


def wildcard(data: bytes) -> None:
    """A file of wildcards; the first byte says of which kind."""
    here = folder() / "jobs"
    (here / "wildcards").mkdir(parents=True, exist_ok=True)
    for suffix in ("txt", "yaml", "json"):
        (here / "wildcards" / f"w.{suffix}").unlink(missing_ok=True)
    suffix = ("txt", "yaml", "json")[(data[0] if data else 0) % 3]
    (here / "wildcards" / f"w.{suffix}").write_bytes(data[1:])
    (here / "job.yaml").write_text("prompt: a __w*__\nseed: {range: [0, 3]}\n")
    with contextlib.suppress(SdbatchError):
        api.validate(here / "job.yaml")


TARGETS: dict[str, Callable[[bytes], None]] = {
    target.__name__: target for target in (spec, table, prompt, metadata, picture, wildcard)
}


def seeds(name: str) -> list[bytes]:
    """A few sound inputs of a target, from which a fuzzer starts."""
    return {
        "spec": _specs,
        "table": _tables,
        "prompt": _prompts,
        "metadata": _metadata,
        "picture": _pictures,
        "wildcard": _wildcards,
    }[name]()


def _specs() -> list[bytes]:
    return [
        b"prompt: a {color}\ngrid:\n  color: [red, blue]\n  seed: {range: [0, 4]}\noutput: {filename: '{color}/{id}'}",
        b"mode: inpaint\nmodel: demo-inpaint\nimage: x.png\nmask: [0, 0, 8, 8]\nzip: {steps: [1, 2], eta: [0, 0.5]}\n",
        b"prompt: {combinatorial: '{a|2::b} {1-2$$ and $$x|y}'}\nseed: {random: 3}\nexclude: [{seed: 1}]\n",
        b"a: &a [1, 'x']\nb: *a\nrender: {batch_size: auto}\ninclude: [{prompt: a, seed: 1}]\nloras: [{name: x}]\n",
    ]


def _tables() -> list[bytes]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    made = []
    for compression, dictionary in (("none", False), ("zstd", True)):
        file = io.BytesIO()
        columns = {"prompt": ["a star", None], "seed": [1, 2], "mask": [[0, 0, 8, 8], None], "note": ["x", "y"]}
        pq.write_table(pa.table(columns), file, compression=compression, use_dictionary=dictionary)
        made.append(b"\2" + file.getvalue())
    csv = b'\0prompt,seed,mask,note\n"a, star",1,"[0, 0, 8, 8]",x\n,2,,"y\n"\n'
    lines = b'\1{"prompt": "a star", "seed": 1, "loras": [{"name": "x"}]}\n{"eta": 0.5, "note": true}\n'
    return [csv, lines, *made]


def _prompts() -> list[bytes]:
    return [
        b"a {red|2::green|{x|y}} (star:1.3) [on] {color} {{seed}} {seed:06d} __a__ __*__",
        "{2$$ and $$a|b|c} {1-2$$x|y} <lora:a/b:0.8:0.8> <hypernet:c> BREAK ((\\(é🎈)))".encode(),
    ]


def _metadata() -> list[bytes]:
    a1111 = b"a star\nNegative prompt: b\nSteps: 20, Sampler: Euler a, CFG scale: 7, Seed: 1, Size: 64x64, Model: x"
    own = {"params": {"prompt": "a", "seed": 1}, "id": "x", "row": "y", "version": "1"}
    graph = {
        "1": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "x.safetensors"}},
        "2": {"class_type": "CLIPTextEncode", "inputs": {"text": "a", "clip": ["1", 1]}},
        "3": {"class_type": "EmptyLatentImage", "inputs": {"width": 64, "height": 64, "batch_size": 1}},
        "4": {"class_type": "KSampler", "inputs": {
            "seed": 1, "steps": 20, "cfg": 7.0, "sampler_name": "euler", "scheduler": "karras", "denoise": 1.0,
            "model": ["1", 0], "positive": ["2", 0], "negative": ["2", 0], "latent_image": ["3", 0]}},
    }  # fmt: skip
    swarm = {"sui_image_params": {"prompt": "a", "seed": 1, "steps": 20, "cfgscale": 7, "width": 64, "height": 64}}
    invoke = {"positive_prompt": "a", "seed": 1, "steps": 20, "cfg_scale": 7, "width": 64, "height": 64}
    invoke |= {"scheduler": "euler", "model": {"name": "x"}, "loras": [{"model": {"name": "y"}, "weight": 0.5}]}
    coded = [json.dumps(one).encode() for one in (own, swarm, graph, invoke)]
    return [b"\0" + coded[0], b"\1" + a1111, b"\1" + coded[1], b"\2" + coded[2], b"\3" + coded[3]]


def _pictures() -> list[bytes]:
    texts = images.Texts("a\nSteps: 2, Seed: 1", '{"a": 1}')
    array = io.BytesIO()
    np.save(array, np.arange(6.0).reshape(2, 3))
    grey = images.plain("mask", np.arange(24, dtype=np.uint16).reshape(4, 6))
    made = [images.encode(PIXELS, kind, None, texts) for kind in ("png", "webp", "jpeg")]
    from PIL import Image

    for kind in ("GIF", "BMP", "TIFF"):
        file = io.BytesIO()
        Image.fromarray(PIXELS).save(file, kind)
        made.append(file.getvalue())
    return [*made, grey, array.getvalue()]


def _wildcards() -> list[bytes]:
    return [
        b"\0red\n# no\n{a|b}\n3::blue\n",
        b"\1a: [x, 2::y, {text: z, weight: 3}]\nb: {c: [1]}\n",
        b'\2["x", 1, "__w__"]',
    ]
