"""Fine-tunes that a row names: LoRAs, textual inversion embeddings, hypernetworks. Headers are read, weights never."""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from sdbatch.errors import InputError, ModelError
from sdbatch.sources import adapters, files, headers, remote
from sdbatch.sources.adapters import Kind
from sdbatch.sources.hashes import HashCache

Find = Callable[[Kind, str], "FineTune"]

ENVIRONMENT = "SDBATCH_MODELS"
"""The environment variable with more folders to look in, each with `loras/` and the like."""
KINDS: Mapping[str, Kind] = {"loras": "lora", "embeddings": "embedding", "hypernetwork": "hypernetwork"}
"""The parameters that name fine-tunes, and of which kind."""
_TITLES = {"lora": "LoRA", "embedding": "embedding", "hypernetwork": "hypernetwork"}
_FOLDERS: dict[Kind, tuple[str, ...]] = {
    "lora": ("loras", "Lora"),
    "embedding": ("embeddings",),
    "hypernetwork": ("hypernetworks",),
}
_SUFFIX = ".safetensors"
_PICKLES = (".pt", ".bin", ".ckpt", ".pth")
_EXTRAS = {"loras": "weight", "embeddings": "token", "hypernetwork": "strength"}
_LIMIT = 10.0


@dataclass(frozen=True, slots=True)
class FineTune:
    """A fine-tune as found.

    Attributes:
        name: as the row names it.
        sha256: hex, over the whole file.
        short: the 12 hex digits that other tools print: of a LoRA's tensors alone, of any other kind's whole file.
        format: `kohya` or `diffusers` for a LoRA; `a1111`, `diffusers` or `sdxl` for an embedding; `sdbatch`.
        token: the word that calls an embedding up, where a row gives no other; else empty.
    """

    kind: Kind
    name: str
    path: Path
    sha256: str
    short: str
    format: str
    token: str

    @property
    def stem(self) -> str:
        """The file's name without its suffix: what other tools call it."""
        return self.path.name.removesuffix(_SUFFIX)

    @property
    def title(self) -> str:
        """Kind and name, as errors say them."""
        return f"{_TITLES[self.kind]} {self.name!r}"


@dataclass(frozen=True, slots=True)
class Chosen:
    """All fine-tunes of a row, with their weights, words and strength."""

    loras: tuple[tuple[FineTune, float], ...] = ()
    embeddings: tuple[tuple[FineTune, str], ...] = ()
    hypernetwork: tuple[FineTune, float] | None = None

    def listing(self) -> list[dict[str, Any]]:
        """What a manifest records: kind, name (the file's stem), sha256, short, and weight, token or strength."""
        chosen: list[tuple[FineTune, dict[str, Any]]] = [(tune, {"weight": weight}) for tune, weight in self.loras]
        chosen += [(tune, {"token": token}) for tune, token in self.embeddings]
        if self.hypernetwork:
            chosen.append((self.hypernetwork[0], {"strength": self.hypernetwork[1]}))
        return [
            {"kind": tune.kind, "name": tune.stem, "sha256": tune.sha256, "short": tune.short, **how}
            for tune, how in chosen
        ]


