"""The steps of `convert`, in order: read the source, copy images, write labels, read them back, put all in place."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

import numpy as np
from scipy.optimize import linear_sum_assignment
from tqdm import tqdm

from data_utils.atomic import write_csv
from data_utils.boxes import cxcywhn_to_xyxy
from data_utils.config import make_section
from data_utils.conversion.convert_report import ConvertReport
from data_utils.conversion.target import TargetFolder
from data_utils.csv_table import read_table
from data_utils.dataset_section import DatasetSection
from data_utils.errors import Causes, InputError
from data_utils.formats import RawSet, read_raw_set
from data_utils.formats.archive import open_raw
from data_utils.formats.labelled_image import LabelledImage, label_paths
from data_utils.formats.labelmap import mask_values
from data_utils.formats.labels import Findings
from data_utils.formats.raw_set import READERS, detect_format, no_images
from data_utils.formats.sources import Source
from data_utils.imaging.image_header import parse_header
from data_utils.imaging.image_metadata import strip_metadata
from data_utils.imaging.images import UnreadableImage, list_images
from data_utils.types import Annotation
from data_utils.visible_files import is_hidden

METADATA = "metadata.csv"
IMAGE_FOLDERS = {"voc": "JPEGImages", "labelmap": "img", "mask": "img"}  # where a format has its images; else images/
MAX_SHIFT = 0.5  # pixels by which a box may move on the way through a format
# What readers' messages call by its key in the config is a flag of the command.
_FLAGS = {
    "dataset.bad_boxes = drop": "--bad-boxes drop", "dataset.allow_background = true": "--allow-background",
    "dataset.labels_frame": "--labels-frame", "dataset.labelmap.images": "--mask-images",
    "dataset.labelmap.mask_suffix": "--mask-suffix", "dataset.labelmap.masks": "--mask-masks",
    "dataset.labelmap.threshold": "--mask-threshold", "dataset.labelmap.values, for example {4: lesion}":
    "--values 4=lesion", "dataset.labelmap.values": "--values", "dataset.format = ": "--from ",
    "dataset.format to": "--from to", "dataset.nc and dataset.names": "--names",
    "dataset.names": "--names", "dataset.nc": "the number of class names",
}  # fmt: skip


class Conversion:
    """One conversion; `run` is the whole of it, the other methods are its steps."""

    def __init__(self, source: Path, target: Path, target_format: str, progress: bool) -> None:
        if target_format not in READERS:
            raise InputError(f"--to {target_format}: allowed: {', '.join(READERS)}")
        if not source.exists():
            raise InputError(f"{source}: no such folder or zip archive")
        self.source, self.target, self.format, self.progress = source, target, target_format, progress
        self._image_folder = IMAGE_FOLDERS.get(target_format, "images")
        self.notes: list[str] = []

    def run(
        self, names: Sequence[str], reading: Mapping[str, object], overwrite: bool, skip_unreadable: bool
    ) -> ConvertReport:
        """Do everything; see `data_utils.convert.convert`."""
        with TargetFolder(self.target, self.source, overwrite) as target:
            raw = _top_folder(open_raw(self.source, target.staging / "unpacked"), self.source)
            try:
                report = self._convert(raw, target.building, names, reading, skip_unreadable)
            except InputError as error:
                raise InputError(_as_seen(str(error), raw, self.source)) from None
            target.finish(report.record())
            return report

    def _convert(
        self, raw: Path, out: Path, names: Sequence[str], reading: Mapping[str, object], skip_unreadable: bool
    ) -> ConvertReport:
        section = read_section(raw, names, reading)
        raw_set = read_raw_set(section)
        found = {source.image: source for source in READERS[section.format].find_sources(section, Findings())}
        raw_set = self._without_crowds(raw_set)
        pairs, unreadable = self._copy_images(raw_set, found, out, skip_unreadable)
        frames = [frame for _, frame in pairs]
        label_paths(frames, ".label")  # refuses two images that would share one
        READERS[self.format].write_set(out, section.names, frames)
        shift = self._read_back(out, section.names, frames)
        left_out = {source.image for source in found.values()} - {source.image for source, _ in pairs}
        self._write_metadata(raw / METADATA, out / METADATA, pairs, [found[image] for image in left_out])
        counts = raw_set.counts + Counter({"unreadable images left out": len(unreadable)})
        classes = np.concatenate([frame.annotation.class_ids for frame in frames])
        for key, number in (("frames", len(frames)), ("boxes", len(classes)),
                            ("negative frames", sum(not len(frame.annotation) for frame in frames))):  # fmt: skip
            counts[key] = number
        per_class = dict(zip(section.names, np.bincount(classes, minlength=section.nc).tolist(), strict=True))
        return ConvertReport(self.source, section.format, self.target, self.format, per_class, counts, shift,
                               tuple(_as_seen(reason, raw, self.source) for reason in unreadable),
                               tuple(_as_seen(note, raw, self.source) for note in (*raw_set.notes, *self.notes)))

    def _without_crowds(self, raw_set: RawSet) -> RawSet:
        """Leave frames with crowds out where the target format cannot hold them: they would become healthy."""
        kept = [frame for frame in raw_set.frames if frame.annotation.crowd is None or self.format == "coco"]
        if n_left_out := len(raw_set.frames) - len(kept):
            self.notes.append(f"{n_left_out} frames with crowds (iscrowd) are left out, for {self.format} labels "
                              "cannot hold them; --to coco keeps them")  # fmt: skip
        return replace(raw_set, frames=kept)

    def _copy_images(
        self, raw_set: RawSet, found: Mapping[Path, Source], out: Path, skip_unreadable: bool
    ) -> tuple[list[tuple[Source, LabelledImage]], list[str]]:
        """Copy the images without their metadata; return each source with its copy, and why others are left out."""
        pairs, unreadable = [], []
        silent = not self.progress or None  # None: where no terminal is
        for frame in tqdm(raw_set.frames, desc="converting", unit="frame", disable=silent, leave=False):
            source = found[frame.image_path]
            try:
                data, suffix = strip_metadata(_bytes_of(source.image), source.image)
            except UnreadableImage as error:
                unreadable.append(str(error))
                continue
            inner = str(PurePosixPath(source.inner).with_suffix(suffix))
            copy = out / self._image_folder / inner
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(data)
            pairs.append((source, LabelledImage(inner, *parse_header(data, copy).displayed_size, frame.annotation)))
        if unreadable and not skip_unreadable:
            raise InputError(f"{len(unreadable)} of {len(raw_set.frames)} images cannot be read: "
                             f"{Causes(unreadable)}; or leave them out with --skip-unreadable")  # fmt: skip
        if not pairs:
            raise InputError(f"{self.source}: not one image can be read: {unreadable[0]}")
        return pairs, unreadable

    def _read_back(self, out: Path, names: Sequence[str], frames: Sequence[LabelledImage]) -> float:
        """Read what was written; return the most that a corner moved, in pixels. Raises InputError for a lost box."""
        reading = {"format": self.format, "labelmap": {"values": mask_values(names), "min_area": 1}}
        again = read_raw_set(read_section(out, names, reading))
        written = {frame.image_path: frame.annotation for frame in again.frames}
        shift = 0.0
        for frame in frames:
            found = written.pop(out / self._image_folder / frame.inner, None)
            moved = None if found is None else corner_shift(frame, found)
            if moved is None or moved > MAX_SHIFT:
                raise InputError(f"{frame.inner}: {self.format} labels do not give its boxes back; choose another --to")
            shift = max(shift, moved)
        assert not written, f"read back {len(written)} frames more than were written"
        return shift

    def _write_metadata(
        self, path: Path, copy: Path, pairs: Sequence[tuple[Source, LabelledImage]], left_out: Sequence[Source]
    ) -> None:
        """Copy metadata.csv, frames named as they are now; lines of images left out go, others stay and are noted."""
        if not path.is_file():
            self.notes.append("no metadata.csv in the source: before preparing, say whose each frame is, in "
                              "metadata.csv (filename,patient_id,dataset_source) or by group_pattern")  # fmt: skip
            return
        columns, numbered = read_table(path, ("filename",))
        rows = {_normal(row["filename"]): (number, row) for number, row in numbered}
        used: dict[int, Source] = {}
        for source, inner in [(s, frame.inner) for s, frame in pairs] + [(s, "") for s in left_out]:
            name = source.inner.rpartition("/")[2]
            keys = (source.below_raw, source.inner, name, name.rpartition(".")[0])
            number, row = next((rows[key] for key in map(_normal, keys) if key in rows), (0, None))
            if row is None:
                continue
            if number in used:
                raise InputError(f"{path}:{number}: fits both {used[number].below_raw} and {source.below_raw}; write "
                                 "the folder too")  # fmt: skip
            used[number] = source
            row["filename"] = inner
        if strangers := len(numbered) - len(used):
            self.notes.append(f"{strangers} lines of metadata.csv name no image; they are copied as they are")
        write_csv(copy, columns, [row for _, row in numbered if row["filename"]])

def read_section(raw: Path, names: Sequence[str], reading: Mapping[str, object]) -> DatasetSection:
    """Return how to read `raw`: format and class names found there where `reading` and `names` do not say them.

    reading: settings of a data set, such as format, bad_boxes or labelmap. Raises InputError where they are not found.
    """
    if not raw.is_dir() or not list_images(raw):
        raise InputError(f"{raw}: {no_images(raw) if raw.is_dir() else 'no such folder or zip archive'}")
    values = dict(reading)
    labelmap = values.get("labelmap")
    by_value = dict(labelmap.get("values") or {}) if isinstance(labelmap, Mapping) else {}
    if values.get("format", "auto") == "auto":
        values["format"] = "labelmap" if by_value else detect_format(raw)
    if not names and by_value and values["format"] == "labelmap":
        names = list(dict.fromkeys(name for _, name in sorted(by_value.items())))
    if not names and values["format"] in READERS:
        names = READERS[str(values["format"])].class_names(raw)
    fixed = {"raw": str(raw), "nc": max(len(names), 1), "names": tuple(names), "metadata": None, "group": "image"}
    return make_section(DatasetSection, {**values, **fixed}, "convert")


def corner_shift(frame: LabelledImage, again: Annotation) -> float | None:
    """Return how far, in pixels, a corner moved between the boxes of `frame` and `again`; None if one is lost or new.

    Boxes of one class are paired so that they move least; their order does not count.
    """
    if sorted(frame.annotation.class_ids) != sorted(again.class_ids):
        return None
    before = cxcywhn_to_xyxy(frame.annotation.boxes_cxcywhn, frame.width, frame.height)
    after = cxcywhn_to_xyxy(again.boxes_cxcywhn, frame.width, frame.height)
    moved = 0.0
    for class_id in set(again.class_ids.tolist()):
        mine, theirs = before[frame.annotation.class_ids == class_id], after[again.class_ids == class_id]
        distances = np.abs(mine[:, None] - theirs[None]).max(axis=2)
        moved = max(moved, float(distances[linear_sum_assignment(distances)].max()))
    return moved


def _top_folder(raw: Path, source: Path) -> Path:
    """Return the one folder that an archive's content lies in, or `raw`."""
    entries = [path for path in raw.iterdir() if not is_hidden(path.name)] if source.is_file() else []
    is_wrapping = len(entries) == 1 and entries[0].is_dir() and entries[0].name not in ("images", "JPEGImages")
    return entries[0] if is_wrapping else raw


def _bytes_of(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UnreadableImage(f"{path}: cannot be read ({error.strerror or error})") from None


def _as_seen(message: str, raw: Path, source: Path) -> str:
    """Put a message of the readers in the words of this command."""
    message = message.replace(str(raw), str(source))
    for key, flag in _FLAGS.items():
        message = message.replace(key, flag)
    return message


def _normal(filename: str) -> str:
    return unicodedata.normalize("NFC", filename.replace("\\", "/").removeprefix("./"))
