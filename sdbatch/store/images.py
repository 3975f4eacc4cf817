"""Pixels to the bytes of a picture file, with the texts that say how it was made, and back to those texts.

Where the texts stand, so that other tools find them:

    PNG   text chunks `parameters` and `sdbatch`: tEXt, or iTXt for text outside Latin-1
    WebP  EXIF: `parameters` in UserComment (`UNICODE\\0` and UTF-16-BE), the JSON in ImageDescription
    JPEG  the same; but an EXIF segment ends at 64 kB, so the JSON, and then `parameters` too, moves to
          an Extended XMP packet (XMP specification, part 3, 1.1.3.1), which has no such end

Nothing is cut and no length is refused.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import struct
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree
from xml.sax.saxutils import quoteattr

import numpy as np
from numpy.typing import NDArray
from PIL import Image, JpegImagePlugin, PngImagePlugin

from sdbatch.errors import RowError
from sdbatch.spec.schema import SAVED
from sdbatch.store import png

JPEG_QUALITY = 92

_BESIDE = re.compile(rf"(.+)\.(?:{'|'.join(SAVED)})\d*\.(?:png|npy)", re.DOTALL)
LATENTS = "latents"
_MAX_SIDE = {"png": 2**31 - 1, "webp": 16383, "jpeg": 65500}  # pixels; libjpeg's own limit is below the format's
_EXIF_IFD, _USER_COMMENT, _IMAGE_DESCRIPTION = 0x8769, 0x9286, 0x010E
_UNICODE, _ASCII = b"UNICODE\0", b"ASCII\0\0\0"
_EXIF_ROOM = 65533 - 5  # a segment's two length bytes are counted; Pillow adds its own few
_XMP, _EXTENSION = b"http://ns.adobe.com/xap/1.0/\0", b"http://ns.adobe.com/xmp/extension/\0"
_EXTENSION_CHUNK = 65000  # bytes; the specification allows up to about 65,400
_RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
_XMP_NOTE = "http://ns.adobe.com/xmp/note/"
_OWN = "https://sdbatch.invalid/ns/1.0/"  # a name, not an address


@dataclass(frozen=True)
class Texts:
    """What a picture says of itself; an empty text is one that is not there.

    Attributes:
        parameters: AUTOMATIC1111's text.
        sdbatch: JSON.
    """

    parameters: str
    sdbatch: str


def encode(pixels: NDArray[np.uint8], format: str, quality: int | None, texts: Texts) -> bytes:
    """The bytes of a picture file.

    Args:
        pixels: (h, w, 3) uint8 RGB.
        format: png (lossless), webp (lossless unless quality is below 100), or jpeg (never lossless).
        quality: 1 to 100; None is 100 for webp and 92 for jpeg; png has no use for it.
        texts: a lone surrogate, which no file format can hold, becomes `?`.

    Raises:
        RowError: a side is longer than the format allows.
        ValueError: pixels are of another shape or dtype, or there is no such format.
    """
    _check(pixels)
    if format not in _MAX_SIDE:
        raise ValueError(f"no such format: {format!r}; one of {', '.join(_MAX_SIDE)}")
    height, width = pixels.shape[:2]
    if max(height, width) > _MAX_SIDE[format]:
        raise RowError(f"{width} x {height} is too large for {format}, which ends at {_MAX_SIDE[format]} pixels a side")
    texts = Texts(_storable(texts.parameters), _ascii_json(_storable(texts.sdbatch)))
    if format == "png":
        named = {"parameters": texts.parameters, "sdbatch": texts.sdbatch}
        return png.encode(pixels, {keyword: text for keyword, text in named.items() if text})
    image = Image.fromarray(np.ascontiguousarray(pixels))
    return _encode_webp(image, quality, texts) if format == "webp" else _encode_jpeg(image, quality, texts)


def decode(data: bytes) -> NDArray[np.uint8]:
    """The pixels of a picture file that sdbatch wrote, (h, w, 3) uint8.

    Raises:
        Exception: whatever Pillow raises over a broken file.
    """
    with Image.open(io.BytesIO(data)) as image:
        image.load()
        return np.asarray(image.convert("RGB"))


def beside(path: str, name: str) -> str:
    """Where what `output.save` names goes: `a/b.webp`, `depth` → `a/b.depth.png`; latents are an .npy."""
    return f"{path.rpartition('.')[0]}.{name}.{'npy' if name == LATENTS else 'png'}"


def beside_which(path: str) -> str | None:
    """The picture, without its extension, that such a file stands beside; None where the name is no such file's."""
    match = _BESIDE.fullmatch(path)
    return match[1] if match else None


