"""ComfyUI's `prompt`: a graph of nodes, walked back from the sampler; cycles end the walk."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from sdbatch.foreign.found import Found, Gathering, parsed

KEY = "prompt"
SAMPLERS = {
    "ddim": "ddim",
    "ddpm": "ddpm",
    "deis": "deis",
    "dpm_2": "dpm2",
    "dpm_2_ancestral": "dpm2_a",
    "dpmpp_2m": "dpmpp_2m",
    "dpmpp_2m_sde": "dpmpp_2m_sde",
    "dpmpp_2m_sde_gpu": "dpmpp_2m_sde",
    "dpmpp_3m_sde": "dpmpp_3m_sde",
    "dpmpp_3m_sde_gpu": "dpmpp_3m_sde",
    "dpmpp_sde": "dpmpp_sde",
    "dpmpp_sde_gpu": "dpmpp_sde",
    "euler": "euler",
    "euler_ancestral": "euler_a",
    "heun": "heun",
    "lcm": "lcm",
    "lms": "lms",
    "uni_pc": "unipc",
}
"""ComfyUI's samplers, by what they are here."""
_PLAIN = {"": None, "normal": None, "karras": "karras", "exponential": "exponential", "beta": "beta"}
_VALUES = ("value", "text", "string", "seed", "noise_seed", "int", "float", "number", "prompt", "text_g", "text_l")
_SAMPLER_INPUTS = {
    "seed", "noise_seed", "steps", "cfg", "sampler_name", "scheduler", "denoise", "model", "positive", "negative",
    "latent_image", "add_noise", "start_at_step", "end_at_step", "return_with_leftover_noise", "control_after_generate",
}  # fmt: skip
_LAST_STEP = 10_000
"""What "to the end" is in `end_at_step`."""


def schedule(gathering: Gathering, sampler: Any, scheduler: Any, keys: tuple[str, str]) -> None:
    """Map a sampler and a scheduler as ComfyUI calls them; `keys` are what the text calls the two."""
    name, levels = (str(value).lower() if value is not None else "" for value in (sampler, scheduler))
    if levels not in _PLAIN and (name, levels) != ("ddim", "ddim_uniform"):
        gathering.skip(keys[1], scheduler)
    if sampler is not None:
        gathering.sampler(SAMPLERS.get(name), _PLAIN.get(levels), keys[0], sampler)
    if name.endswith("_gpu"):
        gathering.skip(f"{keys[0]} noise", "was drawn on a GPU, which cannot be drawn again here")


def read(texts: Mapping[str, str]) -> Found | None:
    """The row that the graph's first sampler makes; None where there is no graph."""
    content = parsed(texts.get(KEY, ""))
    nodes = {id: node for id, node in (content or {}).items() if _is_node(node)}
    if not nodes:
        return None
    graph, gathering = _Graph(nodes), Gathering("comfyui")
    samplers = [id for id in nodes if str(nodes[id]["class_type"]).startswith("KSampler")]
    first = next((id for id in samplers if _size_of(graph, id)), next(iter(samplers), None))
    if first is None:
        gathering.skip("KSampler", "no such node; there is " + ", ".join(sorted(graph.kind(id) for id in nodes)))
        return gathering.found()
    for id in samplers:
        if id != first:
            gathering.skip(f"{graph.kind(id)} {id}", "another sampler; a row is one")
    _sampler(graph, first, gathering)
    _latent(graph, first, gathering)
    _prompts(graph, first, gathering)
    _model(graph, first, gathering)
    return gathering.found()


def _is_node(node: Any) -> bool:
    return isinstance(node, dict) and isinstance(node.get("class_type"), str) and isinstance(node.get("inputs"), dict)


@dataclass(frozen=True)
class _Graph:
    nodes: Mapping[str, Mapping[str, Any]]

    def kind(self, id: str) -> str:
        return str(self.nodes[id]["class_type"])

    def inputs(self, id: str) -> Mapping[str, Any]:
        found: Mapping[str, Any] = self.nodes[id]["inputs"]
        return found

    def target(self, value: Any) -> str | None:
        """The node that a link such as ["4", 0] leads to."""
        linked = isinstance(value, list) and len(value) == 2 and str(value[0]) in self.nodes
        return str(value[0]) if linked else None

    def walk(self, value: Any, names: tuple[str, ...]) -> Iterator[str]:
        """The nodes from a link on, each by the first of these inputs that leads further; none twice."""
        seen: set[str] = set()
        while (id := self.target(value)) is not None and id not in seen:
            seen.add(id)
            yield id
            inputs = self.inputs(id)
            value = next((inputs[name] for name in names if self.target(inputs.get(name))), None)

    def value(self, given: Any) -> Any:
        """A plain value, or the one that stands at the end of the links; None where there is none."""
        if self.target(given) is None:
            return given if isinstance(given, (str, int, float)) else None
        for id in self.walk(given, _VALUES):
            inputs = self.inputs(id)
            for name in _VALUES:
                if isinstance(inputs.get(name), (str, int, float)):
                    return inputs[name]
        return None


