"""Copies of images without what they say about the patient and the device: EXIF, XMP, IPTC, comments, thumbnails.

JPEG and PNG keep their compressed pixels, byte for byte; only the blocks around them are sorted out. What decides how
the picture looks stays: the colour profile, Adobe's colour transform, gamma, and the EXIF orientation, alone in a new
EXIF block. Every other kind, and an animated PNG, is decoded and written as PNG, upright: `decode_bgr` gives the same.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

from data_utils.imaging.header import ORIENTATION_TAG, jpeg_blocks, parse_header
from data_utils.imaging.images import decode_bgr, encode_image

PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
# Pixels, palette, transparency, and how to show them. Text, time, EXIF and private chunks are not among them.
PNG_KEPT = frozenset({
    b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND", b"gAMA", b"cHRM", b"sRGB", b"iCCP", b"cICP", b"sBIT", b"bKGD", b"pHYs",
})  # fmt: skip
# Each JPEG kind's first suffix is written when a file's name says something else than its bytes.
_SUFFIXES = {"JPEG": (".jpg", ".jpeg", ".jpe", ".jfif"), "PNG": (".png",)}
_COMMENT = 0xFE
_APPS = range(0xE0, 0xF0)
# The application blocks that stay, by number: what they begin with, and how many bytes of theirs are kept.
_APPS_KEPT = {
    0xE0: (b"JFIF\0", 12),  # version and pixel density; a thumbnail may follow, made before a name was blacked out
    0xE2: (b"ICC_PROFILE\0", None),
    0xEE: (b"Adobe", None),  # says how CMYK and RGB were stored
}


def strip_metadata(data: bytes, where: str | Path) -> tuple[bytes, str]:
    """Return the image's bytes without metadata, and the suffix for its name; `where` (its path) is named in errors.

    The suffix is that of `where` if it fits the bytes returned, else ".jpg" or ".png". What follows the end of the
    picture is left out. The displayed frame, as `images.decode_bgr` gives it, is the same to the last bit. Raises
    UnreadableImage as `decode_bgr` does: the whole picture is decoded to find damage.
    """
    bgr = decode_bgr(data, where).bgr
    header = parse_header(data, where)
    if header.kind == "JPEG":
        stripped = b"".join(_jpeg_parts(data, where, header.orientation))
    elif header.kind == "PNG" and b"acTL" not in data[: data.find(b"IDAT")]:
        stripped = b"".join(_png_parts(data, header.orientation))
    else:
        return encode_image(bgr, ".png"), ".png"
    suffix, fitting = Path(where).suffix, _SUFFIXES[header.kind]
    return stripped, suffix if suffix.lower() in fitting else fitting[0]


def orientation_block(orientation: int) -> bytes:
    """Return an EXIF block (a TIFF directory) that holds the orientation 1..8 and nothing else."""
    short = 3  # TIFF's number for 16-bit values
    return struct.pack(">2sHIHHHIHHI", b"MM", 42, 8, 1, ORIENTATION_TAG, short, 1, orientation, 0, 0)


def _jpeg_parts(data: bytes, where: str | Path, orientation: int) -> Iterator[bytes]:
    """Yield the parts of a whole JPEG file that stay, from its start marker to its first end marker."""
    yield data[:2]
    pending = b"" if orientation == 1 else _block(0xE1, b"Exif\0\0" + orientation_block(orientation))
    for marker, start, end in jpeg_blocks(data, where):
        if marker != 0xE0:  # the JFIF block, where there is one, must stay first
            yield pending
            pending = b""
        yield _kept(marker, data[start:end])


def _kept(marker: int, block: bytes) -> bytes:
    """Return what stays of one JPEG block (marker, length and content)."""
    if marker == _COMMENT:
        return b""
    if marker not in _APPS:
        return block
    start, length = _APPS_KEPT.get(marker, (None, None))
    content = block[4:]
    if start is None or not content.startswith(start):
        return b""
    # Two more zeros say that the thumbnail is 0 x 0 pixels.
    return block if length is None else _block(marker, content[:length] + b"\0\0")


def _block(marker: int, content: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content


def _png_parts(data: bytes, orientation: int) -> Iterator[bytes]:
    """Yield the parts of a whole PNG file that stay."""
    yield PNG_MAGIC
    position, kind = len(PNG_MAGIC), b""
    while kind != b"IEND":
        end = position + 12 + int.from_bytes(data[position : position + 4], "big")
        kind = data[position + 4 : position + 8]
        if kind in PNG_KEPT:
            yield data[position:end]
        if kind == b"IHDR" and orientation != 1:
            content = b"eXIf" + orientation_block(orientation)
            yield struct.pack(">I", len(content) - 4) + content + struct.pack(">I", zlib.crc32(content))
        position = end
