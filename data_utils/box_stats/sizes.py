"""What the sizes of a data set's boxes say about input side and detection strides, as plain numbers.

LR pixels are those of the detector's square input, original pixels those of the frame as displayed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_utils.records import SIZE_SIDES, size_bounds

# K-means over box sizes with the distance 1 - IoU (Redmon and Farhadi 2017, "YOLO9000", dimension clusters).
#
# Only widths and heights count: two boxes are compared with one corner laid on the other's. The mean of a cluster,
# which
# that paper takes as its centre, is not what maximises the mean IoU, so better places are sought beside it. Legend: N
# boxes, K clusters; sizes are float64 [N, 2] (width, height), above 0, in any one unit.


Sizes = NDArray[np.float64]
RESTARTS = 20
MAX_ROUNDS = 100
MAX_POINTS = 3000  # different sizes; of more, a drawn sample is clustered
PLACES = 9  # widths, and heights, of members that are tried for a centre


@dataclass(frozen=True)
class Clusters:
    """centres: float64 [K, 2], by area; members: int64 [N], each box's cluster; mean_iou: of boxes with centres."""

    centres: Sizes
    members: NDArray[np.int64]
    mean_iou: float


def iou_of_sizes(a: Sizes, b: Sizes) -> NDArray[np.float64]:
    """Return the IoU of every size of `a` [N, 2] with every one of `b` [M, 2], one corner shared, float64 [N, M]."""
    shared = np.minimum(a[:, None, 0], b[None, :, 0]) * np.minimum(a[:, None, 1], b[None, :, 1])
    return shared / (a.prod(axis=1)[:, None] + b.prod(axis=1)[None, :] - shared)


def cluster_sizes(sizes: Sizes, n_clusters: int, seed: int, restarts: int = RESTARTS) -> Clusters:
    """Find the centres that give boxes the highest mean IoU with their nearest one: the best of `restarts` seeded runs.

    With no more different sizes than `n_clusters`, each is its own centre, so K may come out smaller. The order of the
    boxes does not matter. Raises ValueError for no boxes or sizes that are not above 0.
    """
    sizes = np.asarray(sizes, np.float64).reshape(-1, 2)
    if not len(sizes) or not (np.isfinite(sizes).all() and (sizes > 0).all()) or n_clusters < 1:
        raise ValueError(f"{len(sizes)} sizes for {n_clusters} clusters: at least one of each, sizes above 0")
    # Equal sizes are one point with a weight: faster, and sorted, so that the order of the boxes is gone.
    points, weights = np.unique(sizes, axis=0, return_counts=True)
    centres = points
    if len(points) > n_clusters:
        if len(points) > MAX_POINTS:
            chosen = np.random.default_rng(seed).permutation(len(points))[:MAX_POINTS]
            points, weights = points[chosen], weights[chosen]
        runs = [_run(points, weights, n_clusters, np.random.default_rng([seed, n])) for n in range(restarts)]
        centres = max(runs, key=lambda run: run[1])[0]
    centres = centres[np.lexsort((centres[:, 0], centres.prod(axis=1)))]
    iou = iou_of_sizes(sizes, centres)
    return Clusters(centres, iou.argmax(axis=1), float(iou.max(axis=1).mean()))


def _run(points: Sizes, weights: NDArray[np.int64], n_clusters: int, rng: np.random.Generator) -> tuple[Sizes, float]:
    """Return the centres at which nothing gets better any more, and their mean IoU; it never falls on the way."""
    centres, mean_iou = _seeds(points, weights, n_clusters, rng), -1.0
    for _ in range(MAX_ROUNDS):
        iou = iou_of_sizes(points, centres)
        before, mean_iou = mean_iou, float(np.average(iou.max(axis=1), weights=weights))
        if mean_iou - before < 1e-9:
            break
        nearest = iou.argmax(axis=1)
        # A seed is a box, and its own nearest centre; no cluster gets empty as centres move, or it stays where it was.
        centres = np.array([
            _moved(centre, points[nearest == k], weights[nearest == k]) for k, centre in enumerate(centres)
        ])  # fmt: skip
    return centres, mean_iou


