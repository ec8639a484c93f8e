"""One drawn frame of the demo data: scene, lesions, things that look like lesions, optics, sensor, planted defects."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from data_utils.imaging.images import BgrImage
from data_utils.synthetic.scene import (
    NOISE_SIDE,
    PALETTES,
    Anatomy,
    Camera,
    Field,
    Palette,
    blend,
    mucosa_noise,
    noise_tile,
    relief,
    shade,
    tissue_colour,
    vessel_mask,
    vignette,
)

# Lesions of the demo data: their outlines, relief and look. A lesion changes nothing outside its own mask.
#
# The truth box is read off that mask (`tight_box`), never from the numbers the lesion was drawn with.


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


DEFECTS = ("blurred", "dark", "blown", "glare", "tiny")  # what the frame filter must reject
MIN_VISIBLE = 0.6  # a lesion of which the vignette hides more is not drawn at all
MEAN_ALBEDO = 0.56  # what automatic exposure aims at
TINY_SIDE = 48  # pixels of a planted tiny file
EDGE_ENHANCEMENT = np.array([[0, -0.35, 0], [-0.35, 2.4, -0.35], [0, -0.35, 0]], np.float32)
Box = tuple[int, int, int, int]


@dataclass(frozen=True)
class FramePlan:
    """Everything that decides how one frame is drawn."""

    stem: str
    patient_id: str
    source: str
    modality: str  # WL | NBI
    anatomy: Anatomy
    camera: Camera
    lesion_zoom: float  # this frame's zoom over the patient's mean
    lesions: tuple[Lesion, ...]
    seed: int
    softness: float  # defocus or motion, pixels
    motion: bool
    noise: float  # sensor noise, grey levels
    exposure: float
    defect: str | None = None


@dataclass(frozen=True, eq=False)
class Drawing:
    """A frame, uint8 BGR [S, S, 3], with the visible mask [S, S] and box of each drawn lesion."""

    bgr: BgrImage
    masks: tuple[Mask, ...]
    boxes_xyxy: tuple[Box, ...]  # left, top, right, bottom; half-open, pixels


def draw_frame(plan: FramePlan) -> Drawing:
    """Draw one frame; the same plan gives the same pixels in every process.

    A lesion changes no pixel outside its mask but for the reach of the optics (softness and edge enhancement).
    """
    side = plan.camera.side
    rng = np.random.default_rng([plan.seed, 1])
    opening = vignette(plan.anatomy.vignette, side, rng.uniform(0.94, 1.02), tuple(rng.normal(0, 0.015, 2)))
    albedo, height, wetness = _healthy_tissue(plan)
    gain = plan.exposure * MEAN_ALBEDO / float(albedo[:, ::8, ::8].mean())  # the processor's automatic exposure
    masks = _grow_lesions(plan, opening, albedo, height, wetness)
    lamp_xy = (rng.normal(0, 0.18), rng.normal(0, 0.18))
    linear = shade(albedo * gain, height, wetness, lamp_xy)
    boxes = tuple(box for mask in masks if (box := tight_box(mask)) is not None)
    return Drawing(_with_defect(plan, _sensor(plan, linear, opening)), tuple(masks), boxes)


def _grow_lesions(plan: FramePlan, opening: Field, albedo: Field, height: Field, wetness: Field) -> list[Mask]:
    """Paint the plan's lesions on the tissue, in place, and return what can be seen of each, bool [S, S]."""
    masks: list[Mask] = []
    for lesion in plan.lesions:
        placed = place_lesion(lesion, plan.camera, plan.lesion_zoom)
        if placed is None:
            continue
        window, shape, bumps = placed
        visible = shape & (opening[window] > 0.05)
        if visible.sum() < MIN_VISIBLE * shape.sum():
            continue
        paint_lesion(lesion, shape, bumps, albedo[:, *window], height[window], wetness[window], PALETTES[plan.modality])
        full = np.zeros(opening.shape, bool)
        full[window] = visible
        masks = [below & ~full for below in masks] + [full]
    return masks


