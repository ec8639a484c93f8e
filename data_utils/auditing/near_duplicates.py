"""Pairs of look-alike frames in different parts, without comparing every frame with every other.

Each part's descriptors go into k-d trees; each frame of a smaller part asks them for its nearest few, once for every
way to mirror a frame and to crop one of the two, and only those are looked at closely (see likeness.py). The work grows
with the number of frames times the logarithm of it, whatever the frames look like: a cluster of a thousand similar
frames still gives each frame no more than CANDIDATES comparisons a part.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

from data_utils.auditing.likeness import FLIPS, View, flip_signs, likeness
from data_utils.processes import available_cores

SLACK = 1.0  # how much farther than the true nearest few an answer of the tree may lie: saves most of its time
CANDIDATES = 16  # (frame, flip) pairs of each other part looked at closely for each frame
CROP_CANDIDATES = 4  # of these, frames nearest to one crop: a cropped copy's original is the nearest or nearly so
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
    whitened = _whitened(np.array([v.descriptors for v in views]), seen)
    order = sorted(members, key=lambda side: (len(members[side]), side))
    matches: list[Match] = []
    with ThreadPoolExecutor(workers or available_cores()) as threads:  # OpenCV frees the interpreter
        for position, larger in enumerate(order):
            if len(members[larger]) and position:
                trees = _Trees(whitened[0], members[larger])
                asking = np.concatenate([members[side] for side in order[:position]])
                batches = [asking[i : i + BATCH] for i in range(0, len(asking), BATCH)]
                nearest = [_nearest(trees, whitened, batch) for batch in batches]
                for found in threads.map(partial(_verified, views, threshold), batches, nearest):
                    matches += found
    return sorted(matches, key=lambda match: (-match.likeness, match.first, match.second))


def alike_pairs(views: Sequence[View], pairs: Sequence[tuple[int, int]], threshold: float) -> list[Match]:
    """Return those of the given pairs of frames, as they stand, that are alike by `threshold` or more."""
    scored = (Match(a, b, likeness(views[a], views[b])) for a, b in pairs)
    return [match for match in scored if match.likeness >= threshold]


def _whitened(descriptors: NDArray[np.float64], seen: NDArray[np.bool_]) -> Mapping[int, NDArray[np.float64]]:
    """Return {flip: descriptors [N, 6, 18] of the mirrored frames}, each coefficient with variance 1 over all frames.

    They are turned so that the first axes tell most frames apart, which is where a k-d tree cuts.
    """
    mirrored = {flip: descriptors * flip_signs(flip) for flip in FLIPS}
    everything = np.concatenate([values[seen, 0] for values in mirrored.values()])
    spread = everything.std(axis=0)
    scale = np.where(spread > 0, spread, 1.0)
    axes = np.linalg.eigh(np.cov((everything / scale).T))[1][:, ::-1]
    return {flip: values / scale @ axes for flip, values in mirrored.items()}


class _Trees:
    """The frames of one part by their descriptors: as they are, and cropped."""

    def __init__(self, descriptors: NDArray[np.float64], members: NDArray[np.intp]) -> None:
        n_crops = descriptors.shape[1] - 1
        self._whole, self._members = KDTree(descriptors[members, 0]), members
        self._cropped = KDTree(descriptors[members, 1:].reshape(-1, descriptors.shape[2]))
        self._member_of_crop = np.repeat(members, n_crops)

    def ask(self, descriptors: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
        """Return distances and frames [A, M] nearest to descriptors [A, 6, 18], in no order; a frame may come twice."""
        whole = self._query(self._whole, self._members, descriptors[:, 0], CANDIDATES)
        asked_cropped = self._query(self._whole, self._members, descriptors[:, 1:], CROP_CANDIDATES)
        kept_cropped = self._query(self._cropped, self._member_of_crop, descriptors[:, 0], CROP_CANDIDATES)
        answers = (whole, asked_cropped, kept_cropped)
        distances = np.concatenate([far for far, _ in answers], axis=1)
        return distances, np.concatenate([near for _, near in answers], axis=1)

    @staticmethod
    def _query(
        tree: KDTree, frames: NDArray[np.intp], points: NDArray[np.float64], k: int
    ) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
        distances, nearest = tree.query(points, k=min(k, len(frames)), eps=SLACK)
        return np.reshape(distances, (len(points), -1)), np.reshape(frames[nearest], (len(points), -1))


def _nearest(
    trees: _Trees, whitened: Mapping[int, NDArray[np.float64]], asking: NDArray[np.intp]
) -> list[list[tuple[int, int]]]:
    """Return for each frame that asks the nearest (frame, flip) of the trees, at most CANDIDATES."""
    answers = [trees.ask(whitened[flip][asking]) for flip in FLIPS]
    distances = np.concatenate([far for far, _ in answers], axis=1)
    frames = np.concatenate([near for _, near in answers], axis=1)
    flips = np.repeat(FLIPS, answers[0][1].shape[1])
    order = np.argsort(distances, axis=1, kind="stable")
    ranked = (((int(frames[row, i]), int(flips[i])) for i in order[row]) for row in range(len(asking)))
    return [list(itertools.islice(dict.fromkeys(candidates), CANDIDATES)) for candidates in ranked]


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
