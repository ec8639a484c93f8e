"""The healthy larynx of the demo data: anatomy, mucosa, vessels, light and the endoscope's camera.

Legend: S side of the square frame in pixels. Larynx coordinates: v runs from the anterior commissure (0) to the
posterior end of the glottis (1), u runs across it, 0 on the midline. Colours are BGR in [0, 1]. Smooth fields are
computed at S // 2 and enlarged; texture, vessels and light are drawn at S, so that a frame holds detail that its
low-resolution copy has lost.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

# float32 [S, S]; colours are planar, [3, S, S], because NumPy is three times faster on whole planes. OpenCV's stubs do
# not tell float32 from other kinds, hence Any.
Field = NDArray[Any]

NOISE_SIDE = 1024
NOISE_SLOPES = {"cloud": 2.3, "grain": 0.9, "white": 0.0}  # amplitude falls with frequency to this power


@dataclass(frozen=True)
class Palette:
    """Tissue colours (BGR, [0, 1]) under one light."""

    mucosa: tuple[float, float, float]
    fold: tuple[float, float, float]
    deep: tuple[float, float, float]
    vessel: tuple[float, float, float]
    white: tuple[float, float, float]
    red: tuple[float, float, float]
    yellow: tuple[float, float, float]


PALETTES = {
    "WL": Palette(
        mucosa=(0.25, 0.28, 0.74), fold=(0.42, 0.52, 0.80), deep=(0.04, 0.05, 0.19), vessel=(0.09, 0.07, 0.46),
        white=(0.80, 0.86, 0.92), red=(0.11, 0.11, 0.62), yellow=(0.30, 0.54, 0.80),
    ),
    "NBI": Palette(
        mucosa=(0.40, 0.43, 0.25), fold=(0.54, 0.58, 0.40), deep=(0.06, 0.06, 0.03), vessel=(0.06, 0.10, 0.17),
        white=(0.84, 0.86, 0.76), red=(0.14, 0.22, 0.31), yellow=(0.42, 0.58, 0.50),
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Anatomy:
    """What stays the same in all frames of one patient."""

    seed: int
    opening: float  # half width of the glottis, larynx units
    fold_width: float
    asymmetry: float  # share by which one side is wider
    tint: tuple[float, float, float]  # BGR factors on every tissue colour
    vessels: float  # 0 few, 1 many
    redness: float  # strength of inflamed patches
    vignette: str  # round | cropped | octagon
    roll: float  # radians: how this patient's larynx lies in the frame


@dataclass(frozen=True)
class Camera:
    """Where one frame was taken from: larynx (u, v) to frame pixels (x, y)."""

    side: int  # S
    zoom: float  # frame half sides for each larynx unit
    roll: float  # radians
    centre_uv: tuple[float, float]  # what lies in the middle of the frame

    @property
    def scale(self) -> float:
        """Pixels for each larynx unit."""
        return self.zoom * self.side / 2

    def to_pixels(self, points_uv: NDArray[np.floating]) -> NDArray[np.floating]:
        """Map larynx points [N, 2] to frame pixels [N, 2] (x right, y down)."""
        c, s = np.cos(self.roll), np.sin(self.roll)
        turned = (np.asarray(points_uv) - self.centre_uv) @ np.array([[c, s], [-s, c]])
        return turned * self.scale + self.side / 2

    def grid_uv(self, side: int) -> tuple[Field, Field]:
        """Return u and v of every pixel of the frame drawn at `side` pixels, float32 [side, side] each."""
        axis = (np.arange(side, dtype=np.float32) + 0.5) * np.float32(self.side / side) - self.side / 2
        x, y = axis[None, :] / self.scale, axis[:, None] / self.scale
        c, s = np.float32(np.cos(self.roll)), np.float32(np.sin(self.roll))
        return c * x + s * y + self.centre_uv[0], c * y - s * x + self.centre_uv[1]


def draw_anatomy(rng: np.random.Generator, vignette: str) -> Anatomy:
    """Draw one patient."""
    warmth, depth = rng.normal(0, 0.10), rng.normal(0, 0.09)
    upside_down = np.pi if rng.random() < 0.4 else 0.0
    return Anatomy(
        seed=int(rng.integers(2**31)),
        opening=rng.uniform(0.05, 0.24),
        fold_width=rng.uniform(0.11, 0.19),
        asymmetry=rng.normal(0, 0.12),
        tint=(1 - warmth + depth, 1 + depth + rng.normal(0, 0.04), 1 + 0.5 * warmth + 0.6 * depth),
        vessels=rng.uniform(0.3, 1),
        redness=rng.uniform(0.3, 1),
        vignette=vignette,
        roll=upside_down + rng.normal(0, 0.22),
    )


@lru_cache(maxsize=4)
def noise_tile(kind: str) -> Field:
    """Return periodic noise, float32 [1024, 1024], mean 0, deviation 1; kinds, smooth to fine: cloud, grain, white."""
    white = np.random.default_rng(list(NOISE_SLOPES).index(kind)).standard_normal((NOISE_SIDE, NOISE_SIDE))
    frequency = np.hypot(np.fft.fftfreq(NOISE_SIDE)[:, None], np.fft.rfftfreq(NOISE_SIDE)[None, :])
    frequency[0, 0] = np.inf  # no mean
    tile = np.fft.irfft2(
        np.fft.rfft2(white) / np.maximum(frequency, 4 / NOISE_SIDE) ** NOISE_SLOPES[kind], s=white.shape
    )
    return (tile / tile.std()).astype(np.float32)


def mucosa_noise(camera: Camera, side: int, kind: str, tiles: tuple[float, float], seed: int) -> Field:
    """Noise that sticks to the mucosa, float32 [side, side]; `tiles` is noise tiles for each larynx unit of u and v."""
    per_pixel = camera.side / side / camera.scale * NOISE_SIDE
    c, s = np.cos(camera.roll), np.sin(camera.roll)
    turn = np.array([[c * tiles[0], s * tiles[0]], [-s * tiles[1], c * tiles[1]]]) * per_pixel
    origin = np.array(camera.centre_uv) * tiles * NOISE_SIDE + np.random.default_rng(seed).integers(0, NOISE_SIDE, 2)
    matrix = np.column_stack([turn, origin - turn @ [side / 2, side / 2]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(noise_tile(kind), matrix, (side, side), flags=flags, borderMode=cv2.BORDER_WRAP)


def _step(low: float, high: float, x: Field) -> Field:
    t = np.clip((x - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def _bell(x: Field, width: float) -> Field:
    return np.exp(-np.square(x / width))


def glottis_half_width(anatomy: Anatomy, v: Field | float) -> Field:
    """Half width of the gap between the folds at `v`, larynx units: a triangle with a rounded base."""
    inside = np.clip(v, 0, 1)
    return anatomy.opening * inside**0.85 * (1 - inside**9)


@dataclass(frozen=True)
class Relief:
    """The anatomy as fields [side, side]: height in larynx units, tissue shares in [0, 1]."""

    height: Field
    fold: Field
    gap: Field
    deep: Field


def relief(anatomy: Anatomy, camera: Camera, side: int) -> Relief:
    """Raise folds, ventricles, false folds, arytenoids, epiglottis and the pharyngeal wall around them."""
    u, v = camera.grid_uv(side)
    sway = 0.022 * mucosa_noise(camera, side, "cloud", (0.2, 0.2), anatomy.seed)
    u, v = u + sway, v + 0.7 * sway
    across = np.abs(u) * (1 + anatomy.asymmetry * np.tanh(u / 0.05))
    beyond = across - glottis_half_width(anatomy, v)  # distance from the free edge of the fold
    along = _step(-0.10, 0.04, v) * (1 - _step(0.92, 1.08, v))
    width = anatomy.fold_width
    fold = _step(-0.004, 0.02, beyond) * (1 - _step(0.80 * width, 1.1 * width, beyond)) * along
    gap = (1 - _step(-0.016, 0.004, beyond)) * _step(0.0, 0.03, v) * (1 - _step(0.97, 1.0, v))
    ventricle = _bell(beyond - 1.12 * width, 0.030) * along
    false_fold = _bell(beyond - 1.12 * width - 0.15, 0.12) * _step(-0.25, 0.05, v) * (1 - _step(0.85, 1.15, v))
    mounds = _bell(np.hypot(across - 0.19, (v - 1.14) * 1.1), 0.15)  # arytenoids
    mounds += 0.6 * _bell(np.hypot(across - 0.36, v - 1.0), 0.10)
    ring = np.hypot(u / 0.66, (v - 0.52) / 0.92)  # 1 on the aryepiglottic fold
    epiglottis = _step(0.22, 0.36, -v - 0.45 * u * u)
    deep = np.maximum(0.8 * _bell(ring - 1.36, 0.18) * (1 - epiglottis), 0.8 * ventricle)
    height = 0.07 * fold * np.sqrt(np.clip(beyond / width, 0, 1)) + 0.17 * false_fold + 0.24 * mounds
    height += 0.15 * _bell(ring - 1, 0.14) + 0.20 * epiglottis + 0.15 * _step(1.4, 1.9, ring)
    height -= 0.45 * gap + 0.06 * ventricle + 0.08 * deep + 0.06 * _bell(u, 0.03) * _step(1.0, 1.1, v)
    height += 0.010 * mucosa_noise(camera, side, "cloud", (0.45, 0.45), anatomy.seed + 1)
    return Relief(height.astype(np.float32), fold, gap, deep.astype(np.float32))


def tissue_colour(anatomy: Anatomy, camera: Camera, fields: Relief, palette: Palette) -> Field:
    """Mix the tissues' colours, float32 [3, side, side]: pale folds, deep folds, inflamed patches, tracheal rings."""
    side = fields.fold.shape[0]
    _, v = camera.grid_uv(side)
    patches = _step(0.55, 1.7, mucosa_noise(camera, side, "cloud", (0.5, 0.5), anatomy.seed + 2)) * anatomy.redness
    pallor = _step(0.7, 1.8, mucosa_noise(camera, side, "cloud", (0.6, 0.6), anatomy.seed + 3)) * 0.5
    rings = 0.30 + 0.16 * np.sin(v * 46 + 1.5 * np.sin(v * 9)) * _step(0.15, 0.5, v)
    planes = np.empty((3, side, side), np.float32)
    planes[:] = np.array(palette.mucosa, np.float32)[:, None, None]
    blend(planes, 0.92 * fields.fold, palette.fold)
    blend(planes, pallor, palette.yellow)
    blend(planes, 0.62 * patches, palette.red)
    blend(planes, 0.75 * fields.deep, palette.deep)
    blend(planes, fields.gap, [rings * level for level in palette.deep])
    return planes * np.array(anatomy.tint, np.float32)[:, None, None]


