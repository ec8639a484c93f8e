"""The steps of `convert`, in order: read the source, copy images, write labels, read them back, put all in place."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import signal
import sys
import threading
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from scipy.optimize import linear_sum_assignment
from tqdm import tqdm

from data_utils.config.loading import make_section, yaml_text
from data_utils.config.sections import DatasetSection
from data_utils.errors import EXIT_TERMINATED, Causes, InputError
from data_utils.files import is_hidden, read_table, write_csv, write_text
from data_utils.formats import RawSet, read_raw_set
from data_utils.formats.archive import open_raw
from data_utils.formats.labelmap import mask_values
from data_utils.formats.labels import Findings, LabelledImage, label_paths
from data_utils.formats.registry import READERS, detect_format, no_images
from data_utils.formats.sources import Source
from data_utils.imaging.header import parse_header
from data_utils.imaging.images import UnreadableImage, file_hash, list_images
from data_utils.imaging.metadata import strip_metadata
from data_utils.records import Annotation, cxcywhn_to_xyxy

# What a conversion did, for the terminal, and the data set file it offers.


@dataclass(frozen=True, eq=False)
class ConvertReport:
    """What was converted. counts: frames, boxes, negative frames, and each harmless oddity, by name.

    per_class: boxes of each class, in the order of the class ids. shift: the most that a corner moved, in pixels, when
    the written labels were read back. unreadable: images left out, each with its reason. notes: sentences for the user.
    """

    source: Path
    source_format: str
    target: Path
    target_format: str
    per_class: dict[str, int]
    counts: Counter[str]
    shift: float
    unreadable: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def record(self) -> dict[str, object]:
        """Return what .convert.json says about the conversion."""
        return {
            "made_by": "python -m data_utils.convert", "source": str(self.source), "from": self.source_format,
            "to": self.target_format, "names": list(self.per_class), "counts": dict(self.counts),
        }  # fmt: skip

    def dataset_yaml(self) -> str:
        """Return the data set file for `python -m data_utils.prepare`."""
        name = dataset_name(self.target)
        values: dict[str, object] = {
            "name": name, "raw": str(self.target), "processed": f"data/{name}/processed",
            "splits": f"data/{name}/splits", "filter_log": f"results/{name}_filter_log.csv",
            "format": self.target_format, "nc": len(self.per_class), "names": list(self.per_class),
        }  # fmt: skip
        if self.target_format == "labelmap":
            values["labelmap"] = {"values": mask_values(list(self.per_class))}
        return yaml_text(values, allow_unicode=True, default_flow_style=None, width=1 << 20)

    def text(self) -> str:
        """Return the report for the terminal."""
        main = ("frames", "boxes", "negative frames")
        lines = [f"{self.source} ({self.source_format}) -> {self.target} ({self.target_format})",
                 "  " + ", ".join(f"{self.counts[key]} {key}" for key in main),
                 "  boxes by class: " + ", ".join(f"{name} {count}" for name, count in self.per_class.items()),
                 f"  read back: every box is there, the farthest corner moved by {self.shift:.3g} pixels"]  # fmt: skip
        lines += [f"  {count} {what}" for what, count in sorted(self.counts.items()) if what not in main]
        lines += [f"  left out: {reason}" for reason in Causes(self.unreadable).texts()]
        return "\n".join([*lines, *(f"note: {note}" for note in self.notes)])


def dataset_name(folder: Path) -> str:
    """Return a folder's name with only the characters that `dataset.name` allows."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "_", folder.resolve().name).strip("_.-") or "converted"


# The folder a conversion writes: built under a hidden name beside its place, then renamed, so it is whole or absent.
#
# .convert.json in it records every file. Only a folder in which nothing changed since is ever replaced.


MARKER = ".convert.json"  # hidden, so that no reader takes it for labels


class TargetFolder:
    """A folder to be written whole; use as a context manager, fill `building`, then call `finish`.

    staging: hidden folder on the same disk, gone when the block ends. building: the folder in it that will be renamed.
    Making one raises InputError where `target` holds something that must not be replaced, or overlaps with `source`.
    """

    def __init__(self, target: Path, source: Path, overwrite: bool) -> None:
        self.target, self._place = target, target.resolve()
        # Not the target's own name, which may be as long as names can be.
        digest = hashlib.sha256(str(self._place).encode("utf-8", "surrogateescape")).hexdigest()
        self._handler: Any = None  # of SIGTERM, before us
        self.staging = self._place.parent / f".convert-{digest[:12]}"
        self.building = self.staging / "set"
        self._old = self.staging.with_name(self.staging.name + "-old")
        real = source.resolve()
        if self._place.is_relative_to(real) or real.is_relative_to(self._place):
            raise InputError(f"{target}: lies in the source {source} or holds it; the source is never written")
        if self._old.exists() and not self._place.exists():
            self._old.rename(self._place)  # an earlier run was killed between its last two steps
        self._check_replaceable(overwrite)

    def __enter__(self) -> TargetFolder:
        shutil.rmtree(self.staging, ignore_errors=True)  # of a killed run
        self.building.mkdir(parents=True)
        if threading.current_thread() is threading.main_thread():
            self._handler = signal.signal(signal.SIGTERM, _leave)
        return self

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self.staging, ignore_errors=True)
        if self._handler is not None:
            signal.signal(signal.SIGTERM, self._handler)

    def finish(self, record: Mapping[str, object]) -> None:
        """Write .convert.json with `record` and a mark of each file, and rename the folder into its place."""
        text = json.dumps({**record, "files": file_marks(self.building)}, indent=1, ensure_ascii=False)
        write_text(self.building / MARKER, text + "\n")
        shutil.rmtree(self._old, ignore_errors=True)
        if self._place.exists():
            self._place.rename(self._old)
        self.building.rename(self._place)
        shutil.rmtree(self._old, ignore_errors=True)

    def _check_replaceable(self, overwrite: bool) -> None:
        place = self._place
        if not place.exists() or (place.is_dir() and not any(place.iterdir())):
            return
        if not overwrite:
            raise InputError(f"{self.target}: is there already; choose another folder, or --overwrite for one that "
                             "this command wrote")  # fmt: skip
        written = _read_marks(place)
        if written is None:
            raise InputError(f"{self.target}: was not written by this command (no {MARKER}), so it is not overwritten; "
                             "move it away")  # fmt: skip
        now = file_marks(place)
        changed = sorted(name for name in now.keys() | written.keys() if now.get(name) != written.get(name))
        if changed:
            raise InputError(f"{self.target}: {len(changed)} files changed since they were written, the first is "
                             f"{changed[0]}; move the folder away")  # fmt: skip


def _leave(*_: object) -> None:
    """End on SIGTERM as on Ctrl-C: the unfinished folder is removed on the way out."""
    print("error: terminated", file=sys.stderr)
    sys.exit(EXIT_TERMINATED)


def file_marks(folder: Path) -> dict[str, str]:
    """Return {path: hash} of all files below `folder` but .convert.json."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file() and path != folder / MARKER)
    return {path.relative_to(folder).as_posix(): file_hash(path) for path in files}


def _read_marks(folder: Path) -> dict[str, Any] | None:
    try:
        files = json.loads((folder / MARKER).read_bytes())["files"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return files if isinstance(files, dict) else None


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
