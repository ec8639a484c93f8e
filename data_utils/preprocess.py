"""The guide's three steps as plain functions over folders: filter frames, make LR/HR pairs, make splits.

A source folder holds images, or images/ and labels/. `python -m data_utils.prepare` does all three at once, from a
config, on all cores, and only for what changed; these functions are for single steps and for notebooks.
"""

from __future__ import annotations

import csv
import os
import shutil
from collections.abc import Iterable
from pathlib import Path, PurePath, PurePosixPath

from data_utils.atomic import write_csv
from data_utils.config_sections import FilterSection, SplitSection
from data_utils.errors import InputError
from data_utils.frame_jobs import resized_pair
from data_utils.images import UnreadableImage, image_size, list_images, read_bgr, write_image
from data_utils.quality import Reason, rejection_reasons, score_frame
from data_utils.split_report import write_splits
from data_utils.splits import SplitItem, check_split, hold_outs

FILTER_LOG = Path("results/filter_log.csv")
SPLITS = Path("data/splits")
LR_IMAGES = Path("data/processed/lr/images")
LR_SIDE, HR_SIDE = 640, 1280  # pixels, the published sizes
MAX_STEM_BYTES = 250  # file systems allow names of 255, with the suffix
LOG_COLUMNS = ("filename", "reason")
_TRUTH = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False, "": None}


def filter_frames(
    src_dir: str | Path,
    dst_dir: str | Path,
    blur_thresh: float = 100.0,
    bright_min: float = 30,
    bright_max: float = 240,
) -> tuple[int, int]:
    """Copy the frames worth keeping, and their labels if there are any, from `src_dir` to `dst_dir`.

    Excluded are frames whose Laplacian variance is below `blur_thresh`, whose mean grey is outside
    [`bright_min`, `bright_max`], files below 5 KB, and files that cannot be decoded; each with its reason in
    ./results/filter_log.csv (filename, reason). The layout and the bytes are copied as they are; the source is never
    written. Returns (number kept, number excluded). Raises InputError for an empty or overlapping folder.
    """
    source, target = Path(src_dir), Path(dst_dir)
    _check_apart(source, target)
    thresholds = FilterSection(blur_thresh=blur_thresh, bright_min=bright_min, bright_max=bright_max, glare_max=None)
    log: list[tuple[str, Iterable[Reason]]] = []
    images = _source_images(source)
    for image in images:
        label = _label_of(image, source)
        pair = [(path, target / path.relative_to(source)) for path in (image, label) if path is not None]
        if reasons := _judge(image, thresholds):
            log.append((image.relative_to(source).as_posix(), reasons))
            for _, copy in pair:
                copy.unlink(missing_ok=True)  # of an earlier call with other thresholds
            continue
        for path, copy in pair:
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy)
    write_filter_log(FILTER_LOG, log)
    return len(images) - len(log), len(log)


def write_filter_log(path: str | Path, exclusions: Iterable[tuple[str, Iterable[Reason]]]) -> None:
    """Write (filename, reasons) as CSV with the columns filename, reason; several reasons are joined by "; "."""
    rows = [{"filename": name, "reason": "; ".join(str(reason) for reason in reasons)} for name, reasons in exclusions]
    write_csv(path, LOG_COLUMNS, rows)


def create_dual_resolution(
    src_dir: str | Path,
    dst_lr: str | Path,
    dst_hr: str | Path,
    *,
    image_format: str = "jpg",
    jpeg_quality: int = 95,
) -> int:
    """Write dst_lr/images (640x640, bilinear), dst_hr/images (1280x1280, bicubic) and dst_lr/labels; same stems.

    Plain resizes without letterbox, so that normalised YOLO boxes, copied as they are, still fit. A frame without a
    label file gets none. Returns the number of pairs. Raises InputError when two frames share a stem, and, after all
    others are written, when frames cannot be decoded.
    """
    source, lr_folder, hr_folder = Path(src_dir), Path(dst_lr), Path(dst_hr)
    for target in (lr_folder, hr_folder):
        _check_apart(source, target)
    images = _source_images(source)
    stems = {image: frame_stem(image.relative_to(source)) for image in images}
    check_stems((stem, image) for image, stem in stems.items())
    unreadable: list[str] = []
    for image in images:
        try:
            bgr = read_bgr(image).bgr
        except UnreadableImage as error:
            unreadable.append(str(error))
            continue
        name = f"{stems[image]}.{image_format}"
        for folder, resized in zip((lr_folder, hr_folder), resized_pair(bgr, LR_SIDE, HR_SIDE), strict=True):
            write_image(folder / "images" / name, resized, jpeg_quality)
        label = _label_of(image, source)
        if label is not None:
            copy = lr_folder / "labels" / f"{stems[image]}.txt"
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(label, copy)
    if unreadable:
        raise InputError(f"{len(unreadable)} of {len(images)} frames have no pair: {'; '.join(unreadable[:5])}; "
                         "run filter_frames first")  # fmt: skip
    return len(images)


