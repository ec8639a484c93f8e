"""Hold-out splits that never cut a group (a patient, unless the data set says otherwise).

A split is {"train": [...], "val": [...], "test": [...]}; `lesion_only_eval` adds "val_healthy" and "test_healthy". The
same items and seed give the same split on any machine: items are sorted first, randomness comes from one seeded
Generator, and no cost depends on the order of a set or of a parallel sum.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from data_utils.config.sections import SplitSection
from data_utils.errors import InputError
from data_utils.manifest import ManifestRow

# Which part each group goes to: a seeded search over whole groups, the same on any machine.
#
# Letters: G groups, K strata, P parts (train, val, test, in this order), A assignments, M steps. Frames are counted in
# whole numbers and shares in whole millionths; costs are rounded to whole numbers before they are added, so that no
# result depends on the order of a sum.


Ints = NDArray[np.int64]

SCALE = 1_000_000  # one, in millionths
TOLERANCE = 20_000  # two points: by how much the share of a part may miss its ratio
GRAIN = 1_000  # one unit of imbalance, in whole numbers
EXHAUSTIVE = 10  # up to so many groups every assignment is looked at
TRIALS, FEWEST_TRIALS = 16, 4  # assignments searched for otherwise; the best balanced is taken
RESTARTS = 30  # more trials, from anywhere, while none is within two points; fewer, or none, for many groups
EFFORT = 3_200  # groups times trials: many groups need fewer trials, they differ little there
SAMPLE = 2_048  # steps looked at in one go: all where there are so few, else a random sample
PATIENCE = 2  # samples without a step that helps, before a trial ends
MAX_STEPS = 500  # of one trial; the search ends by itself long before


@dataclass(frozen=True, eq=False)
class Problem:
    """What is to be divided.

    counted [G, P]: frames each group counts for the ratio in each part. strata [G, K]: its frames in each stratum, and
    weights [K] what a stratum counts. shares [P]: of the ratio, in millionths. fractions [P]: of each stratum that a
    part should get. max_held_out: counted frames val and test may hold together. min_train: frames that must train.
    eligible [G]: every part gets one of these.
    """

    counted: Ints
    strata: Ints
    weights: NDArray[np.float64]
    shares: Ints
    fractions: NDArray[np.float64]
    max_held_out: int
    min_train: int
    eligible: NDArray[np.bool_]

    @property
    def n_groups(self) -> int:
        """G."""
        return len(self.counted)

    @cached_property
    def targets(self) -> NDArray[np.float64]:
        """Frames of each stratum meant for each part [P, K]."""
        return self.fractions[:, None] * self.strata.sum(axis=0)

    def excess(self, frames: Ints) -> Ints:
        """By how much `frames` [..., P] miss the ratios beyond two points or the limits, in millionths of a frame.

        0 means that they are within.
        """
        total = frames.sum(axis=-1, keepdims=True)
        beyond = np.abs(SCALE * frames - self.shares * total) - TOLERANCE * total
        too_many = np.maximum(frames[..., 1:].sum(axis=-1) - self.max_held_out, 0)
        too_few = np.maximum(self.min_train - frames[..., 0], 0)
        return np.maximum(beyond, 0).sum(axis=-1) + SCALE * (too_many + too_few)

    def imbalance(self, have: Ints, part: Ints | int) -> Ints:
        """Sum of (have - target)^2 / (target + 1) over the strata `have` [..., K] of `part`, in units of 1 / GRAIN."""
        target = self.targets[part]
        cost = self.weights * (have - target) ** 2 / (target + 1)
        return np.rint(GRAIN * cost).astype(np.int64).sum(axis=-1)

    def frames(self, parts: Ints) -> Ints:
        """Count the frames of each part [..., P] when groups go to `parts` [..., G]."""
        return np.stack([(parts == part) @ self.counted[:, part] for part in range(3)], axis=-1)

    def is_upside_down(self, frames: Ints) -> NDArray[np.bool_]:
        """Whether a part meant to hold twice another's frames [..., P], or more, holds fewer than that one."""
        wrong = (self.shares[:, None] >= 2 * self.shares) & (frames[..., :, None] < frames[..., None, :])
        return np.asarray(wrong.any(axis=(-2, -1)))


