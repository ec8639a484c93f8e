"""The paper's three preparing steps as plain functions over folders: filter frames, make LR/HR pairs, make splits.

A source folder holds images, or images/ and labels/. `python -m data_utils.prepare` does all three at once, from a
config, on all cores, and only for what changed; these functions are for single steps and for notebooks.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePath, PurePosixPath

from data_utils.config.loading import make_section
from data_utils.config.sections import FilterSection, SplitSection
from data_utils.errors import Causes, InputError
from data_utils.files import write_csv
from data_utils.formats.identity import MetadataRow, PatientIds, read_metadata
from data_utils.formats.labels import Findings
from data_utils.formats.registry import LESION_ANSWERS
from data_utils.formats.sources import Source, pair_with_labels
from data_utils.imaging.images import IMAGE_SUFFIXES, UnreadableImage, image_size, list_images, read_bgr, write_image
from data_utils.imaging.metadata import strip_metadata
from data_utils.imaging.quality import Reason, rejection_reasons, score_frame
from data_utils.prepare.frame_jobs import SUFFIXES, resized_pair
from data_utils.splits.report import write_splits
from data_utils.splits.search import SplitItem, check_split, hold_outs

FILTER_LOG = Path("results/filter_log.csv")
SPLITS = Path("data/splits")
LR_IMAGES = Path("data/processed/lr/images")
LR_SIDE, HR_SIDE = 640, 1280  # pixels, the published sizes
MAX_STEM_BYTES = 250  # file systems allow names of 255, with the suffix
LOG_COLUMNS = ("filename", "reason")


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
    ./results/filter_log.csv (filename, reason). Layout, pixels and labels stay as they are; EXIF and other metadata do
    not, for they may name a patient (`image_metadata.strip_metadata`: WebP, TIFF and BMP become PNG). The source is
    never written. Returns (number kept, number excluded). Raises InputError for an empty or overlapping folder, and
    when two frames would have one copy.
    """
    source, target = Path(src_dir), Path(dst_dir)
    _check_apart(source, target)
    limits = {"blur_thresh": blur_thresh, "bright_min": bright_min, "bright_max": bright_max, "glare_max": None}
    thresholds = make_section(FilterSection, limits, "filter_frames")
    log: list[tuple[str, Iterable[Reason]]] = []
    written: dict[Path, Path] = {}  # copy -> its source
    frames = _source_frames(source)
    for frame in frames:
        image_copy = target / frame.image.relative_to(source)
        label_copy = target / frame.label.relative_to(source) if frame.label else None
        stale = {image_copy.with_suffix(suffix) for suffix in (image_copy.suffix, *SUFFIXES)}
        for path in (stale | ({label_copy} if label_copy else set())) - written.keys():
            path.unlink(missing_ok=True)  # of an earlier call with other thresholds
        if reasons := _judge(frame.image, thresholds):
            log.append((frame.below_raw, reasons))
            continue
        stripped, suffix = strip_metadata(frame.image.read_bytes(), frame.image)
        image_copy = image_copy.with_suffix(suffix)
        if (other := written.setdefault(image_copy, frame.image)) != frame.image:
            raise InputError(f"{frame.image} and {other} would both be written as {image_copy.name}; rename one")
        image_copy.parent.mkdir(parents=True, exist_ok=True)
        image_copy.write_bytes(stripped)
        if frame.label is not None and label_copy is not None:
            label_copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(frame.label, label_copy)
            written[label_copy] = frame.label
    write_filter_log(FILTER_LOG, log)
    return len(frames) - len(log), len(log)


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
    label file gets none. A frame's copies in another image format, of an earlier call, are removed. Returns the number
    of pairs. Raises InputError when two frames share a stem, and, after all others are written, when frames cannot be
    decoded.
    """
    source, lr_folder, hr_folder = Path(src_dir), Path(dst_lr), Path(dst_hr)
    for target in (lr_folder, hr_folder):
        _check_apart(source, target)
    if os.path.realpath(lr_folder) == os.path.realpath(hr_folder):
        raise InputError(f"{hr_folder}: LR and HR copies have the same names, so each needs a folder of its own")
    if f".{image_format}" not in SUFFIXES:
        raise InputError(f"image_format = {image_format!r}: allowed: 'jpg' or 'png'")
    frames = _source_frames(source)
    stems = [frame_stem(PurePosixPath(frame.below_raw)) for frame in frames]
    check_stems((stem, frame.image) for stem, frame in zip(stems, frames, strict=True))
    unreadable: list[str] = []
    for stem, frame in zip(stems, frames, strict=True):
        try:
            bgr = read_bgr(frame.image).bgr
        except UnreadableImage as error:
            unreadable.append(str(error))
            continue
        for folder, resized in zip((lr_folder, hr_folder), resized_pair(bgr, LR_SIDE, HR_SIDE), strict=True):
            write_image(folder / "images" / f"{stem}.{image_format}", resized, jpeg_quality)
            for suffix in set(SUFFIXES) - {f".{image_format}"}:
                (folder / "images" / f"{stem}{suffix}").unlink(missing_ok=True)
        if frame.label is not None:
            copy = lr_folder / "labels" / f"{stem}.txt"
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(frame.label, copy)
    if unreadable:
        raise InputError(f"{len(unreadable)} of {len(frames)} frames have no pair: {Causes(unreadable)}; "
                         "run filter_frames first")  # fmt: skip
    return len(frames)


def make_splits(
    metadata_csv: str | Path,
    n_splits: int = 3,
    seed: int = 42,
    *,
    same_patient: Sequence[Sequence[str]] = (),
    distinct_patients: bool = False,
) -> dict[str, dict[str, int]]:
    """Write `n_splits` patient-level hold-outs at 89:7:4 under ./data/splits and return their frame counts.

    The CSV has the columns filename, patient_id, dataset_source and optionally modality and has_lesion; the files
    need not exist. A line of a list is the absolute path of an LR image below ./data/processed/lr/images. Returns
    {"split1": {"train": N, "val": N, "test": N}, ...}. same_patient: groups of ids that are one person;
    distinct_patients: ids such as 012 and 12 are of different ones. Raises InputError with file:line, or for too few
    patients, or where nothing says whether two look-alike ids are one person.
    """
    section = make_section(SplitSection, {"n_splits": n_splits, "seed": seed}, "make_splits")
    if not section.n_splits:  # 0 is for external test sets, which are not split
        raise InputError("make_splits: n_splits = 0: allowed: greater than or equal to 1")
    patients = PatientIds(Findings(), same_patient, distinct_patients, "same_patient=[[...]], distinct_patients=True")
    splits = hold_outs(_read_items(Path(metadata_csv), patients), section)
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
    *folders, name = path.parts
    if "images" in folders:
        del folders[len(folders) - 1 - folders[::-1].index("images")]  # the last of them
    return "_".join([*folders, path.stem if path.suffix.lower() in IMAGE_SUFFIXES else name])


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


def _source_frames(source: Path) -> list[Source]:
    frames = pair_with_labels(source, ["images"], ["labels"], ".txt", Findings()) if source.is_dir() else []
    if not frames:
        raise InputError(f"{source}: no images in this folder, nor in images/ below it")
    return frames


def _check_apart(source: Path, target: Path) -> None:
    inner, outer = target.resolve(), source.resolve()
    if inner.is_relative_to(outer) or outer.is_relative_to(inner):
        raise InputError(f"{target}: lies in the source folder {source} or holds it; the source is never written")


def _read_items(path: Path, patients: PatientIds) -> list[SplitItem]:
    rows = read_metadata(path, Findings(), patients=patients).values()
    items = [_item(row, patients.named(row.patient_id, row.place)) for row in rows]
    patients.require_met()
    check_stems((item.stem, Path(item.filename)) for item in items)
    return items


def _item(row: MetadataRow, patient: str) -> SplitItem:
    filename, lesion = PurePosixPath(row.filename), row.has_lesion.lower()
    if filename.is_absolute() or ".." in filename.parts or not filename.name:
        raise InputError(f"{row.place}: '{row.filename}' is no path below the raw folder; write it from there on")
    if lesion and lesion not in LESION_ANSWERS:
        raise InputError(f"{row.place}: has_lesion = '{lesion}', allowed: 1, 0, true, false, yes, no, or nothing")
    return SplitItem(
        stem=frame_stem(filename),
        filename=row.filename,
        patient_id=patient,
        group=patient,
        source=row.source,
        modality=row.modality,
        has_lesion=LESION_ANSWERS.get(lesion),
    )