def _moved(centre: Sizes, members: Sizes, weights: NDArray[np.int64]) -> Sizes:
    """Return the best of some places for a centre [2]: where it is, the mean, widths and heights of members."""
    if not len(members):
        return centre
    tried = np.stack([centre, np.average(members, axis=0, weights=weights)])
    for axis in (0, 1):
        best = tried[_best(tried, members, weights)]
        values = np.unique(members[:, axis])
        values = values[np.linspace(0, len(values) - 1, min(len(values), PLACES)).round().astype(int)]
        tried = np.repeat(best[None], len(values) + 1, axis=0)
        tried[1:, axis] = values
    return tried[_best(tried, members, weights)]


def _best(places: Sizes, members: Sizes, weights: NDArray[np.int64]) -> int:
    return int((weights @ iou_of_sizes(members, places)).argmax())


def _seeds(points: Sizes, weights: NDArray[np.int64], n_clusters: int, rng: np.random.Generator) -> Sizes:
    """Draw boxes as first centres, far ones more likely (k-means++, Arthur and Vassilvitskii 2007)."""
    chosen = [int(rng.choice(len(points), p=weights / weights.sum()))]
    for _ in range(n_clusters - 1):
        distance = weights * (1 - iou_of_sizes(points, points[chosen]).max(axis=1)).clip(0) ** 2
        chosen.append(int(rng.choice(len(points), p=distance / distance.sum())))
    return points[chosen]


PERCENTILES = (5, 25, 50, 75, 95)
P2_SHARE = 0.1  # share of boxes thinner than a cell of stride 8 above which a P2 head is advised: a rule of thumb
P2_CELL = 8  # pixels
SIDES_FOR_STRIDE = 8  # a map of stride s serves sides up to 8 s: FCOS's bounds, 64 px for P3 and 128 px for P4
ANCHOR_NOTE = (
    "YOLOv8 and later have no anchors: the clusters are no setting of the detector. They tell which input side and "
    "which strides suit the boxes."
)


@dataclass(frozen=True)
class BoxTable:
    """Boxes of a data set: class_ids int64 [N], widths and heights in LR and in original pixels, float64 [N, 2]."""

    class_ids: NDArray[np.int64]
    lr_sizes: Sizes
    original_sizes: Sizes


def strides_of(detector: str) -> tuple[int, ...]:
    """Return the detection strides of an ultralytics detector name: 8, 16, 32, with 4 for -p2 and 64 for -p6."""
    variant = re.search(r"-p([26])(?=\D|$)", detector)
    return {"2": (4, 8, 16, 32), "6": (8, 16, 32, 64)}.get(variant[1] if variant else "", (8, 16, 32))


def summarise(table: BoxTable, names: tuple[str, ...], detector: str, n_clusters: int, seed: int) -> dict[str, Any]:
    """Return clusters, size buckets, percentiles and the advice on a P2 head, as YAML and JSON can hold them.

    Raises ValueError without any box.
    """
    strides = strides_of(detector)
    shorter = table.lr_sizes.min(axis=1)
    return {
        "n_boxes": len(shorter),
        "clusters": _clusters(table.lr_sizes, n_clusters, strides, seed),
        "sizes": {"lr": _buckets(table.lr_sizes), "original": _buckets(table.original_sizes)},
        "shorter_side_lr_px": _percentiles(shorter),
        "square_side_lr_px": _percentiles(np.sqrt(table.lr_sizes.prod(axis=1))),
        "aspect_ratio": {
            "meaning": "width / height",
            "lr": _percentiles(table.lr_sizes[:, 0] / table.lr_sizes[:, 1]),
            "original": _percentiles(table.original_sizes[:, 0] / table.original_sizes[:, 1]),
        },
        "classes": {name: _class_row(table, class_id) for class_id, name in enumerate(names)},
        "p2_head": _p2_head(shorter, detector, strides),
    }


