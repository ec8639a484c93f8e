"""Per-frame truth of videos: which lesion is visible where, as a CSV file or as JSON lines.

CSV columns: source,frame,lesion,x1,y1,x2,y2 and, with several classes, class. One row for each lesion visible in a
frame; `lesion` is the same text in every frame of one lesion; corners are in pixels of the frame. Frames without rows
hold no lesion. JSON lines hold the same keys. `source` may be the video's path or its name alone.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_utils.csv_table import read_table
from data_utils.errors import InputError

COLUMNS = ("source", "frame", "lesion", "x1", "y1", "x2", "y2")


@dataclass(frozen=True, eq=False)
class LesionBox:
    """One lesion in one frame. box_xyxy: float64 [4], pixels; class_id: None where the truth names no classes."""

    source: str
    frame: int
    lesion: str
    box_xyxy: NDArray[np.float64]
    class_id: int | None = None


def read_truth(path: Path) -> list[LesionBox]:
    """Read a .csv or .jsonl file; raises InputError by file and line."""
    if not path.is_file():
        raise InputError(f"{path}: no such file; write the columns {','.join(COLUMNS)}")
    rows: Iterable[tuple[int, Mapping[str, Any]]] = (
        _json_rows(path) if path.suffix.lower() in (".jsonl", ".json") else read_table(path, COLUMNS)[1]
    )
    boxes: list[LesionBox] = []
    seen: set[tuple[str, int, str]] = set()
    for number, row in rows:
        box = _box(row, f"{path}:{number}")
        key = (box.source, box.frame, box.lesion)
        if key in seen:
            raise InputError(f"{path}:{number}: lesion {box.lesion} stands twice in frame {box.frame} of {box.source}")
        seen.add(key)
        boxes.append(box)
    return boxes


def _json_rows(path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 text ({error})") from None
    for number, line in enumerate(lines, start=1):
        if line.strip():
            try:
                row = json.loads(line)
            except json.JSONDecodeError as error:
                raise InputError(f"{path}:{number}: not JSON ({error.msg})") from None
            if not isinstance(row, dict):
                raise InputError(f"{path}:{number}: not an object with the keys {','.join(COLUMNS)}")
            yield number, row


def _box(row: Mapping[str, Any], where: str) -> LesionBox:
    try:
        corners = np.array([float(row[name]) for name in ("x1", "y1", "x2", "y2")])
        source, lesion = str(row["source"] or "").strip(), str(row["lesion"] or "").strip()
        frame, class_id = int(row["frame"]), row.get("class")
        class_number = None if class_id in (None, "") else int(class_id)
    except KeyError as error:
        raise InputError(f"{where}: {error} is missing; the columns are {','.join(COLUMNS)}") from None
    except (TypeError, ValueError) as error:
        raise InputError(f"{where}: {error}") from None
    if not source or not lesion or frame < 0:
        raise InputError(f"{where}: source and lesion must not be empty, and frame counts from 0")
    if not np.isfinite(corners).all() or corners[0] >= corners[2] or corners[1] >= corners[3]:
        raise InputError(f"{where}: the box {corners.tolist()} has no area; corners are x1 < x2, y1 < y2 in pixels")
    return LesionBox(source, frame, lesion, corners, class_number)
