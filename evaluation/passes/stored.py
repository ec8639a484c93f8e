"""Predictions as a file: one pass of a model, stored once, from which every number can be worked out again.

`predictions_<data>.jsonl` has a first line that says which weights, data and settings they come from, then one line
for each frame: {"frame", "patient", "group", "size", "input", "boxes", "scores", "classes"}; `truth_<data>.jsonl`
beside it has {"frame", "patient", "group", "source", "modality", "size", "boxes", "classes"}. Boxes are x1, y1, x2, y2
in pixels of the original frame. Patients and groups are hashed; frames keep their names, so a name that holds an id
shows it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from data_utils.errors import InputError
from data_utils.files import write_text
from data_utils.manifest import ManifestRow
from data_utils.records import Detections, FloatArray, FrameResult
from data_utils.splits.search import hashed_id
from evaluation.statistics.headline import Scoring

KIND, TRUTH_KIND, VERSION = "sre-yolo predictions", "sre-yolo truth", 1
NO_PATIENT = "unknown"
TORN, LOST = "the last line is torn and was left out.", "frames are missing for it: numbers are of"


@dataclass(frozen=True, eq=False)
class StoredPass:
    """What a prediction file and its truth hold: `about` (the first line), the frames, and what had to be left out."""

    about: dict[str, Any]
    results: list[FrameResult]
    notes: tuple[str, ...]
    path: Path


def prediction_path(folder: Path, data: str) -> Path:
    """Return where the predictions on `data` (a part of a split or an external set) lie in a run folder."""
    return folder / f"predictions_{data}.jsonl"


def truth_path(predictions: Path) -> Path:
    """Return the truth that belongs to a prediction file."""
    return predictions.with_name("truth" + predictions.name.removeprefix("predictions"))


def list_hash(stems: Iterable[str], sizes: Mapping[str, ManifestRow]) -> str:
    """Return 12 hex digits that stand for a list of frames: their stems and, where known, their sources' content."""
    lines = sorted(f"{stem} {sizes[stem].content_hash if stem in sizes else ''}" for stem in stems)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:12]


def store(path: Path, results: Sequence[FrameResult], about: Mapping[str, Any]) -> tuple[Path, Path]:
    """Write predictions and truth, each whole or not at all; return both files.

    The first line of the predictions holds `about`, the number of frames, and the truth's hash.
    """
    truth_file = truth_path(path)
    truth = _lines({"kind": TRUTH_KIND, "version": VERSION, "n_frames": len(results)}, map(_truth_line, results))
    head = {"kind": KIND, "version": VERSION, **about, "n_frames": len(results), "truth_sha256": _hash(truth)}
    write_text(truth_file, truth)
    write_text(path, _lines(head, map(_prediction_line, results)))
    return path, truth_file


def load(path: Path) -> StoredPass:
    """Read a prediction file and the truth beside it.

    A torn last line is left out and named in `notes`, with the frame it takes along. Raises InputError naming file and
    line for anything else that is not as `store` writes it, and when truth and predictions do not belong together.
    """
    about, frames, torn = _read(path, KIND)
    n_classes = _check_head(about, path)
    truth_file = truth_path(path)
    _, truths, truth_torn = _read(truth_file, TRUTH_KIND)
    if not truth_torn and about.get("truth_sha256") != _hash(truth_file.read_text(encoding="utf-8")):
        raise InputError(f"{truth_file}: not the truth {path.name} was written with; run evaluate.py again")
    both = [name for name in truths if name in frames]
    lost, extra = len(truths) - len(both), sorted(set(frames) - set(truths))
    if extra and not truth_torn:
        raise InputError(f"{path}: a frame is not in {truth_file.name} ({extra[0]}); run evaluate.py again")
    if lost and (not torn or set(both) != set(list(truths)[: len(both)])):
        raise InputError(f"{path}: {lost} frames of {truth_file.name} are missing; run evaluate.py again")
    torn_files = [file.name for file, is_torn in ((path, torn), (truth_file, truth_torn)) if is_torn]
    notes = [f"{name}: {TORN}" for name in torn_files]
    if torn_files:
        notes.append(f"{max(lost, len(extra))} {LOST} {len(both)} frames.")
    results = [_result(frames[name], truths[name]) for name in both]
    _check_classes(results, n_classes, path)
    return StoredPass(about, results, tuple(notes), path)


