"""What an image file's header says: kind, stored size, orientation. No pixel is decoded here.

JPEG headers are parsed by hand, because they are the common case and Pillow takes ten times as long; every other kind
goes through the header parser of the matching Pillow plugin. Files are told apart by their first bytes, not their name.
"""

from __future__ import annotations

import io
import re
import struct
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import BmpImagePlugin, PngImagePlugin, TiffImagePlugin, WebPImagePlugin

from data_utils.errors import InputError

MAX_PIXELS = 2**26  # about 8192 x 8192; more is taken for a pixel bomb
MIN_SIDE = 2  # pixels; a 1x1 image is a placeholder, not a frame
HEADER_BYTES = 1 << 18  # enough for the metadata before the size in nearly every JPEG
ORIENTATION_TAG = 0x0112

# JPEG frame headers; the holes are tables (0xC4, 0xCC) and a reserved code (0xC8).
_START_OF_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_STANDALONE = frozenset(range(0xD0, 0xD9)) | {0x01}
_SEQUENTIAL = (0xC0, 0xC1, 0xC9)  # each scan of theirs holds all 64 coefficients, whatever its header says
_START, _END, _SCAN, _JFIF, _ADOBE = 0xD8, 0xD9, 0xDA, 0xE0, 0xEE
_MARKER = re.compile(rb"\xff[^\x00\xff]")
# In compressed data 0xFF is followed by 0 (a data byte), a restart number or 0xFF (filler); else a block begins.
_NEXT_BLOCK = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
MAX_STRAY = 512  # bytes between two blocks; after more, what looks like a block may be one of a thumbnail
_PLUGINS: dict[bytes, Any] = {
    b"\x89PNG\r\n\x1a\n": PngImagePlugin.PngImageFile,
    b"BM": BmpImagePlugin.BmpImageFile,
    b"II*\0": TiffImagePlugin.TiffImageFile,
    b"MM\0*": TiffImagePlugin.TiffImageFile,
    b"RIFF": WebPImagePlugin.WebPImageFile,
}


class UnreadableImage(InputError):
    """An image that cannot be used: absent, damaged, of an unknown kind, too large or too small. One line."""


@dataclass(frozen=True)
class ImageHeader:
    """Header facts. `width` and `height` are pixels as stored; `orientation` is the EXIF value 1..8."""

    kind: str  # JPEG, PNG, BMP, TIFF or WEBP
    width: int
    height: int
    orientation: int = 1
    mode: str = "RGB"  # Pillow's name of the pixel layout
    frames: int = 1

    @property
    def displayed_size(self) -> tuple[int, int]:
        """(width, height) in pixels after the orientation is applied."""
        return (self.height, self.width) if self.orientation >= 5 else (self.width, self.height)


def parse_header(data: bytes, where: str | Path, max_pixels: int = MAX_PIXELS) -> ImageHeader:
    """Parse the header at the start of `data`; `where` is named in errors.

    Raises UnreadableImage for an unknown kind, a damaged header, a side below MIN_SIDE, or more than `max_pixels`.
    """
    header = _parse_jpeg(data, where) if data[:3] == b"\xff\xd8\xff" else _parse_with_pillow(data, where)
    size = f"{header.width}x{header.height} pixels"
    if min(header.width, header.height) < MIN_SIDE:
        raise UnreadableImage(f"{where}: {size}: too small to be a frame; remove it")
    if header.width * header.height > max_pixels:
        raise UnreadableImage(f"{where}: {size}: more than the {max_pixels} allowed; downscale or remove it")
    return header


def read_header(path: str | Path, max_pixels: int = MAX_PIXELS) -> ImageHeader:
    """Read the header of the file at `path`; raises UnreadableImage as `parse_header` does, or if it cannot be read."""
    try:
        with Path(path).open("rb") as file:
            data = file.read(HEADER_BYTES)
            try:
                return parse_header(data, path, max_pixels)
            except UnreadableImage:
                rest = file.read()
                if not rest:
                    raise
                return parse_header(data + rest, path, max_pixels)  # large metadata before the size
    except OSError as error:
        raise UnreadableImage(f"{path}: cannot be read ({error.strerror or error})") from None


def exif_orientation(block: bytes) -> int:
    """Return the orientation 1..8 stored in an EXIF block (a TIFF directory); 1 where it is absent or damaged."""
    order = {b"II": "<", b"MM": ">"}.get(block[:2])
    if order is None:
        return 1
    try:
        (directory,) = struct.unpack_from(order + "I", block, 4)
        (entries,) = struct.unpack_from(order + "H", block, directory)
        for index in range(entries):
            tag, _, _, value = struct.unpack_from(order + "HHIH", block, directory + 2 + 12 * index)
            if tag == ORIENTATION_TAG:
                return value if 1 <= value <= 8 else 1
    except struct.error:
        return 1  # viewers show a file with a damaged EXIF block unrotated
    return 1


