"""Training augmentation: one geometric transform shared by the LR frame, the HR frame and the boxes; colour on LR only.

A transform is drawn once and then applied at any multiple of the LR side, so that the pair stays aligned: the SR branch
must not be asked for a picture that its input does not show.

Legend: S side of the (square) LR frame in pixels; f resolution of an image over the LR one (1 for LR, 2 for HR);
images are uint8 RGB [f*S, f*S, 3]. All geometry is in whole LR pixels, so every edge lies on a pixel's edge at any f.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from data_utils.config.sections import AugmentSection
from data_utils.records import area_xyxy, cxcywhn_to_xyxy, xyxy_to_cxcywhn

Image = NDArray[np.uint8]
Labels = NDArray[np.float32]

FILL_GREY = 114  # what is shown where no frame reaches, in LR and HR alike
MIN_BOX_SIDE = 2.0  # LR pixels; what is left of a thinner box carries nothing to learn from
N_PARTNERS = 3  # frames that a mosaic adds to the sample's own


@dataclass(frozen=True)
class Placement:
    """Where one frame lands in the output, all in whole LR pixels.

    size: side to which the frame is resized. offset: (x, y) of its top left corner, possibly outside the output.
    rect: (x0, y0, x1, y1) of what is seen of it.
    """

    size: int
    offset: tuple[int, int]
    rect: tuple[int, int, int, int]

    @property
    def visible(self) -> bool:
        """Whether any of the frame is seen."""
        x0, y0, x1, y1 = self.rect
        return x1 > x0 and y1 > y0


@dataclass(frozen=True)
class GeometricTransform:
    """One draw of the geometry for frames of side S; the default is the identity.

    zoom: scale about the centre (in a mosaic: of each tile, about the seam), effective in whole LR pixels of the
    zoomed frame's side. shift: (x, y) in LR pixels. seam: the point where the four tiles of a mosaic meet, LR pixels,
    or None for a single frame. partners: data-set indices of the mosaic's other three frames. flip: mirror left and
    right, last.
    """

    side: int
    flip: bool = False
    zoom: float = 1.0
    shift: tuple[int, int] = (0, 0)
    seam: tuple[int, int] | None = None
    partners: tuple[int, ...] = ()

    @property
    def size(self) -> int:
        """Side of a zoomed frame, LR pixels."""
        return round(self.zoom * self.side)

    @property
    def keeps_place(self) -> bool:
        """Whether the frame stays where it is, but for a flip."""
        return self.seam is None and self.size == self.side and self.shift == (0, 0)

    def placements(self) -> list[Placement]:
        """Return where each frame lands before the flip: the sample's own first, then the partners."""
        if self.seam is None:
            margin = (self.side - self.size) // 2
            spans_x, spans_y = ([self._span(margin + by, 0, self.side)] for by in self.shift)
        else:
            spans_x, spans_y = (self._tile_spans(at + by) for at, by in zip(self.seam, self.shift, strict=True))
        return [
            Placement(self.size, (offset_x, offset_y), (x0, y0, x1, y1))
            for offset_y, y0, y1 in spans_y
            for offset_x, x0, x1 in spans_x
        ]

    def _tile_spans(self, seam: int) -> list[tuple[int, int, int]]:
        """Return the spans, on one axis, of the tiles that end and that begin at the seam."""
        seam = min(max(seam, 0), self.side)
        return [self._span(seam - self.size, 0, seam), self._span(seam, seam, self.side)]

    def _span(self, offset: int, low: int, high: int) -> tuple[int, int, int]:
        """Return the offset and the pixels in [low, high) that a frame put at `offset` covers on one axis."""
        return offset, max(offset, low), min(offset + self.size, high)


def draw_transform(
    rng: np.random.Generator, settings: AugmentSection, side: int, n_frames: int, *, mosaic: bool
) -> GeometricTransform:
    """Draw the geometry of one sample of a data set of `n_frames` frames; `mosaic` False rules a mosaic out.

    side: S in LR pixels. The number of draws from `rng` does not depend on what is drawn.
    """
    wants_mosaic, wants_zoom, wants_shift, wants_flip = rng.random(4) < (
        settings.mosaic, settings.scale_p, settings.shift_p, settings.flip,
    )  # fmt: skip
    zoom = float(rng.uniform(1 - settings.scale, 1 + settings.scale))
    shift = np.rint(rng.uniform(-settings.shift, settings.shift, 2) * side).astype(int).tolist()
    seam = rng.integers(0, side, 2, endpoint=True).tolist()
    partners = rng.integers(0, n_frames, N_PARTNERS).tolist()
    with_mosaic = bool(mosaic and wants_mosaic)
    return GeometricTransform(
        side=side,
        flip=bool(wants_flip),
        zoom=zoom if wants_zoom else 1.0,
        shift=(shift[0], shift[1]) if wants_shift else (0, 0),
        seam=(seam[0], seam[1]) if with_mosaic else None,
        partners=tuple(partners) if with_mosaic else (),
    )


