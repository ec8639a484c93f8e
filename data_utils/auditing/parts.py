"""Which frames stand in which part of a split: the split lists, the external sets, and their manifests.

A part and its healthy frames are one side; so is each external set. What must not be shared is shared between sides.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from data_utils.dataset_section import DatasetSection, ExternalSection
from data_utils.errors import InputError
from data_utils.imaging.images import list_images
from data_utils.manifest import ManifestRow, read_manifest
from data_utils.preparation.state import FILE_NAME
from data_utils.splits import HEALTHY
from data_utils.splitting.split_list import checked_train_list, read_entries, read_split_list
from data_utils.splitting.split_report import LIST_NAMES

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