def jpeg_blocks(data: bytes, where: str | Path) -> Iterator[tuple[int, int, int]]:
    """Yield (marker, start, end) of each block of a JPEG after its start marker, up to the end marker, in bytes.

    A scan's block holds its compressed data. Fill bytes, and stray ones as some webcams write, lie between the blocks.
    Raises UnreadableImage where the data ends before the end marker, or more than MAX_STRAY bytes are no block.
    """
    position, marker = 2, 0
    while marker != _END:
        found = _MARKER.search(data, position)
        if found is None:
            raise UnreadableImage(f"{where}: JPEG ends inside its header; replace the file")
        start, marker = found.start(), data[found.start() + 1]
        if start - position > MAX_STRAY or marker == _START:
            raise UnreadableImage(f"{where}: damaged JPEG header at byte {position}; replace the file")
        position = start + 2
        if marker not in _STANDALONE and marker != _END:
            position += max(int.from_bytes(data[position : position + 2], "big"), 2)
        if marker == _SCAN:
            following = _NEXT_BLOCK.search(data, position)
            position = following.start() if following else len(data)
        yield marker, start, position


def mended_jpeg(data: bytes, where: str | Path) -> bytes:
    """Return a JPEG without the oddities that decoders warn of and that touch no pixel; its scans stay byte for byte.

    They are a JFIF revision nobody knows, a sequential scan that claims a part of the spectrum, an unknown Adobe
    transform, damaged colour profiles and other application blocks, and stray bytes between blocks. What a decoder
    says of the result, it says of the pixels. Raises UnreadableImage as `jpeg_blocks` does.
    """
    parts, sequential, components = [data[:2]], False, 3
    for marker, start, end in jpeg_blocks(data, where):
        block = bytearray(data[start:end])
        if marker in _START_OF_FRAME and len(block) > 9:
            sequential, components = marker in _SEQUENTIAL, block[9]
        elif marker == _JFIF and block[4:9] == b"JFIF\0":
            block[9:11] = b"\1\2"
        elif marker == _ADOBE and block[4:9] == b"Adobe" and len(block) > 15:
            block[15] = block[15] if block[15] <= 2 else {3: 1}.get(components, 2)  # what decoders take it for
        elif 0xE0 <= marker <= 0xEF:
            continue
        elif marker == _SCAN and sequential:
            spectrum = 5 + 2 * block[4]
            block[spectrum : spectrum + 3] = b"\0\x3f\0"
        parts.append(bytes(block))
    return b"".join(parts)


def _parse_jpeg(data: bytes, where: str | Path) -> ImageHeader:
    orientation = 1
    for marker, start, end in jpeg_blocks(data, where):
        if marker in _START_OF_FRAME and start + 10 <= len(data):
            bits, height, width, components = struct.unpack_from(">BHHB", data, start + 4)
            return _jpeg_frame(where, bits, width, height, components, orientation)
        if marker in (_END, _SCAN):
            raise UnreadableImage(f"{where}: JPEG without a size before its pixels; replace the file")
        if marker == 0xE1 and data[start + 4 : start + 10] == b"Exif\0\0":
            orientation = exif_orientation(data[start + 10 : end])
    raise AssertionError("jpeg_blocks ends with the end marker, or raises")


def _jpeg_frame(
    where: str | Path, bits: int, width: int, height: int, components: int, orientation: int
) -> ImageHeader:
    mode = {1: "L", 3: "RGB", 4: "CMYK"}.get(components)
    if bits != 8 or mode is None:
        raise UnreadableImage(
            f"{where}: JPEG of {components} components with {bits} bits, expected 1, 3 or 4 with 8; convert it"
        )
    return ImageHeader("JPEG", width, height, orientation, mode)


def _parse_with_pillow(data: bytes, where: str | Path) -> ImageHeader:
    plugin = next((plugin for magic, plugin in _PLUGINS.items() if data.startswith(magic)), None)
    if plugin is None:
        what = "empty file" if not data else "not a JPEG, PNG, BMP, TIFF or WebP image"
        raise UnreadableImage(f"{where}: {what}; replace or remove it")
    try:
        # Pillow warns about odd metadata, which is of no interest here.
        with warnings.catch_warnings(action="ignore"), plugin(io.BytesIO(data)) as image:
            width, height = image.size
            if plugin is TiffImagePlugin.TiffImageFile:
                orientation = image.tag_v2.get(ORIENTATION_TAG, 1)
                orientation = orientation if orientation in range(1, 9) else 1
                if orientation >= 5:
                    width, height = height, width  # this plugin alone reports the displayed size
            else:
                orientation = exif_orientation(image.info.get("exif", b"").removeprefix(b"Exif\0\0"))
            return ImageHeader(image.format, width, height, orientation, image.mode, getattr(image, "n_frames", 1))
    except Exception as error:  # Pillow's parsers raise a dozen kinds of exception on damaged headers
        raise UnreadableImage(f"{where}: damaged image header ({_one_line(error)}); replace the file") from None


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
