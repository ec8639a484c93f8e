"""What every reader of labels shares: the record of what was found, and the checks of boxes.

All boxes here are cxcywhn: centre and size over the frame's width and height.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Literal

import numpy as np

from data_utils.errors import Causes, InputError, nearest_name
from data_utils.files import write_text
from data_utils.imaging.header import ImageHeader
from data_utils.records import Annotation, FloatArray, clip_xyxy, cxcywhn_to_xyxy, xyxy_to_cxcywhn

BadBoxes = Literal["error", "drop"]

ROUNDING = 1e-3  # share of the side; files written with three decimals overshoot by at most half of it
OUTLINED = "outlines taken as the straight box around them"  # what is counted for polygons, circles, masks...
SHOWN = 5  # files named in one note
MAX_LABEL_BYTES = 1 << 24  # a label file above 16 MiB is something else


@dataclass
class Findings:
    """What reading a set brought to light.

    counts: how often each harmless thing (a clipped box, a negative frame) happened. notes: sentences for the user.
    causes: the things that forbid going on; problems: a text for each of the first few kinds, with its count.
    """

    counts: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)
    causes: Causes = field(default_factory=Causes)

    @property
    def problems(self) -> list[str]:
        """A text for each kind of problem."""
        return self.causes.texts()

    @property
    def n_problems(self) -> int:
        """How many problems there are, of whatever kind."""
        return self.causes.n_problems

    def problem(self, message: str) -> None:
        """Record one problem: where, what, how to mend."""
        self.causes.add(_on_one_line(message))

    def note(self, message: str) -> None:
        """Record one sentence for the user."""
        self.notes.append(_on_one_line(message))

    def raise_problems(self) -> None:
        """Raise InputError with each kind of problem and their total, if there are any."""
        if self.n_problems:
            raise InputError(str(self.causes))


def breaks_line(char: str) -> bool:
    """Whether a character must not stand in a one-line message or a list file: control, line break, undecodable."""
    return unicodedata.category(char) in ("Cc", "Cs", "Zl", "Zp")


def read_label_bytes(path: Path) -> bytes:
    """Read a label file; raises InputError if it cannot be read or is too large to be one."""
    try:
        if path.stat().st_size > MAX_LABEL_BYTES:
            raise InputError(f"{path}: {path.stat().st_size} bytes, too large for a label file; remove it")
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from None


def class_id_of(name: str, names: Sequence[str]) -> int:
    """Return the position of `name` in dataset.names; raises ValueError with the nearest known one."""
    if name in names:
        return names.index(name)
    near = nearest_name(name, names)
    hint = f", did you mean '{near}'?" if near else ""
    raise ValueError(f"class '{name[:80]}' is not among dataset.names {list(names)}{hint}")


def frame_size(
    place: str, written: tuple[int, int], header: ImageHeader | None, labels_frame: str, findings: Findings
) -> tuple[int, int]:
    """Return (width, height) in pixels of the frame that the boxes at `place` were drawn on.

    written: what the label file says, (0, 0) if nothing. The image's own header counts; a disagreement is counted and
    the first one noted. With `header` None (a damaged image, to be found by the decode) `written` is returned.
    """
    if header is None:
        return written
    size = header.displayed_size if labels_frame == "displayed" else (header.width, header.height)
    if written in (size, (0, 0)):
        return size
    if not findings.counts["image sizes that disagree with the label file"]:
        swapped = written == size[::-1]
        hint = " (swapped: was it drawn on the other of labels_frame displayed | stored?)" if swapped else ""
        findings.note(f"{place}: says {written[0]}x{written[1]} pixels but the image has {size[0]}x{size[1]}{hint}; "
                      "the image's size is used")  # fmt: skip
    findings.counts["image sizes that disagree with the label file"] += 1
    return size


def check_boxes(
    boxes_cxcywhn: Sequence[Sequence[float]] | FloatArray,
    class_ids: Sequence[int],
    places: Sequence[str],
    bad_boxes: BadBoxes,
    findings: Findings,
) -> Annotation:
    """Return the boxes of one frame that may be used, cut to the frame.

    boxes_cxcywhn: [N, 4]; class_ids: [N], in range already; places: [N] "file:line" of each box.

    A box is bad if it holds NaN or infinity (always a problem), has no area, or is written outside the frame: its
    centre lies outside [0, 1] or its size exceeds 1 by more than ROUNDING. Bad boxes are problems under `error`; under
    `drop` each is left out and counted, never its frame. A box whose centre and size are fine but whose edge sticks out
    is no bad box: it is clipped, and counted if it stuck out by more than ROUNDING. Of equal boxes of one class, one
    is kept and the others counted.
    """
    boxes = np.asarray(boxes_cxcywhn, dtype=np.float64).reshape(-1, 4)
    ids = np.asarray(class_ids, dtype=np.int64).reshape(-1)
    finite = np.logical_and.reduce(np.isfinite(boxes), axis=1)
    for index in np.flatnonzero(~finite).tolist():
        findings.problem(f"{places[index]}: NaN or infinity in box {_shown(boxes[index])}; write numbers in [0, 1]")

    flat = finite & (boxes[:, 2:].min(axis=1) <= 0)
    outside = finite & ~flat & _is_outside(boxes)
    _refuse(flat, "without area", boxes, places, bad_boxes, findings)
    _refuse(outside, "outside the frame", boxes, places, bad_boxes, findings)

    good = finite & ~flat & ~outside
    boxes, ids = boxes[good], ids[good]
    corners = cxcywhn_to_xyxy(boxes, 1, 1)
    overshoot = np.maximum(np.maximum(-corners[:, :2], corners[:, 2:] - 1), 0)  # by axis
    findings.counts["boxes clipped to the frame"] += int((overshoot.max(axis=1) > ROUNDING).sum())
    clipped = xyxy_to_cxcywhn(clip_xyxy(corners, 1, 1), 1, 1)
    boxes = np.where(np.tile(overshoot > 0, 2), clipped, boxes)  # the others stay as written, to the last bit
    if len(good) and not good.any():
        findings.counts["frames left without a box"] += 1
    return _without_duplicates(boxes, ids, findings)


def orient_boxes(boxes_cxcywhn: FloatArray, orientation: int) -> FloatArray:
    """Map boxes [N, 4] drawn on a stored frame to the displayed one; `orientation` is its EXIF value 1..8."""
    boxes = np.array(boxes_cxcywhn, dtype=np.float64).reshape(-1, 4)
    if orientation in (5, 6, 7, 8):
        boxes = boxes[:, [1, 0, 3, 2]]
    if orientation in (3, 4, 7, 8):
        boxes[:, 1] = 1 - boxes[:, 1]
    if orientation in (2, 3, 6, 7):
        boxes[:, 0] = 1 - boxes[:, 0]
    return boxes


def _on_one_line(message: str) -> str:
    return "".join("?" if breaks_line(char) else char for char in message)


def _is_outside(boxes: FloatArray) -> np.ndarray:
    with np.errstate(over="ignore", invalid="ignore"):  # numbers near the largest float are outside like any other
        centres, halves = boxes[:, :2], boxes[:, 2:] / 2
        too_low = (centres.min(axis=1) < -ROUNDING) | ((centres + halves).min(axis=1) <= 0)
        too_high = (boxes.max(axis=1) > 1 + ROUNDING) | ((centres - halves).max(axis=1) >= 1)
    return too_low | too_high


def _refuse(
    bad: np.ndarray, how: str, boxes: FloatArray, places: Sequence[str], bad_boxes: BadBoxes, findings: Findings
) -> None:
    if bad_boxes == "drop":
        findings.counts[f"boxes dropped: {how}"] += int(bad.sum())
        return
    for index in np.flatnonzero(bad).tolist():
        findings.problem(f"{places[index]}: a box {how} (cx cy w h = {_shown(boxes[index])} of the frame's sides); "
                         "mend it or set dataset.bad_boxes = drop")  # fmt: skip


def _without_duplicates(boxes: FloatArray, ids: np.ndarray, findings: Findings) -> Annotation:
    seen: set[tuple[float, ...]] = set()
    keep = []
    for index, (class_id, box) in enumerate(zip(ids.tolist(), np.round(boxes, 9).tolist(), strict=True)):
        key = (class_id, *box)
        if key not in seen:
            seen.add(key)
            keep.append(index)
    findings.counts["boxes dropped: duplicates"] += len(ids) - len(keep)
    return Annotation(boxes[keep], ids[keep])


def _shown(box: FloatArray) -> str:
    return " ".join(f"{value:.6g}" for value in box)


# One image and its boxes, as the writers of label formats take them.


@dataclass(frozen=True, eq=False)
class LabelledImage:
    """One image of a set that is to be written in some label format.

    inner: path below the image folder, "/" between its parts, with suffix. width, height: pixels of the displayed
    frame (EXIF rotation applied). annotation: boxes over that frame; without any, the image is a negative.
    """

    inner: str
    width: int
    height: int
    annotation: Annotation


def label_paths(frames: Sequence[LabelledImage], suffix: str) -> list[str]:
    """Return each frame's `inner` with `suffix` (".json") in place of its own.

    Raises InputError naming both images where two would share one label file, also on file systems that ignore case.
    """
    owners: dict[str, str] = {}
    paths = []
    for frame in frames:
        path = str(PurePosixPath(frame.inner).with_suffix(suffix))
        key = unicodedata.normalize("NFC", path).casefold()
        if key in owners:
            raise InputError(f"{frame.inner}: its label file would be '{path}', like that of {owners[key]}; rename one")
        owners[key] = frame.inner
        paths.append(path)
    return paths


# classes.txt: the class names of a set, one a line, in the order of their ids.


CLASS_LIST = "classes.txt"


def read_class_list(path: str | Path) -> tuple[str, ...]:
    """Read the names of a class list; blanks around names and empty lines do not count.

    Raises InputError, naming file and line, for what is no UTF-8 text, a control character, a name that stands twice,
    and a list without names.
    """
    try:
        text = read_label_bytes(Path(path)).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InputError(f"{path}: not UTF-8 text; save it as UTF-8, one class name a line") from None
    lines: dict[str, int] = {}
    for number, line in enumerate(text.split("\n"), start=1):
        name = line.strip()
        if any(map(breaks_line, name)):
            raise InputError(f"{path}:{number}: a control character in a class name; write one name a line")
        if name in lines:
            raise InputError(f"{path}:{number}: class '{name}' stands in line {lines[name]} already; remove one")
        if name:
            lines[name] = number
    if not lines:
        raise InputError(f"{path}: no class names in it; write one a line")
    return tuple(lines)


def write_class_list(path: str | Path, names: Sequence[str]) -> Path:
    """Write a class list; raises InputError for names that could not be read back."""
    for name in names:
        if name != name.strip("\ufeff ").strip() or not name or any(map(breaks_line, name)):
            raise InputError(f"class name {name!r} cannot stand in {CLASS_LIST}; take line breaks and outer blanks out")
    write_text(path, "".join(f"{name}\n" for name in names))
    return Path(path)