def plain(name: str, values: NDArray[Any]) -> bytes:
    """The file of what `output.save` names: of latents NumPy's own format, else a PNG with no texts.

    Args:
        values: (h, w) uint8 or uint16, or (h, w, 3) uint8; latents (channels, h, w) floats.
    """
    if name != LATENTS:
        return png.encode(values)
    data = io.BytesIO()
    np.save(data, values, allow_pickle=False)
    return data.getvalue()


def check_beside(path: str, data: bytes) -> None:
    """Read such a file to its end.

    Raises:
        ValueError, OSError: it is torn.
    """
    if path.endswith(".npy"):
        np.load(io.BytesIO(data), allow_pickle=False)
    else:
        decode(data)


def read_texts(data: bytes) -> Texts | None:
    """The texts in a PNG, WebP or JPEG file, from sdbatch or from any tool with AUTOMATIC1111's convention.

    Returns:
        None where the bytes are no such picture, or hold neither text.
    """
    try:
        with Image.open(io.BytesIO(data), formats=("PNG", "WEBP", "JPEG")) as image:
            if isinstance(image, PngImagePlugin.PngImageFile):
                texts = _read_png(image)
            else:
                texts = _read_exif(image)
                if isinstance(image, JpegImagePlugin.JpegImageFile):
                    texts = _with_extension(image, texts)
    except (OSError, SyntaxError, ValueError, KeyError, TypeError, struct.error, Image.DecompressionBombError):
        return None  # what Pillow and the parsers raise over files that are broken or of another kind
    return texts if texts.parameters or texts.sdbatch else None


def pixel_sha256(pixels: NDArray[np.uint8]) -> str:
    """The sha256, in hex, of (h, w, 3) uint8 RGB in row-major order.

    Raises:
        ValueError: pixels are of another shape or dtype.
    """
    _check(pixels)
    return hashlib.sha256(np.ascontiguousarray(pixels).data).hexdigest()


def _check(pixels: NDArray[np.uint8]) -> None:
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or 0 in pixels.shape:
        raise ValueError(f"pixels must be (h, w, 3) uint8, not {pixels.shape} {pixels.dtype}")


def _storable(text: str) -> str:
    return text.encode("utf-8", "replace").decode("utf-8")


def _ascii_json(text: str) -> str:
    """The same JSON in ASCII, which is all that EXIF's ImageDescription holds: only strings have anything else."""
    return re.sub(r"[^\x00-\x7f]", lambda match: json.dumps(match.group())[1:-1], text)


# --- PNG ---


def _read_png(image: PngImagePlugin.PngImageFile) -> Texts:
    info: dict[Any, Any] = image.info
    if not ("parameters" in info or "sdbatch" in info):
        info = dict(image.text)  # other tools may put them after the pixels, which are then decoded
    return Texts(*(str(info.get(keyword, "")) for keyword in ("parameters", "sdbatch")))


# --- WebP and JPEG ---


def _encode_webp(image: Image.Image, quality: int | None, texts: Texts) -> bytes:
    buffer = io.BytesIO()
    exif = _exif(texts)
    if quality is None or quality >= 100:
        image.save(buffer, "WEBP", lossless=True, method=0, exif=exif)
    else:
        image.save(buffer, "WEBP", quality=quality, exif=exif)
    return buffer.getvalue()


def _encode_jpeg(image: Image.Image, quality: int | None, texts: Texts) -> bytes:
    # `parameters` keeps its place longest, because other tools look for it only there.
    in_exif = Texts("", "")
    for choice in (texts, Texts(texts.parameters, ""), Texts("", texts.sdbatch)):
        if len(_exif(choice)) <= _EXIF_ROOM:
            in_exif = choice
            break
    rest = Texts(texts.parameters if not in_exif.parameters else "", texts.sdbatch if not in_exif.sdbatch else "")
    buffer = io.BytesIO()
    quality = JPEG_QUALITY if quality is None else quality
    image.save(buffer, "JPEG", quality=quality, subsampling=0, exif=_exif(in_exif))
    data = buffer.getvalue()
    return _after_application_segments(data, _extension(rest)) if rest != Texts("", "") else data


