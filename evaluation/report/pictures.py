"""Pictures of the worst misses and false alarms, cut from the prepared copies of the frames that were scored."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from data_utils.errors import InputError
from data_utils.files import write_csv
from data_utils.imaging.images import IMAGE_SUFFIXES, BgrImage, UnreadableImage, read_bgr
from data_utils.manifest import read_manifest
from data_utils.pages import jpeg_picture
from data_utils.records import FloatArray, FrameResult, iou_xyxy, scale_xyxy
from evaluation.passes.stored import NO_PATIENT, list_hash
from evaluation.plots import read_archive
from evaluation.report.parts import Gallery, Part, Shown, Text, knows_patients
from evaluation.report.run_files import RunFiles, section
from evaluation.scoring.operating_points import frame_counts
from evaluation.statistics.headline import Scoring, frame_table

# The worst misses and false alarms of a stored pass: which boxes they are, and why they count as such, in words.


@dataclass(frozen=True)
class Case:
    """One box that went wrong. frame: number in the prediction file, from 0; box_xyxy: pixels of the original frame."""

    frame: int
    box_xyxy: tuple[float, float, float, float]
    is_miss: bool
    words: str


def worst_misses(results: Sequence[FrameResult], scoring: Scoring, threshold: float | None, most: int) -> list[Case]:
    """Return the lesions missed, first those the detector saw least: no or a low score on them, then the largest.

    One lesion a frame.
    """
    found = frame_counts(frame_table(results, scoring), 0, threshold).found
    cases: list[tuple[float, float, Case]] = []
    place = 0
    for frame, result in enumerate(results):
        for box, class_id in zip(result.truth_xyxy, result.truth_class_ids, strict=True):
            if not found[place]:
                score, why = _seen(result, box, scoring)
                width, height = box[2] - box[0], box[3] - box[1]
                words = f"{scoring.names[class_id]}, {width:.0f} x {height:.0f} px; {why}"
                cases.append((score, -width * height, Case(frame, _corners(box), True, words)))
            place += 1
    return _one_a_frame(case for *_, case in sorted(cases, key=lambda row: row[:2]))[:most]


def worst_false_alarms(
    results: Sequence[FrameResult], scoring: Scoring, threshold: float | None, most: int
) -> list[Case]:
    """Return the detections above the threshold that hit nothing, the most confident first; one a frame."""
    table = frame_table(results, scoring)
    kept = table.false_alarms(0) & (table.scores > (-1.0 if threshold is None else threshold))
    cases: dict[int, Case] = {}
    for index in np.flatnonzero(kept):  # best score first
        frame, class_id = int(table.frames[index]), int(table.class_ids[index])
        if frame in cases or len(cases) == most:
            continue
        result = results[frame]
        own = np.flatnonzero(result.detections.class_ids == class_id)[table.ranks[index]]
        box = result.detections.boxes_xyxy[own]
        why = _why_false(result, box, class_id, scoring)
        words = f"{scoring.names[class_id]}, score {table.scores[index]:.2f}; {why}"
        cases[frame] = Case(frame, _corners(box), False, words)
    return list(cases.values())


def _one_a_frame(cases: Iterable[Case]) -> list[Case]:
    first: dict[int, Case] = {}
    for case in cases:
        first.setdefault(case.frame, case)
    return list(first.values())


def _seen(result: FrameResult, box: FloatArray, scoring: Scoring) -> tuple[float, str]:
    """Return the best score of a detection on a missed box, 0 without any, and what to say of it."""
    found = result.detections
    overlaps = iou_xyxy(box[None], found.boxes_xyxy.astype(np.float64))[0]
    close = np.flatnonzero(overlaps >= scoring.iou_thresh)
    if len(close):
        best = close[0]  # best score first
        name, score = scoring.names[found.class_ids[best]], float(found.scores[best])
        return score, f"best box on it: {name}, score {score:.2f}, IoU {overlaps[best]:.2f}"
    if len(overlaps) and overlaps.max() > 0:
        best = int(overlaps.argmax())
        return 0.0, f"closest box: IoU {overlaps[best]:.2f}, score {found.scores[best]:.2f}"
    return 0.0, "no box touches it"


def _why_false(result: FrameResult, box: FloatArray, class_id: int, scoring: Scoring) -> str:
    if not len(result.truth_xyxy):
        return "on a healthy frame"
    overlaps = iou_xyxy(box[None].astype(np.float64), result.truth_xyxy)[0]
    best = int(overlaps.argmax())
    true_id = int(result.truth_class_ids[best])
    if overlaps[best] < scoring.iou_thresh:
        return f"closest true box: IoU {overlaps[best]:.2f}" if overlaps[best] > 0 else "no true box there"
    return "second box on one object" if true_id == class_id else f"truly {scoring.names[true_id]}"


def _corners(box: FloatArray) -> tuple[float, float, float, float]:
    x1, y1, x2, y2 = (float(value) for value in box)
    return x1, y1, x2, y2


MOST = 12  # pictures of a gallery
SIDE = 220  # pixels of a picture's longer side
JPEG_QUALITY = 85
CONTEXT = 2.6  # the part shown is so many times as wide and high as the box, and at least
LEAST_SHARE = 0.15  # this share of the frame's longer side
TRUTH, FOUND = (94, 197, 34), (21, 204, 250)  # BGR: green, yellow
SHADOW = (40, 40, 40)
DASH = 6  # pixels


def case_galleries(files: RunFiles) -> list[Part]:
    """Return both galleries, or a sentence that says why there is none."""
    stored = files.stored
    if stored is None:
        return [Text("Without the stored predictions it is not known which boxes were missed.")]
    scoring, threshold = Scoring.from_dict(stored.about["scoring"]), files.metrics["best_threshold"]
    misses = worst_misses(stored.results, scoring, threshold, MOST)
    alarms = worst_false_alarms(stored.results, scoring, threshold, MOST)
    prepared = prepared_folder(files)
    if problem := why_not(files, prepared):
        return [Text(f"The misses and false alarms are not pictured: {problem}.")]
    assert prepared is not None
    parts: list[Part] = [
        Text("Solid green: true boxes. Dashed yellow: what was found above the threshold. The box in question is drawn "
             "thicker. Frames are named by their place in the prediction file, the file *_frames.csv "
             "beside this page, not in it, says which file each is; one box a frame is shown.")
    ]  # fmt: skip
    for heading, cases, none in (
        ("Worst misses: seen least, then largest", misses, "Nothing was missed."),
        ("Worst false alarms: most confident first", alarms, "No false alarm lies above the threshold."),
    ):
        with_patient = knows_patients(files.metrics)
        shown = [_shown(case, stored.results[case.frame], prepared, threshold, with_patient) for case in cases]
        parts.append(Gallery(heading, shown) if shown else Text(none))
    return parts


def key_path(page: Path) -> Path:
    """Return where the local key of a page lies: which file each numbered frame is. It is not for sharing."""
    return page.with_name(f"{page.stem}_frames.csv")


def write_key(files: RunFiles, page: Path) -> Path | None:
    """Write the local key of `page`, a line for each frame of the prediction file; None where that is not at hand."""
    if files.stored is None:
        return None
    prepared = prepared_folder(files)
    rows = [
        {"frame": number, "stem": result.stem,
         "file": "" if prepared is None else str(next(_copies(prepared, result.stem), ""))}
        for number, result in enumerate(files.stored.results, start=1)
    ]  # fmt: skip
    write_csv(key_path(page), ("frame", "stem", "file"), rows)
    return key_path(page)


def prepared_folder(files: RunFiles) -> Path | None:
    """Return the folder of the prepared data set that was scored; None where the config does not say."""
    external = section(section(files.dataset, "external"), str(files.about.get("data")))
    place = external.get("processed") or files.dataset.get("processed")
    return Path(place) if place else None


def why_not(files: RunFiles, prepared: Path | None) -> str:
    """Return why pictures cannot be cut from `prepared`; empty where they can."""
    if prepared is None:
        return "the settings name no data set"
    if not (prepared / "lr" / "images").is_dir():
        return f"the prepared data set is not at hand ({prepared})"
    assert files.stored is not None
    try:
        sizes = read_manifest(prepared / "manifest.csv") if (prepared / "manifest.csv").is_file() else {}
    except InputError as error:
        return str(error)
    if list_hash((result.stem for result in files.stored.results), sizes) != files.about.get("list_sha256"):
        return f"{prepared} does not hold the very frames that were scored"
    return ""


def crop_case(copy: BgrImage, case: Case, result: FrameResult, threshold: float | None) -> BgrImage:
    """Return the part of a frame around a case with the boxes in it drawn, uint8 BGR [h, w, 3], SIDE long at most.

    copy: the frame in any size, stretched or not; the part has the original frame's proportions again.
    """
    width, height = result.original_size
    x1, y1, x2, y2 = _window(case, width, height)
    left, top, right, bottom = (
        round(value)
        for value in scale_xyxy(np.array([[x1, y1, x2, y2]]), (width, height), (copy.shape[1], copy.shape[0]))[0]
    )
    part = copy[top : max(bottom, top + 1), left : max(right, left + 1)]
    scale = SIDE / max(x2 - x1, y2 - y1)
    size = max(1, round((x2 - x1) * scale)), max(1, round((y2 - y1) * scale))
    drawn = np.asarray(cv2.resize(part, size, interpolation=cv2.INTER_CUBIC), dtype=np.uint8)
    found = result.detections if threshold is None else result.detections.above(threshold)
    for boxes, is_truth in ((result.truth_xyxy, True), (found.boxes_xyxy, False)):
        for box in boxes:
            is_case = is_truth == case.is_miss and np.allclose(box, case.box_xyxy)
            corners = [round(float(value)) for value in ((box.reshape(2, 2) - (x1, y1)) * scale).ravel()]
            if is_case:
                cv2.rectangle(drawn, tuple(corners[:2]), tuple(corners[2:]), SHADOW, 5, cv2.LINE_AA)
            _draw(drawn, corners, is_truth, 3 if is_case else 1)
    return drawn


def _shown(case: Case, result: FrameResult, prepared: Path, threshold: float | None, with_patient: bool) -> Shown:
    """Picture a case; its frame is named by its place in the prediction file, for the stem may hold a patient's id."""
    words = f"{case.words}; frame {case.frame + 1}"
    if with_patient and result.patient_id != NO_PATIENT:
        words += f", patient {result.patient_id}"
    path = next(_copies(prepared, result.stem), None)
    if path is None:
        return Shown((), f"{words} (its copy is missing)")
    try:
        copy = read_bgr(path).bgr
    except UnreadableImage:
        return Shown((), f"{words} (its copy cannot be read)")
    return Shown((jpeg_picture(crop_case(copy, case, result, threshold), words, JPEG_QUALITY),), words)