def make_splits(metadata_csv: str | Path, n_splits: int = 3, seed: int = 42) -> dict[str, dict[str, int]]:
    """Write `n_splits` patient-level hold-outs at 89:7:4 under ./data/splits and return their frame counts.

    The CSV has the columns filename, patient_id, dataset_source and optionally modality and has_lesion; the files
    need not exist. A line of a list is the absolute path of an LR image below ./data/processed/lr/images. Returns
    {"split1": {"train": N, "val": N, "test": N}, ...}. Raises InputError with file:line, or for too few patients.
    """
    items = _read_items(Path(metadata_csv))
    splits = hold_outs(items, SplitSection(n_splits=n_splits, seed=seed))
    for split in splits:
        check_split(split, "patient")
    write_splits(SPLITS, splits, lambda stem: LR_IMAGES / f"{stem}.jpg")
    return {f"split{k}": {part: len(frames) for part, frames in split.items()} for k, split in enumerate(splits, 1)}


def check_pairs(lr_dir: str | Path, hr_dir: str | Path) -> list[str]:
    """List what is wrong with the LR/HR pairs of two image folders; an empty list means nothing.

    Named are frames without a partner of the same stem, and pairs whose HR side is not twice the LR side.
    """
    lr, hr = ({path.stem: path for path in list_images(folder)} for folder in (Path(lr_dir), Path(hr_dir)))
    problems = [f"{path}: no HR partner in {hr_dir}" for stem, path in lr.items() if stem not in hr]
    problems += [f"{path}: no LR partner in {lr_dir}" for stem, path in hr.items() if stem not in lr]
    for stem in (stem for stem in lr if stem in hr):
        lr_width, lr_height = image_size(lr[stem])[:2]
        hr_width, hr_height = image_size(hr[stem])[:2]
        if (hr_width, hr_height) != (2 * lr_width, 2 * lr_height):
            problems.append(f"{hr[stem]}: {hr_width}x{hr_height}, not twice the LR frame's {lr_width}x{lr_height}")
    return problems


def frame_stem(path: PurePath) -> str:
    """Return the stem of a frame's copies: "images/p1/0001.jpg" becomes "p1_0001", as in a raw set."""
    parts = path.with_suffix("").parts
    return "_".join(parts[1:] if parts[0] == "images" and len(parts) > 1 else parts)


def check_stems(named: Iterable[tuple[str, Path]]) -> None:
    """Raise InputError naming the file(s) when a stem cannot be a file name, or two frames would share one.

    Names that differ in case alone collide on some file systems, so they count as the same everywhere.
    """
    seen: dict[str, Path] = {}
    for stem, path in named:
        if len(os.fsencode(stem)) > MAX_STEM_BYTES or len(stem.splitlines()) != 1:
            raise InputError(
                f"{str(path)!r}: the name is longer than {MAX_STEM_BYTES} bytes or holds a line break; rename it"
            )
        other = seen.setdefault(stem.casefold(), path)
        if other is not path:
            raise InputError(f"{path} and {other} would both be written as '{stem}'; rename one of them")


def _judge(image: Path, thresholds: FilterSection) -> tuple[Reason, ...]:
    try:
        return rejection_reasons(score_frame(read_bgr(image).bgr, image.stat().st_size), thresholds)
    except UnreadableImage as error:
        return (Reason("unreadable", str(error)),)


def _source_images(source: Path) -> list[Path]:
    folder = source / "images" if (source / "images").is_dir() else source
    images = list_images(folder) if folder.is_dir() else []
    if not images:
        raise InputError(f"{source}: no images in this folder, nor in images/ below it")
    return images


def _label_of(image: Path, source: Path) -> Path | None:
    """Return the frame's label file: below labels/ where there is images/, else beside the frame."""
    inside = source / "images"
    label = source / "labels" / image.relative_to(inside) if image.is_relative_to(inside) else image
    label = label.with_suffix(".txt")
    return label if label.is_file() else None


def _check_apart(source: Path, target: Path) -> None:
    inner, outer = target.resolve(), source.resolve()
    if inner.is_relative_to(outer) or outer.is_relative_to(inner):
        raise InputError(f"{target}: lies in the source folder {source} or holds it; the source is never written")


def _read_items(path: Path) -> list[SplitItem]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.DictReader(stream, strict=True)
            missing = {"filename", "patient_id", "dataset_source"} - set(reader.fieldnames or ())
            if missing:
                raise InputError(f"{path}:1: columns {sorted(missing)} are missing")
            items = [_item(row, f"{path}:{reader.line_num}") for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: not a readable CSV file ({error})") from None
    check_stems((item.stem, Path(item.filename)) for item in items)
    return items


def _item(row: dict[str, str | None], where: str) -> SplitItem:
    values = {name: (row.get(name) or "").strip() for name in row if name}
    for name in ("filename", "patient_id"):
        if not values[name]:
            raise InputError(f"{where}: {name} is empty")
    lesion = values.get("has_lesion", "").lower()
    if lesion not in _TRUTH:
        raise InputError(f"{where}: has_lesion = '{lesion}', allowed: 1, 0, true, false, yes, no, or nothing")
    return SplitItem(
        stem=frame_stem(PurePosixPath(values["filename"])),
        filename=values["filename"],
        patient_id=values["patient_id"],
        group=values["patient_id"],
        source=values["dataset_source"] or "unknown",
        modality=values.get("modality") or "unknown",
        has_lesion=_TRUTH[lesion],
    )
