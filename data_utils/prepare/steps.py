"""The steps of `prepare`, in order: read the raw set, copy what is new, log what is excluded, split, write lists.

manifest.csv is removed before the first copy changes and written after the last, so a folder that has one is complete.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from tqdm import tqdm

from data_utils.config.loading import override_config
from data_utils.config.sections import Config
from data_utils.errors import Causes, InputError
from data_utils.formats import RawSet, read_raw_set
from data_utils.formats.archive import open_raw
from data_utils.imaging.quality import HASH_BITS, Reason
from data_utils.manifest import ManifestRow, write_manifest
from data_utils.prepare.folders import (
    FILE_NAME,
    FrameRecord,
    StateLog,
    check_outputs_outside_raw,
    check_room,
    locked,
    make_writable,
    read_state,
    remove_leftovers,
    strangers,
    write_state,
)
from data_utils.prepare.frame_jobs import CopySettings, FrameJob, FrameOutcome, process_frame, remove_copies, run_jobs
from data_utils.prepare.preview import PreviewFrame, write_preview
from data_utils.preprocess import write_filter_log
from data_utils.records import Frame, count_sizes
from data_utils.splits.predefined import user_split
from data_utils.splits.report import (
    SUMMARY,
    external_note,
    format_splits,
    independence_note,
    lesion_notes,
    ratio_notes,
    repeat_notes,
    set_edited_lists_aside,
    summary_rows,
    write_splits,
)
from data_utils.splits.search import Split, SplitItem, check_split, hold_outs, set_healthy_aside

# What `prepare` did, and the summary it ends with.


@dataclass(frozen=True)
class PrepareReport:
    """Counts of frames unless said otherwise.

    excluded: by reason; a frame counts under each it has. read_counts: what the reader counted (boxes clipped,
    dropped...). image_notes: frames that were converted on decoding, by conversion. split_rows: see
    split_report.summary_rows. files: what was written, by title.
    """

    name: str
    n_read: int
    n_kept: int
    n_written: int
    n_reused: int
    n_labels_written: int
    n_removed: int
    n_native: int
    n_upsampled: int
    n_boxes: int
    excluded: Mapping[str, int]
    read_counts: Mapping[str, int]
    image_notes: Mapping[str, int]
    split_rows: Sequence[Mapping[str, str | float]]
    notes: Sequence[str] = ()
    files: Mapping[str, Path] = field(default_factory=dict)

    @property
    def n_excluded(self) -> int:
        """Frames read and not kept."""
        return self.n_read - self.n_kept

    def text(self) -> str:
        """Return the summary for a terminal."""
        several = " (some for several reasons)" if sum(self.excluded.values()) > self.n_excluded else ""
        lines = [
            f"{self.name}: {self.n_read} frames read, {self.n_kept} kept with {self.n_boxes} boxes, "
            f"{self.n_excluded} excluded{several}",
            f"  copies     {self.n_written} written, {self.n_reused} reused, {self.n_removed} removed; "
            f"{self.n_labels_written} label files changed",
            f"  HR copies  {self.n_native} native, {self.n_upsampled} upsampled",
        ]
        for title, counts in (
            ("excluded", self.excluded),
            ("read", self.read_counts),
            ("converted", self.image_notes),
        ):
            lines += [f"  {title:<9}  {number} {what}" for what, number in counts.items() if number]
        lines += [f"  note       {note}" for note in self.notes]
        lines += ["", format_splits(self.split_rows), ""] if self.split_rows else [""]
        lines += [f"  {title:<11}{path}" for title, path in self.files.items()]
        return "\n".join(lines)


# Which frames nearly repeat one that was kept before them, by the perceptual hash.


class KeptFrames:
    """The frames kept so far, by group.

    Repeats are sought within a group alone: a copy under another patient is no repeat to drop quietly but a leak, which
    the audit has to see.
    """

    def __init__(self) -> None:
        self._stems: dict[str, list[str]] = defaultdict(list)
        self._hashes: dict[str, list[int]] = defaultdict(list)

    def nearest(self, group: str, perceptual_hash: str) -> tuple[str, int]:
        """Return the kept frame of the group that is most alike, and in how many bits the two hashes differ.

        ("", 64) where the group has none. Of equals, the first kept.
        """
        if not self._stems[group]:
            return "", HASH_BITS
        kept = np.array(self._hashes[group], dtype=np.uint64)
        bits = np.bitwise_count(kept ^ np.uint64(int(perceptual_hash, 16)))
        index = int(np.argmin(bits))
        return self._stems[group][index], int(bits[index])

    def add(self, group: str, stem: str, perceptual_hash: str) -> None:
        """Keep a frame."""
        self._stems[group].append(stem)
        self._hashes[group].append(int(perceptual_hash, 16))


UNPACKED = "unpacked"  # folder below dataset.processed where a zipped raw set is unpacked


def with_raw_folder(config: Config) -> Config:
    """Return the config with dataset.raw unpacked where it is a zip archive; a second call finds it unpacked.

    Annotation tools export no patients, so the metadata file may lie beside the archive. Raises InputError for an
    archive that is damaged or holds what must not be unpacked.
    """
    raw, metadata = Path(config.dataset.raw), config.dataset.metadata
    folder = open_raw(raw, Path(config.dataset.processed) / UNPACKED)
    if folder == raw:
        return config
    overrides = [f"dataset.raw={folder}"]
    if metadata is not None and not (folder / metadata).is_file() and (raw.parent / metadata).is_file():
        overrides.append(f"dataset.metadata={(raw.parent / metadata).absolute()}")
    return override_config(config, overrides)


class Preparation:
    """One run over one data set: `run` is the whole of it, the other methods are its steps."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.dataset = config.dataset
        self.settings = CopySettings.from_config(config)
        self.outcomes: dict[str, FrameOutcome] = {}  # by stem, in the order of the raw set
        self.kept = KeptFrames()
        self.nearest: dict[str, tuple[str, int]] = {}  # by stem: the most similar frame kept before, and differing bits
        self.n_removed = 0
        self.notes: list[str] = []
        self.files = {
            "LR frames": self.dataset.lr_images,
            "HR frames": self.dataset.hr_images,
            "manifest": self.dataset.manifest,
            "splits": Path(self.dataset.splits) / SUMMARY,
            "filter log": Path(self.dataset.filter_log),
        }

    def run(self, *, workers: int | None, progress: bool, preview: bool = False) -> PrepareReport:
        """Do everything; see `data_utils.prepare.prepare`."""
        check_outputs_outside_raw(self.dataset)
        raw_set = read_raw_set(self.dataset)
        if not raw_set.frames:
            raise InputError(f"{self.dataset.raw}: no frames in the raw folder; change dataset.raw or dataset.format")
        for folder in (Path(self.dataset.processed), Path(self.dataset.splits), Path(self.dataset.filter_log).parent):
            make_writable(folder)
        with locked(self.settings.processed):
            self._copy_frames(raw_set.frames, workers, progress)
            return self._describe(raw_set, preview)

    def _copy_frames(self, frames: Sequence[Frame], workers: int | None, progress: bool) -> None:
        """Write the copies that are missing or stale, remove those nobody wants, and record each frame when done."""
        state_file = self.settings.processed / FILE_NAME
        previous = read_state(state_file)
        jobs = [FrameJob(frame.image_path, frame.stem, frame.annotation) for frame in frames]
        remove_leftovers(self.settings.processed)
        check_room(self.config, sum(not (job.stem in previous and previous[job.stem].copies_key) for job in jobs))
        self.dataset.manifest.unlink(missing_ok=True)
        for stem in sorted(set(previous) - {job.stem for job in jobs}):
            self._remove(stem, previous.get(stem))
        with (
            StateLog(state_file) as log,
            closing(run_jobs(jobs, self.settings, previous, workers)) as outcomes,
            tqdm(total=len(jobs), desc="preparing", unit="frame", disable=not progress or None) as bar,
        ):
            for frame, job, outcome in zip(frames, jobs, outcomes, strict=True):
                outcome = self._without_repeats(frame.group, job, outcome)
                self.outcomes[job.stem] = self._settle(job.stem, outcome, previous.get(job.stem), log)
                bar.update()
        write_state(state_file, [o.record for o in self.outcomes.values() if o.record is not None])

    def _without_repeats(self, group: str, job: FrameJob, outcome: FrameOutcome) -> FrameOutcome:
        """Exclude a frame that nearly repeats one kept before it, and copy one that no longer does."""
        record = outcome.record
        if outcome.reasons or record is None:
            return outcome
        limit = self.dataset.filter.near_duplicate_bits
        other, bits = self.kept.nearest(group, record.scores.perceptual_hash)
        self.nearest[job.stem] = (other, bits)
        if limit is not None and other and bits <= limit:
            reason = Reason("near-duplicate", f"of {other}, {bits} of {HASH_BITS} bits differ <= {limit}")
            return replace(outcome, action="excluded", reasons=(reason,), record=replace(record, is_repeat=True))
        self.kept.add(group, job.stem, record.scores.perceptual_hash)
        if outcome.action == "undecided":
            return process_frame(job, self.settings, replace(record, is_repeat=False))
        return outcome

    def _settle(self, stem: str, outcome: FrameOutcome, before: FrameRecord | None, log: StateLog) -> FrameOutcome:
        """Remove the copies an outcome makes stale, then record it: in this order, so that a kill loses no removal."""
        if outcome.reasons:
            self._remove(stem, before)
            if outcome.record is not None:
                outcome = replace(outcome, record=replace(outcome.record, copies_key="", lr_bytes=0, hr_bytes=0))
        elif before is not None and before.copies_key != self.settings.copies_key:
            remove_copies(stem, self.settings, keep_suffix=self.settings.suffix)
        if outcome.record is not None and outcome.record != before:
            log.append(outcome.record)
        return outcome

    def _remove(self, stem: str, before: FrameRecord | None) -> None:
        self.n_removed += before is not None and before.copies_key != ""
        remove_copies(stem, self.settings)

    def _describe(self, raw_set: RawSet, preview: bool) -> PrepareReport:
        """Write filter log, manifest and split lists; a failing split leaves log and preview, which tell why."""
        filenames = {frame.stem: self._below_raw(frame.image_path) for frame in raw_set.frames}
        excluded = {stem: outcome.reasons for stem, outcome in self.outcomes.items() if outcome.reasons}
        write_filter_log(self.dataset.filter_log, ((filenames[stem], reasons) for stem, reasons in excluded.items()))
        if preview:
            self._write_preview(raw_set.frames, filenames)
            self.files["preview"] = self.preview_path
        self._check_enough_left(excluded)
        rows = [
            self._manifest_row(frame, filenames[frame.stem]) for frame in raw_set.frames if frame.stem not in excluded
        ]
        splits = self._without_crowds(self._splits(rows, [(stem, filenames[stem]) for stem in excluded]), rows)
        write_manifest(self.dataset.manifest, rows)
        if edited := set_edited_lists_aside(self.dataset.splits):
            self.notes.append(f"{len(edited)} lists had been edited by hand and were kept as {edited[0]}...")
        write_splits(self.dataset.splits, splits, lambda stem: self.settings.copies(stem)[0])
        if others := strangers(self.settings.processed, {row.stem for row in rows}):
            self.notes.append(f"{len(others)} files are no copies of this set and were left alone, e.g. {others[0]}")
        return self._report(raw_set, rows, excluded, splits)

    def _write_preview(self, frames: Sequence[Frame], filenames: dict[str, str]) -> None:
        """Write the page on which the thresholds can be judged."""
        paths = {frame.stem: frame.image_path for frame in frames}
        shown = []
        for frame in frames:
            outcome, (other, bits) = self.outcomes[frame.stem], self.nearest.get(frame.stem, ("", HASH_BITS))
            scores = None if outcome.record is None else outcome.record.scores
            shown.append(PreviewFrame(filenames[frame.stem], frame.image_path, scores, outcome.reasons,
                                      bits if other else None, paths.get(other)))  # fmt: skip
        write_preview(self.preview_path, self.dataset.name, shown, self.dataset.filter)

    @property
    def preview_path(self) -> Path:
        """Where the preview page goes: beside the filter log, under its name."""
        return Path(self.dataset.filter_log).with_suffix(".html")

    def _below_raw(self, path: Path) -> str:
        raw = Path(self.dataset.raw)
        if not path.is_relative_to(raw):
            raw, path = raw.resolve(), path.resolve()
        return path.relative_to(raw).as_posix() if path.is_relative_to(raw) else path.as_posix()

    def _check_enough_left(self, excluded: dict[str, tuple[Reason, ...]]) -> None:
        """Raise InputError when too many frames are unreadable, or none is left."""
        n_frames, log, allowed = len(self.outcomes), self.dataset.filter_log, self.dataset.max_unreadable
        unreadable = [reasons[0].detail for reasons in excluded.values() if reasons[0].kind == "unreadable"]
        share = len(unreadable) / n_frames
        if share > allowed:
            raise InputError(
                f"{len(unreadable)} of {n_frames} frames are unreadable, {share:.1%} where dataset.max_unreadable "
                f"allows {allowed:.1%}: {Causes(unreadable)}; all are listed in {log}; mend or remove them"
            )
        if len(excluded) == n_frames:
            kinds = Counter(reasons[0].kind for reasons in excluded.values()).most_common()
            raise InputError(
                f"all {n_frames} frames were excluded ({', '.join(f'{n} {kind}' for kind, n in kinds)}), see {log}; "
                "thresholds belong to a data set: set dataset.filter in its config"
            )

    def _manifest_row(self, frame: Frame, filename: str) -> ManifestRow:
        record = self.outcomes[frame.stem].record
        assert record is not None, f"{frame.stem}: kept without a record"
        scores = record.scores
        x1, y1, x2, y2 = record.crop_xyxy or (0, 0, scores.width, scores.height)
        longer_side = max(x2 - x1, y2 - y1)
        n_small, n_medium, n_large = count_sizes(frame.annotation.boxes_cxcywhn, scores.width, scores.height)
        return ManifestRow(
            stem=frame.stem,
            filename=filename,
            patient_id=frame.patient_id,
            group=frame.group,
            dataset_source=frame.source,
            modality=frame.modality,
            width=x2 - x1,
            height=y2 - y1,
            crop_x=x1,
            crop_y=y1,
            hr_kind="native" if longer_side >= (self.dataset.hr_native_min or self.config.imgsz_hr) else "upsampled",
            n_boxes=len(frame.annotation),
            content_hash=record.content_hash,
            n_small=n_small,
            n_medium=n_medium,
            n_large=n_large,
            n_bytes=scores.n_bytes,
            sharpness=round(scores.sharpness, 3),
            brightness=round(scores.brightness, 3),
            saturated=round(scores.saturated, 6),
            border=round(scores.border, 6),
            perceptual_hash=scores.perceptual_hash,
            nearest_bits=self.nearest[frame.stem][1],
            sequence=frame.sequence,
            group_kind=self.dataset.group,
            n_crowd=0 if frame.annotation.crowd is None else len(frame.annotation.crowd),
            notes="; ".join(record.notes),
        )

    def _splits(self, rows: Sequence[ManifestRow], excluded: Sequence[tuple[str, str]]) -> list[Split]:
        """Return the checked splits, and note what a reader should know about them."""
        section = self.dataset.split
        items = [SplitItem.from_manifest(row) for row in rows]
        if section.predefined is not None or section.column is not None:
            split, notes = user_split(items, self.dataset, excluded)
            splits = [set_healthy_aside(split) if section.lesion_only_eval else split]
        elif section.n_splits:
            splits = hold_outs(items, section)
            notes = ratio_notes(splits, section, self.dataset.group)
        else:
            splits, notes = [], [external_note(self.dataset)]
        self.notes += notes
        for split in splits:
            check_split(split, self.dataset.group)
        lesions = lesion_notes(splits) if self.dataset.labelled else []
        self.notes += [*independence_note(splits, self.dataset.group), *lesions, *repeat_notes(splits)]
        return splits

    def _without_crowds(self, splits: list[Split], rows: Sequence[ManifestRow]) -> list[Split]:
        """Take frames with a crowd out of what trains: what nobody told apart would be learnt as background."""
        crowded = {row.stem for row in rows if row.n_crowd}
        if crowded and splits:
            n_left_out = sum(item.stem in crowded for item in splits[0]["train"])
            self.notes.append(
                f"{len(crowded)} frames hold crowds (COCO's iscrowd); {n_left_out} of them are left out of split 1's "
                "train list, and detections there do not count in evaluation; dataset.crowd = box takes their boxes"
            )
        return [{**split, "train": [item for item in split["train"] if item.stem not in crowded]} for split in splits]

    def _report(
        self,
        raw_set: RawSet,
        rows: Sequence[ManifestRow],
        excluded: dict[str, tuple[Reason, ...]],
        splits: Sequence[Split],
    ) -> PrepareReport:
        hr_kinds = Counter(row.hr_kind for row in rows)
        actions = Counter(outcome.action for outcome in self.outcomes.values())
        return PrepareReport(
            name=self.dataset.name,
            n_read=len(self.outcomes),
            n_kept=len(rows),
            n_written=actions["written"],
            n_reused=actions["reused"],
            n_labels_written=sum(outcome.label_written for outcome in self.outcomes.values()),
            n_removed=self.n_removed,
            n_native=hr_kinds["native"],
            n_upsampled=hr_kinds["upsampled"],
            n_boxes=sum(row.n_boxes for row in rows),
            excluded=Counter(kind for reasons in excluded.values() for kind in {reason.kind: 1 for reason in reasons}),
            read_counts=raw_set.counts,
            image_notes=Counter(note for outcome in self.outcomes.values() for note in outcome.notes),
            split_rows=summary_rows(splits),
            notes=[*raw_set.notes, *self.notes],
            files={title: path for title, path in self.files.items() if splits or title != "splits"},
        )
