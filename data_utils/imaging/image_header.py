"""What an image file's header says: kind, stored size, orientation. No pixel is decoded here.

JPEG headers are parsed by hand, because they are the common case and Pillow takes ten times as long; every other kind
goes through the header parser of the matching Pillow plugin. Files are told apart by their first bytes, not their name.
"""

from __future__ import annotations

import io
import struct
import warnings
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


def _parse_jpeg(data: bytes, where: str | Path) -> ImageHeader:
    orientation, position = 1, 2
    try:
        while True:
            while data[position] == 0xFF and data[position + 1] == 0xFF:
                position += 1  # fill bytes before a marker are allowed
            if data[position] != 0xFF:
                raise UnreadableImage(f"{where}: damaged JPEG header at byte {position}; replace the file")
            marker = data[position + 1]
            position += 2
            if marker in _STANDALONE:
                continue
            if marker in _START_OF_FRAME:
                _, bits, height, width, components = struct.unpack_from(">HBHHB", data, position)
                return _jpeg_frame(where, bits, width, height, components, orientation)
            if marker in (0xD9, 0xDA):
                raise UnreadableImage(f"{where}: JPEG without a size before its pixels; replace the file")
            (length,) = struct.unpack_from(">H", data, position)
            if marker == 0xE1 and data[position + 2 : position + 8] == b"Exif\0\0":
                orientation = exif_orientation(data[position + 8 : position + length])
            position += max(length, 2)
    except (IndexError, struct.error):
        raise UnreadableImage(f"{where}: JPEG ends inside its header; replace the file") from None


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
