"""Leaks: what one part of a split tells about another. Patients and groups, equal files, copies, video neighbours.

Patient and group ids appear as hashes only.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from data_utils.auditing.findings import Finding, FramePair
from data_utils.auditing.fingerprints import Fingerprint
from data_utils.auditing.likeness import View
from data_utils.auditing.near_duplicates import alike_across, alike_pairs
from data_utils.auditing.parts import EXTERNAL, AuditedSplit, AuditFrame
from data_utils.dataset_section import DatasetSection
from data_utils.formats.spelling import folded_id
from data_utils.splits import hashed_id

IDENTICAL, COPIES, NEIGHBOURS = "identical files", "near-duplicates", "neighbouring video frames"
REGROUP = "put both under one patient_id in metadata.csv (or dataset.group_pattern) and prepare again"
ACCEPT = f"{REGROUP}, or accept the pair in dataset.audit.known_pairs with a reason"
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
    for pair in _alike(frames, views, dataset, split.name, workers):
        if (files := frozenset((pair.file_a, pair.file_b))) not in equal:
            equal.add(files)
            reason = known.get(frozenset(Path(file).stem for file in files), "")
            pairs.append(FramePair(**{**vars(pair), "accepted": reason}))
    leaks = [pair for pair in pairs if not pair.accepted]
    findings = list(_shared_ids(frames, dataset.group, split.name))
    for kind, mend in ((IDENTICAL, f"remove one of them, or {REGROUP}"), (COPIES, ACCEPT), (NEIGHBOURS, ACCEPT)):
        messages = [str(pair) for pair in leaks if pair.kind == kind]
        findings.append(Finding(split.name, kind, "leak", messages, mend))
    if dataset.group == "patient":
        findings.append(Finding(split.name, "one patient under two ids", "leak", _two_ids(leaks, frames), REGROUP))
    accepted = [f"{pair}: {pair.accepted}" for pair in pairs if pair.accepted]
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
        # Two data sets may both have a "patient1": ids of an external set count together with its named source only.
        external = frame.side.startswith(EXTERNAL)
        named = frame.row.dataset_source != UNKNOWN
        realm = (frame.row.dataset_source,) if named else (frame.side,) if external else ("",)
        patients[(*realm, patient)].add(frame.side)
        groups[(*realm, frame.row.group)].add(frame.side)
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
    frames: Sequence[AuditFrame], views: Mapping[Path, View], dataset: DatasetSection, split: str, workers: int | None
) -> Iterator[FramePair]:
    """Yield copies, then video neighbours, in either case the most alike first."""
    seen = [frame for frame in frames if frame.path in views]
    looks = [views[frame.path] for frame in seen]
    audit = dataset.audit
    copies = alike_across(looks, [frame.side for frame in seen], audit.near_duplicate, workers)
    following = alike_pairs(looks, list(_following(seen, audit.neighbour_gap)), audit.neighbour_likeness)
    for kind, matches in ((COPIES, copies), (NEIGHBOURS, sorted(following, key=lambda match: -match.likeness))):
        for match in matches:
            a, b = seen[match.first], seen[match.second]
            if a.path != b.path:
                yield FramePair(split, kind, a.part, str(a.path), b.part, str(b.path), round(match.likeness, 4))


def _following(frames: Sequence[AuditFrame], gap: int) -> Iterator[tuple[int, int]]:
    """Yield pairs (indices) of frames on different sides whose names differ in the last number alone, by `gap` at most.

    Of the frames that follow a frame, the nearest few of other sides are taken, so the pairs grow with the frames.
    """
    videos: dict[tuple[str, str], list[tuple[int, int]]] = defaultdict(list)
    for index, frame in enumerate(frames):
        name = str(Path(frame.row.filename).with_suffix("")) if frame.row is not None else frame.path.stem
        if match := _NUMBERED.fullmatch(name):
            before, number, after = match.groups()
            videos[before, after].append((int(number), index))
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
