"""What is drawn on a frame: boxes with labels, and the frame rate. Sizes follow the frame's; all drawn in place."""

from __future__ import annotations

import itertools
import re
import unicodedata
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import IO

import cv2
import numpy as np
from numpy.typing import NDArray

from data_utils.records import Detections, xyxy_to_cxcywhn
from evaluation.video.records import FrameRecord, record_line

GREEN, YELLOW, BLACK = (0, 255, 0), (0, 255, 255), (0, 0, 0)  # BGR
FONT = cv2.FONT_HERSHEY_SIMPLEX
REFERENCE_SIDE = 640  # px, longer side of the frame for which the sizes below are meant
LINE_WIDTH = 2  # px
FONT_SCALE, MIN_FONT_SCALE = 0.55, 0.4  # letters about 12 px high; never smaller than can be read


def draw_detections(
    bgr: NDArray[np.uint8], detections: Detections, names: Sequence[str], tracks: Sequence[int | None] | None = None
) -> None:
    """Draw a green box and a label such as "lesion 0.87" for each detection, the best on top.

    bgr: uint8 [H, W, 3], changed in place; boxes are in its pixels. tracks: the identity of each, added as "#3".
    """
    for position in reversed(range(len(detections))):
        corners = np.rint(detections.boxes_xyxy[position]).astype(int).tolist()
        label = f"{names[detections.class_ids[position]]} {detections.scores[position]:.2f}"
        if tracks is not None and tracks[position] is not None:
            label += f" #{tracks[position]}"
        cv2.rectangle(bgr, tuple(corners[:2]), tuple(corners[2:]), GREEN, _line_width(bgr), cv2.LINE_AA)
        _draw_label(bgr, label, *corners)


def draw_fps(bgr: NDArray[np.uint8], fps: float) -> None:
    """Write "FPS 41.3" in yellow on black into the upper left corner of uint8 [H, W, 3], in place."""
    _draw_bar(bgr, f"FPS {fps:.1f}", (0, 0), 1.2 * _font_scale(bgr), YELLOW, BLACK)


def _draw_label(bgr: NDArray[np.uint8], text: str, x1: int, y1: int, x2: int, y2: int) -> None:
    """Write black on a green bar above the box; below it, or inside, where the frame leaves no room."""
    frame_height, frame_width = bgr.shape[:2]
    scale = _font_scale(bgr)
    (bar_width, bar_height), _, _ = _bar_size(bgr, text, scale)
    left = max(0, min(x1 - _line_width(bgr) // 2, frame_width - bar_width))
    if y1 >= bar_height:
        top = y1 - bar_height
    elif y2 + bar_height <= frame_height:
        top = y2
    else:
        top = max(0, y1)
    _draw_bar(bgr, text, (left, top), scale, BLACK, GREEN)


def _draw_bar(
    bgr: NDArray[np.uint8],
    text: str,
    corner: tuple[int, int],
    scale: float,
    text_colour: tuple[int, int, int],
    bar_colour: tuple[int, int, int],
) -> None:
    """Write `text` on a filled bar whose upper left corner lies at `corner` (x, y): readable on any picture."""
    (bar_width, bar_height), text_height, pad = _bar_size(bgr, text, scale)
    left, top = corner
    cv2.rectangle(bgr, (left, top), (left + bar_width, top + bar_height), bar_colour, cv2.FILLED)
    origin = (left + pad, top + pad + text_height)
    cv2.putText(bgr, text, origin, FONT, scale, text_colour, _stroke(bgr), cv2.LINE_AA)


def _bar_size(bgr: NDArray[np.uint8], text: str, scale: float) -> tuple[tuple[int, int], int, int]:
    """Return the bar's (width, height), the height of its text above the base line, and the padding, in pixels."""
    (text_width, text_height), descent = cv2.getTextSize(text, FONT, scale, _stroke(bgr))
    pad = max(2, text_height // 4)
    return (text_width + 2 * pad, text_height + descent + 2 * pad), text_height, pad


def _relative_side(bgr: NDArray[np.uint8]) -> float:
    return max(bgr.shape[:2]) / REFERENCE_SIDE


def _line_width(bgr: NDArray[np.uint8]) -> int:
    return max(LINE_WIDTH, round(LINE_WIDTH * _relative_side(bgr)))


def _stroke(bgr: NDArray[np.uint8]) -> int:
    return max(1, _line_width(bgr) // 2)


def _font_scale(bgr: NDArray[np.uint8]) -> float:
    return max(MIN_FONT_SCALE, FONT_SCALE * _relative_side(bgr))


# Detections as files: a YOLO text file a frame (`--save-txt`), JSON lines for a whole run (`--save-json`).
#
# All that is written of one picture or video has one stem, which no other of the run has.


MAX_STEM_BYTES = 180  # leaves room in 255 bytes for a counter, an ending and the mark of an unfinished file
FRAME_NUMBER = "_{:06d}"  # behind a video's stem, of the text file of one of its frames


class DetectionFiles:
    """Writes the frames of a run, below `folder`; all is opened at once, so that a bad folder is met first.

    Text files are labels/<name>.txt for images, labels/<name>_<frame>.txt for videos (labels_2/ for a second run):
    class, cx, cy, w, h over the frame's width and height, score, and the track's number with tracking. JSON lines:
    evaluation/video/records.py.
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