def _sampler(graph: _Graph, id: str, gathering: Gathering) -> None:
    inputs, where = graph.inputs(id), graph.kind(id)

    def given(name: str) -> Any:
        value = graph.value(inputs.get(name))
        if value is None and name in inputs:
            gathering.skip(f"{where}.{name}", "is computed by other nodes")
        return value

    seed = given("seed") if "seed" in inputs else given("noise_seed")
    gathering.take("seed", seed, f"{where}.seed")
    gathering.take("steps", given("steps"), f"{where}.steps")
    gathering.take("guidance_scale", given("cfg"), f"{where}.cfg")
    schedule(gathering, given("sampler_name"), given("scheduler"), (f"{where}.sampler_name", f"{where}.scheduler"))
    denoise = given("denoise")
    if denoise not in (None, 1, 1.0):
        gathering.take("strength", denoise, f"{where}.denoise")
        if _size_of(graph, id):
            gathering.skip(f"{where}.denoise", denoise)
    if given("add_noise") == "disable":
        gathering.skip(f"{where}.add_noise", "disable")
    if given("start_at_step") not in (None, 0):
        gathering.skip(f"{where}.start_at_step", inputs["start_at_step"])
    end, steps = given("end_at_step"), given("steps")
    if isinstance(end, int) and end < (steps if isinstance(steps, int) else _LAST_STEP):
        gathering.skip(f"{where}.end_at_step", end)
    for name in inputs.keys() - _SAMPLER_INPUTS:
        gathering.skip(f"{where}.{name}", inputs[name])


def _size_of(graph: _Graph, id: str) -> str | None:
    """The node that begins with an empty picture, if the sampler does."""
    for node in graph.walk(graph.inputs(id).get("latent_image"), ("samples", "latent", "pixels")):
        kind = graph.kind(node)
        if kind.startswith("Empty") and "Latent" in kind:
            return node
        if kind.startswith("KSampler"):
            return None
    return None


def _latent(graph: _Graph, id: str, gathering: Gathering) -> None:
    empty = _size_of(graph, id)
    if empty is not None:
        inputs, where = graph.inputs(empty), graph.kind(empty)
        for side in ("width", "height"):
            gathering.take(side, graph.value(inputs.get(side)), f"{where}.{side}")
        if graph.value(inputs.get("batch_size")) not in (None, 1):
            gathering.skip(f"{where}.batch_size", "which picture of the batch this is, is not told")
        return
    for node in graph.walk(graph.inputs(id).get("latent_image"), ("samples", "latent", "pixels", "image")):
        gathering.skip(f"{graph.kind(node)} {node}", graph.inputs(node).get("image", "the picture begins with it"))


def _prompts(graph: _Graph, id: str, gathering: Gathering) -> None:
    for side, name in (("positive", "prompt"), ("negative", "negative_prompt")):
        for node in graph.walk(graph.inputs(id).get(side), (side, "conditioning", "conditioning_1", "conditioning_to")):
            kind, inputs = graph.kind(node), graph.inputs(node)
            text = next((value for key in _VALUES if isinstance(value := graph.value(inputs.get(key)), str)), None)
            if text is not None and ("Encode" in kind or "text" in inputs):
                gathering.take(name, text, f"{kind} {node}")
                _clip(graph, inputs.get("clip"), gathering)
                break
            _condition(graph, node, gathering)
        else:
            gathering.skip(f"{graph.kind(id)}.{side}", "leads to no text")


def _condition(graph: _Graph, node: str, gathering: Gathering) -> None:
    """A node between a text and the sampler: a ControlNet's numbers map, its files are not to be had."""
    kind, inputs = graph.kind(node), graph.inputs(node)
    if not kind.startswith("ControlNetApply"):
        gathering.skip(f"{kind} {node}", {key: value for key, value in inputs.items() if not graph.target(value)})
        return
    numbers = {"strength": "control_scale", "start_percent": "control_start", "end_percent": "control_end"}
    for key, name in numbers.items():
        gathering.take(name, graph.value(inputs.get(key)), f"{kind}.{key}")
    for key, file in (("control_net", "control_net_name"), ("image", "image")):
        for source in graph.walk(inputs.get(key), (key, "image", "control_net")):
            gathering.skip(f"{graph.kind(source)} {source}", graph.inputs(source).get(file, f"{key} of a ControlNet"))


def _clip(graph: _Graph, link: Any, gathering: Gathering) -> None:
    for node in graph.walk(link, ("clip",)):
        layer = graph.value(graph.inputs(node).get("stop_at_clip_layer"))
        if graph.kind(node) == "CLIPSetLastLayer" and isinstance(layer, int):
            # -1 is the last layer; `clip_skip` counts the layers left out.
            gathering.take("clip_skip", -layer - 1 if layer != -1 else None, "CLIPSetLastLayer")


def _model(graph: _Graph, id: str, gathering: Gathering) -> None:
    loras: list[dict[str, Any]] = []
    for node in graph.walk(graph.inputs(id).get("model"), ("model",)):
        kind, inputs = graph.kind(node), graph.inputs(node)
        if isinstance(inputs.get("lora_name"), str):
            weight, text = graph.value(inputs.get("strength_model")), graph.value(inputs.get("strength_clip"))
            # A path of another machine, \ on Windows: its name is what can be found here.
            name = PurePosixPath(inputs["lora_name"].replace("\\", "/")).name.removesuffix(".safetensors")
            loras.insert(0, {"name": name, "weight": weight if isinstance(weight, (int, float)) else 1.0})
            if text not in (None, weight):
                gathering.skip(f"{kind} {node}.strength_clip", text)
        elif "ckpt_name" in inputs or "unet_name" in inputs:
            gathering.name_model(inputs.get("ckpt_name", inputs.get("unet_name")), kind)
        else:
            gathering.skip(f"{kind} {node}", {key: item for key, item in inputs.items() if not graph.target(item)})
    if loras:
        gathering.take("loras", loras, "LoraLoader")
