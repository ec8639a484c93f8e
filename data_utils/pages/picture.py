"""A picture inside a page: a JPEG as data URI, made from pixels alone, so that no metadata of a file comes along."""

from __future__ import annotations

import base64
from dataclasses import dataclass

from data_utils.imaging.images import BgrImage, encode_image

JPEG_QUALITY = 80


@dataclass(frozen=True)
class Picture:
    """A small JPEG. source: data URI; width, height: pixels."""

    source: str
    width: int
    height: int
    alt: str


def jpeg_picture(bgr: BgrImage, alt: str, jpeg_quality: int = JPEG_QUALITY) -> Picture:
    """Encode uint8 BGR [H, W, 3] for a page."""
    encoded = base64.b64encode(encode_image(bgr, ".jpg", jpeg_quality)).decode("ascii")
    return Picture(f"data:image/jpeg;base64,{encoded}", bgr.shape[1], bgr.shape[0], alt)