def blend(planes: Field, share: Field, target: Sequence[float | Field]) -> None:
    """Move the colour `planes` [3, h, w] towards `target` by `share` [h, w], in place."""
    for plane, level in zip(planes, target, strict=True):
        plane += share * (level - plane)


def vessel_mask(anatomy: Anatomy, camera: Camera) -> Field:
    """Draw branching vessels that stick to the mucosa; returns their darkness, float32 [S, S] in [0, 1]."""
    rng = np.random.default_rng(anatomy.seed + 4)
    canvas = np.zeros((camera.side, camera.side), np.uint8)
    stems = [(rng.uniform(-1, 1), rng.uniform(-0.6, 1.6), rng.uniform(0, 2 * np.pi), rng.uniform(0.004, 0.011))
             for _ in range(int(8 + 16 * anatomy.vessels))]  # fmt: skip
    for _ in range(int(6 + 12 * anatomy.vessels)):  # fine ones along the vocal folds
        v = rng.uniform(0.1, 0.9)
        u = glottis_half_width(anatomy, v) + rng.uniform(0.02, anatomy.fold_width)
        stems.append((float(u) * rng.choice([-1, 1]), v, np.pi / 2 * rng.choice([-1, 1]), rng.uniform(0.002, 0.0045)))
    while stems:
        u, v, heading, width = stems.pop()
        steps = int(rng.integers(10, 26))
        bends = heading + np.cumsum(rng.normal(0, 0.28, steps))
        path = np.array([u, v]) + np.cumsum(np.stack([np.cos(bends), np.sin(bends)], 1) * 0.024, axis=0)
        if width > 0.0022:
            for at in rng.integers(2, steps, size=2):
                turn = rng.choice([-1, 1]) * rng.uniform(0.4, 1.0)
                stems.append((path[at, 0], path[at, 1], bends[at] + turn, width * rng.uniform(0.45, 0.7)))
        points = np.round(camera.to_pixels(path) * 16).astype(np.int32)
        thickness = max(1, round(width * camera.scale))
        cv2.polylines(canvas, [points], False, int(rng.integers(110, 230)), thickness, cv2.LINE_AA, shift=4)
    soft = cv2.GaussianBlur(canvas, (0, 0), max(0.6, camera.side / 1100))
    return soft.astype(np.float32) / 255


