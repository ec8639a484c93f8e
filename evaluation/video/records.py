"""Saved detections: one JSON line a frame, written by `infer.py --save-json` and read by `evaluation.video`.

A line: {"source": "a.mp4", "frame": 12, "seconds": 0.48, "width": 1280, "height": 720, "detections": [{"class": 0,
"name": "lesion", "score": 0.87, "box": [x1, y1, x2, y2], "track": 3, "alert": true}]}. Boxes are corners in pixels of
the frame; "seconds" is null for an image; "track" and "alert" are there with `--track` alone. "outputs" names what else
was written of the frame: its annotated copy, its text file. A frame without detections has its line, too.
"""

from __future__ import annotations

import difflib
import json
import math
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_utils.errors import InputError
from data_utils.files import read_table
from data_utils.records import Detections


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


# Per-frame truth of videos: which lesion is visible where, as a CSV file or as JSON lines, and how it fits the frames.
#
# CSV columns: source,frame,lesion,x1,y1,x2,y2 and, with several classes, class. One row for each lesion visible in a
# frame; `lesion` is the same text in every frame of one lesion; corners are in pixels of the frame. Frames without rows
# hold no lesion. JSON lines hold the same keys. `source` may be the video's path or its name alone.


COLUMNS = ("source", "frame", "lesion", "x1", "y1", "x2", "y2")
ROUNDING = 1.0  # pixels by which a box may reach out of its frame without a word
EXAMPLES = 3


@dataclass(frozen=True, eq=False)
class LesionBox:
    """One lesion in one frame. box_xyxy: float64 [4], pixels; class_id: None where the truth names no classes.

    where: file and line, for messages.
    """

    source: str
    frame: int
    lesion: str
    box_xyxy: NDArray[np.float64]
    class_id: int | None = None
    where: str = "truth"


@dataclass
class PlacedTruth:
    """The truth by the frames that were looked at, and what has none.

    boxes: (source, frame) -> its lesions. between, behind: (source, lesion) of rows whose frame lies between two that
    were looked at, or behind the last. n_cut: boxes cut at their frame's edge. no_truth: sources without a row.
    """

    boxes: dict[tuple[str, int], list[LesionBox]] = field(default_factory=lambda: defaultdict(list))
    between: list[tuple[str, LesionBox]] = field(default_factory=list)
    behind: list[tuple[str, LesionBox]] = field(default_factory=list)
    n_cut: int = 0
    no_truth: list[str] = field(default_factory=list)

    @property
    def counts(self) -> dict[str, Any]:
        """Rows with and without a frame, boxes cut, lesions never looked at, and videos without truth by name."""
        seen = {(source, box.lesion) for (source, _), own in self.boxes.items() for box in own}
        unseen = {(source, box.lesion) for source, box in (*self.between, *self.behind)} - seen
        n_rows = sum(map(len, self.boxes.values())) + len(self.between) + len(self.behind)
        return {
            "rows": n_rows,
            "rows_between_frames": len(self.between),
            "rows_behind_the_end": len(self.behind),
            "boxes_cut": self.n_cut,
            "lesions_never_looked_at": len(unseen),
            "videos_without": self.no_truth,
        }

    def notes(self) -> list[str]:
        """Say in a sentence each what a reader of the score must know."""
        counts, notes = self.counts, []
        if self.between:
            notes.append(
                f"{len(self.between)} of {counts['rows']} rows of truth are of frames that were not looked at "
                f"(--every, or damaged): {_shown(f'{source}, frame {box.frame}' for source, box in self.between)}."
            )
        if self.behind:
            notes.append(
                f"{len(self.behind)} of {counts['rows']} rows of truth are behind the last frame looked at and count "
                f"as misses: {_shown(f'{box.where}, frame {box.frame} of {source}' for source, box in self.behind)}. "
                "Frames count from 0; was the run cut short?"
            )
        if counts["lesions_never_looked_at"]:
            notes.append(f"{counts['lesions_never_looked_at']} lesions are in no frame looked at and count as missed.")
        if self.n_cut:
            notes.append(f"{self.n_cut} boxes of truth reach out of their frame and were cut at its edge.")
        if self.no_truth:
            notes.append(
                f"{len(self.no_truth)} videos have no row of truth and count as free of lesions: "
                f"{_shown(self.no_truth)}."
            )
        lesions = {(source, box.lesion) for source, box in (*self.between, *self.behind)}
        lesions |= {(source, box.lesion) for (source, _), own in self.boxes.items() for box in own}
        if shared := [name for name, count in Counter(name for _, name in lesions).items() if count > 1]:
            notes.append(f"{len(shared)} names stand in several videos ({_shown(shared)}): a lesion of each.")
        return notes


