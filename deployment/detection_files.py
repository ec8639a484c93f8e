"""Detections as files: a YOLO text file a frame (`--save-txt`), JSON lines for a whole run (`--save-json`)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import IO

from data_utils.boxes import xyxy_to_cxcywhn
from evaluation.video_records import FrameRecord, record_line

MAX_STEM_BYTES = 180  # leaves room in 255 bytes for a counter, an ending and the mark of an unfinished file


class DetectionFiles:
    """Writes the frames of a run, below `folder`; all is opened at once, so that a bad folder is met first.

    Text files are labels/<name>.txt for images, labels/<name>_<frame>.txt for videos (<name>_2 where a.jpg and a.png
    share a name; labels_2/ for a second run): class, cx, cy, w, h over the frame's width and height, score, and the
    track's number with tracking. JSON lines: evaluation/video_records.py.
    """

    def __init__(self, folder: Path, names: Sequence[str], *, text: bool, json: bool) -> None:
        self.names = names
        self.json_path: Path | None = None
        self.labels_dir = unused_path(folder, "labels", "") if text else None
        self._json: IO[str] | None = None
        if self.labels_dir is not None:
            self.labels_dir.mkdir()
        if json:
            self.json_path = unused_path(folder, "detections", ".jsonl")
            self._json = self.json_path.open("x", encoding="utf-8")

    def write(self, record: FrameRecord, name: str, folder: Path) -> None:
        """Write one frame; `name`, below `folder`, is that of its text file."""
        if self._json is not None:
            self._json.write(record_line(record, self.names) + "\n")
        if self.labels_dir is not None:
            target = unused_path(self.labels_dir / folder, name, ".txt")
            target.write_text("".join(f"{line}\n" for line in _label_lines(record)), encoding="utf-8")

    @property
    def outputs(self) -> list[Path]:
        """What is being written: the file of JSON lines, the folder of text files."""
        return [path for path in (self.json_path, self.labels_dir) if path is not None]

    def close(self) -> None:
        """Finish the JSON lines; what no frame was written into, as when no source could be read, is taken away."""
        if self._json is not None:
            self._json.close()
        if self.json_path is not None and not self.json_path.stat().st_size:
            self.json_path.unlink()
            self.json_path = None
        if self.labels_dir is not None and not any(self.labels_dir.iterdir()):
            self.labels_dir.rmdir()
            self.labels_dir = None


def unused_path(folder: Path, stem: str, ending: str) -> Path:
    """Return `folder`/`stem``ending`, or the first of stem_2, stem_3, ... that no file has; makes the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    stem = shortened(stem)
    path, number = folder / f"{stem}{ending}", 1
    while path.exists():
        number += 1
        path = folder / f"{stem}_{number}{ending}"
    return path


def shortened(stem: str) -> str:
    """Cut a name between letters to what file systems take."""
    return stem.encode()[:MAX_STEM_BYTES].decode(errors="ignore")


def _label_lines(record: FrameRecord) -> list[str]:
    found = record.detections
    boxes = xyxy_to_cxcywhn(found.boxes_xyxy, *record.size)
    lines = []
    for k in range(len(found)):
        values = [f"{value:.6f}" for value in (*boxes[k], found.scores[k])]
        track = [] if record.tracks is None else [str(-1 if record.tracks[k] is None else record.tracks[k])]
        lines.append(" ".join([str(found.class_ids[k]), *values, *track]))
    return lines
