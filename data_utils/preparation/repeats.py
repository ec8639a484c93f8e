"""Which frames nearly repeat one that was kept before them, by the perceptual hash."""

from __future__ import annotations

from collections import defaultdict

import numpy as np

from data_utils.imaging.perceptual import HASH_BITS


class KeptFrames:
    """The frames kept so far, by group.

    Repeats are sought within a group alone: a copy under another patient is no repeat to drop quietly but a leak, which
    the audit has to see.
    """

    def __init__(self) -> None:
        self._stems: dict[str, list[str]] = defaultdict(list)
        self._hashes: dict[str, list[int]] = defaultdict(list)

    def nearest(self, group: str, perceptual_hash: str) -> tuple[str, int]:
        """Return the kept frame of the group that is most alike, and in how many bits the two hashes differ.

        ("", 64) where the group has none. Of equals, the first kept.
        """
        if not self._stems[group]:
            return "", HASH_BITS
        kept = np.array(self._hashes[group], dtype=np.uint64)
        bits = np.bitwise_count(kept ^ np.uint64(int(perceptual_hash, 16)))
        index = int(np.argmin(bits))
        return self._stems[group][index], int(bits[index])

    def add(self, group: str, stem: str, perceptual_hash: str) -> None:
        """Keep a frame."""
        self._stems[group].append(stem)
        self._hashes[group].append(int(perceptual_hash, 16))
