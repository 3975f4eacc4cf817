"""Signed pictures: a reader of the standard finds them whole, and sees what was changed."""

from __future__ import annotations

import datetime
import importlib.util
import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from sdbatch import api
from sdbatch.errors import RefusedError, UsageError
from sdbatch.store import c2pa, images
from sdbatch.types import Signing

if importlib.util.find_spec("c2pa") is None:
    pytest.skip("needs the extra sdbatch[c2pa]", allow_module_level=True)

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

SIGNING = Signing("chain.pem", "key.pem")
PIXELS = np.random.default_rng(0).integers(0, 256, (40, 48, 3), np.uint8)
TEXTS = images.Texts("a red star\nSteps: 1, Sampler: Euler, Seed: 1", '{"schema": 1}')
PEM = serialization.Encoding.PEM


def certificate(key: Any, issuer: Any, authority: bool) -> x509.Certificate:
    """A certificate as C2PA wants them, of an authority or a signer."""
    names = {at: x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, at)]) for at in ("authority", "signer")}
    now = datetime.datetime.now(datetime.UTC)
    use = x509.KeyUsage(not authority, False, False, False, False, authority, authority, False, False)
    made = (
        x509.CertificateBuilder()
        .subject_name(names["authority" if authority else "signer"])
        .issuer_name(names["authority"])
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=2))
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        .add_extension(use, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.public_key()), critical=False)
    )
    if not authority:
        made = made.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), critical=False)
    return made.sign(issuer, hashes.SHA256())


def write_key(path: Path, key: Any, password: bytes | None = None) -> None:
    lock = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    path.write_bytes(key.private_bytes(PEM, serialization.PrivateFormat.PKCS8, lock))


def identity(folder: Path, key: Any = None) -> Path:
    """A chain and a key, in a folder."""
    authority, key = ec.generate_private_key(ec.SECP256R1()), key or ec.generate_private_key(ec.SECP256R1())
    chain = (certificate(key, authority, False), certificate(authority, authority, True))
    (folder / "chain.pem").write_bytes(b"".join(one.public_bytes(PEM) for one in chain))
    write_key(folder / "key.pem", key)
    return folder


def read(data: bytes, format: str) -> tuple[str | None, dict[str, Any]]:
    """What the standard's reader makes of a file: whether it holds, and the statement."""
    from c2pa import Reader

    with Reader(f"image/{format}", io.BytesIO(data)) as reader:
        found = json.loads(reader.json())
        return reader.get_validation_state(), found["manifests"][found["active_manifest"]]


@pytest.mark.parametrize("format", ["png", "jpeg", "webp"])
def test_a_signed_file_holds_and_keeps_pixels_and_texts(format: str, tmp_path: Path) -> None:
    plain = images.encode(PIXELS, format, None, TEXTS)
    signed = c2pa.Signer(SIGNING, identity(tmp_path)).sign(plain, format)
    state, statement = read(signed, format)
    assert state == "Valid"  # the reader's list of authorities has no part in it
    (assertion,) = statement["assertions"]
    assert assertion["data"]["actions"] == [
        {"action": "c2pa.created", "digitalSourceType": c2pa.SOURCE + "trainedAlgorithmicMedia"}
    ]
    assert statement["claim_generator_info"][0]["name"] == "sdbatch"
    assert statement["signature_info"]["issuer"] == "signer"
    assert images.read_texts(signed) == images.read_texts(plain)
    shown = [np.asarray(Image.open(io.BytesIO(data)).convert("RGB")) for data in (signed, plain)]
    assert np.array_equal(*shown)
    assert len(signed) - len(plain) < 20_000


def test_a_changed_file_does_not_hold(tmp_path: Path) -> None:
    signed = bytearray(c2pa.Signer(SIGNING, identity(tmp_path)).sign(images.encode(PIXELS, "png", None, TEXTS), "png"))
    signed[-100] ^= 1
    assert read(bytes(signed), "png")[0] == "Invalid"