def place_truth(records: Sequence[FrameRecord], truth: Sequence[LesionBox]) -> PlacedTruth:
    """Sort the truth by the frames that were looked at; what has none is kept apart, never dropped.

    Raises InputError for truth of a video that was not looked at, for a lesion twice in a frame under two spellings of
    its video, and for a box in shares instead of pixels or outside its frame.
    """
    sizes = {(record.source, record.frame): record.size for record in records}
    frames: dict[str, list[int]] = defaultdict(list)
    for source, frame in sorted(sizes):
        frames[source].append(frame)
    gaps = [after - frame for own in frames.values() for frame, after in pairwise(own)]
    step = min(gaps, default=1)  # --every
    source_of = _sources(list(frames), truth)
    placed, seen = PlacedTruth(), set()
    for box in truth:
        source = source_of[box.source]
        key = (source, box.frame, box.lesion)
        if key in seen:
            raise InputError(f"{box.where}: lesion {box.lesion} stands twice in frame {box.frame} of {source}")
        seen.add(key)
        cut = _cut(box, source, sizes.get((source, box.frame)) or sizes[source, frames[source][-1]])
        placed.n_cut += bool(np.abs(cut.box_xyxy - box.box_xyxy).max() > ROUNDING)
        if (source, box.frame) in sizes:
            placed.boxes[source, box.frame].append(cut)
        elif box.frame >= frames[source][-1] + step:
            placed.behind.append((source, cut))
        else:
            placed.between.append((source, cut))
    placed.no_truth = sorted(frames.keys() - set(source_of.values()))
    return placed


def _sources(sources: Sequence[str], truth: Sequence[LesionBox]) -> dict[str, str]:
    """Return the video each source of the truth means: its path, or the end of one path (its name alone)."""
    found, lacking = {}, {}
    for box in truth:
        if box.source in found or box.source in lacking:
            continue
        name = unicodedata.normalize("NFC", box.source)
        spelled = {source: unicodedata.normalize("NFC", source) for source in sources}
        fitting = [s for s, own in spelled.items() if own == name]
        fitting = fitting or [s for s, own in spelled.items() if own.endswith("/" + name.lstrip("./"))]
        if len(fitting) == 1:
            found[box.source] = fitting[0]
        else:
            what = f"{len(fitting)} videos of that name" if fitting else "no such video"
            lacking[box.source] = f"{box.where}: truth of {box.source}: {what}"
    if lacking:
        names = {Path(source).stem.lower(): source for source in sources}
        near = difflib.get_close_matches(Path(next(iter(lacking))).stem.lower(), names, n=1, cutoff=0.7)
        hint = f"; did you mean {names[near[0]]}?" if near else ""
        more = f" (and {len(lacking) - 1} more names like it)" if len(lacking) > 1 else ""
        among = _shown(sorted(sources)) or "none"
        raise InputError(f"{next(iter(lacking.values()))} among the saved detections ({among}){more}{hint}")
    return found


def _cut(box: LesionBox, source: str, size: tuple[int, int]) -> LesionBox:
    """Return the box cut at the edges of its frame of `size` (width, height)."""
    shown = [round(float(corner), 3) for corner in box.box_xyxy]
    if box.box_xyxy.max() <= 1:
        raise InputError(f"{box.where}: the box {shown} has no pixel; corners are in pixels, not shares of the sides")
    limits = np.array([*size, *size], dtype=np.float64)
    cut = box.box_xyxy.clip(0, limits)
    if cut[0] >= cut[2] or cut[1] >= cut[3]:
        raise InputError(
            f"{box.where}: the box {shown} lies outside the frame of {source}, {size[0]}x{size[1]} px; corners are "
            "x1,y1,x2,y2 in its pixels"
        )
    return replace(box, box_xyxy=cut)


def _shown(examples: Iterable[str]) -> str:
    listed = list(dict.fromkeys(examples))
    return "; ".join(listed[:EXAMPLES]) + ("; ..." if len(listed) > EXAMPLES else "")


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
        lines = path.read_text(encoding="utf-8-sig").split("\n")  # a name may hold what else ends a line
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
        frame, class_id = _whole(row["frame"]), row.get("class")
        class_number = None if class_id in (None, "") else _whole(class_id)
    except KeyError as error:
        raise InputError(f"{where}: {error} is missing; the columns are {','.join(COLUMNS)}") from None
    except (TypeError, ValueError) as error:
        raise InputError(f"{where}: {error}") from None
    if not source or not lesion or frame < 0:
        raise InputError(f"{where}: source and lesion must not be empty, and frame counts from 0")
    if not np.isfinite(corners).all() or corners[0] >= corners[2] or corners[1] >= corners[3]:
        raise InputError(f"{where}: the box {corners.tolist()} has no area; corners are x1 < x2, y1 < y2 in pixels")
    return LesionBox(source, frame, lesion, corners, class_number, where)


def _whole(value: Any) -> int:
    if isinstance(value, bool) or (isinstance(value, float) and not value.is_integer()):
        raise ValueError(f"{value!r} is no whole number")  # int() would round it
    return int(value)
