"""Hold-out splits that never cut a group (a patient, unless the data set says otherwise).

A split is {"train": [...], "val": [...], "test": [...]}; `lesion_only_eval` adds "val_healthy" and "test_healthy". The
same items and seed give the same split on any machine: items are sorted first, randomness comes from one seeded
Generator, and no cost depends on the order of a set or of a parallel sum.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from data_utils.config_sections import SplitSection
from data_utils.errors import InputError
from data_utils.manifest import ManifestRow

Part = Literal["train", "val", "test"]
PARTS: tuple[Part, ...] = ("train", "val", "test")
HELD_OUT = ("val", "test")
HEALTHY = "_healthy"  # val_healthy, test_healthy: frames set aside by lesion_only_eval
TRIALS = 16  # random orders tried for a split; the best balanced assignment is taken


@dataclass(frozen=True)
class SplitItem:
    """What splitting needs to know of a frame; `has_lesion` is None where nobody said.

    filename: path below the raw folder, with "/". group: what is never cut.
    """

    stem: str
    filename: str
    patient_id: str
    group: str
    source: str = "unknown"
    modality: str = "unknown"
    has_lesion: bool | None = None
    n_boxes: int = 0

    @staticmethod
    def from_manifest(row: ManifestRow) -> SplitItem:
        """Take over a manifest line."""
        return SplitItem(row.stem, row.filename, row.patient_id, row.group, row.dataset_source, row.modality,
                         row.has_lesion, row.n_boxes)  # fmt: skip


Split = dict[str, list[SplitItem]]


def hashed_id(identity: str) -> str:
    """Return 8 hex digits that stand for a patient or group in logs and messages, so that no id is printed."""
    return hashlib.sha256(identity.encode()).hexdigest()[:8]


def hold_outs(items: Iterable[SplitItem], section: SplitSection) -> list[Split]:
    """Draw `section.n_splits` random splits at `section.ratios` by frames, stratified as well as whole groups allow.

    Strata are source x lesion/healthy, and modality. Every part gets at least one group, with lesions where there are
    enough of those. Raises InputError naming ratios and group counts when there are too few groups.
    """
    ordered = sorted(items, key=lambda item: item.stem)
    groups = sorted({item.group for item in ordered})
    must_reach_every_part = _eligible(ordered, groups, section)
    counts = _stratum_counts(ordered, groups)
    shares = np.array(section.ratios) / sum(section.ratios)
    targets = counts.sum(axis=0)[:, None] * shares  # [S, 3] frames
    splits: list[Split] = []
    drawn: set[tuple[int, ...]] = set()
    for k in range(section.n_splits):
        rng = np.random.default_rng([section.seed % 2**32, k])
        assignment = _best_assignment(counts, targets, must_reach_every_part, rng, drawn)
        drawn.add(assignment)
        part_of = dict(zip(groups, assignment, strict=True))
        split: Split = {part: [] for part in PARTS}
        for item in ordered:
            split[PARTS[part_of[item.group]]].append(item)
        splits.append(set_healthy_aside(split) if section.lesion_only_eval else split)
    return splits


def set_healthy_aside(split: Split) -> Split:
    """Move the held-out parts' healthy frames to `<part>_healthy`; they never enter training."""
    parts: Split = {"train": split["train"]}
    for part in HELD_OUT:
        parts[part] = [item for item in split[part] if item.has_lesion is not False]
        parts[part + HEALTHY] = [item for item in split[part] if item.has_lesion is False]
    return parts


def check_split(split: Split, group_kind: str) -> None:
    """Check that no part is empty, no frame is listed twice and no group lies in two parts.

    `group_kind` is dataset.group; with "patient" the patients are checked as well. Raises InputError, which shows a
    patient or group as a hash. A part and its healthy frames belong together.
    """
    for part in PARTS:
        if not split.get(part):
            raise InputError(f"dataset.split: the part '{part}' is empty; change dataset.split.ratios or .predefined")
    frames: dict[str, str] = {}
    owners: dict[str, str] = {}
    for part, items in split.items():
        side = part.removesuffix(HEALTHY)
        for item in items:
            if item.stem in frames:
                raise InputError(f"dataset.split: frame '{item.stem}' is in {frames[item.stem]} and in {part}")
            frames[item.stem] = part
            for identity in (item.group, item.patient_id) if group_kind == "patient" else (item.group,):
                if owners.setdefault(identity, side) != side:
                    raise InputError(
                        f"dataset.split: {group_kind} #{hashed_id(identity)} is in {owners[identity]} and in {side} "
                        f"(e.g. frame '{item.stem}'); keep each {group_kind} in one part, or set dataset.group and "
                        "accept that the split is not patient-independent"
                    )


def shared_patients(split: Split) -> int:
    """Count the patients whose frames lie in more than one of train, val and test."""
    sides: dict[str, set[str]] = {}
    for part, items in split.items():
        for item in items:
            sides.setdefault(item.patient_id, set()).add(part.removesuffix(HEALTHY))
    return sum(len(seen) > 1 for seen in sides.values())


