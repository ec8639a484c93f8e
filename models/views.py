"""Which parts of a frame a detector is shown: the frame, tiles of a large one, mirrored copies.

Legend: S input side in pixels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from data_utils.boxes import clip_xyxy
from data_utils.types import Detections

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