def require_origin(stored: StoredPass) -> None:
    """Raise InputError when the first line does not say which weights, list and run the pass is of."""
    if missing := [name for name in _ORIGIN if name not in stored.about]:
        raise InputError(f"{stored.path}:1: lacks {', '.join(missing)}; run evaluate.py again")
    if not isinstance(stored.about["results_dir"], str):
        raise InputError(f"{stored.path}:1: results_dir must be a folder's path; run evaluate.py again")


def _truth_line(result: FrameResult) -> dict[str, Any]:
    return {
        **_identity(result),
        "source": result.source,
        "modality": result.modality,
        "size": list(result.original_size),
        "boxes": result.truth_xyxy.astype(np.float64).tolist(),
        "classes": result.truth_class_ids.tolist(),
        **_crowd(result),
    }


def _crowd(result: FrameResult) -> dict[str, Any]:
    """Return the regions where detections do not count, for the few frames that have any."""
    if not len(result.crowd_xyxy):
        return {}
    boxes = result.crowd_xyxy.astype(np.float64).tolist()
    return {"crowd": {"boxes": boxes, "classes": result.crowd_class_ids.tolist()}}


def _prediction_line(result: FrameResult) -> dict[str, Any]:
    found = result.detections
    line = {
        **_identity(result),
        "size": list(result.original_size),
        "input": list(result.input_size),
        "boxes": _short(found.boxes_xyxy),
        "scores": _short(found.scores),
        "classes": found.class_ids.tolist(),
    }
    return line | ({"extra": result.extra} if result.extra else {})


def _identity(result: FrameResult) -> dict[str, str]:
    patient = NO_PATIENT if result.patient_id == NO_PATIENT else hashed_id(result.patient_id)
    return {"frame": result.stem, "patient": patient, "group": hashed_id(result.group) if result.group else ""}


def _short(values: FloatArray) -> Any:
    """Return float32 values as numbers of as few digits as give the same float32 again."""
    text = np.char.mod("%.9g", np.asarray(values, dtype=np.float32).astype(np.float64))
    return text.astype(np.float64).tolist()


def _result(found: Mapping[str, Any], truth: Mapping[str, Any]) -> FrameResult:
    crowd = truth.get("crowd", {"boxes": [], "classes": []})
    return FrameResult(
        stem=truth["frame"],
        detections=Detections(found["boxes"], found["scores"], found["classes"]),
        truth_xyxy=np.array(truth["boxes"], dtype=np.float64).reshape(-1, 4),
        truth_class_ids=np.array(truth["classes"], dtype=np.int64),
        original_size=(truth["size"][0], truth["size"][1]),
        input_size=(found["input"][0], found["input"][1]),
        patient_id=truth["patient"],
        extra=found.get("extra", {}),
        group=truth["group"],
        source=truth["source"],
        modality=truth["modality"],
        crowd_xyxy=np.array(crowd["boxes"], dtype=np.float64).reshape(-1, 4),
        crowd_class_ids=np.array(crowd["classes"], dtype=np.int64),
    )


_FIELDS = {
    KIND: ("frame", "size", "input", "boxes", "scores", "classes"),
    TRUTH_KIND: ("frame", "patient", "group", "source", "modality", "size", "boxes", "classes"),
}
_ORIGIN = ("label", "split", "list_sha256", "imgsz", "conf_thresh", "results_dir", "weights", "weights_sha256", "epoch")
_LARGEST = 1e7  # a coordinate beyond this is no pixel