def test_a_changed_picture_says_so(tmp_path: Path) -> None:
    plain = images.encode(PIXELS, "png", None, TEXTS)
    _, statement = read(c2pa.Signer(SIGNING, identity(tmp_path)).sign(plain, "png", composite=True), "png")
    (action,) = statement["assertions"][0]["data"]["actions"]
    assert action["digitalSourceType"].endswith("/compositeWithTrainedAlgorithmicMedia")


@pytest.mark.parametrize(
    "make",
    [
        lambda: ec.generate_private_key(ec.SECP384R1()),
        ed25519.Ed25519PrivateKey.generate,
        lambda: rsa.generate_private_key(public_exponent=65537, key_size=2048),
    ],
    ids=["P-384", "Ed25519", "RSA"],
)
def test_other_kinds_of_key(make: Callable[[], Any], tmp_path: Path) -> None:
    signed = c2pa.Signer(SIGNING, identity(tmp_path, make())).sign(images.encode(PIXELS, "png", None, TEXTS), "png")
    assert read(signed, "png")[0] == "Valid"


def said(folder: Path) -> str:
    with pytest.raises(UsageError) as caught:
        c2pa.Signer(SIGNING, folder)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_what_cannot_sign_is_said_before_a_run(tmp_path: Path) -> None:
    assert said(tmp_path).startswith("output.c2pa.cert: ") and "No such file" in said(tmp_path)
    identity(tmp_path)
    other = ec.generate_private_key(ec.SECP256R1())
    write_key(tmp_path / "key.pem", other)
    assert said(tmp_path).startswith("output.c2pa: chain.pem with key.pem cannot sign: ")
    write_key(tmp_path / "key.pem", other, b"secret")
    assert said(tmp_path) == "output.c2pa.key: key.pem is encrypted"
    (tmp_path / "key.pem").write_text("hunter2")
    assert said(tmp_path) == "output.c2pa.key: key.pem is not a private key in PEM"
    write_key(tmp_path / "key.pem", ec.generate_private_key(ec.SECP256K1()))
    assert "no key that C2PA signs with" in said(tmp_path)


def test_a_self_signed_certificate_is_refused(tmp_path: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    (tmp_path / "chain.pem").write_bytes(certificate(key, key, True).public_bytes(PEM))
    write_key(tmp_path / "key.pem", key)
    assert "cannot sign" in said(tmp_path)


def test_without_the_extra_its_command_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "c2pa", None)
    assert said(tmp_path) == "output.c2pa needs the package c2pa-python: pip install 'sdbatch[c2pa]'"


def test_a_whole_run(run_job: Callable[..., api.RunReport], tmp_path: Path) -> None:
    identity(tmp_path)
    job: dict[str, Any] = {"name": "signed", "prompt": "a star", "steps": 1}
    run_job(job, tmp_path / "run")
    signing = {**job, "output": {"c2pa": {"cert": "chain.pem", "key": "key.pem"}}}
    with pytest.raises(RefusedError, match=r"output\.c2pa was False, now True, and 1 rows .* --rewrite"):
        run_job(signing, tmp_path / "run")
    before = pd.read_parquet(tmp_path / "run" / "manifest")
    assert run_job(signing, tmp_path / "run", rewrite=True).made == 1
    after = pd.read_parquet(tmp_path / "run" / "manifest")
    assert after.pixel_sha256[0] == before.pixel_sha256[0] and after.file_sha256[0] != before.file_sha256[0]
    assert read((tmp_path / "run" / after.path[0]).read_bytes(), "png")[0] == "Valid"
    # It goes on by its own job.yaml, which names the key and never holds it.
    assert api.run(api.job(tmp_path / "run"), api.RunOptions(), _Silent()).made == 0
    secret = (tmp_path / "key.pem").read_bytes().splitlines()[1]
    for path in (tmp_path / "run").rglob("*"):
        assert not path.is_file() or secret not in path.read_bytes()


class _Silent:
    def begin(self, *given: Any) -> None: ...
    def rows(self, count: int) -> None: ...
    def result(self, result: Any) -> None: ...
    def say(self, text: str) -> None: ...
