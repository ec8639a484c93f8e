"""Still frames of a video, one every n seconds, as displayed and numbered as in the video.

Time is the picture's own timestamp. Where a file has none, or states an impossible frame rate, what is taken in its
place is counted and reported; frames that do not decode keep their number, so that names never shift.
"""

from __future__ import annotations

import itertools
import math
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any, Self

import av
import av.error
import numpy as np
from numpy.typing import NDArray

from data_utils.errors import InputError
from data_utils.files import read_table, write_csv
from data_utils.formats.identity import PatientIds
from data_utils.formats.labels import Findings
from data_utils.imaging.video import (
    as_displayed,
    decoded_frames,
    estimated_frames,
    file_name,
    has_own_times,
    open_video,
    untimed_note,
    usable_rate,
)

TOLERANCE = Fraction(1, 1000)  # seconds; containers round timestamps to milliseconds
JITTER = 1  # second; timestamps that run backwards by more start anew
PEEKED = 100  # packets looked at to judge timestamps where no usable rate is stated


@dataclass(frozen=True, eq=False)
class StillFrame:
    """One picture. index: its number in the video, from 0, counting frames that failed; bgr: uint8 [H, W, 3]."""

    index: int
    bgr: NDArray[np.uint8]


class StillReader:
    """Iterate over the first good frame of a video at or after 0, n, 2n... seconds; use as a context manager.

    every_s: n, in seconds; fps: the frame rate to believe instead of the file's timestamps. counts: what was left out,
    changed or assumed, by reason; n_decoded: frames passed so far; n_frames: their number by the header, or None.
    Raises InputError for a file that is no video, cannot be timed, or holds no frame that decodes.
    """

    def __init__(self, path: Path, every_s: float, fps: float | None = None) -> None:
        self.path, self.counts, self.n_decoded = path, Counter[str](), 0
        self._every = Fraction(every_s).limit_denominator(1_000_000)
        self._container, self._stream = open_video(path)
        try:
            self._prepare(fps)
        except BaseException:
            self._container.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._container.close()

    def __iter__(self) -> Iterator[StillFrame]:
        due, size, any_good = 0, None, False
        for index, frame in enumerate(decoded_frames(self._container, self._stream, self.counts, until_keyframe=True)):
            self.n_decoded = index + 1
            if frame is None:
                continue
            any_good = True
            slot = math.floor((self._seconds(frame, index) + TOLERANCE) / self._every)
            if slot < due:
                continue
            due = slot + 1
            bgr = as_displayed(frame)
            size = size or bgr.shape
            if bgr.shape != size:
                self.counts["frames of another size than the first"] += 1
            yield StillFrame(index, bgr)
        if not any_good:
            failed = "".join(f"; {what}: {count}" for what, count in self.counts.items())
            raise InputError(f"{self.path}: no frame could be decoded{failed}; replace or remove it")
        if self.n_decoded < self._stream.frames:
            lacking = self._stream.frames - self.n_decoded
            self.counts["frames the header promised, but the file does not hold"] = lacking

    def _prepare(self, fps: float | None) -> None:
        self._given_rate = usable_rate(fps)
        self._rate = self._given_rate or usable_rate(self._stream.average_rate)
        self._untimed = self._given_rate is None and not has_own_times(self._container, self._stream)
        if self._rate is None:
            self._rate = self._rate_by_timestamps()
            self.counts["no usable frame rate stated, went by the timestamps"] = 1
        self.n_frames = estimated_frames(self._container, self._stream, self._rate)
        self._first_pts: int | None = None
        self._offset, self._last = Fraction(0), Fraction(-1)

    def _rate_by_timestamps(self) -> Fraction:
        """Judge the timestamps of the first packets, in a second look at the file; one frame needs no timing."""
        with av.open(file_name(self.path), metadata_errors="ignore") as container:
            packets = container.demux(container.streams.video[0])
            try:
                seen = [packet.pts for packet in itertools.islice(packets, PEEKED) if packet.size]
            except av.error.FFmpegError:
                seen = []  # the reading itself will say what is wrong
        if len(seen) == 1:
            return Fraction(1)
        times = sorted({pts for pts in seen if pts is not None})
        span = (times[-1] - times[0]) * Fraction(self._stream.time_base or 0) if times else Fraction(0)
        rate = usable_rate((len(times) - 1) / span) if span else None
        if rate is None:
            raise InputError(f"{self.path}: states no usable frame rate and no usable timestamps; give --fps")
        return rate

    def _seconds(self, frame: Any, index: int) -> Fraction:
        """Return the time of a frame since the first; it never runs backwards."""
        assert self._rate is not None
        if self._given_rate is not None:
            return index / self._given_rate
        if self._untimed or frame.pts is None or not self._stream.time_base:
            self.counts[untimed_note(self._rate)] += 1
            return index / self._rate
        self._first_pts = frame.pts if self._first_pts is None else self._first_pts
        seconds = (frame.pts - self._first_pts) * Fraction(self._stream.time_base) + self._offset
        if seconds < self._last:
            self.counts["timestamps that ran backwards, taken to go on"] += 1
            if self._last - seconds > JITTER:  # joined recordings, each from 0
                self._offset += self._last + 1 / self._rate - seconds
                self._last += 1 / self._rate
            return self._last
        self._last = seconds
        return seconds


# Whose each video is, as told by hand, and metadata.csv, which says it of every frame.
#
# Patient ids never stand in messages.


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
