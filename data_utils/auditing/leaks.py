"""Leaks: what one part of a split tells about another. Patients and groups, equal files, copies, video neighbours.

Patient and group ids appear as hashes only.
"""

from __future__ import annotations

import math
import random
import re
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from data_utils.auditing.findings import Finding, FramePair
from data_utils.auditing.fingerprints import Fingerprint
from data_utils.auditing.likeness import View
from data_utils.auditing.near_duplicates import Match, alike_across, alike_pairs
from data_utils.auditing.parts import EXTERNAL, AuditedSplit, AuditFrame
from data_utils.dataset_section import AuditSection, DatasetSection
from data_utils.formats.spelling import folded_id
from data_utils.manifest import FEW_UNITS, ManifestRow, few_units, unit_of
from data_utils.splits import hashed_id

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