def _read(path: Path, kind: str) -> tuple[dict[str, Any], dict[str, dict[str, Any]], bool]:
    """Return the first line, {frame: its line} in the file's order, and whether the last line was torn."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; `python evaluate.py` writes it") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not a readable UTF-8 text file ({error})") from None
    lines = text.split("\n")  # JSON may hold the other characters that end a line for Python
    rows: list[dict[str, Any]] = []
    torn = False
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            if not isinstance(row, dict):
                raise ValueError("not an object")
            if rows:
                _check(row, kind)
            rows.append(row)
        except (ValueError, TypeError, KeyError, OverflowError) as error:
            if number == len(lines) > 1:  # nothing ends the last line
                torn = True
                break
            raise InputError(f"{path}:{number}: {error}; run evaluate.py again") from None
    about, *frames = rows or [{}]
    if about.get("kind") != kind or about.get("version") != VERSION or not isinstance(about.get("n_frames"), int):
        raise InputError(f"{path}:1: not a file of {kind}, version {VERSION}")
    by_name = {row["frame"]: row for row in frames}
    if len(by_name) < len(frames):
        raise InputError(f"{path}: a frame stands twice; run evaluate.py again")
    return about, by_name, torn or len(frames) < about["n_frames"]


def _check(row: Mapping[str, Any], kind: str) -> None:
    """Raise ValueError for a line that lacks a field, or holds what cannot be meant."""
    if missing := [name for name in _FIELDS[kind] if name not in row]:
        raise ValueError(f"lacks {', '.join(missing)}")
    for name in ("size", "input") if kind == KIND else ("size",):
        sides = row[name]
        if not (isinstance(sides, list) and len(sides) == 2 and all(type(side) is int and side > 0 for side in sides)):
            raise ValueError(f"{name} must be two whole numbers of pixels above 0, found {str(sides)[:40]}")
    for name in ("frame",) if kind == KIND else ("frame", "patient", "group", "source", "modality"):
        if not isinstance(row[name], str):
            raise ValueError(f"{name} must be text, found {str(row[name])[:40]}")
    _check_boxes(row, kind)
    if "crowd" in row and kind == TRUTH_KIND:
        _check_boxes(row["crowd"], kind)


def _check_boxes(row: Mapping[str, Any], kind: str) -> None:
    boxes = np.array(row["boxes"], dtype=np.float64).reshape(-1, 4)
    if not (np.abs(boxes) <= _LARGEST).all():  # false for NaN too
        raise ValueError("boxes hold NaN, infinite or absurd values")
    if (boxes[:, 2:] < boxes[:, :2]).any():
        raise ValueError("a box ends before it begins")
    if len(boxes) != len(row["classes"]):
        raise ValueError(f"{len(boxes)} boxes, {len(row['classes'])} classes")
    Detections(boxes, row["scores"] if kind == KIND else np.zeros(len(boxes)), row["classes"])


def _check_head(about: Mapping[str, Any], path: Path) -> int:
    """Return the number of classes the first line names; raises InputError for what it lacks."""
    scoring = about.get("scoring")
    missing = [name for name in ("data",) if name not in about]
    if not (isinstance(scoring, dict) and {"names", "iou_thresh", "imgsz", "eval"} <= set(scoring)):
        missing.append("scoring")
    if missing:
        raise InputError(f"{path}:1: lacks {', '.join(missing)}; run evaluate.py again")
    try:
        if not isinstance(about.get("notes", []), list):
            raise ValueError("notes must be a list")
        return len(Scoring.from_dict(about["scoring"]).names)
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}:1: not the settings evaluate.py writes ({error}); run evaluate.py again") from None


def _check_classes(results: Sequence[FrameResult], n_classes: int, path: Path) -> None:
    for number, result in enumerate(results, start=1):
        for class_ids in (result.detections.class_ids, result.truth_class_ids):
            if len(class_ids) and class_ids.max() >= n_classes:
                found = int(class_ids.max())
                raise InputError(f"{path}: frame {number} holds class {found}, but only {n_classes} are named")


def _lines(head: Mapping[str, Any], rows: Iterable[Mapping[str, Any]]) -> str:
    return "".join(json.dumps(row, allow_nan=False) + "\n" for row in (head, *rows))


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]
