"""Prompts as written → prompts as the model reads them: variants picked, fields filled in, tags taken out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from operator import itemgetter
from pathlib import Path
from typing import Any, NoReturn

import sdbatch.prompts.loratags as loratags
from sdbatch.errors import Problem, SpecError
from sdbatch.prompts import reading
from sdbatch.prompts.wildcards import Variants
from sdbatch.sources import finetunes
from sdbatch.spec import templates
from sdbatch.spec.blocks import TEMPLATED, Literal
from sdbatch.spec.columns import Column, merge

PLAIN = "plain"
"""The `prompt_syntax` by which a prompt has no variants and no tags."""


class Filler:
    """Fills the prompts of a job's rows, once a combination of the values that they depend on.

    Args:
        wildcards: the folder of wildcard files; None where there is none.
        problem: makes a Problem of a key and a message.
    """

    def __init__(self, wildcards: Path | None, problem: Callable[[str, str], Problem]) -> None:
        self._variants = Variants(wildcards)
        self._problem = problem

    def fill(self, given: Mapping[str, Column], columns: Mapping[str, Column]) -> dict[str, Column]:
        """The parameters that prompts decide: the prompts themselves, and the fine-tunes that their tags name.

        Args:
            given: every parameter, the prompts as written.
            columns: what fields may name besides.

        Raises:
            SpecError: a field, a variant or a tag is wrong, or a wildcard file is missing.
        """
        picked = {name: self._picked(name, given) for name in TEMPLATED}
        filled = {name: self._filled(name, {**columns, **given, name: picked[name]}) for name in TEMPLATED}
        return {**filled, **self._tags(given, filled["prompt"])}

    def _picked(self, name: str, given: Mapping[str, Column]) -> Column:
        def pick(text: str, seed: int, syntax: str) -> str:
            if isinstance(text, Literal) or syntax == PLAIN:
                return text
            try:
                return self._variants.pick(text, seed)
            except ValueError as error:
                self._refuse(name, str(error), error)

        if not any(reading.varied(text) for text in given[name].values):
            return given[name]
        return merge([given[name], given["seed"], given["prompt_syntax"]], pick)

    def _filled(self, name: str, columns: Mapping[str, Column]) -> Column:
        texts = {text for text in columns[name].values if not isinstance(text, Literal)}
        compiled = {text: self._compiled(name, text) for text in texts}
        used = sorted({field for template in compiled.values() for field in template.fields} - {name})
        missing = [field for field in used if field not in columns]
        if missing and len(compiled) == 1:
            self._refuse(name, f"field {{{missing[0]}}} is not given in every row")
        there = [field for field in used if field in columns]

        def fill(text: str, *values: Any) -> str:
            if isinstance(text, Literal):
                return str(text)
            try:
                return compiled[text].fill(dict(zip(there, values, strict=True)))
            except (KeyError, ValueError) as error:
                self._refuse(name, f"{text!r} cannot be filled: {error}", error)

        return merge([columns[name], *(columns[field] for field in there)], fill)

    def _compiled(self, name: str, text: str) -> templates.Template:
        try:
            return templates.compile(text)
        except ValueError as error:  # of what is written it was said before; a variant may have made this one
            self._refuse(name, str(error), error)

    def _tags(self, given: Mapping[str, Column], prompt: Column) -> dict[str, Column]:
        """Prompts without `<lora:...>` and `<hypernet:...>`, and the fine-tunes with them."""
        if not any("<" in text for text in prompt.values):
            return {}
        names = ("loras", "hypernetwork")
        found = merge([prompt, given["prompt_syntax"], *(given[name] for name in names)], self._untagged)
        return {name: found.map(itemgetter(at)) for at, name in enumerate(("prompt", *names))}

    def _untagged(self, text: str, syntax: str, loras: Any, hypernetwork: Any) -> tuple[str, Any, Any]:
        if syntax == PLAIN:
            return text, loras, hypernetwork
        try:
            bare, tags = loratags.extract(text)
        except ValueError as error:
            self._refuse("prompt", str(error), error)
        if not tags:
            return text, loras, hypernetwork
        chosen = list(loras) if isinstance(loras, list) else [] if loras is None else [loras]
        for tag in tags:
            if tag.kind == "hypernet":
                if hypernetwork is not None:
                    self._refuse("prompt", f"<hypernet:{tag.name}> is a second hypernetwork; a row has one")
                hypernetwork = {"name": tag.name, "strength": tag.weight}
            else:
                if tag.unet is not None and tag.unet != tag.weight:
                    self._refuse("prompt", f"<lora:{tag.name}>: one weight for text encoder and UNet is what there is")
                chosen.append({"name": tag.name, "weight": tag.weight})
        loras = chosen or None
        for name, value in (("loras", loras), ("hypernetwork", hypernetwork)):
            if wrong := finetunes.problem(name, value):
                self._refuse("prompt", f"{text!r}: {wrong}")
        return bare, loras, hypernetwork

    def _refuse(self, key: str, message: str, cause: Exception | None = None) -> NoReturn:
        raise SpecError([self._problem(key, message)]) from cause
