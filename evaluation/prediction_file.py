"""Predictions as a file: one pass of a model, stored once, from which every number can be worked out again.

`predictions_<data>.jsonl` has a first line that says which weights, data and settings they come from, then one line
for each frame: {"frame", "patient", "group", "size", "input", "boxes", "scores", "classes"}; `truth_<data>.jsonl`
beside it has {"frame", "patient", "group", "source", "modality", "size", "boxes", "classes"}. Boxes are x1, y1, x2, y2
in pixels of the original frame. Patients and groups are hashed: neither file holds an id.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from data_utils.atomic import write_text
from data_utils.errors import InputError
from data_utils.manifest import ManifestRow
from data_utils.splits import hashed_id
from data_utils.types import Detections, FloatArray, FrameResult

KIND, TRUTH_KIND, VERSION = "sre-yolo predictions", "sre-yolo truth", 1
NO_PATIENT = "unknown"


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
    truth_file = truth_path(path)
    _, truths, truth_torn = _read(truth_file, TRUTH_KIND)
    if not truth_torn and about.get("truth_sha256") != _hash(truth_file.read_text(encoding="utf-8")):
        raise InputError(f"{truth_file}: not the truth {path.name} was written with; run evaluate.py again")
    both = [name for name in truths if name in frames]
    lost = len(truths) - len(both)
    extra = sorted(set(frames) - set(truths))
    if extra and not truth_torn:
        raise InputError(f"{path}: frame {extra[0]} is not in {truth_file.name}; run evaluate.py again")
    if lost and not torn:
        raise InputError(f"{path}: {lost} frames of {truth_file.name} are missing; run evaluate.py again")
    torn_files = [file.name for file, is_torn in ((path, torn), (truth_file, truth_torn)) if is_torn]
    notes = [f"{name}: the last line is torn and was left out." for name in torn_files]
    if torn_files:
        notes.append(f"{max(lost, len(extra))} frames are missing for it: numbers are of {len(both)} frames.")
    results = [_result(frames[name], truths[name]) for name in both]
    return StoredPass(about, results, tuple(notes), path)


def _truth_line(result: FrameResult) -> dict[str, Any]:
    return {
        **_identity(result),
        "source": result.source,
        "modality": result.modality,
        "size": list(result.original_size),
        "boxes": result.truth_xyxy.astype(np.float64).tolist(),
        "classes": result.truth_class_ids.tolist(),
    }


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
    )


_FIELDS = {
    KIND: ("frame", "size", "input", "boxes", "scores", "classes"),
    TRUTH_KIND: ("frame", "patient", "group", "source", "modality", "size", "boxes", "classes"),
}


def _read(path: Path, kind: str) -> tuple[dict[str, Any], dict[str, dict[str, Any]], bool]:
    """Return the first line, {frame: its line}, and whether the last line was torn."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; `python evaluate.py` writes it") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not a readable UTF-8 text file ({error})") from None
    lines = text.splitlines()
    rows: list[dict[str, Any]] = []
    torn = False
    for number, line in enumerate(lines, start=1):
        try:
            row = json.loads(line)
            if not isinstance(row, dict):
                raise ValueError("not an object")
            if rows:
                _check(row, kind)
            rows.append(row)
        except (ValueError, TypeError, KeyError) as error:
            if number == len(lines) > 1 and not text.endswith("\n"):
                torn = True
                break
            raise InputError(f"{path}:{number}: {error}; run evaluate.py again") from None
    if not rows or rows[0].get("kind") != kind or rows[0].get("version") != VERSION:
        raise InputError(f"{path}:1: not a file of {kind}, version {VERSION}")
    about, *frames = rows
    by_name = {row["frame"]: row for row in frames}
    if len(by_name) < len(frames):
        raise InputError(f"{path}: a frame stands twice; run evaluate.py again")
    if len(frames) < about["n_frames"]:
        torn = True  # cut at the end of a line
    return about, by_name, torn


def _check(row: Mapping[str, Any], kind: str) -> None:
    """Raise ValueError for a line that lacks a field or whose lists do not fit each other."""
    if missing := [name for name in _FIELDS[kind] if name not in row]:
        raise ValueError(f"lacks {', '.join(missing)}")
    boxes = np.array(row["boxes"], dtype=np.float64).reshape(-1, 4)
    if not np.isfinite(boxes).all():
        raise ValueError("boxes hold NaN or infinite values")
    if len(boxes) != len(row["classes"]):
        raise ValueError(f"{len(boxes)} boxes, {len(row['classes'])} classes")
    if kind == KIND:
        Detections(row["boxes"], row["scores"], row["classes"])


def _lines(head: Mapping[str, Any], rows: Iterable[Mapping[str, Any]]) -> str:
    return "".join(json.dumps(row, allow_nan=False) + "\n" for row in (head, *rows))


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]