def shade(albedo: Field, height: Field, wetness: Field, lamp_xy: tuple[float, float]) -> Field:
    """Light the scene from the endoscope's tip: linear light, float32 [S, S, 3] from `albedo` [3, S, S].

    `height` [S, S] in pixels gives the normals (Lambert and a wet highlight), `lamp_xy` in [-1, 1] is where the light
    falls straight on; what lies away from it is darker.
    """
    side = height.shape[0]
    slope_x = cv2.Sobel(height, cv2.CV_32F, 1, 0, ksize=3, scale=1 / 8)
    slope_y = cv2.Sobel(height, cv2.CV_32F, 0, 1, ksize=3, scale=1 / 8)
    axis = np.linspace(-1, 1, side, dtype=np.float32)
    light_x, light_y = 0.55 * (lamp_xy[0] - axis)[None, :], 0.55 * (lamp_xy[1] - axis)[:, None]
    facing = (1 - slope_x * light_x - slope_y * light_y) / np.sqrt(
        (1 + slope_x * slope_x + slope_y * slope_y) * (1 + light_x * light_x + light_y * light_y)
    )
    np.clip(facing, 0, 1, out=facing)
    distance = (axis - lamp_xy[0])[None, :] ** 2 + (axis - lamp_xy[1])[:, None] ** 2
    diffuse = (0.12 + 0.98 * facing) / (1 + 0.7 * distance)
    mirror = facing.copy()
    for _ in range(4):
        mirror *= mirror  # facing ** 16
    highlight = np.clip(mirror * wetness - 0.86, 0, 0.09) * 14
    return cv2.merge([plane * diffuse + highlight for plane in albedo])


def vignette(shape: str, side: int, radius: float, centre_xy: tuple[float, float]) -> Field:
    """What the endoscope's round opening lets through, float32 [S, S] in [0, 1]; `radius` in half sides."""
    axis = np.linspace(-1, 1, side // 2, dtype=np.float32)
    x, y = np.abs(axis - centre_xy[0])[None, :], np.abs(axis - centre_xy[1])[:, None]
    distance = np.sqrt(x * x + y * y)
    if shape == "cropped":
        distance = np.maximum(distance, y * (radius / 0.86))
    elif shape == "octagon":
        distance = np.maximum(np.maximum(x, y), (x + y) * 0.74)
    elif shape != "round":
        raise ValueError(f"vignette '{shape}': allowed are round, cropped, octagon")
    opening = np.clip((radius - distance) * side / 8, 0, 1) * (1 - 0.25 * np.square(np.clip(distance / radius, 0, 1)))
    return cv2.resize(opening, (side, side), interpolation=cv2.INTER_LINEAR)
