"""Whose each frame is: from metadata.csv, from `dataset.group_pattern`, or from the frame itself.

Patient ids never stand in messages.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from data_utils.errors import InputError
from data_utils.files import read_table
from data_utils.formats.labels import Findings
from data_utils.formats.sources import Source
from data_utils.formats.spelling import NameIndex, as_number, folded_id, folded_name, set_apart

if TYPE_CHECKING:
    from data_utils.config.sections import DatasetSection

DEFAULT_METADATA = "metadata.csv"
WAYS_ON = 'dataset.same_patient: [["012", "12"]], or dataset.distinct_patients: true'
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
    sequence: str = ""


class PatientIds:
    """The patient ids (or sequences) of one data set, watched for two spellings of one person.

    same: groups of ids that are one person, by dataset.same_patient. distinct: dataset.distinct_patients.
    ways_on: how the user says either. Raises InputError where one id stands in two of the groups.
    """

    def __init__(
        self, findings: Findings, same: Sequence[Sequence[str]] = (), distinct: bool = False, ways_on: str = WAYS_ON
    ) -> None:
        self._ways_on = ways_on
        self._findings, self._distinct = findings, distinct
        self._one = {each: group[0] for group in same for each in group}
        if len(self._one) < sum(len(set(group)) for group in same):
            raise InputError("same_patient: one id stands in two of its lists; write all ids of one person in one list")
        self._met: set[str] = set()
        self._seen: dict[str, tuple[str, str]] = {}  # folded -> id as first met, its place
        self._numbers: dict[str, tuple[str, str]] = {}  # the same, folded as numbers
        self._twins: list[str] = []

    def named(self, patient: str, place: str) -> str:
        """Return the id under which `patient` is known; a second spelling of one met before becomes a problem."""
        patient = self.one_of(patient)
        first, where = self._seen.setdefault(folded_id(patient), (patient, place))
        if first != patient:
            self._findings.problem(
                f"{place}: a patient or sequence that looks like that of {where} and is another to a computer "
                f"({set_apart(first, patient)}); write one in one way"
            )
        elif not self._distinct:
            twin, where = self._numbers.setdefault(as_number(patient), (patient, place))
            if twin != patient:
                self._twins.append(f"{where} and {place}")
                self._numbers[as_number(patient)] = (patient, place)
        return patient

    def one_of(self, patient: str) -> str:
        """Return the id that stands for `patient`: the first of its group, or itself."""
        self._met.add(patient)
        return self._one.get(patient, patient)

    def require_met(self) -> None:
        """Raise InputError where an id of `same` is nobody's: mistyped, it would leave two persons of one."""
        if absent := len(self._one.keys() - self._met):
            raise InputError(f"same_patient: {absent} of its {len(self._one)} ids are of no patient here; write them "
                             "as they stand in metadata.csv or in the paths, or take them out")  # fmt: skip

    def raise_problems(self) -> None:
        """Raise InputError for two spellings of one id, and for ids that differ in how a number is written alone."""
        if self._twins:
            pairs = list(dict.fromkeys(self._twins))
            self._findings.problem(
                f"{len(pairs)} pairs of patient ids differ in how a number is written alone (as 012, 12 and 12.0 do): "
                f"{', '.join(pairs[:5])}; say which are one person, or that none are: {self._ways_on}"
            )
            self._twins.clear()
        self._findings.raise_problems()