def draw(problem: Problem, rng: np.random.Generator, drawn: Set[tuple[bool, ...]]) -> tuple[int, ...]:
    """Return the part (0 train, 1 val, 2 test) of each group [G].

    Preferred are, in this order: assignments within two points of the ratios, those not upside down, those that train
    on other groups than those in `drawn` (see `trains`); then the best balanced of a random handful. There must be an
    eligible group for each part.
    """
    candidates = _every_assignment(problem) if problem.n_groups <= EXHAUSTIVE else _searched(problem, rng)
    frames = problem.frames(candidates)
    excess = problem.excess(frames)
    repeated = np.array([trains(parts) in drawn for parts in candidates.tolist()])
    rank = 4 * (excess > 0) + 2 * problem.is_upside_down(frames) + repeated
    best = np.flatnonzero(rank == rank.min())
    best = best[excess[best] == excess[best].min()]
    best = best[_shuffled(len(best), rng)[:TRIALS]]
    one_hot = (candidates[best][:, None, :] == np.arange(3)[:, None]).astype(np.int64)  # [A, P, G]
    balance = problem.imbalance(one_hot @ problem.strata, np.arange(3)).sum(axis=-1)
    return tuple(candidates[best[int(np.argmin(balance))]].tolist())


def trains(parts: Iterable[int]) -> tuple[bool, ...]:
    """Say for each group whether it trains: two splits that agree in this give the same model."""
    return tuple(part == 0 for part in parts)


def _every_assignment(problem: Problem) -> Ints:
    """Return all assignments [A, G] that give each part an eligible group."""
    every = np.indices((3,) * problem.n_groups).reshape(problem.n_groups, -1).T
    reached = [((every == part) & problem.eligible).any(axis=1) for part in range(3)]
    return every[np.logical_and.reduce(reached)].astype(np.int64)