def _eligible(items: Sequence[SplitItem], groups: Sequence[str], section: SplitSection) -> NDArray[np.bool_]:
    """Mark the groups [G] of which every part needs one: those with lesions where there are enough, else all."""
    with_lesions = {item.group for item in items if item.has_lesion is not False}
    if len(with_lesions) >= len(PARTS):
        return np.array([group in with_lesions for group in groups])
    if len(groups) >= len(PARTS) and not section.lesion_only_eval:
        return np.ones(len(groups), dtype=bool)
    ratios = ":".join(f"{ratio:g}" for ratio in section.ratios)
    lesions = f", {len(with_lesions)} of them with lesions" if section.lesion_only_eval else ""
    raise InputError(
        f"dataset.split.ratios = {ratios} over {len(groups)} groups{lesions}: train, val and test need at least one "
        "each; add patients, loosen dataset.filter, or list a split of your own in dataset.split.predefined"
    )


def _stratum_counts(items: Sequence[SplitItem], groups: Sequence[str]) -> NDArray[np.float64]:
    """Count each group's frames [G, S]: in all, in each cell source x lesion/healthy, in each modality."""
    row = {group: index for index, group in enumerate(groups)}
    keys = [((), (item.source, str(item.has_lesion)), (item.modality,)) for item in items]
    column = {key: index for index, key in enumerate(sorted({key for frame_keys in keys for key in frame_keys}))}
    counts = np.zeros((len(groups), len(column)))
    for item, frame_keys in zip(items, keys, strict=True):
        for key in frame_keys:
            counts[row[item.group], column[key]] += 1
    return counts


def _best_assignment(
    counts: NDArray[np.float64],
    targets: NDArray[np.float64],
    eligible: NDArray[np.bool_],
    rng: np.random.Generator,
    drawn: Set[tuple[int, ...]],
) -> tuple[int, ...]:
    """Return the part (index into PARTS) of each group [G]: the best balanced of many that is not `drawn` yet.

    One that was drawn is taken again only where the others would be upside down.
    """
    trials: list[tuple[bool, bool, float, tuple[int, ...]]] = []
    for _ in range(TRIALS):
        # random() is the Generator's most stable stream; argsort turns it into an order.
        order = np.argsort(rng.random(len(counts)), kind="stable")
        for fill in (_filled_greedily, _filled_in_order):  # the second differs between trials however few groups
            parts = fill(counts, targets, order)
            _reach_every_part(parts, counts, targets, eligible)
            assignment = tuple(parts.tolist())
            imbalance = _imbalance(parts, counts, targets)
            trials.append((_is_upside_down(parts, counts, targets), assignment in drawn, imbalance, assignment))
    return min(trials)[3]


def _filled_greedily(
    counts: NDArray[np.float64], targets: NDArray[np.float64], order: NDArray[np.intp]
) -> NDArray[np.int64]:
    """Put each group where it lowers sum((have - target)^2 / target) most. A target is taken from `targets` [S, 3]."""
    parts = np.zeros(len(counts), dtype=np.int64)
    have = np.zeros_like(targets)
    for group in order:
        frames = counts[group][:, None]
        change = (frames * (2 * (have - targets) + frames) / targets).sum(axis=0)
        parts[group] = int(np.argmin(change))
        have[:, parts[group]] += counts[group]
    return parts


def _filled_in_order(
    counts: NDArray[np.float64], targets: NDArray[np.float64], order: NDArray[np.intp]
) -> NDArray[np.int64]:
    """Fill test, then val, to their number of frames (column 0 of `counts`) in the order given; the rest trains."""
    parts = np.zeros(len(counts), dtype=np.int64)
    waiting = iter(order)
    for part in (2, 1):
        have = 0.0
        while have < targets[0, part] and (group := next(waiting, None)) is not None:
            parts[group] = part
            have += counts[group, 0]
    return parts


def _reach_every_part(
    parts: NDArray[np.int64], counts: NDArray[np.float64], targets: NDArray[np.float64], eligible: NDArray[np.bool_]
) -> None:
    """Give each part without an eligible group the one whose move unbalances least, from a part that can spare it."""
    for part in range(len(PARTS)):
        if (eligible & (parts == part)).any():
            continue
        spare = [g for g in np.flatnonzero(eligible) if (eligible & (parts == parts[g])).sum() > 1]
        moved = [np.where(np.arange(len(parts)) == g, part, parts) for g in spare]
        parts[:] = min(moved, key=lambda candidate: _imbalance(candidate, counts, targets))


def _imbalance(parts: NDArray[np.int64], counts: NDArray[np.float64], targets: NDArray[np.float64]) -> float:
    have = np.stack([counts[parts == part].sum(axis=0) for part in range(len(PARTS))], axis=1)  # [S, 3]
    return float(((have - targets) ** 2 / targets).sum(axis=0).sum())


def _is_upside_down(parts: NDArray[np.int64], counts: NDArray[np.float64], targets: NDArray[np.float64]) -> bool:
    """Whether a part meant to hold twice another's frames, or more, holds fewer than that one."""
    have = np.array([counts[parts == part, 0].sum() for part in range(len(PARTS))])
    meant = targets[0]
    return bool(((meant[:, None] >= 2 * meant) & (have[:, None] < have)).any())
