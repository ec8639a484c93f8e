"""What is checked about the output folders: not the source, writable, room enough, ours alone, nothing left behind."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from data_utils.config.sections import Config, DatasetSection
from data_utils.errors import InputError, ResumableError
from data_utils.files import write_text
from data_utils.imaging.quality import SCORES_VERSION, FrameScores, is_perceptual_hash

COPY_FOLDERS = (Path("lr/images"), Path("lr/labels"), Path("lr/crowd"), Path("hr/images"))  # below dataset.processed
# Low estimates, in bytes a pixel: they catch a disk that cannot do, and never refuse one that can.
LEAST_BYTES_PER_PIXEL = {"jpg": 0.05, "png": 0.3}


def check_outputs_outside_raw(dataset: DatasetSection) -> None:
    """Raise InputError if anything would be written into the raw folder, which is read-only for us."""
    raw = _real(dataset.raw)
    processed = Path(dataset.processed)
    outputs = {
        "dataset.processed": (processed, *(processed / folder for folder in COPY_FOLDERS)),  # each may be a link
        "dataset.splits": (Path(dataset.splits),),
        "dataset.filter_log": (Path(dataset.filter_log),),
    }
    for key, paths in outputs.items():
        for path in paths:
            if _real(path).is_relative_to(raw):
                raise InputError(
                    f"{key} = {path} lies in the source folder {raw}, which is never written; change {key}"
                )
    for path in (processed / "lr", processed / "hr"):
        if raw.is_relative_to(_real(path)):
            raise InputError(f"dataset.raw = {raw} lies in the output folder {path}; change dataset.processed")


def _real(path: str | Path) -> Path:
    return Path(os.path.realpath(path))  # Path.resolve() raises on a circle of links


def make_writable(folder: Path) -> None:
    """Make a folder and write a byte into it. Raises InputError for a path that is a file, else ResumableError."""
    probe = folder / f".tmp-probe-{os.getpid()}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.write_bytes(b"\0")
        probe.unlink()
    except (FileExistsError, NotADirectoryError):
        raise InputError(f"{folder}: a file is in the way of this output folder; move it or change the path") from None
    except OSError as error:
        raise ResumableError(
            f"{folder}: cannot be written ({error.strerror}); free the folder or choose another, and run again"
        ) from None


def check_room(config: Config, n_frames: int) -> None:
    """Raise ResumableError if the disk surely cannot hold the copies of `n_frames` more frames."""
    dataset = config.dataset
    pixels = config.imgsz_lr**2 + config.imgsz_hr**2
    needed = n_frames * pixels * LEAST_BYTES_PER_PIXEL[dataset.image_format]
    free = shutil.disk_usage(dataset.processed).free
    if free < needed:
        raise ResumableError(
            f"{dataset.processed}: {free / 1e9:.2f} GB free, but {n_frames} frames need {needed / 1e9:.2f} GB or more; "
            "free some space or change dataset.processed, and run again"
        )


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a folder for this process alone, where the system can; the lock ends with the process, whatever happens.

    Raises InputError when another process holds it.
    """
    try:
        import fcntl
    except ImportError:  # Windows: two runs at once are then the user's to avoid
        yield
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        raise InputError(f"{folder}: another `prepare` is at work here; wait for it, or stop it") from None
    except OSError:  # a network file system without locks
        pass
    try:
        yield
    finally:
        os.close(handle)


def remove_leftovers(processed: Path) -> None:
    """Remove the temporary files that killed runs left in a locked folder; the raw set may lie below it."""
    for folder in (processed, *(processed / folder for folder in COPY_FOLDERS)):
        for path in sorted(folder.glob(".tmp-*")):
            path.unlink(missing_ok=True)


def strangers(processed: Path, stems: set[str]) -> list[Path]:
    """Return the files among the copies that belong to none of `stems`: nobody's, or put there by hand."""
    folders = [processed / folder for folder in COPY_FOLDERS]
    return sorted(path for folder in folders if folder.is_dir() for path in folder.iterdir() if path.stem not in stems)


