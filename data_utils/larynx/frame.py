"""One drawn frame of the demo data: scene, lesions, things that look like lesions, optics, sensor, planted defects."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from data_utils.imaging.images import BgrImage
from data_utils.larynx.lesions import Lesion, Mask, paint_lesion, place_lesion, tight_box
from data_utils.larynx.scene import (
    NOISE_SIDE,
    PALETTES,
    Anatomy,
    Camera,
    Field,
    blend,
    mucosa_noise,
    noise_tile,
    relief,
    shade,
    tissue_colour,
    vessel_mask,
    vignette,
)

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
