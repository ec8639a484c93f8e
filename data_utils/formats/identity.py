"""Whose each frame is: from metadata.csv, from `dataset.group_pattern`, or from the frame itself.

Patient ids never stand in messages.
"""

from __future__ import annotations

import csv
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from data_utils.errors import InputError
from data_utils.formats.labels import Findings
from data_utils.formats.sources import Source

if TYPE_CHECKING:
    from data_utils.dataset_section import DatasetSection

DEFAULT_METADATA = "metadata.csv"
REQUIRED_COLUMNS = ("filename", "patient_id", "dataset_source")


@dataclass(frozen=True)
class MetadataRow:
    """One line of metadata.csv; `filename` with "/". `sequence`, `has_lesion`: "" where the file has no such column.

    part: what the column dataset.split.column says, "" where none was asked for.
    """

    place: str  # file:line
    filename: str
    patient_id: str
    source: str
    modality: str
    sequence: str
    has_lesion: str
    part: str = ""


@dataclass(frozen=True)
class Identity:
    """Whose one frame is. `group` is what a split never cuts."""

    patient_id: str
    group: str
    source: str = "unknown"
    modality: str = "unknown"
    has_lesion: str = ""


class IdentityFinder:
    """Answers whose a frame is, by the data set's settings.

    Raises InputError when made if the settings cannot answer, or if metadata.csv cannot be read.
    """

    def __init__(self, dataset: DatasetSection, findings: Findings) -> None:
        self._raw, self._kind, self._findings = Path(dataset.raw), dataset.group, findings
        self._pattern = re.compile(dataset.group_pattern) if dataset.group_pattern else None  # checked by the config
        self._rows = self._read_rows(dataset.metadata)
        self._used: dict[str, str] = {}  # place of a metadata row -> image it was given to
        self._spellings: dict[str, str] = {}  # patient without upper and lower case -> patient as first met
        self._check_settings()

    def identify(self, source: Source, stem: str) -> Identity | None:
        """Return whose `source` is, or None after recording a problem."""
        row = self._row_of(source)
        match = self._pattern.search(unicodedata.normalize("NFC", source.below_raw)) if self._pattern else None
        if self._pattern and match is None:
            self._findings.problem(f"{source.image}: dataset.group_pattern does not match '{source.below_raw}'")
            return None
        found = match.groupdict() if match else {}
        if row is not None and found.get("patient") not in (None, row.patient_id):
            self._findings.problem(f"{row.place}: not the patient dataset.group_pattern finds in '{source.below_raw}'")
            return None
        patient = row.patient_id if row else found.get("patient") or ""
        if self._spellings.setdefault(patient.casefold(), patient) != patient:
            self._findings.problem(f"{source.image}: its patient differs from another by upper and lower case alone; "
                                   "write one patient in one way")  # fmt: skip
        sequence = found.get("sequence") or (row.sequence if row else "")
        if (self._kind == "patient" and not patient) or (self._kind == "sequence" and not sequence):
            where = f"{self._raw / DEFAULT_METADATA} names it in no line" if self._rows else "it is empty in the path"
            self._findings.problem(f"{source.image}: its {self._kind} is unknown: {where}")
            return None
        group = {"patient": patient, "sequence": f"{patient}/{sequence}" if patient else sequence, "image": stem}
        identity = (patient or (stem if self._kind == "image" else sequence), group[self._kind])
        return Identity(*identity, row.source, row.modality, row.has_lesion) if row else Identity(*identity)

    def report_unused(self) -> None:
        """Count and note the metadata lines that no image claimed."""
        unused = [row for row in self._rows.values() if row.place not in self._used]
        if unused:
            self._findings.counts["metadata lines without an image"] += len(unused)
            first = ", ".join(f"{row.place} {row.filename}" for row in unused[:5])
            self._findings.note(f"{len(unused)} metadata lines name no image below {self._raw}: {first}")

    def _row_of(self, source: Source) -> MetadataRow | None:
        name = source.inner.rpartition("/")[2]
        for key in (source.below_raw, source.inner, name, name.rpartition(".")[0]):
            row = self._rows.get(unicodedata.normalize("NFC", key))
            if row is None:
                continue
            other = self._used.setdefault(row.place, source.below_raw)
            if other != source.below_raw:
                self._findings.problem(f"{row.place}: '{row.filename}' fits both {other} and {source.below_raw}; "
                                       "write the folder too")  # fmt: skip
            return row
        return None

    def _read_rows(self, metadata: str | None) -> dict[str, MetadataRow]:
        path = self._raw / (metadata or DEFAULT_METADATA)
        if metadata is None or (metadata == DEFAULT_METADATA and not path.is_file()):
            return {}  # optional under its default name
        return read_metadata(path, self._findings)

    def _check_settings(self) -> None:
        groups = self._pattern.groupindex if self._pattern else {}
        if self._kind == "patient" and not self._rows and "patient" not in groups:
            raise InputError(
                f"{self._raw}: dataset.group = patient, but nothing says whose each frame is: add "
                f"{self._raw / DEFAULT_METADATA} (filename, patient_id, dataset_source), or set dataset.group_pattern "
                "with (?P<patient>...), or by hand dataset.group = sequence | image, which is not patient-independent"
            )
        has_sequences = any(row.sequence for row in self._rows.values())
        if self._kind == "sequence" and "sequence" not in groups and not has_sequences:
            raise InputError(
                "dataset.group = sequence: set dataset.group_pattern with (?P<sequence>...), or give metadata.csv a "
                "column 'sequence'"
            )


