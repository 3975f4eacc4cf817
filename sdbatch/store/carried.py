"""Every text that a picture file carries, of bounded size, whoever wrote it."""

from __future__ import annotations

import io
import zlib
from pathlib import Path
from typing import BinaryIO

from PIL import Image

from sdbatch.errors import InputError
from sdbatch.sources import files
from sdbatch.store import images

TEXT_BYTES = 4 << 20
"""Most bytes of all the texts of a picture together, unpacked."""
FILE_BYTES = 256 << 20
"""Largest JPEG or WebP file that is looked into; a PNG's chunks are looked at one by one."""
_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_CHUNKS = 100_000
_TAGS = (0x010E, 0x010F, 0x0110)  # ImageDescription, Make, Model: ComfyUI's WebP has `prompt:{...}` in one of them


def texts(path: Path) -> dict[str, str]:
    """The texts of a PNG (tEXt, zTXt, iTXt), JPEG or WebP (EXIF, XMP) file, by keyword; the pixels are not looked at.

    A file that is cut short gives what stands before the cut.

    Raises:
        InputError: it cannot be read, is another kind of file, or its texts are too large or broken.
    """
    with files.opened(path) as file:
        head = file.read(12)
        if head.startswith(_SIGNATURE):
            file.seek(len(_SIGNATURE))
            return _of_png(file, path)
        if not (head.startswith(b"\xff\xd8\xff") or (head[:4] == b"RIFF" and head[8:] == b"WEBP")):
            raise InputError(f"{files.show(path)}: is not a PNG, JPEG or WebP file")
        file.seek(0)
        data = file.read(FILE_BYTES + 1)
    if len(data) > FILE_BYTES:
        raise InputError(f"{files.show(path)}: is larger than {FILE_BYTES >> 20} MiB")
    found = _of_exif(data)
    if sum(map(len, found.values())) > TEXT_BYTES:
        raise _too_large(path)
    return found


def lossless(path: Path) -> bool:
    """Whether a file of these kinds holds its pixels as they were made."""
    with files.opened(path) as file:
        head = file.read(12)
        if head[:4] != b"RIFF":
            return head.startswith(_SIGNATURE)
        while len(chunk := file.read(8)) == 8:
            if chunk[:4] in (b"VP8L", b"VP8 "):
                return chunk[:4] == b"VP8L"
            size = int.from_bytes(chunk[4:], "little")
            file.seek(size + size % 2, io.SEEK_CUR)
    return False


def _of_png(file: BinaryIO, path: Path) -> dict[str, str]:
    found: dict[str, str] = {}
    room = TEXT_BYTES
    for _ in range(_CHUNKS):
        head = file.read(8)
        size, kind = int.from_bytes(head[:4], "big"), head[4:]
        if len(head) < 8 or kind == b"IEND":
            break
        if kind not in (b"tEXt", b"zTXt", b"iTXt"):
            file.seek(size + 4, io.SEEK_CUR)
            continue
        if size > TEXT_BYTES:
            raise _too_large(path)
        data = file.read(size)
        if len(data) < size:
            break
        file.seek(4, io.SEEK_CUR)
        try:
            keyword, text = _text(kind, data, room)
        except (zlib.error, ValueError) as error:
            raise InputError(f"{files.show(path)}: a text in it is broken: {files.show(str(error))}") from error
        room -= len(text)
        if room < 0:
            raise _too_large(path)
        found.setdefault(keyword, text)
    return found


def _text(kind: bytes, data: bytes, room: int) -> tuple[str, str]:
    """One text chunk (PNG specification, 11.3.3); of a packed text no more than fits is unpacked."""
    key, _, rest = data.partition(b"\0")
    keyword = key.decode("latin-1")
    if kind == b"tEXt":
        return keyword, rest.decode("latin-1")
    if kind == b"zTXt":
        return keyword, _unpacked(rest[1:], room).decode("latin-1")
    packed = rest[:1] == b"\1"
    raw = rest[2:].split(b"\0", 2)[-1]  # after the language and the translated keyword
    return keyword, (_unpacked(raw, room) if packed else raw).decode("utf-8", "replace")


def _unpacked(data: bytes, room: int) -> bytes:
    return zlib.decompressobj().decompress(data, room + 1)


def _of_exif(data: bytes) -> dict[str, str]:
    read = images.read_texts(data)
    known = {"parameters": read.parameters, "sdbatch": read.sdbatch} if read else {}
    found = {key: text for key, text in known.items() if text}
    try:
        with Image.open(io.BytesIO(data), formats=("WEBP", "JPEG")) as image:
            exif = image.getexif()
            tags = [exif.get(tag) for tag in _TAGS]
    except Exception:  # broken EXIF raises whatever its parser meets, and says nothing then
        return found
    for text in tags:
        key, colon, value = text.partition(":") if isinstance(text, str) else ("", "", "")
        if colon and key in ("prompt", "workflow"):
            found.setdefault(key, value)
    return found


def _too_large(path: Path) -> InputError:
    return InputError(f"{files.show(path)}: its texts are larger than {TEXT_BYTES >> 20} MiB")
