"""Leaks: what one part of a split tells about another. Patients and groups, equal files, copies, video neighbours.

Patient and group ids appear as hashes only.
"""

from __future__ import annotations

import itertools
import math
import random
import re
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

from data_utils.audit.frames import EXTERNAL, AuditedSplit, AuditFrame
from data_utils.audit.likeness import FLIPS, Fingerprint, View, flip_signs, likeness
from data_utils.audit.report import Finding, FramePair
from data_utils.config.sections import AuditSection, DatasetSection
from data_utils.formats.spelling import folded_id
from data_utils.manifest import FEW_UNITS, ManifestRow, few_units, unit_of
from data_utils.processes import available_cores
from data_utils.splits.search import hashed_id

# Pairs of look-alike frames in different parts, without comparing every frame with every other.
#
# Each part's descriptors go into k-d trees; each frame of a smaller part asks them for its nearest few, once for every
# way to mirror a frame and to crop one of the two, and only those are looked at closely (see likeness.py). The work
# grows
# with the number of frames times the logarithm of it, whatever the frames look like: a cluster of a thousand similar
# frames still gives each frame no more than CANDIDATES comparisons a part.


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


IDENTICAL, COPIES, NEIGHBOURS = "identical files", "near-duplicates", "neighbouring video frames"
REGROUP = "put both under one patient_id in metadata.csv (or dataset.group_pattern) and prepare again"
ACCEPT = f"{REGROUP}, or accept the pair in dataset.audit.known_pairs with a reason"
NO_VIDEO = (
    f"{ACCEPT}; where these are not frames of one video, name the videos in a column sequence of metadata.csv, or set "
    "dataset.audit.neighbour_gap=0, and they are not checked"
)
CHANCE_PAIRS, CHANCE_QUANTILE, ABOVE_CHANCE = 2000, 0.995, 0.2
NEIGHBOURS_TRIED = 2  # frames of other parts that follow a frame in number, looked at for each frame
INDEPENDENCE = "split not by patient"
UNKNOWN = "unknown"  # a data source nobody named
_NUMBERED = re.compile(r"(.*?)(\d+)(\D*)", re.DOTALL)  # the last number of a name


@dataclass
class SplitLeaks:
    """What was found in one split, in the order of the checks."""

    findings: list[Finding] = field(default_factory=list)
    pairs: list[FramePair] = field(default_factory=list)


def find_leaks(
    split: AuditedSplit,
    dataset: DatasetSection,
    prints: Mapping[Path, Fingerprint],
    views: Mapping[Path, View],
    workers: int | None = None,
) -> SplitLeaks:
    """Check one split. `prints` and `views` hold its frames that could be read."""
    frames = list(split.frames)
    pairs = list(_identical(frames, prints, split.name))
    known = {frozenset(pair.frames): pair.reason for pair in dataset.audit.known_pairs}
    equal = {frozenset((pair.file_a, pair.file_b)) for pair in pairs}
    unasked = _not_checked(frames, dataset)
    for pair in _alike(frames, views, dataset, split.name, workers, skip=unasked):
        if (files := frozenset((pair.file_a, pair.file_b))) not in equal:
            equal.add(files)
            reason = known.get(frozenset(Path(file).stem for file in files), "")
            pairs.append(FramePair(**{**vars(pair), "accepted": reason}))
    leaks = [pair for pair in pairs if not pair.accepted]
    findings = list(_shared_ids(frames, dataset.group, split.name))
    mends = {IDENTICAL: f"remove one of them, or {REGROUP}", COPIES: ACCEPT, NEIGHBOURS: NO_VIDEO}
    for kind, mend in mends.items():
        messages = [str(pair) for pair in leaks if pair.kind == kind]
        findings.append(Finding(split.name, kind, "leak", messages, mend, unasked.get(kind, "")))
    if dataset.group == "patient":
        findings.append(Finding(split.name, "one patient under two ids", "leak", _two_ids(leaks, frames), REGROUP))
    accepted = [f"{pair}: {pair.accepted}" for pair in pairs if pair.accepted]
    findings.append(Finding(split.name, "patients in val and test", "warning", _few_held_out(frames)))
    findings.append(Finding(split.name, "accepted pairs", "note", accepted))
    findings.append(Finding(split.name, "equal files within a part", "note", _repeats(frames, prints)))
    return SplitLeaks(findings, pairs)


