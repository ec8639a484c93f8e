"""Encoded images for the tests: a textured frame, and whatever layout Pillow can write."""

from __future__ import annotations

import io

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from data_utils.imaging.images import encode_image


def textured(height: int = 120, width: int = 160, seed: int = 0) -> NDArray[np.uint8]:
    noise = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return np.asarray(cv2.GaussianBlur(noise, (0, 0), 2), dtype=np.uint8)


def by_pillow(pixels: NDArray[np.generic] | Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    (pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)).save(buffer, kind, **options)
    return buffer.getvalue()


JPEG = encode_image(textured(), ".jpg", 90)
# Where the entropy-coded data starts.
SCAN = JPEG.index(b"\xff\xda") + 14
DECODED = cv2.imdecode(np.frombuffer(JPEG, np.uint8), cv2.IMREAD_COLOR)


def jpeg_block(data: bytes, marker: int) -> int:
    """Where the first header block of that marker begins."""
    position = 2
    while data[position + 1] != marker:
        position += 2 + int.from_bytes(data[position + 2 : position + 4], "big")
    return position


def put(data: bytes, at: int, content: bytes) -> bytes:
    return data[:at] + content + data[at + len(content) :]


def insert(data: bytes, at: int, content: bytes) -> bytes:
    return data[:at] + content + data[at:]


PROGRESSIVE = by_pillow(textured(), "JPEG", quality=90, progressive=True)
_APP0, _TABLE, _FRAME, _SCAN = (jpeg_block(JPEG, marker) for marker in (0xE0, 0xDB, 0xC0, 0xDA))
_SPECTRUM = _SCAN + 5 + 2 * JPEG[_SCAN + 4]
# JPEGs that decoders warn of and read whole all the same: (the file, the one it equals in pixels).
WARNED_OF = {
    "JFIF 0.02": (put(JPEG, _APP0 + 9, b"\0\2"), JPEG),
    "JFIF 2.01": (put(JPEG, _APP0 + 9, b"\2\1"), JPEG),
    "Se = 0": (put(JPEG, _SPECTRUM + 1, b"\0"), JPEG),
    "Ss = 1": (put(JPEG, _SPECTRUM, b"\1"), JPEG),
    "Ah, Al": (put(JPEG, _SPECTRUM + 2, b"\x11"), JPEG),
    "a zero before the tables": (insert(JPEG, _TABLE, b"\0"), JPEG),
    "zeros before the scan": (insert(JPEG, _SCAN, bytes(8)), JPEG),
    "text before the scan": (insert(JPEG, _SCAN, b"webcam"), JPEG),
    "0xFF00 before the size": (insert(JPEG, _FRAME, b"\xff\0\0"), JPEG),
    "strays between scans": (insert(PROGRESSIVE, PROGRESSIVE.rindex(b"\xff\xda"), b"\0\0"), PROGRESSIVE),
    "two oddities and padding": (
        insert(put(JPEG, _APP0 + 9, b"\2\1"), _SCAN, b"x")[:-2] + bytes(24) + b"\xff\xd9",
        JPEG,
    ),
}
