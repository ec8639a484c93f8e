"""Pairs of look-alike frames in different parts, without comparing every frame with every other.

Each part's descriptors go into a k-d tree; each frame of another part asks it for its nearest few, once for every way
to mirror a frame, and only those are looked at closely (see likeness.py). The work grows with the number of frames
times the logarithm of it, whatever the frames look like: a cluster of a thousand similar frames still gives each frame
no more than CANDIDATES comparisons a part.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

from data_utils.auditing.likeness import FLIPS, View, flip_signs, likeness
from data_utils.preparation.frame_jobs import available_cores

SLACK = 1.0  # how much farther than the true nearest few an answer of the tree may lie: saves most of its time
CANDIDATES = 16  # frames of each other part looked at closely for each frame
BATCH = 64  # frames a thread takes at a time


@dataclass(frozen=True)
class Match:
    """Two alike frames: indices into the views, the likeness, and how the first must be flipped (likeness.FLIPS)."""

    first: int
    second: int
    likeness: float
    flip: int = 0


def alike_across(
    views: Sequence[View], sides: Sequence[str], threshold: float, workers: int | None = None
) -> list[Match]:
    """Return the pairs of frames on different sides that are alike by `threshold` or more, best first.

    views, sides: [N], what each frame looks like and which part it belongs to. `first` is of the smaller part. Of one
    frame, pairs with no more than CANDIDATES frames of another part are found.
    """
    seen = np.array([not v.blank for v in views], dtype=bool)
    members = {side: np.flatnonzero(seen & (np.array(sides) == side)) for side in sorted(set(sides))}
    if not seen.any():
        return []
    whitened = _whitened(np.array([v.descriptor for v in views]), seen)
    order = sorted(members, key=lambda side: (len(members[side]), side))
    matches: list[Match] = []
    with ThreadPoolExecutor(workers or available_cores()) as threads:  # OpenCV frees the interpreter
        for position, larger in enumerate(order):
            if len(members[larger]) and position:
                tree = KDTree(whitened[0][members[larger]])
                asking = np.concatenate([members[side] for side in order[:position]])
                batches = [asking[i : i + BATCH] for i in range(0, len(asking), BATCH)]
                nearest = [_nearest(tree, whitened, batch, members[larger]) for batch in batches]
                for found in threads.map(partial(_verified, views, threshold), batches, nearest):
                    matches += found
    return sorted(matches, key=lambda match: (-match.likeness, match.first, match.second))


def alike_pairs(views: Sequence[View], pairs: Sequence[tuple[int, int]], threshold: float) -> list[Match]:
    """Return those of the given pairs of frames, as they stand, that are alike by `threshold` or more."""
    scored = (Match(a, b, likeness(views[a], views[b])) for a, b in pairs)
    return [match for match in scored if match.likeness >= threshold]


def _whitened(descriptors: NDArray[np.float64], seen: NDArray[np.bool_]) -> Mapping[int, NDArray[np.float64]]:
    """Return {flip: descriptors [N, 18] of the mirrored frames}, each coefficient with variance 1 over all frames.

    They are turned so that the first axes tell most frames apart, which is where a k-d tree cuts.
    """
    mirrored = {flip: descriptors * flip_signs(flip) for flip in FLIPS}
    everything = np.concatenate([values[seen] for values in mirrored.values()])
    spread = everything.std(axis=0)
    scale = np.where(spread > 0, spread, 1.0)
    axes = np.linalg.eigh(np.cov((everything / scale).T))[1][:, ::-1]
    return {flip: values / scale @ axes for flip, values in mirrored.items()}


def _nearest(
    tree: KDTree, whitened: Mapping[int, NDArray[np.float64]], asking: NDArray[np.intp], members: NDArray[np.intp]
) -> list[list[tuple[int, int]]]:
    """Return for each frame that asks the nearest (frame, flip) of the tree, at most CANDIDATES."""
    k = min(CANDIDATES, len(members))
    answers = [tree.query(whitened[flip][asking], k=k, eps=SLACK) for flip in FLIPS]
    distances = np.concatenate([np.reshape(far, (len(asking), k)) for far, _ in answers], axis=1)
    frames = np.concatenate([np.reshape(members[near], (len(asking), k)) for _, near in answers], axis=1)
    flips = np.repeat(FLIPS, k)
    best = np.argsort(distances, axis=1, kind="stable")[:, :CANDIDATES]
    return [[(int(frames[row, i]), int(flips[i])) for i in best[row]] for row in range(len(asking))]


def _verified(
    views: Sequence[View], threshold: float, asking: NDArray[np.intp], nearest: Sequence[Sequence[tuple[int, int]]]
) -> list[Match]:
    """Look closely at the answers to each frame that asks; of a pair alike in several mirrorings, the best counts."""
    matches: list[Match] = []
    for frame, candidates in zip(asking.tolist(), nearest, strict=True):
        best: dict[int, Match] = {}
        mirrored = {flip: views[frame].flipped(flip) for flip in {flip for _, flip in candidates}}
        for other, flip in candidates:
            score = likeness(mirrored[flip], views[other])
            if score >= threshold and (other not in best or score > best[other].likeness):
                best[other] = Match(frame, other, score, flip)
        matches += best.values()
    return matches