def transform_image(
    transform: GeometricTransform, frames: Sequence[Image], colour: ColourJitter | None = None
) -> Image:
    """Apply the transform to equally sized frames [f*S, f*S, 3], the sample's own first; returns a new image.

    colour: a change of what is seen of the frames; the fill stays grey, in LR and HR alike.
    Raises ValueError where a frame's side is no multiple of S or the number of frames is not the transform's.
    """
    if len(frames) != 1 + len(transform.partners):
        raise ValueError(f"the transform needs {1 + len(transform.partners)} frames, {len(frames)} given")
    side = frames[0].shape[0]
    factor, remainder = divmod(side, transform.side)
    if remainder or any(frame.shape != (side, side, 3) for frame in frames):
        raise ValueError(f"frames {[f.shape for f in frames]} are not square multiples of side {transform.side}")
    if transform.keeps_place:
        image = frames[0] if colour is None else colour.apply(frames[0])
        return _mirrored(image) if transform.flip else image.copy()
    canvas = np.full((side, side, 3), FILL_GREY, dtype=np.uint8)
    for frame, placement in zip(frames, transform.placements(), strict=True):
        if placement.visible:
            target = _paint(canvas, frame, placement, factor)
            if colour is not None:
                target[:] = colour.apply(target)
    return _mirrored(canvas) if transform.flip else canvas


def transform_labels(transform: GeometricTransform, labels: Sequence[Labels], min_visible: float) -> Labels:
    """Apply the transform to the labels of its frames, the sample's own first.

    labels: float32 [N, 5] each: class, then centre and size over the frame's sides. A box is cut at the edge of what is
    seen of its frame, and dropped when it keeps less than `min_visible` of its area or is thinner than MIN_BOX_SIDE.
    Returns float32 [M, 5].
    """
    if len(labels) != 1 + len(transform.partners):
        raise ValueError(f"the transform needs labels of {1 + len(transform.partners)} frames, {len(labels)} given")
    if transform.keeps_place:
        moved = labels[0].copy()
    else:
        placed = zip(labels, transform.placements(), strict=True)
        moved = np.concatenate([_moved(each, placement, transform.side, min_visible) for each, placement in placed])
    if transform.flip:
        moved[:, 1] = 1 - moved[:, 1]
    return moved


@dataclass(frozen=True)
class ColourJitter:
    """One draw of the colour change: hue turned by a share of the circle, saturation and value multiplied."""

    hue: float = 0.0
    saturation: float = 1.0
    value: float = 1.0

    def apply(self, image_rgb: Image) -> Image:
        """Return the recoloured image, uint8 RGB [H, W, 3]; the identity returns the image itself."""
        if self == ColourJitter():
            return image_rgb
        levels = np.arange(256, dtype=np.float64)
        table = np.stack(
            [
                np.rint(levels + 256 * self.hue) % 256,  # the _FULL codes spread the circle over all 256 levels
                np.clip(levels * self.saturation, 0, 255),
                np.clip(levels * self.value, 0, 255),
            ],
            axis=1,
        ).astype(np.uint8)
        hsv = cv2.LUT(cv2.cvtColor(image_rgb, cv2.COLOR_RGB2HSV_FULL), table[None])
        return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB_FULL).astype(np.uint8, copy=False)


def draw_colour(rng: np.random.Generator, settings: AugmentSection) -> ColourJitter:
    """Draw the colour change of one LR frame, uniformly within the settings' ranges."""
    hue, saturation, value = rng.uniform(-1, 1, 3) * (settings.hsv_h, settings.hsv_s, settings.hsv_v)
    return ColourJitter(float(hue), 1 + float(saturation), 1 + float(value))


def _mirrored(image: Image) -> Image:
    return cv2.flip(image, 1).astype(np.uint8, copy=False)


def _paint(canvas: Image, frame: Image, placement: Placement, factor: int) -> Image:
    """Draw the frame into its rectangle of the canvas, and return a view of that."""
    x0, y0, x1, y1 = (factor * edge for edge in placement.rect)
    left, top = (factor * offset for offset in placement.offset)
    size = factor * placement.size
    zoomed = frame if size == len(frame) else cv2.resize(frame, (size, size), interpolation=cv2.INTER_LINEAR)
    target = canvas[y0:y1, x0:x1]
    target[:] = zoomed[y0 - top : y1 - top, x0 - left : x1 - left]
    return target


def _moved(labels: Labels, placement: Placement, side: int, min_visible: float) -> Labels:
    """Move one frame's labels [N, 5] to the output, cut them at the placement's rectangle, drop what is hardly seen."""
    if not len(labels) or not placement.visible:
        return np.zeros((0, 5), dtype=np.float32)
    whole = cxcywhn_to_xyxy(labels[:, 1:], placement.size, placement.size) + np.tile(placement.offset, 2)
    x0, y0, x1, y1 = placement.rect
    seen = np.clip(whole, (x0, y0, x0, y0), (x1, y1, x1, y1))
    thick = (seen[:, 2:] - seen[:, :2]).min(axis=1) >= MIN_BOX_SIDE
    kept = thick & (area_xyxy(seen) >= min_visible * area_xyxy(whole))
    boxes = xyxy_to_cxcywhn(seen[kept], side, side)
    return np.concatenate([labels[kept, :1], boxes], axis=1).astype(np.float32)