def _shared_ids(frames: Sequence[AuditFrame], group_kind: str, split: str) -> Iterator[Finding]:
    patients: dict[tuple[str, ...], set[str]] = defaultdict(set)
    groups: dict[tuple[str, ...], set[str]] = defaultdict(set)
    across_sets: dict[str, set[str]] = defaultdict(set)
    spelled: dict[str, str] = {}  # two sets may write one id in two ways that no reader tells apart
    for frame in frames:
        if frame.row is None:
            continue
        patient = spelled.setdefault(folded_id(frame.row.patient_id), frame.row.patient_id)
        realm = _realm(frame, frame.row)
        patients[realm, patient].add(frame.side)
        groups[realm, frame.row.group].add(frame.side)
        across_sets[patient].add(frame.side)
    by_patient = group_kind == "patient"
    shared = _shared(patients, "patient")
    if by_patient:
        yield Finding(split, "shared patients", "leak", shared, "keep each patient's frames in one part")
    else:
        yield Finding(split, "shared patients", "note", shared)
        yield Finding(split, INDEPENDENCE, "note", [f"NOT patient-independent: split by {group_kind} (dataset.group)"])
    yield Finding(split, "shared groups", "leak", _shared(groups, "group"), "keep each group's frames in one part")
    certain = {key[-1] for key, sides in patients.items() if len(sides) > 1}
    alike = {key: sides for key, sides in across_sets.items() if key not in certain}
    lines = [f"{line}: the same person?" for line in _shared(alike, "patient id") if EXTERNAL in line]
    yield Finding(split, "patient ids also used by another set", "warning", lines)


def _realm(frame: AuditFrame, row: ManifestRow) -> str:
    """Return within what a frame's ids mean one thing: its named source, else its set.

    Two data sets may both have a "patient1", and a sequence 1 of it.
    """
    named = row.dataset_source != UNKNOWN
    return row.dataset_source if named else frame.side if frame.side.startswith(EXTERNAL) else ""


def _shared(owners: Mapping[str, set[str]] | Mapping[tuple[str, ...], set[str]], what: str) -> list[str]:
    return [
        f"{what} #{hashed_id(key if isinstance(key, str) else key[-1])} in {', '.join(sorted(sides))}"
        for key, sides in sorted(owners.items())
        if len(sides) > 1
    ]


def _identical(frames: Sequence[AuditFrame], prints: Mapping[Path, Fingerprint], split: str) -> Iterator[FramePair]:
    """Pair each frame with the first of another side that has the same bytes, as raw file or as prepared LR file."""
    reported: set[frozenset[Path]] = set()
    for same in _equal_files(frames, prints):
        first: dict[str, AuditFrame] = {}
        for frame in same:
            first.setdefault(frame.side, frame)
        for frame in same:
            other = next((first[side] for side in first if side != frame.side), None)
            if other is None or (files := frozenset((frame.path, other.path))) in reported:
                continue
            reported.add(files)
            a, b = sorted((frame, other), key=lambda f: (f.side != "train", str(f.path)))
            yield FramePair(split, IDENTICAL, a.part, str(a.path), b.part, str(b.path), 1.0)


def _equal_files(frames: Sequence[AuditFrame], prints: Mapping[Path, Fingerprint]) -> list[list[AuditFrame]]:
    buckets: dict[str, list[AuditFrame]] = defaultdict(list)
    for frame in frames:
        digest = prints[frame.path].file_hash if frame.path in prints else ""
        for key in {f"lr {digest}" if digest else "", f"raw {frame.row.content_hash}" if frame.row else ""} - {""}:
            buckets[key].append(frame)
    return [bucket for _, bucket in sorted(buckets.items()) if len(bucket) > 1]


def _repeats(frames: Sequence[AuditFrame], prints: Mapping[Path, Fingerprint]) -> list[str]:
    """Name the frames whose bytes an earlier frame of the same part has."""
    repeats: dict[Path, str] = {}
    for same in _equal_files(frames, prints):
        first: dict[str, AuditFrame] = {}
        for frame in same:
            earlier = first.setdefault(frame.side, frame)
            if earlier.path != frame.path:
                repeats.setdefault(frame.path, f"{frame.part}/{frame.path.name} = {earlier.part}/{earlier.path.name}")
    return list(repeats.values())


def _alike(
    frames: Sequence[AuditFrame], views: Mapping[Path, View], dataset: DatasetSection, split: str,
    workers: int | None, *, skip: Collection[str],
) -> Iterator[FramePair]:  # fmt: skip
    """Yield copies, then video neighbours, in either case the most alike first. skip: kinds that are not looked for."""
    seen = [frame for frame in frames if frame.path in views]
    looks = [views[frame.path] for frame in seen]
    audit = dataset.audit
    copies = [] if COPIES in skip else alike_across(looks, [f.side for f in seen], audit.near_duplicate, workers)
    following = [] if NEIGHBOURS in skip else _neighbours(seen, looks, audit)
    for kind, matches in ((COPIES, copies), (NEIGHBOURS, sorted(following, key=lambda match: -match.likeness))):
        for match in matches:
            a, b = seen[match.first], seen[match.second]
            if a.path != b.path:
                yield FramePair(split, kind, a.part, str(a.path), b.part, str(b.path), round(match.likeness, 4))


def _not_checked(frames: Sequence[AuditFrame], dataset: DatasetSection) -> dict[str, str]:
    """Return why a kind of pair is not looked for, for those that are not."""
    reasons = {}
    if dataset.audit.near_duplicate >= 1:
        reasons[COPIES] = "dataset.audit.near_duplicate = 1"
    if dataset.audit.neighbour_gap == 0:
        reasons[NEIGHBOURS] = "dataset.audit.neighbour_gap = 0"
    elif dataset.group == "patient" and all(f.row is not None and _owner(f.row) and not f.row.sequence for f in frames):
        reasons[NEIGHBOURS] = "patients are known and sequences are not, so file names are not asked"
    return reasons


