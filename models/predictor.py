"""The one inference path: frame (BGR, any size) -> `Detections` in frame pixels, over any `Backend`.

NumPy and OpenCV only, so that an exported file runs where torch is not installed.
Legend: B frames; S input side in pixels; A anchors (S=640: 8400); nc classes; N boxes.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from data_utils.errors import InputError
from data_utils.imaging.quality import field_of
from data_utils.records import Detections, FloatArray, IntArray, area_xyxy, clip_xyxy, scale_xyxy

# Which parts of a frame a detector is shown: the frame, tiles of a large one, mirrored copies.
#
# Legend: S input side in pixels.


OVERLAP = 0.25  # of a tile's side that the next tile shows again; what is larger is left to the view of the whole frame
EDGE = 0.01  # of a tile's side: a box that comes so near to an inner edge is taken to be cut by it

Region = tuple[int, int, int, int]


@dataclass(frozen=True)
class View:
    """A part of a frame, corners in its pixels, shown mirrored left to right or not. whole: not a tile."""

    region_xyxy: Region
    mirrored: bool = False
    whole: bool = True

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in frame pixels."""
        x1, y1, x2, y2 = self.region_xyxy
        return x2 - x1, y2 - y1


def views_of(region_xyxy: Region, side: int, *, tile: bool, mirror: bool) -> list[View]:
    """List what to show of a frame's region to a detector of input side `side`, the whole first.

    tile: n x n overlapping tiles too, n being how many times S fits into the region's mean side, rounded up; none where
    that is 1. They have the region's own proportions, so that what they show is stretched as in training.
    """
    views = [View(region_xyxy)]
    if tile:
        views += [View(region, whole=False) for region in _tiles(region_xyxy, side)]
    return views + [View(view.region_xyxy, True, view.whole) for view in views] if mirror else views


def in_frame(found: Detections, view: View, bounds: Region) -> Detections:
    """Move detections from pixels of a view, as it was shown, to those of the frame, whose region `bounds` is shown.

    Boxes that an inner edge of a tile cuts are left out: a neighbour or the whole frame shows them uncut.
    """
    x1, y1, _, _ = view.region_xyxy
    width, height = view.size
    boxes = found.boxes_xyxy
    if view.mirrored:
        boxes = np.stack([width - boxes[:, 2], boxes[:, 1], width - boxes[:, 0], boxes[:, 3]], axis=1)
    boxes = boxes + np.array([x1, y1, x1, y1], np.float32)
    uncut = np.ones(len(boxes), dtype=bool)
    if not view.whole:
        margins = EDGE * np.array([width, height, width, height])
        inner = np.array(view.region_xyxy) != np.array(bounds)
        distance = np.abs(boxes - np.array(view.region_xyxy))
        uncut = ~((distance < margins) & inner).any(axis=1)
    return Detections(boxes[uncut], found.scores[uncut], found.class_ids[uncut])


def joined(parts: Sequence[Detections], frame_size: tuple[int, int]) -> Detections:
    """Put the detections of several views of a frame of (width, height) pixels together, duplicates and all."""
    boxes = clip_xyxy(np.concatenate([part.boxes_xyxy for part in parts]), *frame_size)
    scores, class_ids = ([getattr(part, name) for part in parts] for name in ("scores", "class_ids"))
    return Detections(boxes, np.concatenate(scores), np.concatenate(class_ids))


def _tiles(region_xyxy: Region, side: int) -> list[Region]:
    x1, y1, x2, y2 = region_xyxy
    n = math.ceil(math.sqrt((x2 - x1) * (y2 - y1)) / side)
    if n < 2:
        return []
    columns, rows = _spans(x1, x2, n), _spans(y1, y2, n)
    return [(left, top, right, bottom) for top, bottom in rows for left, right in columns]


def _spans(start: int, end: int, n: int) -> list[tuple[int, int]]:
    """Cover [start, end) by n spans of one length, each overlapping the next by OVERLAP of it."""
    length = math.ceil((end - start) / (1 + (n - 1) * (1 - OVERLAP)))
    firsts = [round(start + k * (end - start - length) / (n - 1)) for k in range(n)]
    return [(first, first + length) for first in firsts]


DEFAULT_CONF, DEFAULT_IOU, DEFAULT_MAX_DET = 0.25, 0.45, 300  # inference's; evaluation has its own in the config
MAX_CANDIDATES = 30_000  # best-scored boxes that enter NMS; the rest could hardly reach max_det anyway
VIEWS_AT_ONCE = 4  # of tiles and mirrored copies in one call of the backend
NMS_BLOCK = 128  # boxes compared at once: large enough to vectorise, small enough to stay in the cache


class Backend(Protocol):
    """A detector as arrays see it. Call it with float32 [B, 3, S, S], RGB in [0, 1].

    It returns float32 [B, 4+nc, A]: (cx, cy, w, h) in input pixels, then class scores in [0, 1].
    """

    @property
    def input_size(self) -> int:
        """Input side S in pixels."""
        ...

    @property
    def names(self) -> tuple[str, ...]:
        """Class names, in the order of the class scores."""
        ...

    @property
    def crop_border(self) -> bool:
        """Whether it was trained on frames whose black surround had been cut away (dataset.crop_border)."""
        ...

    @property
    def parallel(self) -> int:
        """How many frames are best under way at once, each in a call from a thread of its own."""
        ...

    def __call__(self, images: FloatArray) -> FloatArray: ...