def _clusters(sizes: Sizes, n_clusters: int, strides: tuple[int, ...], seed: int) -> dict[str, Any]:
    found = cluster_sizes(sizes, n_clusters, seed)
    n_found = len(found.centres)
    if n_found % len(strides) == 0:
        grouping = f"by area, {n_found // len(strides)} for each stride"
        levels = np.arange(n_found) // (n_found // len(strides))
    else:
        limits = [SIDES_FOR_STRIDE * stride for stride in strides[:-1]]
        grouping = (
            f"by side: {n_found} clusters do not divide by {len(strides)} strides, so each goes to the stride whose "
            f"range holds the root of its area; the ranges end at {', '.join(map(str, limits))} px"
        )
        levels = np.searchsorted(limits, np.sqrt(found.centres.prod(axis=1)), side="right")
    counts = np.bincount(found.members, minlength=n_found)
    notes = [f"asked for {n_clusters} clusters, but there are only {n_found} different sizes"]
    return {
        "unit": "LR px",
        "distance": "1 - IoU of widths and heights",
        "seed": seed,
        "average_best_iou": round(found.mean_iou, 4),
        "grouping": grouping,
        "notes": [ANCHOR_NOTE, *(notes if n_found < n_clusters else [])],
        "centres": [
            {
                "level": f"P{int(np.log2(strides[levels[k]]))}",
                "stride": strides[levels[k]],
                "width": round(float(width), 2),
                "height": round(float(height), 2),
                "boxes": int(counts[k]),
                "share": round(float(counts[k] / len(sizes)), 4),
            }
            for k, (width, height) in enumerate(found.centres)
        ],
    }


def _buckets(sizes: Sizes) -> dict[str, int]:
    """Count small, medium and large boxes by area, as data_utils.records.count_sizes does with boxes of one frame."""
    areas = sizes.prod(axis=1)
    small, medium = (int((areas < area).sum()) for area in size_bounds(SIZE_SIDES))
    return {"small": small, "medium": medium - small, "large": len(areas) - medium}


def _percentiles(values: NDArray[np.float64]) -> dict[str, float]:
    return {f"p{p}": round(float(value), 3) for p, value in
            zip(PERCENTILES, np.percentile(values, PERCENTILES), strict=True)}  # fmt: skip


def _class_row(table: BoxTable, class_id: int) -> dict[str, Any]:
    sizes = table.lr_sizes[table.class_ids == class_id]
    if not len(sizes):
        return {"boxes": 0}
    median, below = np.median(sizes, axis=0), (sizes.min(axis=1) < P2_CELL).mean()
    return {
        "boxes": len(sizes),
        "median_width_lr_px": round(float(median[0]), 2),
        "median_height_lr_px": round(float(median[1]), 2),
        f"share_below_{P2_CELL}px": round(float(below), 4),
    }


def _p2_head(shorter: NDArray[np.float64], detector: str, strides: tuple[int, ...]) -> dict[str, Any]:
    """Say which share of boxes is thinner than a cell of stride 8, and whether a map of stride 4 is advisable."""
    share, has_p2 = float((shorter < P2_CELL).mean()), strides[0] < P2_CELL
    advisable = share > P2_SHARE and not has_p2
    base = re.sub(r"-p\d+", "", detector)
    if has_p2:
        advice = f"{detector} has a P2 head"
        advice += "" if share > P2_SHARE else f"; model.detector={base} is cheaper and does"
    elif advisable:
        advice = f"model.detector={base}-p2, or a larger imgsz_lr"
    else:
        advice = f"{detector} is fine enough"
    return {
        "rule": f"advisable when more than {P2_SHARE:.0%} of the boxes have a shorter side under {P2_CELL} px at LR, "
                f"with no stride under {P2_CELL}: such a box can lie between the cell centres of the finest map",
        "finest_stride": strides[0],
        f"share_below_{P2_CELL}px": round(share, 4),
        "share_below_finest_stride": round(float((shorter < strides[0]).mean()), 4),
        "advisable": advisable,
        "advice": advice,
    }  # fmt: skip