def _owner(row: ManifestRow) -> str:
    """Return the patient or sequence somebody named for a frame, "" where each frame stands for itself."""
    return "" if row.patient_id == row.stem else row.patient_id


def _neighbours(frames: Sequence[AuditFrame], looks: Sequence[View], audit: AuditSection) -> list[Match]:
    """Return the neighbouring frames that look alike: by neighbour_likeness within a sequence that is known.

    Where only file names speak, frames of different videos may be numbered through, and frames of one organ look alike
    anyway: then the likeness must also be far above that of frames that stand far apart in this set.
    """
    pairs = list(_following(frames, audit.neighbour_gap))
    known = [pair for pair in pairs if _sequence(frames[pair[0]])]
    guessed = [pair for pair in pairs if not _sequence(frames[pair[0]])]
    needed = audit.neighbour_likeness
    if guessed:
        chance = [match.likeness for match in alike_pairs(looks, _far_apart(frames), -math.inf)]
        usual = sorted(chance)[int(CHANCE_QUANTILE * (len(chance) - 1))] if chance else 0.0
        needed = min(max(needed, usual + ABOVE_CHANCE), max(audit.near_duplicate, needed))
    return alike_pairs(looks, known, audit.neighbour_likeness) + alike_pairs(looks, guessed, needed)


def _far_apart(frames: Sequence[AuditFrame]) -> list[tuple[int, int]]:
    """Draw pairs (indices) of frames a quarter of the set or more apart by name: of other videos, or far in their own.

    Frames near each other would make a likeness usual that only one video has.
    """
    draw, n = random.Random(0), len(frames)
    order = sorted(range(n), key=lambda index: _name_parts(frames[index]))
    drawn = ((draw.randrange(n), draw.randint(-(-n // 4), n - -(-n // 4))) for _ in range(CHANCE_PAIRS))
    return [(order[first], order[(first + step) % n]) for first, step in drawn]


def _name_parts(frame: AuditFrame) -> tuple[str, str, int]:
    """Return what stands before a name's last number, behind it, and the number; -1 where it has none."""
    name = str(Path(frame.row.filename).with_suffix("")) if frame.row is not None else frame.path.stem
    match = _NUMBERED.fullmatch(name)
    return (match[1], match[3], int(match[2])) if match else (name, "", -1)


def _sequence(frame: AuditFrame) -> str:
    return frame.row.sequence if frame.row is not None else ""


def _few_held_out(frames: Sequence[AuditFrame]) -> list[str]:
    """Name the held-out parts with fewer than FEW_UNITS patients (or whatever groups are), and what that means."""
    groups: dict[str, set[str]] = defaultdict(set)
    for frame in frames:
        if frame.row is not None and frame.side in ("val", "test"):
            groups[frame.side].add(frame.row.group)
    unit = unit_of(frame.row for frame in frames if frame.row is not None)
    return [
        f"{side}: {few_units(len(found), unit)}"
        for side, found in sorted(groups.items())
        if len(found) < FEW_UNITS
    ]


def _following(frames: Sequence[AuditFrame], gap: int) -> Iterator[tuple[int, int]]:
    """Yield pairs (indices) of frames on different sides whose names differ in the last number alone, by `gap` at most.

    Of the frames that follow a frame, the nearest few of other sides are taken, so the pairs grow with the frames.
    """
    videos: dict[tuple[str, ...], list[tuple[int, int]]] = defaultdict(list)
    for index, frame in enumerate(frames):
        whose = ()
        if (row := frame.row) is not None and (_owner(row) or row.sequence):
            # No other patient is in its video; its own is in other parts only where the split is not by patient.
            whose = (_realm(frame, row), _owner(row), row.sequence)
        before, after, number = _name_parts(frame)
        if number >= 0:
            videos[*whose, before, after].append((number, index))
    for _, numbered in sorted(videos.items()):
        numbered.sort()
        for position, (number, index) in enumerate(numbered):
            found = 0
            for other_number, other in numbered[position + 1 : position + 2 + gap]:
                if other_number - number > gap or found == NEIGHBOURS_TRIED:
                    break
                if frames[other].side != frames[index].side:
                    found += 1
                    yield index, other


def _two_ids(leaks: Sequence[FramePair], frames: Sequence[AuditFrame]) -> list[str]:
    """Name the pairs of patient ids that look-alike frames tie together, with the number of such pairs."""
    owner = {str(frame.path): frame.row.patient_id for frame in frames if frame.row is not None}
    ties: dict[tuple[str, str], int] = defaultdict(int)
    for pair in leaks:
        a, b = owner.get(pair.file_a), owner.get(pair.file_b)
        if a is not None and b is not None and a != b:
            first, second = sorted((hashed_id(a), hashed_id(b)))
            ties[first, second] += 1
    return [f"#{a} and #{b} share {n} look-alike pairs" for (a, b), n in sorted(ties.items())]