def _copies(prepared: Path, stem: str) -> Iterator[Path]:
    """Yield a frame's copies, the HR one first."""
    for size in ("hr", "lr"):
        for suffix in IMAGE_SUFFIXES:
            path = prepared / size / "images" / f"{stem}{suffix}"
            if path.is_file():
                yield path


def _window(case: Case, width: int, height: int) -> tuple[float, float, float, float]:
    """Return the part of the frame that is shown, in pixels of the original frame: a square where it fits."""
    x1, y1, x2, y2 = case.box_xyxy
    side = max(CONTEXT * max(x2 - x1, y2 - y1), LEAST_SHARE * max(width, height), 16.0)
    wide, high = min(side, width), min(side, height)
    left = min(max((x1 + x2 - wide) / 2, 0.0), width - wide)
    top = min(max((y1 + y2 - high) / 2, 0.0), height - high)
    return left, top, left + wide, top + high


def _draw(image: BgrImage, corners: Sequence[int], is_truth: bool, thickness: int) -> None:
    x1, y1, x2, y2 = corners
    if is_truth:
        cv2.rectangle(image, (x1, y1), (x2, y2), TRUTH, thickness, cv2.LINE_AA)
        return
    for (ax, ay), (bx, by) in (((x1, y1), (x2, y1)), ((x2, y1), (x2, y2)), ((x2, y2), (x1, y2)), ((x1, y2), (x1, y1))):
        length = max(abs(bx - ax), abs(by - ay), 1)
        for start in range(0, length, 2 * DASH):
            stop = min(start + DASH, length)
            first, last = ((ax + (bx - ax) * at // length, ay + (by - ay) * at // length) for at in (start, stop))
            cv2.line(image, first, last, FOUND, thickness, cv2.LINE_AA)


# What the branch reconstructs: input, bicubic upsampling, SR output and target side by side, each with its PSNR.
#
# Legend: n frames; S side of the input in pixels.


Pixels = NDArray[np.uint8]
CUT = 256  # pixels of the target's side that are shown, at full resolution
MOST_FRAMES = 4
PANEL_JPEG_QUALITY = 92
IDENTICAL = 100.0  # dB, said of two equal pictures, as in evaluation/image_quality.py


def panel_gallery(archive: Path) -> Gallery | str:
    """Return the newest panel of a training as pictures, or a sentence where it shows no reconstruction.

    PSNR is that of the whole frame; shown is the part around the largest true box, or the centre without any. Raises
    InputError for a file that is no panel.
    """
    panel = read_archive(archive)
    if any(name not in panel or not len(panel[name]) for name in ("lr", "hr", "sr")):
        return "The stored panel shows no reconstruction: the model has no branch, or there are no HR frames."
    truths = panel.get("truth_xyxy", np.zeros((len(panel["lr"]), 0, 4)))
    frames = zip(panel["lr"], panel["sr"], panel["hr"], truths, strict=False)
    shown = [
        _frame(*frame, name=f"Validation frame {number}")
        for number, frame in enumerate(itertools.islice(frames, MOST_FRAMES), start=1)
    ]
    return Gallery(f"Super-resolution, {_moment(archive)}", shown, is_wide=True)


def psnr(picture: Pixels, target: Pixels) -> float:
    """Return 10 log10(255^2 / MSE) in dB of two uint8 pictures of one shape; IDENTICAL for equal ones."""
    error = float(np.mean((picture.astype(np.float64) - target.astype(np.float64)) ** 2))
    return min(10 * math.log10(255**2 / error), IDENTICAL) if error else IDENTICAL


def _frame(lr: Pixels, sr: Pixels, hr: Pixels, truth_xyxy: Any, name: str) -> Shown:
    """Cut the same part out of the four pictures, uint8 RGB [S, S, 3] and [2S, 2S, 3]."""
    size = hr.shape[1], hr.shape[0]
    bicubic = np.asarray(cv2.resize(lr, size, interpolation=cv2.INTER_CUBIC), dtype=np.uint8)
    enlarged = np.asarray(cv2.resize(lr, size, interpolation=cv2.INTER_NEAREST), dtype=np.uint8)
    top, left = _corner(hr, truth_xyxy, hr.shape[1] / lr.shape[1])
    titles = [
        f"input (pixels enlarged): {psnr(enlarged, hr):.2f} dB",
        f"bicubic: {psnr(bicubic, hr):.2f} dB",
        f"ours: {psnr(sr, hr):.2f} dB",
        "target",
    ]
    parts = [whole[top : top + CUT, left : left + CUT, ::-1] for whole in (enlarged, bicubic, sr, hr)]
    pictures = [
        jpeg_picture(np.ascontiguousarray(part), f"{name}, {title}", PANEL_JPEG_QUALITY)
        for part, title in zip(parts, titles, strict=True)
    ]
    return Shown(pictures, f"{name}: a part of {pictures[0].width} x {pictures[0].height} pixels of the target", titles)


def _corner(hr: Pixels, truth_xyxy: Any, scale: float) -> tuple[int, int]:
    """Return (top, left) of the part shown: around the largest true box, in target pixels; the centre without any."""
    height, width = hr.shape[:2]
    boxes = truth_xyxy[np.isfinite(truth_xyxy).all(axis=-1)] * scale
    centre = (width / 2, height / 2)
    if len(boxes):
        x1, y1, x2, y2 = boxes[np.argmax((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]))]
        centre = ((x1 + x2) / 2, (y1 + y2) / 2)
    left, top = (np.clip(np.subtract(centre, CUT / 2), 0, np.maximum((width - CUT, height - CUT), 0))).astype(int)
    return int(top), int(left)


def _moment(archive: Path) -> str:
    kind, _, number = archive.stem.partition("_")
    return f"after epoch {int(number)}" if kind == "epoch" and number.isdigit() else archive.stem
