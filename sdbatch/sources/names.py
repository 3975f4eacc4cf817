"""Everything that a row names outside the spec: models, fine-tunes and pictures, found once a process."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sdbatch.errors import ModelError
from sdbatch.sources import finetunes, masks, parents
from sdbatch.sources.finetunes import FineTuneSource
from sdbatch.sources.hashes import HashCache
from sdbatch.sources.hidden import Hidden
from sdbatch.sources.inputs import InputSource
from sdbatch.sources.models import Model, ModelSource

PICTURES = ("image", "control_image", "depth_image")
"""Parameters that name pictures by path, alone or in a list."""
ESTIMATOR = "demo-depth"
"""The model whose depth estimator serves the embedded models, where a row names none."""
JUDGES = {"clip_model": "clip", "aesthetic_model": "aesthetic"}
"""Parameters that name a model which scores pictures, and its kind."""
SOURCED = frozenset({*PICTURES, *finetunes.KINDS, *JUDGES, "mask", "controlnet", "control_preprocessor", "vae"})
"""Parameters whose content hashes stand in an `id` in place of names."""


class Sources:
    """Finds what rows name.

    Args:
        base: relative paths start here.
        pins: revisions of hub models by name, as a directory's first run found them.
        home: where fine-tunes are looked for by name; None is `base`.
        within: links lead no further than from here; see `files.reached`. None is `base`.
        run: the run directory, where pictures of earlier stages are.
        hidden: inputs that go by other names.
    """

    def __init__(
        self,
        base: Path,
        pins: Mapping[str, str | None] | None = None,
        home: Path | None = None,
        within: Path | None = None,
        run: Path | None = None,
        hidden: Hidden | None = None,
    ) -> None:
        cache = HashCache()
        self.base, self.within = base, within
        self.models = ModelSource(base, pins, cache)
        self.inputs = InputSource(base, cache, within, run, hidden)
        self.finetunes = FineTuneSource(base, cache, home, within)

    def model(self, name: str, revision: str | None) -> tuple[str, tuple[int, int], str]:
        """A model's content hash, own width and height, and kind.

        Raises:
            ModelError: it is missing or broken.
        """
        found = self.models.resolve(name, revision)
        return found.hash, found.size, found.kind

    def content(self, parameter: str, value: Any) -> Any:
        """A value of one of SOURCED with content hashes in place of the names in it, for the `id`.

        Raises:
            ModelError: a model that it names is missing or broken. (A picture may be: its row fails by itself.)
        """
        if value is None:
            return None
        if parameter in finetunes.KINDS:
            return finetunes.content(parameter, value, self.finetunes.find)
        if isinstance(value, list) and parameter != "mask":
            return [self.content(parameter, one) for one in value]
        if parameter in PICTURES:
            parent = parents.read(value)
            return self.inputs.find(value).sha256 if parent is None else {"parent": parent.id}
        if parameter == "mask":
            return masks.content(value, lambda name: self.inputs.find(name).sha256)
        if parameter == "control_preprocessor":
            depth = ESTIMATOR if value == "depth" else value.get("depth") if isinstance(value, dict) else None
            return value if depth is None else {"depth": self.models.resolve(depth).hash}
        if parameter in JUDGES:
            return self.judge(parameter, value).hash
        return self.models.resolve(value).hash

    def judge(self, parameter: str, name: str) -> Model:
        """The model that one of JUDGES names.

        Raises:
            ModelError: it is missing, broken, or of another kind.
        """
        found = self.models.resolve(name)
        if found.kind != JUDGES[parameter]:
            raise ModelError(f"{parameter} {name!r}: is of kind {found.kind!r}, and not {JUDGES[parameter]!r}")
        return found

    def picture_size(self, value: Any) -> tuple[int, int]:
        """Width and height of a picture (the first of a list); (0, 0) where there is none to read."""
        first = value[0] if isinstance(value, list) and value else value
        if not isinstance(first, str):
            return 0, 0
        if (parent := parents.read(first)) is not None:
            return parent.width, parent.height
        found = self.inputs.find(first)
        return found.width, found.height

    def parts(self, parameter: str, value: Any) -> tuple[Model, ...]:
        """The models that `controlnet` or `vae` names."""
        names = value if isinstance(value, list) else [value] if value is not None else []
        return tuple(self.models.resolve(name) for name in names)

    def save(self) -> None:
        """Keep the hashes of inputs for the next run."""
        self.inputs.save()
