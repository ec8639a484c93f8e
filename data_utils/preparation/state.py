"""What an earlier `prepare` found and wrote, one JSON line a frame, so that a rerun does only what changed.

Lines are appended while frames are done, so an interrupted run loses at most the frame in hand, and the file is
compacted at the end. It is text, never a pickle, and losing it costs only time.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from data_utils.atomic import write_text
from data_utils.imaging.perceptual import is_perceptual_hash
from data_utils.quality import SCORES_VERSION, FrameScores

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