class Predictor:
    """Crop if the detector was trained so, resize, detect, suppress, map back; keeps scores above `conf`.

    tile: also look at overlapping tiles of frames much larger than the input. tta: also look at everything mirrored
    (test-time augmentation). Both take the union of what was found, suppressed once more.
    `nonfinite_frames` counts frames in which the detector gave NaN or infinite values; those anchors are left out.
    May be called from several threads at once where its backend may.
    """

    def __init__(
        self,
        backend: Backend,
        conf: float = DEFAULT_CONF,
        iou: float = DEFAULT_IOU,
        max_det: int = DEFAULT_MAX_DET,
        *,
        tile: bool = False,
        tta: bool = False,
    ) -> None:
        for name, value in (("conf", conf), ("iou", iou)):
            if not 0 <= value <= 1:
                raise InputError(f"{name} = {value}: must lie between 0 and 1")
        if max_det < 1:
            raise InputError(f"max_det = {max_det}: must be at least 1")
        self.backend = backend
        self.conf, self.iou, self.max_det, self.tile, self.tta = conf, iou, max_det, tile, tta
        self.nonfinite_frames = 0
        self._counting = threading.Lock()

    def predict(self, bgr: NDArray[np.uint8]) -> Detections:
        """Detect in one frame, uint8 [H, W, 3] BGR; boxes come back in its pixels, clipped to it."""
        return self.predict_batch([bgr])[0]

    def predict_batch(self, frames: Sequence[NDArray[np.uint8]]) -> list[Detections]:
        """Detect in frames of any sizes with one call of the backend; the caller chooses how many fit in memory.

        Tiles and mirrored copies go in further calls of at least VIEWS_AT_ONCE.
        """
        if not frames:
            return []
        side = self.backend.input_size
        views = [views_of(self._region(bgr), side, tile=self.tile, mirror=self.tta) for bgr in frames]
        shown = [(k, view) for k, of_frame in enumerate(views) for view in of_frame]
        found: list[list[Detections]] = [[] for _ in frames]
        finite = np.ones(len(frames), dtype=bool)
        step = max(len(frames), VIEWS_AT_ONCE)
        for start in range(0, len(shown), step):
            part = shown[start : start + step]
            raw = self.backend(np.stack([self._input(frames[k], view) for k, view in part]))
            for (k, view), raw_view in zip(part, raw, strict=True):
                finite[k] &= bool(np.isfinite(raw_view).all())
                found[k].append(self._in_frame(raw_view, view, views[k][0].region_xyxy))
        with self._counting:
            self.nonfinite_frames += int((~finite).sum())
        return [self._merge(parts, bgr) for parts, bgr in zip(found, frames, strict=True)]

    def input_of(self, bgr: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return what the detector is shown of the whole frame: float32 [3, S, S], RGB in [0, 1]."""
        return self._input(bgr, View(self._region(bgr)))

    def _region(self, bgr: NDArray[np.uint8]) -> Region:
        """Return the corners in frame pixels of what the detector is shown."""
        return field_of(bgr) if self.backend.crop_border else (0, 0, bgr.shape[1], bgr.shape[0])

    def _input(self, bgr: NDArray[np.uint8], view: View) -> NDArray[np.float32]:
        x1, y1, x2, y2 = view.region_xyxy
        image = preprocess(bgr[y1:y2, x1:x2], self.backend.input_size)
        return image[:, :, ::-1] if view.mirrored else image

    def _in_frame(self, raw: FloatArray, view: View, bounds: Region) -> Detections:
        side = self.backend.input_size
        found = postprocess(raw, self.conf, self.iou, self.max_det)
        return in_frame(map_to_frame(found, (side, side), view.size), view, bounds)

    def _merge(self, parts: list[Detections], bgr: NDArray[np.uint8]) -> Detections:
        if len(parts) == 1:
            return parts[0]
        found = joined(parts, (bgr.shape[1], bgr.shape[0]))
        kept = _suppress(found.boxes_xyxy.T, found.class_ids, self.iou, self.max_det)
        return Detections(found.boxes_xyxy[kept], found.scores[kept], found.class_ids[kept])


def preprocess(bgr: NDArray[np.uint8], size: int) -> NDArray[np.float32]:
    """Turn a frame uint8 [H, W, 3] BGR into the detector's input float32 [3, size, size], RGB in [0, 1].

    Plain bilinear resize without letterbox: what preparing and the data set do to training frames.
    Raises InputError for anything but an 8-bit three-channel picture.
    """
    if bgr.dtype != np.uint8 or bgr.ndim != 3 or bgr.shape[2] != 3 or not bgr.size:
        raise InputError(f"a frame must be uint8 [H, W, 3] in BGR order, got {bgr.dtype} {list(bgr.shape)}")
    if bgr.shape[:2] != (size, size):
        bgr = np.asarray(cv2.resize(bgr, (size, size), interpolation=cv2.INTER_LINEAR), dtype=np.uint8)
    image = np.empty((3, size, size), dtype=np.float32)
    for plane, channel in zip(image, reversed(cv2.split(bgr)), strict=True):  # plane by plane: twice as fast
        np.divide(channel, np.float32(255), out=plane)
    return image


def postprocess(raw: FloatArray, conf: float, nms_iou: float, max_det: int = DEFAULT_MAX_DET) -> Detections:
    """Turn one frame's decoded output into at most `max_det` detections in input pixels.

    raw: float32 [4+nc, A], (cx, cy, w, h) in input pixels, then class scores in [0, 1].
    An anchor counts for its best class alone, when that score is greater than `conf`; anchors with NaN, infinite
    values or an empty box are left out. Of two boxes of one class with IoU above `nms_iou` the better-scored stays;
    of two equal scores, the earlier anchor.
    """
    if raw.ndim != 2 or raw.shape[0] < 5:
        raise ValueError(f"raw output must be [4+nc, A], got {list(raw.shape)}")
    scores = raw[4:].max(axis=0)
    anchors = np.flatnonzero(scores > conf)  # NaN is greater than nothing
    sizes_positive = (raw[2:4, anchors] > 0).all(axis=0)
    finite = np.isfinite(raw[:4, anchors]).all(axis=0) & np.isfinite(scores[anchors])
    anchors = anchors[sizes_positive & finite]
    anchors = anchors[np.argsort(-scores[anchors], kind="stable")[:MAX_CANDIDATES]]
    centres, sizes = raw[:2, anchors], raw[2:4, anchors]
    corners = np.concatenate([centres - sizes / 2, centres + sizes / 2]).astype(np.float32)
    class_ids = raw[4:, anchors].argmax(axis=0)
    kept = _suppress(corners, class_ids, nms_iou, max_det)
    return Detections(corners[:, kept].T, scores[anchors[kept]], class_ids[kept])


def map_to_frame(detections: Detections, input_size: tuple[int, int], frame_size: tuple[int, int]) -> Detections:
    """Map detections from input pixels to frame pixels; sizes are (width, height).

    Boxes are clipped to the frame; one that lies wholly outside it is left out.
    """
    boxes = clip_xyxy(scale_xyxy(detections.boxes_xyxy, input_size, frame_size), *frame_size)
    inside = area_xyxy(boxes) > 0
    return Detections(boxes[inside], detections.scores[inside], detections.class_ids[inside])


def suppress(detections: Detections, nms_iou: float) -> Detections:
    """Return what class-aware NMS at `nms_iou` leaves of detections, in whatever pixels."""
    kept = _suppress(detections.boxes_xyxy.T, detections.class_ids, nms_iou, max(len(detections), 1))
    return Detections(detections.boxes_xyxy[kept], detections.scores[kept], detections.class_ids[kept])


def _suppress(corners: FloatArray, class_ids: IntArray, iou: float, max_det: int) -> IntArray:
    """Greedy class-aware NMS over boxes sorted best first; returns the kept positions, at most `max_det`.

    corners: float32 [4, N]. Works through blocks: a block is first compared with all boxes kept so far, then within
    itself. That gives the result of the plain greedy loop at a few array operations for each block.
    """
    kept = np.zeros(0, dtype=np.int64)
    for start in range(0, len(class_ids), NMS_BLOCK):
        block = np.arange(start, min(start + NMS_BLOCK, len(class_ids)))
        block = block[~_overlap(corners, class_ids, block, kept, iou).any(axis=1)]
        among = np.triu(_overlap(corners, class_ids, block, block, iou), k=1)
        alive = np.ones(len(block), dtype=bool)
        for better in np.flatnonzero(among.any(axis=1)):
            if alive[better]:
                alive &= ~among[better]
        kept = np.concatenate([kept, block[alive]])
        if len(kept) >= max_det:
            return kept[:max_det]
    return kept


def _overlap(corners: FloatArray, class_ids: IntArray, a: IntArray, b: IntArray, iou: float) -> NDArray[np.bool_]:
    """Tell which boxes `a` and `b` (positions) are of one class with an IoU above `iou`, bool [len(a), len(b)]."""
    ax1, ay1, ax2, ay2 = corners[:, a, None]
    bx1, by1, bx2, by2 = corners[:, None, b]
    with np.errstate(over="ignore", invalid="ignore"):  # absurdly large boxes compare as not overlapping
        width = np.maximum(np.minimum(ax2, bx2) - np.maximum(ax1, bx1), 0)
        height = np.maximum(np.minimum(ay2, by2) - np.maximum(ay1, by1), 0)
        intersection = width * height
        union = (ax2 - ax1) * (ay2 - ay1) + (bx2 - bx1) * (by2 - by1) - intersection
        # Without a division: no 0 / 0, and exact for an IoU that equals the threshold.
        return (intersection > iou * union) & (class_ids[a, None] == class_ids[None, b])
