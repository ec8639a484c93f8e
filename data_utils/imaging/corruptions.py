"""Seven ways in which an endoscopic frame goes bad, each in five severities, to measure how far a detector bears them.

Each acts on the frame as the detector sees it, uint8 RGB of the input side. What they stand for, and by how much:

blur            The lens out of focus: every point becomes a disc. Radius as a share of the frame's side.
glare           The lamp mirrored in wet mucosa: saturated oval spots, each with a halo. Number of spots; a spot's axes
                are 1 to 4 % of the side.
under_exposure  Too little light: linear light times 2^-EV, then rounded to 8 bits as a camera would. EV in stops.
over_exposure   Too much light: linear light times 2^EV, clipped at white.
noise           The sensor: shot noise, whose variance grows with the signal, and read noise, which is everywhere.
                Standard deviations at white and at black, of full scale. Laid over display values: a stand-in.
jpeg            Lossy storage and video links: encoded at this JPEG quality (chroma halved) and decoded.
colour_cast     A wrong white balance: red and blue gains drift apart by EV stops in linear light, towards warm in half
                of the frames and towards cold in the others.

What is drawn at random follows from the frame's stem and the kind alone, so that a severity is more of what the one
below it did to this frame: the same spots and further ones, the same noise field scaled up.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from data_utils.errors import InputError

RgbImage = NDArray[np.uint8]
SEVERITIES = (1, 2, 3, 4, 5)
BLUR_RADIUS = (0.008, 0.012, 0.016, 0.022, 0.03)  # of the side: 5 to 19 px of 640
GLARE_SPOTS = (2, 4, 7, 11, 16)
GLARE_AXES = (0.01, 0.04)  # of the side, half-axes of a spot
UNDER_EV = (0.5, 1.0, 1.75, 2.5, 3.5)
OVER_EV = (0.3, 0.6, 1.0, 1.5, 2.0)
NOISE = ((0.04, 0.01), (0.08, 0.02), (0.12, 0.03), (0.18, 0.045), (0.26, 0.065))  # (shot at white, read)
JPEG_QUALITY = (40, 25, 15, 9, 5)
CAST_EV = (0.25, 0.5, 0.8, 1.2, 1.7)
PARAMETERS: dict[str, Any] = {
    "blur": BLUR_RADIUS,
    "glare": (GLARE_SPOTS, GLARE_AXES),
    "under_exposure": UNDER_EV,
    "over_exposure": OVER_EV,
    "noise": NOISE,
    "jpeg": JPEG_QUALITY,
    "colour_cast": CAST_EV,
}


def corrupt(image: RgbImage, kind: str, severity: int, stem: str) -> RgbImage:
    """Return `image`, uint8 [H, W, 3] RGB, corrupted: same shape and type, the same bytes for the same arguments.

    kind: one of CORRUPTIONS. severity: 1 to 5, or 0 for a copy of the frame as it is. stem: the frame's name, from
    which all that is random is drawn. Raises InputError for another kind or severity.
    """
    if kind not in CORRUPTIONS:
        raise InputError(f"corruption '{kind}': known are {', '.join(CORRUPTIONS)}")
    if severity not in (0, *SEVERITIES):
        raise InputError(f"severity {severity}: it goes from 1 to 5, 0 being the clean frame")
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(f"an image must be uint8 [H, W, 3], got {image.dtype} {list(image.shape)}")
    if severity == 0:
        return image.copy()
    rng = np.random.default_rng(zlib.crc32(f"{kind} {stem}".encode()))
    return CORRUPTIONS[kind](image, severity - 1, rng)


def _blur(image: RgbImage, step: int, rng: np.random.Generator) -> RgbImage:
    kernel = _disc(BLUR_RADIUS[step] * max(image.shape[:2]))
    return _bytes(cv2.filter2D(image.astype(np.float32), -1, kernel, borderType=cv2.BORDER_REFLECT_101))


def _disc(radius: float, fine: int = 9) -> NDArray[np.float32]:
    """Return a disc's share of each pixel, summing to 1; the edge counts in steps of a ninth of a pixel."""
    reach = int(np.ceil(radius - 0.5)) if radius > 0.5 else 0
    grid = (np.arange((2 * reach + 1) * fine) + 0.5) / fine - (reach + 0.5)
    inside = (grid[:, None] ** 2 + grid**2 <= radius**2).astype(np.float32)
    size = 2 * reach + 1
    kernel = inside.reshape(size, fine, size, fine).sum(axis=(1, 3))
    return kernel / kernel.sum() if kernel.sum() else np.ones((1, 1), dtype=np.float32)