def _searched(problem: Problem, rng: np.random.Generator) -> Ints:
    """Return the assignments [A, G] that a number of trials end in."""
    affordable = max(EFFORT // problem.n_groups, FEWEST_TRIALS)
    found = [_improved(problem, _started(problem, rng), rng) for _ in range(min(TRIALS, affordable))]
    for _ in range(min(RESTARTS, affordable - FEWEST_TRIALS)):
        if (problem.excess(problem.frames(np.stack(found))) == 0).any():
            break
        found.append(_improved(problem, _scattered(problem, rng), rng))
    return np.stack(found)


def _started(problem: Problem, rng: np.random.Generator) -> Ints:
    """Return parts [G]: groups in random order fill test, then val, to their fraction of what counts; the rest trains.

    So the patients held out are no others than those who train, which a start by best fit would not give: that one
    leaves the groups of a single frame to the small parts.
    """
    order = _shuffled(problem.n_groups, rng)
    counted = problem.counted[order, 1]
    before = np.cumsum(counted) - counted
    ends = counted.sum() * np.cumsum(problem.fractions[::-1])
    parts = np.zeros(problem.n_groups, dtype=np.int64)
    parts[order] = np.maximum(2 - np.searchsorted(ends, before, side="right"), 0)
    parts[order[problem.eligible[order]][:3]] = (2, 1, 0)  # one for each part, so that none goes without
    return parts


def _scattered(problem: Problem, rng: np.random.Generator) -> Ints:
    """Return parts [G] at random, of every size."""
    held_out = rng.random(2) / 2
    parts = np.searchsorted(np.cumsum(held_out), rng.random(problem.n_groups))  # 0 val, 1 test, 2 train
    parts = (parts + 1) % 3
    order = _shuffled(problem.n_groups, rng)
    parts[order[problem.eligible[order]][:3]] = (2, 1, 0)
    return parts


def _improved(problem: Problem, parts: Ints, rng: np.random.Generator) -> Ints:
    """Move single groups, and exchange two, as long as that brings the ratios or else the strata nearer."""
    failures = 0
    for _ in range(MAX_STEPS):
        step = _best_step(problem, parts, *_moves(problem, rng))
        if step is None:
            step = _best_step(problem, parts, *_exchanges(problem, parts, rng))
        if step is None:
            failures += 1
            if failures == PATIENCE or problem.n_groups**2 <= SAMPLE:  # all were looked at
                break
            continue
        one, other, part = step
        if other != problem.n_groups:
            parts[other] = parts[one]
        parts[one] = part
        failures = 0
    return parts


def _moves(problem: Problem, rng: np.random.Generator) -> tuple[Ints, Ints, Ints]:
    """Return groups to move and their new part as (one, other, target), [M] each; `other` is G: nobody."""
    number = 3 * problem.n_groups
    which = np.arange(number) if number <= SAMPLE else _whole(rng.random(SAMPLE), number)
    return which % problem.n_groups, np.full(len(which), problem.n_groups), which // problem.n_groups


def _exchanges(problem: Problem, parts: Ints, rng: np.random.Generator) -> tuple[Ints, Ints, Ints]:
    """Return pairs of groups to exchange as (one, other, part of other), [M] each."""
    if problem.n_groups**2 <= SAMPLE:
        one, other = np.triu_indices(problem.n_groups, 1)
    else:
        held_out = np.flatnonzero(parts)
        draws = rng.random((2, SAMPLE))
        one, other = held_out[_whole(draws[0], len(held_out))], _whole(draws[1], problem.n_groups)
    return one, other, parts[other]


def _whole(draws: NDArray[np.float64], below: int) -> Ints:
    """Turn numbers in [0, 1) into whole ones in [0, below)."""
    return (draws * below).astype(np.int64)


def _best_step(problem: Problem, parts: Ints, one: Ints, other: Ints, target: Ints) -> tuple[int, int, int] | None:
    """Return the (one, other, target) that helps most: `one` goes to `target`, `other` to where `one` was.

    one, other, target [M]; None where no step helps.
    """
    source = parts[one]
    allowed = source != target
    one, other, target, source = one[allowed], other[allowed], target[allowed], source[allowed]
    eligible = np.append(problem.eligible, False).astype(np.int64)
    reaching = np.bincount(parts[problem.eligible], minlength=3)
    change = eligible[one] - eligible[other]
    allowed = (reaching[source] - change >= 1) & (reaching[target] + change >= 1)
    one, other, target, source = one[allowed], other[allowed], target[allowed], source[allowed]
    if not len(one):
        return None
    strata, counted = _with_nobody(problem.strata), _with_nobody(problem.counted)
    one_hot = parts[:, None] == np.arange(3)
    have = one_hot.T.astype(np.int64) @ problem.strata
    frames = (one_hot * problem.counted).sum(axis=0)
    moved = strata[one] - strata[other]
    now = problem.imbalance(have, np.arange(3))
    change = problem.imbalance(have[source] - moved, source) + problem.imbalance(have[target] + moved, target)
    change -= now[source] + now[target]
    then = np.repeat(frames[None], len(one), axis=0)
    rows = np.arange(len(one))
    then[rows, source] += counted[other, source] - counted[one, source]
    then[rows, target] += counted[one, target] - counted[other, target]
    excess = problem.excess(then)
    least = excess.min()
    if least > (present := int(problem.excess(frames))):
        return None
    near = np.flatnonzero(excess == least)
    best = near[int(np.argmin(change[near]))]
    if least == present and change[best] >= 0:
        return None
    return int(one[best]), int(other[best]), int(target[best])


def _with_nobody(counts: Ints) -> Ints:
    return np.concatenate([counts, np.zeros_like(counts[:1])])


def _shuffled(n: int, rng: np.random.Generator) -> Ints:
    """Return 0..n-1 in random order; random() is the Generator's most stable stream."""
    return np.argsort(rng.random(n), kind="stable")


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
