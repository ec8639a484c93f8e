"""Lesions of the demo data: their outlines, relief and look. A lesion changes nothing outside its own mask.

The truth box is read off that mask (`tight_box`), never from the numbers the lesion was drawn with.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from data_utils.larynx.scene import NOISE_SIDE, Camera, Field, Palette, blend, noise_tile

Mask = NDArray[np.bool_]

# Square root of the box area, pixels; zoom changes it by 8 %, which the gaps between the ranges absorb.
SIZE_RANGES = {"small": (26.0, 30.5), "medium": (42.0, 90.0), "large": (102.0, 240.0)}
MIN_CONTRAST = 0.42  # distance in BGR from the mucosa beneath: a smaller one is lost in the low-resolution copy
LARGEST_SHARE = 0.45  # of the frame side: no lesion is wider
SIZE_SHARES = {"small": 0.12, "medium": 0.45, "large": 0.43}


@dataclass(frozen=True)
class Look:
    """How one kind of lesion differs from the mucosa around it."""

    colours: dict[str, float]  # palette entry -> share, mixed over the tissue
    ragged: float  # outline: 0 smooth, 0.3 irregular
    dome: float  # height over half the smaller side
    grain: float  # texture in albedo
    rough: float  # texture in relief, pixels
    speckle: float  # dark dots (vessel loops)
    buds: int = 0  # a cluster of this many domes instead of one


KINDS = {
    "polyp": Look({"red": 0.45, "mucosa": 0.4}, ragged=0.06, dome=0.75, grain=0.06, rough=0.3, speckle=0.1),
    "nodule": Look({"white": 0.35, "fold": 0.5}, ragged=0.05, dome=0.70, grain=0.05, rough=0.2, speckle=0.0),
    "leukoplakia": Look({"white": 0.80}, ragged=0.24, dome=0.14, grain=0.10, rough=1.3, speckle=0.05),
    "papilloma": Look({"fold": 0.45, "red": 0.2}, ragged=0.1, dome=0.7, grain=0.08, rough=0.5, speckle=0.5, buds=14),
    "carcinoma": Look({"red": 0.55, "yellow": 0.2}, ragged=0.22, dome=0.35, grain=0.32, rough=1.8, speckle=0.6),
    "cyst": Look({"yellow": 0.60}, ragged=0.04, dome=0.65, grain=0.04, rough=0.1, speckle=0.0),
}
KINDS_BY_SIZE = {
    "small": ("polyp", "nodule", "leukoplakia", "cyst"),
    "medium": ("polyp", "nodule", "leukoplakia", "papilloma", "carcinoma", "cyst"),
    "large": ("polyp", "leukoplakia", "papilloma", "carcinoma"),
}


@dataclass(frozen=True)
class Lesion:
    """One lesion of one patient; `size_px` is (width, height) of its box at zoom 1 of that patient."""

    kind: str
    seed: int
    place_uv: tuple[float, float]
    size_px: tuple[float, float]
    fade: float  # 1 is full colour, less lets the mucosa through


def draw_lesion(rng: np.random.Generator, size: str, place_uv: tuple[float, float]) -> Lesion:
    """Draw a lesion of the size bucket `size` (small, medium, large) at a larynx position."""
    low, high = SIZE_RANGES[size]
    side, aspect = rng.uniform(low, high), rng.uniform(0.72, 1.38)
    kind = str(rng.choice(KINDS_BY_SIZE[size]))
    size_px = (side * np.sqrt(aspect), side / np.sqrt(aspect))
    return Lesion(kind, int(rng.integers(2**31)), place_uv, size_px, rng.uniform(0.88, 1.0))


def lesion_shape(lesion: Lesion, width: int, height: int) -> tuple[Mask, Field]:
    """Rasterise the outline: mask [height, width] touching all four sides, and its relief in [0, 1]."""
    rng = np.random.default_rng(lesion.seed)
    look = KINDS[lesion.kind]
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    centres = np.array([[0.0, 0.0]])
    radii = np.array([1.0])
    if look.buds:
        around = rng.uniform(0, 2 * np.pi, look.buds)
        centres = np.stack([np.cos(around), np.sin(around)], 1) * np.sqrt(rng.uniform(0.02, 1, (look.buds, 1)))
        radii = rng.uniform(0.28, 0.5, look.buds)
    angles = np.linspace(0, 2 * np.pi, 96, endpoint=False)
    waves = np.arange(2, 9)
    bumps = rng.normal(0, 1.3, len(waves)) / waves**0.8
    outline = 1 + look.ragged * (np.cos(np.outer(angles, waves) + rng.uniform(0, 6.3, len(waves))) @ bumps)
    ring = np.stack([np.cos(angles), np.sin(angles)], 1) * np.clip(outline, 0.45, 1.6)[:, None]
    paths = centres[:, None] + radii[:, None, None] * ring
    low, high = paths.min((0, 1)), paths.max((0, 1))
    to_pixels = (np.array([width, height]) - 1) / (high - low)
    mask, relief = np.zeros((height, width), np.uint8), np.zeros((height, width), np.float32)
    for centre, radius, path in zip(centres, radii, paths, strict=True):
        cv2.fillPoly(mask, [np.round((path - low) * to_pixels).astype(np.int32)], 1)
        cx, cy = (centre - low) * to_pixels
        away = np.hypot((x - cx) / (radius * to_pixels[0]), (y - cy) / (radius * to_pixels[1]))
        np.maximum(relief, radius * np.sqrt(np.clip(1 - np.square(away), 0, 1)), out=relief)
    return mask.astype(bool), relief * mask


def place_lesion(lesion: Lesion, camera: Camera, zoom: float) -> tuple[tuple[slice, slice], Mask, Field] | None:
    """Put the lesion into the frame: window (rows, columns), mask and relief there; None if its centre is outside."""
    x, y = camera.to_pixels(np.array([lesion.place_uv]))[0]
    limit = LARGEST_SHARE * camera.side
    width, height = (max(6, round(min(extent * zoom, limit))) for extent in lesion.size_px)
    if not (0 < x < camera.side and 0 < y < camera.side):
        return None
    left = min(max(round(x - width / 2), 0), camera.side - width)
    top = min(max(round(y - height / 2), 0), camera.side - height)
    mask, relief = lesion_shape(lesion, width, height)
    return (slice(top, top + height), slice(left, left + width)), mask, relief


def paint_lesion(
    lesion: Lesion, mask: Mask, relief: Field, albedo: Field, height: Field, wetness: Field, palette: Palette
) -> None:
    """Paint one lesion into the windows `albedo` [3, h, w], `height` [h, w] (pixels) and `wetness` [h, w], in place."""
    look = KINDS[lesion.kind]
    rng = np.random.default_rng(lesion.seed + 1)
    rows, columns = mask.shape
    row, column = rng.integers(0, NOISE_SIDE - max(mask.shape), 2)
    grain = noise_tile("grain")[row : row + rows, column : column + columns]
    # One pixel of padding: the distance at the window's own edge must count as an outline too.
    inside = cv2.distanceTransform(np.pad(mask, 1).astype(np.uint8), cv2.DIST_L2, 3)[1:-1, 1:-1]
    half = min(mask.shape) / 2
    share = lesion.fade * np.clip(inside / max(1.5, 0.10 * half), 0, 1)
    target = sum(weight * np.array(getattr(palette, name), np.float32) for name, weight in look.colours.items())
    total = sum(look.colours.values())
    local = np.median(albedo[:, mask], axis=1)
    colour = _apart_from(local, np.asarray(target) + (1 - total) * local, palette)
    dots = np.clip(noise_tile("grain")[column : column + rows, row : row + columns] - 0.9, 0, 1) * look.speckle
    rim = 1 - 0.75 * np.exp(-np.square(inside / max(2.4, 0.16 * half)))
    texture = (1 + look.grain * grain + 0.22 * (relief - 0.5)) * rim
    painted = [texture * (level + dots * (dark - level)) for level, dark in zip(colour, palette.vessel, strict=True)]
    share = np.where(mask, share, 0).astype(np.float32)
    blend(albedo, share, painted)
    beneath = cv2.GaussianBlur(height, (0, 0), max(2.0, half / 2))  # the lesion hides the edges it grew over
    height += share * (beneath - height)
    height += np.where(mask, look.dome * half * relief + look.rough * grain * np.minimum(inside / 3, 1), 0)
    wetness += np.where(mask, 0.05 * look.dome - 0.06 * (look.rough > 1), 0).astype(np.float32)


def _apart_from(tissue: Field, colour: Field, palette: Palette) -> Field:
    """Move `colour` [3] away from the `tissue` [3] it lies on: redder on pale mucosa, paler on dark."""
    missing = MIN_CONTRAST - float(np.linalg.norm(colour - tissue))
    if missing <= 0:
        return colour
    away = np.array(palette.red if tissue.mean() > np.mean(palette.mucosa) else palette.white, np.float32) - tissue
    return colour + missing * away / max(float(np.linalg.norm(away)), 1e-6)


def tight_box(mask: Mask) -> tuple[int, int, int, int] | None:
    """Smallest box (left, top, right, bottom; half-open, pixels) around the mask [H, W]; None for an empty one."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return None
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1
