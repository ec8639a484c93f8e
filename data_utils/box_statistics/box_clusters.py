"""K-means over box sizes with the distance 1 - IoU (Redmon and Farhadi 2017, "YOLO9000", dimension clusters).

Only widths and heights count: two boxes are compared with one corner laid on the other's. The mean of a cluster, which
that paper takes as its centre, is not what maximises the mean IoU, so better places are sought beside it. Legend: N
boxes, K clusters; sizes are float64 [N, 2] (width, height), above 0, in any one unit.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

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