def _exif(texts: Texts) -> bytes:
    exif = Image.Exif()
    if texts.sdbatch:
        exif[_IMAGE_DESCRIPTION] = texts.sdbatch
    if texts.parameters:
        exif.get_ifd(_EXIF_IFD)[_USER_COMMENT] = _UNICODE + texts.parameters.encode("utf-16-be")
    return exif.tobytes() if texts.parameters or texts.sdbatch else b""


def _read_exif(image: Image.Image) -> Texts:
    exif = image.getexif()
    comment = exif.get_ifd(_EXIF_IFD).get(_USER_COMMENT, b"")
    parameters = ""
    if isinstance(comment, bytes) and comment.startswith(_UNICODE):
        parameters = comment[len(_UNICODE) :].decode("utf-16-be")
    elif isinstance(comment, bytes) and comment.startswith(_ASCII):
        parameters = comment[len(_ASCII) :].decode("ascii", "replace")
    description = exif.get(_IMAGE_DESCRIPTION, "")
    # Cameras and editors write prose there.
    return Texts(parameters, description if isinstance(description, str) and description.startswith("{") else "")


# --- Extended XMP ---


def _extension(texts: Texts) -> bytes:
    """APP1 segments: a main packet that names the extension by its MD5, and the extension in chunks."""
    # As JSON strings, because XML has no way to write control characters.
    own = {"own:parameters": json.dumps(texts.parameters), "own:sdbatch": json.dumps(texts.sdbatch)}
    packet = _packet({"xmlns:own": _OWN, **own})
    name = hashlib.md5(packet, usedforsecurity=False).hexdigest().upper()
    segments = [_XMP + _packet({"xmlns:xmpNote": _XMP_NOTE, "xmpNote:HasExtendedXMP": name})]
    for start in range(0, len(packet), _EXTENSION_CHUNK):
        head = _EXTENSION + name.encode() + struct.pack(">II", len(packet), start)
        segments.append(head + packet[start : start + _EXTENSION_CHUNK])
    return b"".join(b"\xff\xe1" + struct.pack(">H", len(segment) + 2) + segment for segment in segments)


def _packet(attributes: dict[str, str]) -> bytes:
    listed = " ".join(f"{name}={quoteattr(value)}" for name, value in attributes.items())
    rdf = f'<rdf:RDF xmlns:rdf="{_RDF}"><rdf:Description rdf:about="" {listed}/></rdf:RDF>'
    return f'<x:xmpmeta xmlns:x="adobe:ns:meta/">{rdf}</x:xmpmeta>'.encode()


def _with_extension(image: JpegImagePlugin.JpegImageFile, texts: Texts) -> Texts:
    """Fill in what EXIF does not hold."""
    parts = [content for _, content in image.applist if content.startswith(_EXTENSION)]
    head = len(_EXTENSION) + 32 + 8
    parts.sort(key=lambda part: int.from_bytes(part[head - 4 : head]))
    packet = b"".join(part[head:] for part in parts)
    if _OWN.encode() not in packet or b"<!" in packet:  # no entities: they are how XML is made to explode
        return texts
    described = ElementTree.fromstring(packet).find(f".//{{{_RDF}}}Description")
    found = described.attrib if described is not None else {}
    parameters, sdbatch = (json.loads(found.get(f"{{{_OWN}}}{key}", '""')) for key in ("parameters", "sdbatch"))
    return Texts(texts.parameters or str(parameters), texts.sdbatch or str(sdbatch))


def _after_application_segments(data: bytes, segments: bytes) -> bytes:
    at = 2  # past the marker that starts the file
    while data[at] == 0xFF and 0xE0 <= data[at + 1] <= 0xEF:
        at += 2 + int(struct.unpack(">H", data[at + 2 : at + 4])[0])
    return data[:at] + segments + data[at:]
