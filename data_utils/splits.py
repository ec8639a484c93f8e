"""Hold-out splits that never cut a group (a patient, unless the data set says otherwise).

A split is {"train": [...], "val": [...], "test": [...]}; `lesion_only_eval` adds "val_healthy" and "test_healthy". The
same items and seed give the same split on any machine: items are sorted first, randomness comes from one seeded
Generator, and no cost depends on the order of a set or of a parallel sum.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from data_utils.dataset_section import SplitSection
from data_utils.errors import InputError
from data_utils.manifest import ManifestRow
from data_utils.splitting.split_search import SCALE, Problem, draw, trains

Part = Literal["train", "val", "test"]
PARTS: tuple[Part, ...] = ("train", "val", "test")
HELD_OUT = ("val", "test")
HEALTHY = "_healthy"  # val_healthy, test_healthy: frames set aside by lesion_only_eval
MOST_HELD_OUT = 0.5  # of the lesions, and of all frames, by lesion_only_eval
STRATUM_WEIGHTS = {"size": 0.25}  # the others count 1


@dataclass(frozen=True)
class SplitItem:
    """What splitting needs to know of a frame; `has_lesion` is None where nobody said.

    filename: path below the raw folder, with "/". group: what is never cut. n_small, n_medium, n_large: boxes by area
    in the original frame, 0 where nobody measured them.
    """

    stem: str
    filename: str
    patient_id: str
    group: str
    source: str = "unknown"
    modality: str = "unknown"
    has_lesion: bool | None = None
    n_boxes: int = 0
    n_small: int = 0
    n_medium: int = 0
    n_large: int = 0

    @staticmethod
    def from_manifest(row: ManifestRow) -> SplitItem:
        """Take over a manifest line."""
        return SplitItem(row.stem, row.filename, row.patient_id, row.group, row.dataset_source, row.modality,
                         row.has_lesion, row.n_boxes, row.n_small, row.n_medium, row.n_large)  # fmt: skip


Split = dict[str, list[SplitItem]]


def hashed_id(identity: str) -> str:
    """Return 8 hex digits that stand for a patient or group in logs and messages, so that no id is printed."""
    return hashlib.sha256(identity.encode()).hexdigest()[:8]


def hold_outs(items: Iterable[SplitItem], section: SplitSection) -> list[Split]:
    """Draw `section.n_splits` random splits at `section.ratios` by frames, stratified as well as whole groups allow.

    Each part is within two points of its ratio where some assignment of whole groups is, as far as the search sees.
    With `lesion_only_eval` the ratios are those between the frames that train and the held-out frames with lesions, as
    in the paper (3452 : 269 : 171), unless lesions are too few (`lesions_suffice`). Strata are source x lesion/healthy,
    modality, and the size of a frame's smallest lesion. Every part gets at least one group, with lesions where there
    are enough of those. Raises InputError naming ratios and group counts when there are too few groups.
    """
    ordered = sorted(items, key=lambda item: item.stem)
    groups = sorted({item.group for item in ordered})
    if not section.n_splits:
        return []
    problem = _problem(ordered, groups, section)
    splits: list[Split] = []
    drawn: set[tuple[bool, ...]] = set()
    for k in range(section.n_splits):
        assignment = draw(problem, np.random.default_rng([section.seed % 2**32, k]), drawn)
        drawn.add(trains(assignment))
        part_of = dict(zip(groups, assignment, strict=True))
        split: Split = {part: [] for part in PARTS}
        for item in ordered:
            split[PARTS[part_of[item.group]]].append(item)
        splits.append(set_healthy_aside(split) if section.lesion_only_eval else split)
    return splits


def lesions_suffice(n_frames: int, n_lesions: int, section: SplitSection) -> bool:
    """Whether val and test can have their ratios in lesion frames alone, and still leave most frames to training.

    They then hold the share x of all frames, healthy ones in proportion, where x n_lesions : (1 - x) n_frames is
    val + test : train. At 89:7:4, x passes one half where fewer than an eighth of the frames have lesions; the ratios
    are then those of all frames, as without `lesion_only_eval`.
    """
    return _held_out_share(n_frames, n_lesions, section) <= _most_held_out(section)


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


def _problem(items: Sequence[SplitItem], groups: Sequence[str], section: SplitSection) -> Problem:
    """Count frames by group and stratum for the search; see `hold_outs` for what the ratios and strata are."""
    eligible = _eligible(items, groups, section)
    row = {group: index for index, group in enumerate(groups)}
    keys = [_strata(item) for item in items]
    column = {key: index for index, key in enumerate(sorted({key for frame_keys in keys for key in frame_keys}))}
    strata = np.zeros((len(groups), len(column)), dtype=np.int64)
    counted = np.zeros((len(groups), len(PARTS)), dtype=np.int64)
    n_lesions = sum(item.has_lesion is not False for item in items)
    lesion_only = section.lesion_only_eval and lesions_suffice(len(items), n_lesions, section)
    for item, frame_keys in zip(items, keys, strict=True):
        counted[row[item.group]] += [1] + [not lesion_only or item.has_lesion is not False] * 2
        for key in frame_keys:
            strata[row[item.group], column[key]] += 1
    held_out = [ratio / sum(section.ratios) for ratio in section.ratios[1:]]
    shares = [round(SCALE * share) for share in held_out]
    away = _held_out_share(len(items), n_lesions if lesion_only else len(items), section)
    most = _most_held_out(section) if lesion_only else 1.0
    return Problem(
        counted=counted,
        strata=strata,
        weights=np.array([STRATUM_WEIGHTS.get(key[0], 1.0) for key in column]),
        shares=np.array([SCALE - sum(shares), *shares]),
        fractions=np.array([1 - away, *(away * share / sum(held_out) for share in held_out)]),
        max_held_out=int(most * (n_lesions if lesion_only else len(items))),
        min_train=len(items) - int(most * len(items)),
        eligible=eligible,
    )


def _held_out_share(n_frames: int, n_counted: int, section: SplitSection) -> float:
    """Return the share x of all frames, `n_counted` of which count, that val and test hold; see `lesions_suffice`."""
    train, *held_out = section.ratios
    return sum(held_out) * n_frames / (sum(held_out) * n_frames + train * n_counted)


def _most_held_out(section: SplitSection) -> float:
    """Return the share of lesions, and of all frames, up to which lesion_only_eval may hold them out."""
    return max(MOST_HELD_OUT, sum(section.ratios[1:]) / sum(section.ratios) + 0.04)  # two points for each part


def _strata(item: SplitItem) -> list[tuple[str, ...]]:
    """Name what a frame counts in; all but the size of its smallest lesion are always known."""
    keys = [("all",), ("source", item.source, str(item.has_lesion)), ("modality", item.modality)]
    sizes = ((item.n_small, "small"), (item.n_medium, "medium"), (item.n_large, "large"))
    return keys + [("size", name) for number, name in sizes if number][:1]
