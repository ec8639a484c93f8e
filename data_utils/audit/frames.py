"""Which frames stand in which part of a split: the split lists, the external sets, and their manifests.

A part and its healthy frames are one side; so is each external set. What must not be shared is shared between sides.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from data_utils.audit.report import Finding
from data_utils.config.sections import Config, DatasetSection, ExternalSection
from data_utils.errors import InputError
from data_utils.formats.labels import ROUNDING, Findings
from data_utils.formats.sources import Source
from data_utils.formats.yolo import read_source
from data_utils.imaging.images import UnreadableImage, image_size, list_images
from data_utils.lists import checked_train_list, label_path, read_entries, read_split_list
from data_utils.manifest import ManifestRow, read_manifest
from data_utils.prepare.folders import FILE_NAME
from data_utils.splits.report import LIST_NAMES
from data_utils.splits.search import HEALTHY

NEEDED = ("train", "val")  # training cannot begin without these lists
EXTERNAL = "external:"


@dataclass(frozen=True)
class AuditFrame:
    """A listed LR frame. part: the list's name, or "external:NAME"; row: its manifest line, if there is one."""

    path: Path
    part: str
    row: ManifestRow | None

    @property
    def side(self) -> str:
        """The part without its "_healthy"."""
        return self.part.removesuffix(HEALTHY)


@dataclass(frozen=True)
class AuditedSplit:
    """The frames of one split and of the external sets. problems: what is wrong with the lists; unchecked: the sets
    without a manifest, whose patients and groups nobody knows."""

    name: str
    frames: Sequence[AuditFrame]
    problems: Sequence[str]
    unchecked: Sequence[str]


class _Rows:
    """The lines of a manifest, for images of its own folder: elsewhere an equal stem is another frame."""

    def __init__(self, rows: dict[str, ManifestRow], folder: Path) -> None:
        self._rows, self._folder = rows, os.path.realpath(folder)
        self._is_own: dict[Path, bool] = {}  # by the folder of a listed image

    def of(self, image: Path) -> ManifestRow | None:
        """Return the line of a listed image, or None."""
        if image.parent not in self._is_own:
            self._is_own[image.parent] = os.path.realpath(image.parent) == self._folder
        return self._rows.get(image.stem) if self._is_own[image.parent] else None


def split_numbers(dataset: DatasetSection) -> list[int]:
    """Return the numbers of the splits on disk; raises InputError when there are none."""
    numbers = dataset.split_numbers()
    if not numbers:
        raise InputError(f"{dataset.splits}: no split lists here; run `python -m data_utils.prepare` with this config")
    return numbers


def read_split(dataset: DatasetSection, number: int) -> AuditedSplit:
    """Read every list of one split, and the external sets. A list that cannot be used is a problem, not an error."""
    frames: list[AuditFrame] = []
    problems: list[str] = []
    unchecked: list[str] = []
    rows = _manifest(dataset.manifest, problems, unchecked)
    own = _Rows(rows, dataset.lr_images)
    for part in LIST_NAMES:
        path = dataset.split_list(number, part)
        try:
            if not path.is_file() and part not in NEEDED:
                continue
            if part.endswith(HEALTHY) and not read_entries(path):
                continue  # a split may hold out no healthy frame
            frames += [AuditFrame(image, part, own.of(image)) for image in read_split_list(path)]
            if part == "train":
                checked_train_list(dataset, number)
        except InputError as error:
            problems.append(str(error))
    for name, external in dataset.external.items():
        frames += _external(name, external, problems, unchecked)
    seen: dict[Path, str] = {}
    for frame in frames:
        other = seen.setdefault(frame.path, frame.part)
        if other != frame.part and other.removesuffix(HEALTHY) == frame.side:
            problems.append(f"{frame.path}: listed in {other} and in {frame.part}; keep it in one")
    if rows and (unknown := [frame for frame in frames if frame.row is None]):
        problems.append(f"{len(unknown)} listed frames are not in a manifest, e.g. {unknown[0].path}; prepare again")
    return AuditedSplit(f"split{number}", frames, problems, unchecked)


def _external(name: str, external: ExternalSection, problems: list[str], unchecked: list[str]) -> list[AuditFrame]:
    processed = Path(external.processed)
    rows = _manifest(processed / "manifest.csv", problems, unchecked)
    try:
        if external.list_file is not None:
            images = read_split_list(external.list_file)
        else:
            listed = list_images(processed / "lr" / "images")
            images = [path.absolute() for path in listed if path.stem in rows or not rows]
    except InputError as error:
        problems.append(f"dataset.external.{name}: {error}")
        return []
    if not images:
        problems.append(f"dataset.external.{name}: no frame below {processed}; prepare that set, or change the path")
    own = _Rows(rows, processed / "lr" / "images")
    return [AuditFrame(path, EXTERNAL + name, own.of(path)) for path in images]


def _manifest(path: Path, problems: list[str], unchecked: list[str]) -> dict[str, ManifestRow]:
    if not path.is_file() and (path.parent / FILE_NAME).is_file():
        problems.append(f"{path}: no manifest, so preparing was interrupted; run `python -m data_utils.prepare` again")
        return {}
    if not path.is_file():
        unchecked.append(f"{path}: no manifest, so patients and groups are not checked; `prepare` writes one")
        return {}
    try:
        return read_manifest(path)
    except InputError as error:
        problems.append(str(error))
        return {}


