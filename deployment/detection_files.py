"""Detections as files: a YOLO text file a frame (`--save-txt`), JSON lines for a whole run (`--save-json`).

All that is written of one picture or video has one stem, which no other of the run has.
"""

from __future__ import annotations

import itertools
import re
import unicodedata
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import IO

from data_utils.boxes import xyxy_to_cxcywhn
from evaluation.video_records import FrameRecord, record_line

MAX_STEM_BYTES = 180  # leaves room in 255 bytes for a counter, an ending and the mark of an unfinished file
FRAME_NUMBER = "_{:06d}"  # behind a video's stem, of the text file of one of its frames


class DetectionFiles:
    """Writes the frames of a run, below `folder`; all is opened at once, so that a bad folder is met first.

    Text files are labels/<name>.txt for images, labels/<name>_<frame>.txt for videos (labels_2/ for a second run):
    class, cx, cy, w, h over the frame's width and height, score, and the track's number with tracking. JSON lines:
    evaluation/video_records.py.
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

    def write(self, record: FrameRecord, name: str, folder: Path, copy: Path | None = None) -> None:
        """Write one frame; `name`, below `folder`, is that of its text file; copy: the annotated copy it is in."""
        outputs = [] if copy is None else [str(copy)]
        if self.labels_dir is not None:
            target = unused_path(self.labels_dir / folder, name, ".txt")
            target.write_text("".join(f"{line}\n" for line in _label_lines(record)), encoding="utf-8")
            outputs.append(str(target))
        if self._json is not None:
            self._json.write(record_line(record, self.names, outputs) + "\n")

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


class OutputStems:
    """Gives each picture and each video of a run a stem of its own: x, then x_2, x_3, ..., passing over others' names.

    Names that a person or a file system takes for one (X and x, accents written in two ways) count as one. pictures,
    videos: the run's sources, below `root`.
    """

    def __init__(self, pictures: Iterable[Path] = (), videos: Iterable[Path] = (), root: Path = Path()) -> None:
        self._natural = {
            is_video: {_key(path.relative_to(root).parent, shortened(path.stem)) for path in paths}
            for is_video, paths in ((False, pictures), (True, videos))
        }
        self._given: dict[bool, set[str]] = {False: set(), True: set()}

    def of_picture(self, out_dir: Path | None, folder: Path, stem: str, ending: str) -> str:
        """Return the stem for what is written of a picture below `folder`; in `out_dir`, no file has it yet."""
        return self._take(out_dir, folder, stem, ending, is_video=False)

    def of_video(self, out_dir: Path | None, folder: Path, stem: str, *, with_text: bool) -> str:
        """Return a video's; with_text: it goes with a frame's number behind it, and is then no picture's either."""
        pictures = self._natural[False] | self._given[False] if with_text else ()
        numbered = {re.sub(r"_\d{6,}$", "", key) for key in pictures if re.search(r"_\d{6,}$", key)}
        return self._take(out_dir, folder, stem, ".mp4", is_video=True, avoided=numbered)

    def _take(
        self, out_dir: Path | None, folder: Path, stem: str, ending: str, *, is_video: bool,
        avoided: Collection[str] = (),
    ) -> str:  # fmt: skip
        stem, given, natural = shortened(stem), self._given[is_video], self._natural[is_video]
        for count in itertools.count(1):
            name = stem if count == 1 else f"{stem}_{count}"
            key = _key(folder, name)
            if key in given or key in avoided or (count > 1 and key in natural):
                continue
            if out_dir is None or not (out_dir / folder / f"{name}{ending}").exists():
                given.add(key)
                return name
        raise AssertionError("counting does not end")


def _key(folder: Path, stem: str) -> str:
    return unicodedata.normalize("NFC", (folder / stem).as_posix()).casefold()


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