def _healthy_tissue(plan: FramePlan) -> tuple[Field, Field, Field]:
    """Albedo [3, S, S], height [S, S] in pixels and wetness [S, S] of the larynx without lesions."""
    anatomy, camera = plan.anatomy, plan.camera
    side, palette = camera.side, PALETTES[plan.modality]
    fields = relief(anatomy, camera, side // 2)
    albedo = np.stack([_enlarged(plane, side) for plane in tissue_colour(anatomy, camera, fields, palette)])
    height = cv2.resize(fields.height, (side, side), interpolation=cv2.INTER_CUBIC) * camera.scale
    fold, gap = _enlarged(fields.fold, side), _enlarged(fields.gap, side)
    mottled = mucosa_noise(camera, side, "grain", (0.8, 0.8), anatomy.seed + 6)
    fibres = fold * mucosa_noise(camera, side, "grain", (1.6, 0.22), anatomy.seed + 7)  # streaks along the folds
    vessels = vessel_mask(anatomy, camera) * (1 - gap) * np.float32(0.85 if plan.modality == "NBI" else 0.62)
    albedo *= 1 + 0.055 * mottled + 0.07 * fibres
    blend(albedo, vessels, palette.vessel)
    height += 0.22 * mottled + 0.25 * fibres + 1.2 * vessels
    wet_patches = _enlarged(mucosa_noise(camera, side // 2, "cloud", (1.1, 1.1), plan.seed), side)
    wetness = 0.81 + 0.10 * wet_patches + 0.02 * mottled - 0.3 * gap
    _add_strands(plan, 1 - gap, albedo, height, wetness)
    return albedo, height, wetness


def _enlarged(field: Field, side: int) -> Field:
    return cv2.resize(field, (side, side), interpolation=cv2.INTER_LINEAR)


def _add_strands(plan: FramePlan, tissue: Field, albedo: Field, height: Field, wetness: Field) -> None:
    """Lay mucus strands and flecks of blood on the `tissue`, in place: coloured as lesions are, shaped otherwise."""
    rng = np.random.default_rng([plan.seed, 2])
    side, palette = plan.camera.side, PALETTES[plan.modality]
    kinds = ((palette.white, 7, 0.006), (palette.yellow, 6, 0.007), (palette.red, 9, 0.006), (palette.vessel, 4, 0.004))
    for colour, most, thick in kinds:
        for _ in range(rng.integers(most)):
            steps = int(rng.integers(5, 22))
            bends = rng.uniform(0, 2 * np.pi) + np.cumsum(rng.normal(0, 0.3, steps))
            path = rng.uniform(0.15, 0.85, 2) + np.cumsum(np.stack([np.cos(bends), np.sin(bends)], 1), 0) * 0.011
            width = max(1, round(side * thick * rng.uniform(0.4, 1.3)))
            points = np.round(path * side).astype(np.int32)
            margin = width + side // 100
            left, top = np.maximum(points.min(0) - margin, 0)
            right, bottom = points.max(0) + margin
            window = (slice(top, bottom), slice(left, right))
            layer = np.zeros(tissue[window].shape, np.uint8)
            cv2.polylines(layer, [points - [left, top]], False, int(rng.integers(60, 200)), width, cv2.LINE_AA)
            cover = cv2.GaussianBlur(layer, (0, 0), side / 640).astype(np.float32) / 255 * tissue[window]
            blend(albedo[:, *window], cover, colour)
            height[window] += cover * np.float32(side * thick * 0.35)
            wetness[window] += 0.10 * cover


def _sensor(plan: FramePlan, linear: Field, opening: Field) -> Field:
    """Turn light into grey levels: focus, exposure, tone curve, vignette, noise; uint8 [S, S, 3]."""
    side = plan.camera.side
    rng = np.random.default_rng([plan.seed, 3])
    if plan.motion and plan.softness > 0:
        linear = cv2.filter2D(linear, -1, _motion_kernel(2 * plan.softness, rng.uniform(0, np.pi)))
    elif plan.softness > 0:
        linear = cv2.GaussianBlur(linear, (0, 0), plan.softness)
    np.clip(linear, 0, 1.15, out=linear)
    root = cv2.sqrt(linear)
    levels = 255 * root * cv2.sqrt(cv2.sqrt(root))  # gamma 1.6: three roots are ten times faster than a power
    if plan.defect is None:  # edge enhancement, as endoscope processors apply it
        levels = cv2.filter2D(levels, -1, EDGE_ENHANCEMENT)
    levels *= opening[..., None]
    levels += _sensor_noise(rng, side)[..., None] * np.float32(plan.noise)
    levels[..., 0] += _sensor_noise(rng, side) * np.float32(0.6 * plan.noise)  # blue is the noisiest channel
    levels += 3.0  # black level of the surround
    return np.clip(levels, 0, 255).astype(np.uint8)


def _sensor_noise(rng: np.random.Generator, side: int) -> Field:
    """White noise of deviation 1, float32 [side, side], cut from the cached tile at a random place."""
    row, column = rng.integers(0, NOISE_SIDE, 2)
    return _white_noise(side)[row : row + side, column : column + side]


@lru_cache(maxsize=2)
def _white_noise(side: int) -> Field:
    return cv2.copyMakeBorder(noise_tile("white"), 0, side, 0, side, cv2.BORDER_WRAP)


def _motion_kernel(length: float, angle: float) -> Field:
    reach = int(np.ceil(length / 2)) + 1
    kernel = np.zeros((2 * reach + 1, 2 * reach + 1), np.float32)
    step = np.array([np.cos(angle), np.sin(angle)]) * length / 2
    ends = [tuple(round((reach + sign * part) * 16) for part in step) for sign in (-1, 1)]
    cv2.line(kernel, ends[0], ends[1], 1.0, 1, cv2.LINE_8, shift=4)
    return kernel / kernel.sum()


def _with_defect(plan: FramePlan, image: Field) -> Field:
    """Spoil the frame as `plan.defect` says, so that the filter has something to find."""
    side = plan.camera.side
    match plan.defect:
        case "blurred":
            return cv2.GaussianBlur(image, (0, 0), side / 110)
        case "dark":
            return cv2.convertScaleAbs(image, alpha=0.16)
        case "blown":
            return cv2.convertScaleAbs(image, alpha=0.12, beta=238)
        case "glare":
            cloud = mucosa_noise(plan.camera, side, "cloud", (0.25, 0.25), plan.seed)
            flood = cv2.GaussianBlur((cloud > -0.15).astype(np.float32), (0, 0), side / 300)
            return np.maximum(image, (255 * np.clip(1.4 * flood, 0, 1)).astype(np.uint8)[..., None])
        case "tiny":
            return cv2.resize(image, (TINY_SIDE, TINY_SIDE), interpolation=cv2.INTER_AREA)
        case _:
            return image