class FineTuneSource:
    """Finds fine-tunes; each (kind, name) is looked up once.

    Args:
        base: the spec's folder: relative paths start here.
        home: here and one folder up lie the folders of each kind; None is `base`.
        within: links lead no further than from here; see `files.reached`. None is `base`.
    """

    def __init__(
        self, base: Path, cache: HashCache | None = None, home: Path | None = None, within: Path | None = None
    ) -> None:
        self._base, self._home, self._within, self._cache = base, home or base, within, cache or HashCache()
        self._found: dict[tuple[Kind, str], FineTune] = {}
        self._listed: dict[Path, list[str]] = {}

    def find(self, kind: Kind, name: str) -> FineTune:
        """Find a fine-tune, check its header and hash it.

        Args:
            name: a path that ends in .safetensors, from the spec's folder; or a file's name without the suffix, with
                or without folders, looked for below `loras/`, `embeddings/` or `hypernetworks/` beside the spec, then
                one folder up, then in each folder of $SDBATCH_MODELS.

        Raises:
            ModelError: it is missing, broken, a pickle, of another kind, or two files have that name.
        """
        if (kind, name) not in self._found:
            title = f"{_TITLES[kind]} {name!r}"
            path = self._locate(kind, name, title)
            try:
                header = headers.read(path)
                sha256 = self._cache.sha256(path)
                short = self._cache.sha256(path, header.start) if kind == "lora" else sha256
            except (OSError, ValueError) as error:
                reason = error.strerror if isinstance(error, OSError) else error
                raise ModelError(f"{title}: {path}: {reason}") from error
            form, token = adapters.recognise(kind, header, title)
            token = token or (path.name.removesuffix(_SUFFIX) if kind == "embedding" else "")
            self._found[kind, name] = FineTune(kind, name, path, sha256, short[:12], form, token)
            self._cache.save()
        return self._found[kind, name]

    def choose(self, params: Mapping[str, Any]) -> Chosen:
        """The fine-tunes of a row.

        Raises:
            ModelError: see `find`; or two embeddings are called up by one word.
        """
        loras = [(self.find("lora", name), weight) for name, weight in canonical("loras", params.get("loras"))]
        hypernetwork = [
            (self.find("hypernetwork", name), strength)
            for name, strength in canonical("hypernetwork", params.get("hypernetwork"))
        ]
        embeddings: dict[str, FineTune] = {}
        for name, token in canonical("embeddings", params.get("embeddings")):
            tune = self.find("embedding", name)
            other = embeddings.setdefault(token or tune.token, tune)
            if other is not tune:
                raise ModelError(
                    f"{other.title} and {tune.title} are both called up by {token or tune.token!r}; "
                    "give one of them another word: {name, token}"
                )
        words = tuple((tune, token) for token, tune in embeddings.items())
        return Chosen(tuple(loras), words, hypernetwork[0] if hypernetwork else None)

    def _locate(self, kind: Kind, name: str, title: str) -> Path:
        given = Path(os.path.expanduser(name))
        path = files.at(self._base, str(given))
        if given.suffix in _PICKLES:
            raise _pickle(title, path)
        if given.suffix == _SUFFIX and os.path.isfile(remote.looked(title, lambda: remote.present(path))):
            return _followed(title, path, partial(files.reached, self._base, str(given), self._within))
        wanted = name.removesuffix(_SUFFIX)
        near: set[str] = set()
        for folder in remote.looked(title, lambda: self._folders(kind)):
            there = self._files(folder)
            hits = [file for file in there if f"/{file}".endswith(f"/{wanted}{_SUFFIX}")]
            if len(hits) > 1:
                raise ModelError(
                    f"{title}: {' and '.join(hits[:3])} in {folder} all have that name; name one by its path"
                )
            if hits:
                path, home = folder / hits[0], self._home.absolute()
                if folder.parent not in (home, home.parent):
                    return path  # the user's own folder of models, which may be full of links
                return _followed(title, path, partial(files.within, path, folder.parent))
            for suffix in _PICKLES:
                if f"{wanted}{suffix}" in there:
                    raise _pickle(title, folder / f"{wanted}{suffix}")
            near |= {Path(file).name.removesuffix(_SUFFIX) for file in there if file.endswith(_SUFFIX)}
        raise ModelError(f"{title}: {self._missing(kind, name, near)}")

    def _missing(self, kind: Kind, name: str, near: set[str]) -> str:
        close = difflib.get_close_matches(name, sorted(near), 1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        if name.endswith(_SUFFIX):
            return f"no such file: {self._base / name}{hint}"
        folder = _FOLDERS[kind][0]
        return f"no {name}{_SUFFIX} in {folder}/ beside the spec, one folder up, or in a folder of ${ENVIRONMENT}{hint}"

    def _folders(self, kind: Kind) -> list[Path]:
        given = [
            Path(os.path.expanduser(entry)) for entry in os.environ.get(ENVIRONMENT, "").split(os.pathsep) if entry
        ]
        return folders(self._home, kind, given)

    def _files(self, folder: Path) -> list[str]:
        """Paths of the files below a folder, from there, with `/`."""
        if folder not in self._listed:
            wanted = (_SUFFIX, *_PICKLES)
            found = (path for path in folder.rglob("*") if path.suffix in wanted and path.is_file())
            self._listed[folder] = sorted(path.relative_to(folder).as_posix() for path in found)
        return self._listed[folder]


def _followed(title: str, path: Path, check: Callable[[], object]) -> Path:
    try:
        check()
    except InputError as error:
        raise ModelError(f"{title}: {error}") from error
    return path


def _pickle(title: str, path: Path) -> ModelError:
    return ModelError(
        f"{title}: {path.suffix} files are pickles, which can run code, and are not read; "
        f"`sdbatch models convert {path}` makes a safetensors file of it"
    )


def folders(home: Path, kind: Kind | None = None, more: Sequence[Path] = ()) -> list[Path]:
    """The folders of one kind, or of any, that are there: below `home`, one folder up, and below `more`.

    Raises:
        OSError: a bucket does not answer.
    """
    names = _FOLDERS[kind] if kind else [name for each in _FOLDERS.values() for name in each]
    roots = [home.absolute(), home.absolute().parent, *more]
    found = dict.fromkeys(root / name for root in roots for name in names)
    return [folder for folder in found if remote.folder(folder).is_dir()]


def problem(parameter: str, value: Any) -> str | None:
    """Say what is wrong with a value of `loras`, `embeddings` or `hypernetwork`; no file is looked at."""
    if value is None:
        return None
    single, extra = parameter == "hypernetwork", _EXTRAS[parameter]
    if single and isinstance(value, list):
        return f"a list is not allowed here; give one name, or {{name, {extra}}}"
    names = []
    for item in value if isinstance(value, list) else [value]:
        entry = {"name": item} if isinstance(item, str) else item
        if not isinstance(entry, Mapping):
            return f"{item!r} is neither a name nor {{name, {extra}}}"
        unknown = [key for key in entry if key not in ("name", extra)]
        if unknown or "name" not in entry:
            said = f"{unknown[0]!r} is no key here" if unknown else "`name` is missing"
            return f"{said}; the keys are: name, {extra}"
        wrong = _name_problem(entry["name"]) or _extra_problem(extra, entry.get(extra))
        if wrong:
            return wrong
        names.append(entry["name"])
    twice = [name for name in names if names.count(name) > 1]
    return f"{twice[0]!r} is named twice" if twice else None


def _name_problem(name: Any) -> str | None:
    if not isinstance(name, str) or not name.strip() or "\n" in name or "\0" in name:
        return f"{name!r} is not the name of a file"
    return None


def _extra_problem(extra: str, value: Any) -> str | None:
    if value is None:
        return None
    if extra == "token":
        sound = isinstance(value, str) and value.strip() == value != "" and value.isprintable()
        return None if sound else f"token {value!r} is not a word"
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not abs(value) <= _LIMIT:
        return f"{extra} {value!r} is not a number from {-_LIMIT:g} to {_LIMIT:g}"
    return None


def canonical(parameter: str, value: Any) -> tuple[tuple[str, Any], ...]:
    """One form for a value, however it was written; it must have no `problem`.

    Returns:
        (name, weight) pairs for `loras`, at most one (name, strength) for `hypernetwork`, both floats of 1.0 where
        the value gives none; (name, token) for `embeddings`, None where the file says the word.
    """
    items = value if isinstance(value, list) else [] if value is None else [value]
    extra = _EXTRAS[parameter]
    entries = [{"name": item} if isinstance(item, str) else item for item in items]
    pairs = [(entry["name"], entry.get(extra)) for entry in entries]
    if extra == "token":
        return tuple(pairs)
    return tuple((name, 1.0 if number is None else float(number) + 0.0) for name, number in pairs)


def content(parameter: str, value: Any, find: Find) -> list[list[Any]] | None:
    """A value with content hashes in place of names, for an `id`; None where it names nothing.

    The order of LoRAs stays, since sums of floats depend on it; embeddings stand in the order of their words.

    Raises:
        ModelError: see `FineTuneSource.find`.
    """
    kind = KINDS[parameter]
    pairs = [(find(kind, name), extra) for name, extra in canonical(parameter, value)]
    if parameter == "embeddings":
        return sorted([token or tune.token, tune.sha256] for tune, token in pairs) or None
    return [[tune.sha256, number] for tune, number in pairs] or None
