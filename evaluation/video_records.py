"""Saved detections: one JSON line a frame, written by `infer.py --save-json` and read by `evaluation.video`.

A line: {"source": "a.mp4", "frame": 12, "seconds": 0.48, "width": 1280, "height": 720, "detections": [{"class": 0,
"name": "lesion", "score": 0.87, "box": [x1, y1, x2, y2], "track": 3, "alert": true}]}. Boxes are corners in pixels of
the frame; "seconds" is null for an image; "track" and "alert" are there with `--track` alone. "outputs" names what else
was written of the frame: its annotated copy, its text file. A frame without detections has its line, too.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from data_utils.errors import InputError
from data_utils.types import Detections


@dataclass(frozen=True, eq=False)
class FrameRecord:
    """What was found in one frame.

    frame: its index in the source; seconds: its time there, None for an image. size: (width, height) in pixels.
    tracks: the identity of each detection, None for one that no track holds; alerts: whether each is raised. Both are
    None without tracking.
    """

    source: str
    frame: int
    seconds: float | None
    size: tuple[int, int]
    detections: Detections
    tracks: tuple[int | None, ...] | None = None
    alerts: tuple[bool, ...] | None = None

    @property
    def raised(self) -> list[bool]:
        """Whether each detection is shown to the user: all are, where nothing is tracked."""
        return [True] * len(self.detections) if self.alerts is None else list(self.alerts)


def record_line(record: FrameRecord, names: Sequence[str], outputs: Sequence[str] = ()) -> str:
    """Return the record as one line of JSON; outputs: the other files written of this frame."""
    found = record.detections
    listed: list[dict[str, Any]] = []
    for k in range(len(found)):
        class_id = int(found.class_ids[k])
        listed.append({
            "class": class_id, "name": names[class_id], "score": round(float(found.scores[k]), 6),
            "box": [round(float(value), 3) for value in found.boxes_xyxy[k]],
        })  # fmt: skip
        if record.tracks is not None and record.alerts is not None:
            listed[-1] |= {"track": record.tracks[k], "alert": record.alerts[k]}
    head = {"source": record.source, "frame": record.frame, "seconds": record.seconds,
            "width": record.size[0], "height": record.size[1]}  # fmt: skip
    return json.dumps({**head, "detections": listed, "outputs": list(outputs)}, ensure_ascii=False)


def read_records(path: Path) -> list[FrameRecord]:
    """Read saved detections. Raises InputError by file and line; a last line torn by a crash is left out.

    Its being left out shows in the number of frames alone: a run that was killed looked at no more.
    """
    records = []
    lines = list(_lines(path))
    for number, line in lines:
        try:
            records.append(_record(json.loads(line)))
        except json.JSONDecodeError as error:
            if number == lines[-1][0] and number > 1:
                continue
            raise InputError(f"{path}:{number}: not JSON ({error.msg}); write it with infer.py --save-json") from None
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            what = f"{error} is missing" if isinstance(error, KeyError) else str(error)
            raise InputError(f"{path}:{number}: no saved detections of a frame: {what}") from None
    return records


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; infer.py --save-json writes it") from None
    except UnicodeDecodeError:
        raise InputError(f"{path}: not UTF-8 text; infer.py --save-json writes it") from None
    return ((number, line) for number, line in enumerate(text.split("\n"), start=1) if line.strip())


def _record(content: dict[str, Any]) -> FrameRecord:
    listed = content["detections"]
    tracked = any("track" in one for one in listed)
    boxes, scores, classes = ([one[key] for one in listed] for key in ("box", "score", "class"))
    found = Detections(np.array(boxes, np.float32), np.array(scores), np.array(classes))
    order = sorted(range(len(listed)), key=lambda k: -listed[k]["score"])  # as Detections sorts
    seconds = content["seconds"]
    if seconds is not None and not math.isfinite(seconds):
        raise ValueError(f"seconds = {seconds} is no time")
    return FrameRecord(
        source=str(content["source"]),
        frame=int(content["frame"]),
        seconds=None if seconds is None else float(seconds),
        size=(int(content["width"]), int(content["height"])),
        detections=found,
        tracks=tuple(listed[k]["track"] for k in order) if tracked else None,
        alerts=tuple(bool(listed[k]["alert"]) for k in order) if tracked else None,
    )