# What an earlier `prepare` found and wrote, one JSON line a frame, so that a rerun does only what changed.
#
# Lines are appended while frames are done, so an interrupted run loses at most the frame in hand, and the file is
# compacted at the end. It is text, never a pickle, and losing it costs only time.


FILE_NAME = "prepare_state.jsonl"


@dataclass(frozen=True)
class FrameRecord:
    """One frame: scores of the bytes with `content_hash`, and the copies made of them, if any.

    copies_key: settings the copies were made with, "" without copies. lr_bytes, hr_bytes: sizes of the copies.
    notes: what reading the frame did to it (alpha dropped, rotated...). crop_xyxy: corners in frame pixels of the part
    the copies show, () for the whole frame. is_repeat: it was left out as a near-duplicate of a frame kept before it.
    """

    stem: str
    content_hash: str
    scores: FrameScores
    notes: tuple[str, ...] = ()
    copies_key: str = ""
    lr_bytes: int = 0
    hr_bytes: int = 0
    crop_xyxy: tuple[int, ...] = ()
    is_repeat: bool = False

    def to_line(self) -> str:
        """Return the record as one JSON line."""
        return json.dumps({"scores_version": SCORES_VERSION, **dataclasses.asdict(self)}, ensure_ascii=True) + "\n"


def read_state(path: Path) -> dict[str, FrameRecord]:
    """Read {stem: record}, the last line of a stem counting.

    A line that is no record (torn by a kill, of another version) is passed over: its frame is then done anew.
    """
    if not path.is_file():
        return {}
    parsed = map(_parsed, path.read_text(encoding="utf-8", errors="replace").splitlines())
    return {record.stem: record for record in parsed if record is not None}


def write_state(path: Path, records: Iterable[FrameRecord]) -> None:
    """Replace the file by these records, whole or not at all."""
    write_text(path, "".join(record.to_line() for record in sorted(records, key=lambda record: record.stem)))


class StateLog:
    """Appends records as they come; use it as a context manager."""

    def __init__(self, path: Path) -> None:
        self._stream = path.open("a", encoding="utf-8")
        self._stream.write("\n")  # ends a torn line that a killed run may have left; blank lines are no records

    def append(self, record: FrameRecord) -> None:
        """Add one record and hand it to the operating system."""
        self._stream.write(record.to_line())
        self._stream.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stream.close()


def _parsed(line: str) -> FrameRecord | None:
    try:
        values: dict[str, Any] = json.loads(line)
        if values.pop("scores_version") != SCORES_VERSION:
            return None
        lists = {name: tuple(values.pop(name)) for name in ("notes", "crop_xyxy")}
        scores = values.pop("scores")
        scores = FrameScores(**{**scores, "field_xyxy": tuple(scores["field_xyxy"])})
        record = FrameRecord(scores=scores, **lists, **values)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    return record if _is_sound(record) else None


def _is_sound(record: FrameRecord) -> bool:
    """Check the types here, because a hand-edited value would otherwise surface much later."""
    scores = dataclasses.asdict(record.scores)
    field, perceptual_hash = scores.pop("field_xyxy"), scores.pop("perceptual_hash")
    words = [record.stem, record.content_hash, record.copies_key, *record.notes]
    whole = [*field, *record.crop_xyxy, record.lr_bytes, record.hr_bytes]
    return (
        len(field) == 4
        and len(record.crop_xyxy) in (0, 4)
        and all(isinstance(value, int) for value in whole)
        and all(isinstance(value, int | float) for value in scores.values())
        and all(isinstance(word, str) for word in words)
        and isinstance(record.is_repeat, bool)
        and is_perceptual_hash(perceptual_hash)
        and Path(record.stem).name == record.stem
    )