class IdentityFinder:
    """Answers whose a frame is, by the data set's settings.

    Raises InputError when made if the settings cannot answer, or if metadata.csv cannot be read.
    """

    def __init__(self, dataset: DatasetSection, findings: Findings) -> None:
        self._raw, self._kind, self._findings = Path(dataset.raw), dataset.group, findings
        self._pattern = re.compile(dataset.group_pattern) if dataset.group_pattern else None  # checked by the config
        self._patients = PatientIds(findings, dataset.same_patient, dataset.distinct_patients)
        self._sequences = PatientIds(findings, distinct=True)
        self._rows = self._read_rows(dataset.metadata)
        self._names = NameIndex(self._rows)
        self._by_stem = {_folded_stem(row.filename): row for row in self._rows.values()}
        self._used: dict[str, str] = {}  # place of a metadata row -> image it was given to
        self._check_settings()

    def identify(self, source: Source, stem: str) -> Identity | None:
        """Return whose `source` is, or None after recording a problem."""
        row = self._row_of(source)
        match = self._pattern.search(unicodedata.normalize("NFC", source.below_raw)) if self._pattern else None
        if self._pattern and match is None:
            self._findings.problem(f"{source.image}: dataset.group_pattern does not match '{source.below_raw}'")
            return None
        found = match.groupdict() if match else {}
        one_of, by_path = self._patients.one_of, found.get("patient")
        if row is not None and by_path is not None and one_of(by_path) != one_of(row.patient_id):
            self._findings.problem(f"{row.place}: not the patient dataset.group_pattern finds in '{source.below_raw}'")
            return None
        patient = row.patient_id if row else found.get("patient") or ""
        patient = self._patients.named(patient, row.place if row else str(source.image)) if patient else ""
        sequence = found.get("sequence") or (row.sequence if row else "")
        if (self._kind == "patient" and not patient) or (self._kind == "sequence" and not sequence):
            where = f"{self._raw / DEFAULT_METADATA} names it in no line" if self._rows else "it is empty in the path"
            where += self._nearest(source)
            self._findings.problem(f"{source.image}: its {self._kind} is unknown: {where}")
            return None
        if self._kind == "sequence":
            self._sequences.named(f"{patient}/{sequence}", str(source.image))
        group = {"patient": patient, "sequence": f"{patient}/{sequence}" if patient else sequence, "image": stem}
        identity = (patient or (stem if self._kind == "image" else sequence), group[self._kind])
        about = (row.source, row.modality, row.has_lesion) if row else ("unknown", "unknown", "")
        return Identity(*identity, *about, sequence)

    def report_unused(self) -> None:
        """Count and note the metadata lines that no image claimed; raise what only all ids together show."""
        self._patients.raise_problems()
        self._patients.require_met()
        unused = [row for row in self._rows.values() if row.place not in self._used]
        if unused:
            self._findings.counts["metadata lines without an image"] += len(unused)
            first = ", ".join(f"{row.place} {row.filename}" for row in unused[:5])
            self._findings.note(f"{len(unused)} metadata lines name no image below {self._raw}: {first}")

    def _nearest(self, source: Source) -> str:
        """Name the metadata line whose file name differs by the suffix alone."""
        row = self._by_stem.get(_folded_stem(source.inner))
        return f"; {row.place} has '{row.filename}', which differs by its suffix alone" if row else ""

    def _row_of(self, source: Source) -> MetadataRow | None:
        name = source.inner.rpartition("/")[2]
        for key in (source.below_raw, source.inner, name, name.rpartition(".")[0]):
            try:
                found = self._names.find(key)
            except ValueError as error:
                self._findings.problem(f"{self._raw / DEFAULT_METADATA}: {error}")
                return None
            if found is None:
                continue
            row = self._rows[found]
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
        return read_metadata(path, self._findings, patients=self._patients)

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


def _folded_stem(path: str) -> str:
    return folded_name(path.rpartition("/")[2].rpartition(".")[0])


def read_metadata(
    path: Path, findings: Findings, part_column: str | None = None, *, patients: PatientIds | None = None
) -> dict[str, MetadataRow]:
    """Read metadata.csv into {filename with "/": row}; raises InputError naming file and line of the first problems.

    `part_column` names the column, then a required one, that is read into `part`. patients: where the ids are watched
    together with others of the data set; without it, this file's are watched alone.
    """
    rows: dict[str, MetadataRow] = {}
    watched = patients or PatientIds(findings)
    for row in _metadata_rows(path, findings, part_column):
        if row.filename in rows:
            findings.problem(f"{row.place}: '{row.filename}' stands in {rows[row.filename].place} already")
            continue
        rows[row.filename] = row
        watched.named(row.patient_id, row.place)
    findings.raise_problems()  # whatever follows depends on this file
    watched.raise_problems()
    return rows


def _metadata_rows(path: Path, findings: Findings, part_column: str | None) -> Iterator[MetadataRow]:
    required = REQUIRED_COLUMNS if part_column is None else (*REQUIRED_COLUMNS, part_column)
    for number, values in read_table(path, required)[1]:
        row = _metadata_row(values, f"{path}:{number}", findings, part_column)
        if row is not None:
            yield row


def _metadata_row(
    values: dict[str, str], place: str, findings: Findings, part_column: str | None
) -> MetadataRow | None:
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
        part=values.get(part_column or "", ""),
    )