def read_metadata(path: Path, findings: Findings, part_column: str | None = None) -> dict[str, MetadataRow]:
    """Read metadata.csv into {filename with "/": row}; raises InputError naming file and line of the first problems.

    `part_column` names the column, then a required one, that is read into `part`.
    """
    rows: dict[str, MetadataRow] = {}
    spellings: dict[str, MetadataRow] = {}
    for row in _metadata_rows(path, findings, part_column):
        if row.filename in rows:
            findings.problem(f"{row.place}: '{row.filename}' stands in {rows[row.filename].place} already")
            continue
        rows[row.filename] = row
        first = spellings.setdefault(row.patient_id.casefold(), row)
        if first.patient_id != row.patient_id:
            findings.problem(f"{row.place}: patient_id differs from that in {first.place} by upper and lower "
                             "case alone; write one patient in one way")  # fmt: skip
    findings.raise_problems()  # whatever follows depends on this file
    return rows


def _metadata_rows(path: Path, findings: Findings, part_column: str | None) -> Iterator[MetadataRow]:
    try:
        text = unicodedata.normalize("NFC", path.read_text(encoding="utf-8-sig"))  # one name, one spelling
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not a readable UTF-8 text file ({error}); see dataset.metadata") from None
    header = text.partition("\n")[0]
    delimiter = ";" if ";" in header and "," not in header else ","  # spreadsheets in many languages write ";"
    lines = text.splitlines(keepends=True)
    reader = csv.DictReader(lines, delimiter=delimiter, strict=True, restval="", skipinitialspace=True)
    try:
        columns = [(name or "").strip() for name in reader.fieldnames or []]
        required = REQUIRED_COLUMNS if part_column is None else (*REQUIRED_COLUMNS, part_column)
        missing = [name for name in required if name not in columns]
        if missing:
            raise InputError(f"{path}:1: column {', '.join(missing)} is missing; found: {', '.join(columns)[:200]}")
        if twice := [name for name, number in Counter(columns).items() if name and number > 1]:
            raise InputError(f"{path}:1: column {', '.join(twice)} stands twice; keep one")
        reader.fieldnames = columns
        for fields in reader:
            row = _metadata_row(fields, f"{path}:{reader.line_num}", findings, part_column)
            if row is not None:
                yield row
    except csv.Error as error:
        raise InputError(f"{path}:{reader.reader.line_num}: not a line of CSV ({error})") from None


def _metadata_row(
    fields: dict[str | None, str], place: str, findings: Findings, part_column: str | None
) -> MetadataRow | None:
    if None in fields:
        findings.problem(f"{place}: more fields than columns; quote values that hold the delimiter")
        return None
    values = {name: value.strip() for name, value in fields.items()}
    if not any(values.values()):
        return None  # spreadsheets end in lines of nothing but commas
    for column in ("filename", "patient_id"):
        if not values[column]:
            findings.problem(f"{place}: {column} is blank; fill it in")
            return None
    return MetadataRow(
        place=place,
        filename=values["filename"].replace("\\", "/").removeprefix("./"),
        patient_id=values["patient_id"],
        source=values["dataset_source"] or "unknown",
        modality=values.get("modality", "") or "unknown",
        sequence=values.get("sequence", ""),
        has_lesion=values.get("has_lesion", ""),
        part=values.get(part_column, ""),
    )