# What is wrong with the prepared frames themselves: labels, HR partners, sizes. Nothing here depends on the split.


SCOPE = "all"
REPEATED, TINY, HUGE, CUT = ODD_BOXES = (
    "duplicate boxes", "boxes covering almost nothing", "boxes covering almost everything", "boxes out of the frame",
)  # fmt: skip


def check_labels(frames: Iterable[AuditFrame], dataset: DatasetSection) -> list[Finding]:
    """Check the label file of each frame: what training refuses is an error, what looks wrong a warning."""
    strict = dataset.model_copy(update={"bad_boxes": "error"})
    unusable: list[str] = []
    odd: dict[str, list[str]] = {check: [] for check in ODD_BOXES}
    missing: list[str] = []
    for path in dict.fromkeys(frame.path for frame in frames):
        try:
            label = label_path(path)
            if not label.is_file():
                missing.append(f"{label}: no such label file")
                continue
            findings = Findings()
            read_source(Source(path, label, path.name, path.name), None, strict, findings)
        except InputError as error:
            unusable.append(str(error))
            continue
        unusable += findings.problems
        if hidden := findings.causes.n_untold:
            unusable.append(f"{label}: {hidden} more lines that cannot be used")
        if not findings.n_problems:
            _note_odd_boxes(label, dataset, odd)
    off = {}
    if dataset.audit.box_min == 0:
        off[TINY] = "dataset.audit.box_min = 0"
    if dataset.audit.box_max >= 1:
        off[HUGE] = "dataset.audit.box_max = 1"
    background = "note" if dataset.allow_background else "error"
    return [
        Finding(SCOPE, "unusable labels", "error", unusable, "mend the lines in the raw set and prepare again"),
        Finding(SCOPE, "missing label files", background, missing,
                "write an empty file for a frame without objects, or set dataset.allow_background=true"),
        *(Finding(SCOPE, check, "warning", found, not_checked=off.get(check, "")) for check, found in odd.items()),
    ]  # fmt: skip


def _note_odd_boxes(label: Path, dataset: DatasetSection, odd: dict[str, list[str]]) -> None:
    """Note the lines of a sound label file that look wrong."""
    first: dict[tuple[float, ...], int] = {}
    for number, line in enumerate(label.read_text(encoding="utf-8-sig").splitlines(), start=1):
        if not line.strip():
            continue
        class_id, cx, cy, w, h = map(float, line.split())
        place, share = f"{label}:{number}", w * h
        key = (class_id, *(round(value, 9) for value in (cx, cy, w, h)))
        if first.setdefault(key, number) != number:
            odd[REPEATED].append(f"{place}: repeats line {first[key]}")
        if share < dataset.audit.box_min:
            odd[TINY].append(f"{place}: {share:.2g} of the frame")
        if share > dataset.audit.box_max:
            odd[HUGE].append(f"{place}: {share:.1%} of the frame")
        if max(w / 2 - min(cx, 1 - cx), h / 2 - min(cy, 1 - cy)) > ROUNDING:
            odd[CUT].append(f"{place}: sticks out of the frame")


def check_pairs(frames: Iterable[AuditFrame], config: Config) -> list[Finding]:
    """Check that LR frames have the configured side and HR partners of the same stem twice that side.

    External sets need no HR copies, but those that are there must fit.
    """
    lonely: list[str] = []
    misfits: list[str] = []
    folders: dict[Path, dict[str, Path]] = {}
    for frame in {frame.path: frame for frame in frames}.values():
        folder = _hr_folder(frame, config.dataset)
        if folder not in folders:
            folders[folder] = _by_stem(folder)
        partner = folders[folder].get(frame.path.stem)
        if partner is None and not frame.side.startswith(EXTERNAL):
            lonely.append(f"{frame.path}: no HR partner in {folder}")
        misfits += _misfits(frame.path, partner, config.imgsz_lr)
    mend = "run `python -m data_utils.prepare` with this config again"
    return [
        Finding(SCOPE, "missing HR partners", "error" if config.has_branch else "warning", lonely, mend),
        Finding(SCOPE, "mis-sized LR/HR pairs", "error", misfits, mend),
    ]


def _hr_folder(frame: AuditFrame, dataset: DatasetSection) -> Path:
    if frame.side.startswith(EXTERNAL):
        return Path(dataset.external[frame.side.removeprefix(EXTERNAL)].processed) / "hr" / "images"
    return dataset.hr_images


def _by_stem(folder: Path) -> dict[str, Path]:
    if not folder.is_dir():
        return {}
    return {path.stem: path for path in list_images(folder)}


def _misfits(lr_path: Path, hr_path: Path | None, side: int) -> Iterator[str]:
    wanted: Sequence[tuple[Path, int]] = [(lr_path, side), *([(hr_path, 2 * side)] if hr_path else [])]
    for path, expected in wanted:
        try:
            width, height = image_size(path)[:2]
        except UnreadableImage as error:
            if path == hr_path:  # an unreadable LR frame is a finding of its own
                yield str(error)
            continue
        if (width, height) != (expected, expected):
            yield f"{path}: {width}x{height} pixels, expected {expected}x{expected}"
