"""Whose each video is, as told by hand, and metadata.csv, which says it of every frame.

Patient ids never stand in messages.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from data_utils.atomic import write_csv
from data_utils.csv_table import read_table
from data_utils.errors import InputError
from data_utils.formats.identity import PatientIds
from data_utils.formats.labels import Findings

METADATA = "metadata.csv"
COLUMNS = ("filename", "patient_id", "dataset_source", "modality", "sequence")
WHOSE = ("nothing says which patient each video shows: give --patient-pattern with (?P<patient>...), or --metadata "
         "videos.csv (video,patient_id), or --patient-is-video if each video is of another patient; frames of one "
         "patient must never stand in two splits")  # fmt: skip


@dataclass(frozen=True)
class VideoIdentity:
    """Whose a video is, as metadata.csv will say."""

    patient_id: str
    dataset_source: str
    modality: str


def identify_videos(
    videos: Sequence[Path],
    source: Path,
    pattern: str | None,
    table: str | Path | None,
    patient_is_video: bool,
    *,
    dataset_source: str = "videos",
    modality: str = "unknown",
    same_patient: Sequence[Sequence[str]] = (),
    distinct_patients: bool = False,
) -> dict[Path, VideoIdentity]:
    """Return {video: whose}, by exactly one of: a regex on the path below `source`, a CSV table, or the video's name.

    Of a single video, the regex sees the path as it was given. The table has the columns video (a path below `source`,
    a file name or a stem) and patient_id, and may have modality and dataset_source, which are otherwise as given here.
    Raises InputError naming the videos that stay without a patient, when none or two of the ways are given, and where
    two ids look like one (see formats/identity.py, PatientIds).
    """
    found = _identify(videos, source, pattern, table, patient_is_video, dataset_source, modality)
    findings = Findings()
    watched = PatientIds(findings, same_patient, distinct_patients, "--same-patient 012 12, or --distinct-patients")
    named = {video: replace(whose, patient_id=watched.named(whose.patient_id, str(video)))
             for video, whose in found.items()}  # fmt: skip
    watched.raise_problems()
    return named


def _identify(
    videos: Sequence[Path], source: Path, pattern: str | None, table: str | Path | None, patient_is_video: bool,
    dataset_source: str, modality: str,
) -> dict[Path, VideoIdentity]:  # fmt: skip
    if (pattern is not None) + (table is not None) + patient_is_video > 1:
        raise InputError("--patient-pattern, --metadata and --patient-is-video say one thing in three ways; give one")
    below = source.is_dir()
    names = {video: _normal((video.relative_to(source) if below else video).as_posix()) for video in videos}
    if patient_is_video:
        return {video: VideoIdentity(_normal(video.stem), dataset_source, modality) for video in videos}
    if table is not None:
        return _by_table(names, Path(table), dataset_source, modality)
    if pattern is None:
        raise InputError(WHOSE)
    try:
        finder = re.compile(pattern)
    except re.error as error:
        raise InputError(f"--patient-pattern {pattern!r}: not a regular expression ({error})") from None
    if "patient" not in finder.groupindex:
        raise InputError(f"--patient-pattern {pattern!r}: must hold a named group (?P<patient>...)")
    found = {video: finder.search(name) for video, name in names.items()}
    patients = {video: match["patient"] if match else None for video, match in found.items()}
    unknown = [video for video in videos if not patients[video]]
    _refuse_unknown(unknown, len(videos), "--patient-pattern finds no patient")
    return {video: VideoIdentity(patient or "", dataset_source, modality) for video, patient in patients.items()}


def write_metadata(
    out: Path, identities: Mapping[str, VideoIdentity], frames: Mapping[str, Sequence[Path]]
) -> None:
    """Say in out/metadata.csv whose the frames are; both maps go by the video's stem, which is the frames' folder.

    Lines of other videos, and further columns, stay; lines of frames that these videos no longer have go. Raises
    InputError if an older file cannot be understood.
    """
    path = out / METADATA
    old_columns, numbered = read_table(path, ("filename", "patient_id")) if path.is_file() else ([], [])
    old_rows = [row for _, row in numbered]
    by_name = {_frame_name(row["filename"]): row for row in old_rows}
    rows = [row for row in old_rows if _frame_name(row["filename"]).rpartition("/")[0] not in frames]
    for stem, paths in frames.items():
        whose = identities[stem]
        for name in (f"{stem}/{path.name}" for path in paths):
            values = (name, whose.patient_id, whose.dataset_source, whose.modality, stem)
            rows.append({**by_name.get(_normal(name), {}), **dict(zip(COLUMNS, values, strict=True))})
    columns = [*COLUMNS, *(name for name in old_columns if name not in COLUMNS)]
    write_csv(path, columns, [{column: row.get(column, "") for column in columns} for row in rows])


def _by_table(
    names: Mapping[Path, str], path: Path, dataset_source: str, modality: str
) -> dict[Path, VideoIdentity]:
    _, rows = read_table(path, ("video", "patient_id"))
    by_key: dict[str, tuple[int, dict[str, str]]] = {}
    for number, row in rows:
        key = _normal(row["video"].replace("\\", "/").removeprefix("./"))
        if not key or not row["patient_id"]:
            raise InputError(f"{path}:{number}: video or patient_id is blank; fill it in")
        if key in by_key:
            raise InputError(f"{path}:{number}: '{row['video']}' stands in line {by_key[key][0]} already; keep one")
        by_key[key] = (number, row)
    identities, used = {}, {}
    for video, name in names.items():
        keys = [key for key in (name, _normal(video.name), _normal(video.stem)) if key in by_key]
        if not keys:
            continue
        number, row = by_key[keys[0]]
        if number in used:
            raise InputError(f"{path}:{number}: fits both {used[number]} and {video}; write the folder too")
        used[number] = video
        identities[video] = VideoIdentity(row["patient_id"], row.get("dataset_source") or dataset_source,
                                          row.get("modality") or modality)  # fmt: skip
    _refuse_unknown([video for video in names if video not in identities], len(names), f"{path} has no line")
    return identities


def _refuse_unknown(unknown: Sequence[Path], n_videos: int, why: str) -> None:
    if unknown:
        first = ", ".join(str(video) for video in unknown[:5])
        raise InputError(f"{why} for {len(unknown)} of {n_videos} videos: {first}")


def _frame_name(filename: str) -> str:
    return _normal(filename.replace("\\", "/").removeprefix("./").removeprefix("images/"))


def _normal(text: str) -> str:
    return unicodedata.normalize("NFC", text)  # one name, one spelling, on every system