def _glare(image: RgbImage, step: int, rng: np.random.Generator) -> RgbImage:
    height, width = image.shape[:2]
    spots = rng.uniform(size=(max(GLARE_SPOTS), 5))[: GLARE_SPOTS[step]]  # drawn in one go: fewer are the first of more
    y, x = np.mgrid[:height, :width].astype(np.float32)
    dark = np.ones((height, width), dtype=np.float32)  # share of each pixel that is not lit up
    low, high = (share * max(height, width) for share in GLARE_AXES)
    for across, down, long_axis, short_axis, turn in spots:
        dx, dy = x - across * width, y - down * height
        cos, sin = np.cos(np.pi * turn), np.sin(np.pi * turn)
        a, b = low + (high - low) * long_axis, low + (high - low) * short_axis
        distance = np.sqrt(((cos * dx + sin * dy) / a) ** 2 + ((cos * dy - sin * dx) / b) ** 2)  # 1 on the spot's edge
        core, halo = np.clip((1.2 - distance) / 0.4, 0, 1), 0.5 * np.exp(-((distance / 2) ** 2))
        dark *= (1 - core) * (1 - halo)
    lit = (1 - dark)[..., None]
    return _bytes(image * (1 - lit) + 255 * lit)


def _under_exposure(image: RgbImage, step: int, rng: np.random.Generator) -> RgbImage:
    return _times(image, np.full(3, 2.0 ** -UNDER_EV[step]))


def _over_exposure(image: RgbImage, step: int, rng: np.random.Generator) -> RgbImage:
    return _times(image, np.full(3, 2.0 ** OVER_EV[step]))


def _noise(image: RgbImage, step: int, rng: np.random.Generator) -> RgbImage:
    shot, read = NOISE[step]
    signal = image.astype(np.float32) / 255
    spread = np.sqrt(shot**2 * signal + read**2)
    return _bytes(255 * (signal + spread * rng.standard_normal(image.shape, dtype=np.float32)))


def _jpeg(image: RgbImage, step: int, rng: np.random.Generator) -> RgbImage:
    options = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY[step]]
    encoded = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), options)[1]
    decoded = cv2.imdecode(encoded, cv2.IMREAD_COLOR)
    assert decoded is not None
    return np.asarray(cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB), dtype=np.uint8)


def _colour_cast(image: RgbImage, step: int, rng: np.random.Generator) -> RgbImage:
    half = CAST_EV[step] / 2 * (1 if rng.random() < 0.5 else -1)
    return _times(image, np.array([2.0**half, 1.0, 2.0**-half]))


def _times(image: RgbImage, gains: NDArray[np.floating]) -> RgbImage:
    """Multiply linear light by a gain for each channel; display values follow sRGB (IEC 61966-2-1)."""
    shown = np.arange(256) / 255
    light = np.where(shown <= 0.04045, shown / 12.92, ((shown + 0.055) / 1.055) ** 2.4)
    scaled = np.clip(light[:, None] * gains, 0, 1)
    table = np.where(scaled <= 0.0031308, 12.92 * scaled, 1.055 * scaled ** (1 / 2.4) - 0.055)
    table = _bytes(255 * table)
    return np.stack([table[image[..., channel], channel] for channel in range(3)], axis=-1)


def _bytes(values: Any) -> RgbImage:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


CORRUPTIONS: dict[str, Callable[[RgbImage, int, np.random.Generator], RgbImage]] = {
    "blur": _blur,
    "glare": _glare,
    "under_exposure": _under_exposure,
    "over_exposure": _over_exposure,
    "noise": _noise,
    "jpeg": _jpeg,
    "colour_cast": _colour_cast,
}
