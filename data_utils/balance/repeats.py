"""How often each training image is repeated so that rare classes are seen more often.

Repeat-factor sampling (Gupta, Dollar and Girshick 2019, "LVIS", section on training) with plain inverse frequency in
place of their square root: with f(c) the number of images that show class c,

    r(c) = min(cap, (max f / f(c)) ** power)        power 1: inverse frequency; 0.5: its square root, as LVIS
    r(image) = the largest r(c) of the image's classes, 1 for an image without any

f counts images and not boxes, because an image is what can be repeated. Legend: I images, C classes.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Presence = NDArray[np.bool_]  # [I, C]: which classes an image shows
TRIES = 16  # roundings drawn before a list too small to be balanced is left as it is


def class_factors(presence: Presence, cap: int, power: float) -> NDArray[np.float64]:
    """Return r(c), float64 [C], between 1 and `cap`; 1 for a class that no image shows.

    cap: at least 1. power: above 0, at most 1; then the most frequent class never pulls away from the rarest.
    """
    images = presence.sum(axis=0)
    ratios = np.divide(images.max(initial=0), images, out=np.ones(len(images)), where=images > 0)
    return np.minimum(ratios**power, cap)


def image_factors(presence: Presence, factors: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return r(image), float64 [I]: the largest factor of its classes, 1 without any."""
    return np.where(presence, factors, 1.0).max(axis=1, initial=1.0)


def repeat_counts(presence: Presence, cap: int, power: float, rng: np.random.Generator) -> NDArray[np.int64]:
    """Return how often each image is to be listed, int64 [I], from 1 to `cap`: r(image), its fraction drawn at random.

    Images that show the same classes are rounded together, so that their number is right to within one. Rounding never
    makes `imbalance` grow: where a list is so small that it would in every try, each image is listed once.
    """
    wanted = image_factors(presence, class_factors(presence, cap, power))
    before = imbalance(presence.sum(axis=0))
    once = np.ones(len(presence), np.int64)
    for _ in range(TRIES):
        counts = _rounded(wanted, presence, rng)
        if imbalance(counts @ presence) <= before:
            return counts
    return once


def imbalance(images: NDArray[np.integer]) -> float:
    """Return max / min of the counts [C] over the classes that occur; 1 with fewer than two of those."""
    occurring = images[images > 0]
    return float(occurring.max() / occurring.min()) if len(occurring) else 1.0


def _rounded(wanted: NDArray[np.float64], presence: Presence, rng: np.random.Generator) -> NDArray[np.int64]:
    """Round factors up or down at random, without bias, group by group of images with the same classes."""
    counts = np.floor(wanted).astype(np.int64)
    _, group_of = np.unique(presence, axis=0, return_inverse=True)
    group_of = group_of.reshape(-1)
    for group in range(group_of.max(initial=-1) + 1):
        (members,) = np.nonzero(group_of == group)
        fraction = wanted[members[0]] - counts[members[0]]
        n_up = int(np.floor(fraction * len(members) + rng.random()))
        counts[rng.permutation(members)[:n_up]] += 1
    return counts
