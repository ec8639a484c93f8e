"""The manifest of a prepared data set: one CSV line for each frame under lr/images and hr/images."""

from __future__ import annotations

import csv
import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from data_utils.errors import InputError
from data_utils.files import write_csv

HrKind = Literal["native", "upsampled"]
_WHOLE_NUMBERS = ("width", "height", "n_boxes", "crop_x", "crop_y", "n_small", "n_medium", "n_large",
                  "n_bytes", "nearest_bits", "n_crowd")  # fmt: skip
_NUMBERS = ("sharpness", "brightness", "saturated", "border")


@dataclass(frozen=True)
class ManifestRow:
    """One prepared frame.

    filename: its path below the raw folder, with "/". group: what a split never cuts. width, height: pixels of the
    original frame as displayed, of its field alone where dataset.crop_border cut the surround away; crop_x, crop_y:
    where in the displayed frame that field begins. hr_kind: whether the HR copy holds real detail or was interpolated.
    n_small, n_medium, n_large: boxes by area in original pixels (below 32x32, below 96x96, above). content_hash: of the
    source file's bytes, 32 hex digits. n_bytes, sharpness, brightness, saturated, border, perceptual_hash: see
    quality.FrameScores. nearest_bits: in how many of its 64 bits that hash differs from the most similar frame of the
    same group kept before this one. sequence: the video the frame is of, "" where nobody named it. group_kind: patient,
    sequence or image, whatever `group` names; "" in manifests of earlier versions. n_crowd: regions of lr/crowd, where
    nothing is learnt or counted. notes: what reading the frame met (images.DecodedImage), joined by "; ".
    """

    stem: str
    filename: str
    patient_id: str
    group: str
    dataset_source: str
    modality: str
    width: int
    height: int
    hr_kind: HrKind
    n_boxes: int
    content_hash: str
    crop_x: int = 0
    crop_y: int = 0
    n_small: int = 0
    n_medium: int = 0
    n_large: int = 0
    n_bytes: int = 0
    sharpness: float = 0.0
    brightness: float = 0.0
    saturated: float = 0.0
    border: float = 0.0
    perceptual_hash: str = ""
    nearest_bits: int = 64
    sequence: str = ""
    group_kind: str = ""
    n_crowd: int = 0
    notes: str = ""

    @property
    def has_lesion(self) -> bool:
        """Whether the frame holds at least one box or crowd."""
        return self.n_boxes + self.n_crowd > 0


    @property
    def unit(self) -> str:
        """What `group` names: patient, sequence or image; for older manifests read off the ids."""
        if self.group_kind:
            return self.group_kind
        return "image" if self.group == self.stem else "patient" if self.group == self.patient_id else "sequence"


COLUMNS = tuple(field.name for field in dataclasses.fields(ManifestRow))
LATER_COLUMNS = {"sequence": "", "group_kind": "", "n_crowd": "0", "notes": ""}  # manifests of old lack them
UNITS = ("patient", "sequence", "image")  # the most independent first
FEW_UNITS = 5  # below which an interval is little more than the range of these few


def unit_of(rows: Iterable[ManifestRow]) -> str:
    """Return what the groups of these frames are: patient, sequence or image; where they differ, the least independent.

    It is the unit that an evaluation on them may resample. "frame" where there are no rows.
    """
    return max((row.unit for row in rows), key=UNITS.index, default="frame")


def few_units(n_units: int, unit: str) -> str:
    """Say what an interval can still mean where fewer than FEW_UNITS units are resampled."""
    noun = unit if n_units == 1 else f"{unit}s"
    if n_units < 2:
        return f"{n_units} {noun}: nothing to resample, so no number has an interval, or says more than of this one."
    return (f"Only {n_units} {noun}: an interval shows how far these few lie apart and says next to nothing about "
            "others; compare models on them, frame by frame, and draw no conclusion on new ones.")  # fmt: skip


def write_manifest(path: str | Path, rows: Iterable[ManifestRow]) -> bool:
    """Write the rows sorted by stem, whole or not at all; return whether the file changed."""
    return write_csv(path, COLUMNS, (dataclasses.asdict(row) for row in sorted(rows, key=lambda row: row.stem)))


def read_manifest(path: str | Path) -> dict[str, ManifestRow]:
    """Read a manifest into {stem: row}, in the file's order. Raises InputError naming file and line."""
    path = Path(path)
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            return _parsed(csv.DictReader(stream, strict=True), path)
    except FileNotFoundError:
        raise InputError(f"{path}: no manifest; run `python -m data_utils.prepare` first") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: not a readable CSV file ({error}); prepare the data set again") from None


def _parsed(reader: csv.DictReader[str], path: Path) -> dict[str, ManifestRow]:
    missing = [name for name in COLUMNS if name not in LATER_COLUMNS and name not in (reader.fieldnames or ())]
    if missing:
        raise InputError(f"{path}:1: columns {missing} are missing; prepare the data set again")
    rows: dict[str, ManifestRow] = {}
    for record in reader:
        row = _row(record, f"{path}:{reader.line_num}")
        if row.stem in rows:
            raise InputError(f"{path}:{reader.line_num}: stem '{row.stem}' stands twice; prepare the data set again")
        rows[row.stem] = row
    return rows


def _row(record: dict[str, str], where: str) -> ManifestRow:
    values: dict[str, str | int | float] = {name: record.get(name, LATER_COLUMNS.get(name, "")) for name in COLUMNS}
    if any(value is None for value in values.values()):
        raise InputError(f"{where}: the line has too few columns; prepare the data set again")
    for name in _WHOLE_NUMBERS:
        text = str(values[name])
        if not (text.isascii() and text.isdigit()):
            raise InputError(f"{where}: {name} = '{text}' is not a whole number; prepare the data set again")
        values[name] = int(text)
    if values["group_kind"] not in ("", *UNITS):
        raise InputError(f"{where}: group_kind = '{record['group_kind']}', allowed: {', '.join(UNITS)}")
    for name in _NUMBERS:
        try:
            values[name] = float(record[name])
        except ValueError:
            raise InputError(f"{where}: {name} = '{record[name]}' is no number; prepare the data set again") from None
    if values["hr_kind"] not in get_args(HrKind):
        raise InputError(f"{where}: hr_kind = '{record['hr_kind']}', allowed: {', '.join(get_args(HrKind))}")
    return ManifestRow(**values)  # pyright: ignore[reportArgumentType]
