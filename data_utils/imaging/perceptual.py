"""The perceptual hash: 64 bits that stay nearly the same when a picture is recompressed, resized or brightened."""

from __future__ import annotations

import re

import cv2
import numpy as np
from numpy.typing import NDArray

HASH_BITS = 64
_SIDE = 32  # pixels of the thumbnail the transform is taken of
_BAND = 8  # lowest frequencies kept in each direction


def perceptual_hash(grey: NDArray[np.uint8]) -> str:
    """Hash a grey frame, uint8 [H, W]: 16 hex digits, one bit for each of the 8x8 lowest frequencies of its cosine
    transform, set where the coefficient is above the median.
    """
    thumbnail = cv2.resize(grey, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA).astype(np.float32)
    low = cv2.dct(thumbnail)[:_BAND, :_BAND].ravel()
    low[0] = 0  # the mean grey says nothing about the picture
    return np.packbits(low > np.median(low)).tobytes().hex()


def differing_bits(a: str, b: str) -> int:
    """Return in how many of the 64 bits two hashes differ."""
    return (int(a, 16) ^ int(b, 16)).bit_count()


def is_perceptual_hash(value: object) -> bool:
    """Whether a value read from a file is 16 lower-case hex digits."""
    return isinstance(value, str) and re.fullmatch(r"[0-9a-f]{16}", value) is not None
