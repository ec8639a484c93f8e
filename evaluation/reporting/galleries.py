"""Pictures of the worst misses and false alarms, cut from the prepared copies of the frames that were scored."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np

from data_utils.atomic import write_csv
from data_utils.boxes import scale_xyxy
from data_utils.errors import InputError
from data_utils.imaging.images import IMAGE_SUFFIXES, BgrImage, UnreadableImage, read_bgr
from data_utils.manifest import read_manifest
from data_utils.pages.picture import jpeg_picture
from data_utils.types import FrameResult
from evaluation.headline import Scoring
from evaluation.prediction_file import NO_PATIENT, list_hash
from evaluation.reporting.cases import Case, worst_false_alarms, worst_misses
from evaluation.reporting.parts import Gallery, Part, Shown, Text
from evaluation.reporting.run_files import RunFiles, section
from evaluation.reporting.wording import knows_patients

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
