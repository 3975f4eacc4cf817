"""Content Credentials (C2PA): a signed statement in a picture file that a model made it.

Needs the package c2pa-python, the extra `sdbatch[c2pa]`. No network is asked: neither for the time nor
for trust, so a reader judges the certificate by its own list.
"""

from __future__ import annotations

import io
import threading
from pathlib import Path
from typing import Any

import numpy as np

from sdbatch import __version__
from sdbatch.errors import StoreError, UsageError
from sdbatch.store import images
from sdbatch.types import Signing

SOURCE = "http://cv.iptc.org/newscodes/digitalsourcetype/"
"""Where IPTC's names of digital source types start."""
_CURVES = {"secp256r1": "es256", "secp384r1": "es384", "secp521r1": "es512"}
_SETTINGS = {  # a thumbnail would be larger than many a picture
    "builder": {"thumbnail": {"enabled": False}},
    "verify": {"remote_manifest_fetch": False, "ocsp_fetch": False},
}


class Signer:
    """Signs picture files; one at a time, from any thread.

    Args:
        signing: the certificate chain and the key, both PEM.
        base: relative paths start here.

    Raises:
        UsageError: the package is not there, or certificate and key cannot sign.
    """

    def __init__(self, signing: Signing, base: Path) -> None:
        try:
            import c2pa
        except ImportError as error:
            raise UsageError("output.c2pa needs the package c2pa-python: pip install 'sdbatch[c2pa]'") from error
        chain, key = _read(base / signing.cert, "cert"), _read(base / signing.key, "key")
        self._c2pa: Any = c2pa
        self._lock = threading.Lock()
        try:
            self._context = c2pa.Context.from_dict(_SETTINGS)
            self._signer = c2pa.Signer.from_info(c2pa.C2paSignerInfo(_algorithm(key, signing.key), chain, key, None))
            self._signed(images.encode(np.zeros((8, 8, 3), np.uint8), "png", None, images.Texts("", "")), "png", SOURCE)
        except c2pa.C2paError as error:
            raise UsageError(f"output.c2pa: {signing.cert} with {signing.key} cannot sign: {error}") from error

    def sign(self, data: bytes, format: str, composite: bool = False) -> bytes:
        """A picture file with a signed statement of where it comes from; pixels and texts stay.

        Args:
            format: png, webp or jpeg.
            composite: whether the model changed a picture that was there, rather than making a new one.

        Raises:
            StoreError: the signature cannot be made.
        """
        source = SOURCE + ("compositeWithTrainedAlgorithmicMedia" if composite else "trainedAlgorithmicMedia")
        try:
            return self._signed(data, format, source)
        except self._c2pa.C2paError as error:
            raise StoreError(f"output.c2pa: a picture cannot be signed: {error}") from error

    def _signed(self, data: bytes, format: str, source: str) -> bytes:
        action = {"action": "c2pa.created", "digitalSourceType": source}
        statement = {
            "claim_generator_info": [{"name": "sdbatch", "version": __version__}],
            "assertions": [{"label": "c2pa.actions.v2", "data": {"actions": [action]}}],
        }
        signed = io.BytesIO()
        with self._lock:
            builder = self._c2pa.Builder(statement, context=self._context)
            builder.sign(self._signer, f"image/{format}", io.BytesIO(data), signed)
        return signed.getvalue()


def _read(path: Path, name: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UsageError(f"output.c2pa.{name}: {path}: {error.strerror or error}") from error


def _algorithm(key: bytes, shown: str) -> str:
    """The signature algorithm that a key is for, as C2PA names it."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

    try:
        loaded = serialization.load_pem_private_key(key, password=None)
    except (ValueError, TypeError) as error:  # the message might quote the key
        why = "is encrypted" if isinstance(error, TypeError) else "is not a private key in PEM"
        raise UsageError(f"output.c2pa.key: {shown} {why}") from None
    if isinstance(loaded, ec.EllipticCurvePrivateKey) and loaded.curve.name in _CURVES:
        return _CURVES[loaded.curve.name]
    if isinstance(loaded, ed25519.Ed25519PrivateKey):
        return "ed25519"
    if isinstance(loaded, rsa.RSAPrivateKey):
        return "ps256"
    raise UsageError(f"output.c2pa.key: {shown} is no key that C2PA signs with: P-256, P-384, P-521, Ed25519 or RSA")
