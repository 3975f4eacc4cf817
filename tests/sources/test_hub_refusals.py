"""Hub models that cannot be had: one clear line each, before any weights are fetched."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hubmodel import HALF, LEFT, NAME, WANTED, WEIGHTS, files, resolve

from sdbatch.errors import ModelError
from sdbatch.sources.hub import snapshot


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            {f"unet/{WEIGHTS}": None, HALF: None},
            "unet is there only as diffusion_pytorch_model.bin, a pickle, .* another revision",
        ),
        (
            {"unet/diffusion_pytorch_model.bin": None, f"unet/{WEIGHTS}": None, HALF: None},
            r"unet has no weights \(\.safetensors\)",
        ),
        ({"model_index.json": None}, "neither model_index.json nor config.json; it holds .*v1-5-pruned.safetensors"),
        ({name: None for name in [*WANTED, *LEFT] if name.endswith(("s", "n"))}, "v1-5-pruned.ckpt, pickles, which"),
        ({name: None for name in [*WANTED, *LEFT] if name != "README.md"}, "neither model_index.json nor config.json$"),
        ({"vae/config.json": None, f"vae/{WEIGHTS}": None}, "its model_index.json names vae, which it does not hold"),
        ({"model_index.json": b'{"unet": ["mine", "UNet"]}'}, "asks for unet of mine.UNet; .*never a model's own code"),
        ({"model_index.json": b"{"}, "model_index.json cannot be read"),
    ],
)
def test_a_repository_that_holds_no_model_is_refused_before_its_weights_are_fetched(
    change: dict[str, bytes | None], says: str, hub: Any, tmp_path: Path
) -> None:
    held = {**WANTED, **LEFT, **change}
    hub.put(NAME, {name: data for name, data in held.items() if data is not None}, 2)
    with pytest.raises(ModelError, match=rf"^model '{NAME}': .*{says}") as caught:
        resolve(tmp_path)
    assert "\n" not in str(caught.value)
    assert hub.got(".safetensors") == []


@pytest.mark.parametrize(
    ("name", "revision", "change", "says"),
    [
        ("owner/none", None, {}, "no such folder here and no such repository at .*, or a private one: set HF_TOKEN"),
        (NAME, "v9", {}, "the repository has no revision 'v9'"),
        (NAME, "c3" * 20, {}, f"the repository has no revision '{'c3' * 20}'"),
        (
            NAME,
            None,
            {"gated": {NAME}},
            f"gated: accept its terms at http://.*/{NAME} with your account, and set",
        ),
        (NAME, None, {"token": "hf_x"}, "or a private one: set HF_TOKEN"),
        (NAME, None, {"status": 500}, rf"answered with HTTP 500; sdbatch models pull {NAME} tries again"),
        (NAME, None, {"status": 403}, "no such repository"),
    ],
)
def test_what_the_hub_refuses_is_one_clear_line(
    name: str, revision: str | None, change: dict[str, Any], says: str, hub: Any
) -> None:
    for key, value in change.items():
        setattr(hub, key, value)
    with pytest.raises(ModelError, match=rf"^model '{name}': .*{says}") as caught:
        snapshot(name, revision)
    assert "\n" not in str(caught.value)


def test_a_token_opens_what_is_private(hub: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.token = "hf_right"
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    with pytest.raises(ModelError, match=r"does not let the token of HF_TOKEN read it \(HTTP 401\)"):
        resolve(tmp_path)
    monkeypatch.setenv("HF_TOKEN", "hf_right")
    assert files(resolve(tmp_path).path) == WANTED


@pytest.mark.parametrize("revision", [None, "v1"])
def test_a_hub_that_is_not_there_is_said(
    revision: str | None, fakehub: Any, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fakehub.reach(monkeypatch, fakehub.closed())
    more = " --revision v1" if revision else ""
    says = rf"not in the local cache, and http://.* cannot be reached \(.*\); sdbatch models pull {NAME}{more} tries"
    with pytest.raises(ModelError, match=says) as caught:
        resolve(tmp_path, revision)
    assert "\n" not in str(caught.value)


def test_a_cache_that_cannot_be_written_is_said(hub: Any, home: Path, tmp_path: Path) -> None:
    home.parent.mkdir()
    home.write_text("a file", encoding="utf-8")
    with pytest.raises(ModelError, match=rf"cannot be fetched from .*: .+; sdbatch models pull {NAME} goes on"):
        resolve(tmp_path)
