"""What is wrong with the prepared frames themselves: labels, HR partners, sizes. Nothing here depends on the split."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from data_utils.auditing.findings import Finding
from data_utils.auditing.parts import EXTERNAL, AuditFrame
from data_utils.config_sections import Config
from data_utils.dataset_section import DatasetSection
from data_utils.errors import InputError
from data_utils.formats.labels import ROUNDING, Findings
from data_utils.formats.sources import Source
from data_utils.formats.yolo import read_source
from data_utils.imaging.images import UnreadableImage, image_size, list_images
from data_utils.splitting.split_list import label_path

SCOPE = "all"
REPEATED, TINY, HUGE, CUT = ODD_BOXES = (
    "duplicate boxes", "boxes covering almost nothing", "boxes covering almost everything", "boxes out of the frame",
)  # fmt: skip


def check_labels(frames: Iterable[AuditFrame], dataset: DatasetSection) -> list[Finding]:
    """Check the label file of each frame: what training refuses is an error, what looks wrong a warning."""
    strict = dataset.model_copy(update={"bad_boxes": "error"})
    unusable: list[str] = []
    odd: dict[str, list[str]] = {check: [] for check in ODD_BOXES}
    missing: list[str] = []
    for path in dict.fromkeys(frame.path for frame in frames):
        try:
            label = label_path(path)
            if not label.is_file():
                missing.append(f"{label}: no such label file")
                continue
            findings = Findings()
            read_source(Source(path, label, path.name, path.name), None, strict, findings)
        except InputError as error:
            unusable.append(str(error))
            continue
        unusable += findings.problems
        if hidden := findings.causes.n_untold:
            unusable.append(f"{label}: {hidden} more lines that cannot be used")
        if not findings.n_problems:
            _note_odd_boxes(label, dataset, odd)
    off = {}
    if dataset.audit.box_min == 0:
        off[TINY] = "dataset.audit.box_min = 0"
    if dataset.audit.box_max >= 1:
        off[HUGE] = "dataset.audit.box_max = 1"
    background = "note" if dataset.allow_background else "error"
    return [
        Finding(SCOPE, "unusable labels", "error", unusable, "mend the lines in the raw set and prepare again"),
        Finding(SCOPE, "missing label files", background, missing,
                "write an empty file for a frame without objects, or set dataset.allow_background=true"),
        *(Finding(SCOPE, check, "warning", found, not_checked=off.get(check, "")) for check, found in odd.items()),
    ]  # fmt: skip


def _note_odd_boxes(label: Path, dataset: DatasetSection, odd: dict[str, list[str]]) -> None:
    """Note the lines of a sound label file that look wrong."""
    first: dict[tuple[float, ...], int] = {}
    for number, line in enumerate(label.read_text(encoding="utf-8-sig").splitlines(), start=1):
        if not line.strip():
            continue
        class_id, cx, cy, w, h = map(float, line.split())
        place, share = f"{label}:{number}", w * h
        key = (class_id, *(round(value, 9) for value in (cx, cy, w, h)))
        if first.setdefault(key, number) != number:
            odd[REPEATED].append(f"{place}: repeats line {first[key]}")
        if share < dataset.audit.box_min:
            odd[TINY].append(f"{place}: {share:.2g} of the frame")
        if share > dataset.audit.box_max:
            odd[HUGE].append(f"{place}: {share:.1%} of the frame")
        if max(w / 2 - min(cx, 1 - cx), h / 2 - min(cy, 1 - cy)) > ROUNDING:
            odd[CUT].append(f"{place}: sticks out of the frame")


def check_pairs(frames: Iterable[AuditFrame], config: Config) -> list[Finding]:
    """Check that LR frames have the configured side and HR partners of the same stem twice that side.

    External sets need no HR copies, but those that are there must fit.
    """
    lonely: list[str] = []
    misfits: list[str] = []
    folders: dict[Path, dict[str, Path]] = {}
    for frame in {frame.path: frame for frame in frames}.values():
        folder = _hr_folder(frame, config.dataset)
        if folder not in folders:
            folders[folder] = _by_stem(folder)
        partner = folders[folder].get(frame.path.stem)
        if partner is None and not frame.side.startswith(EXTERNAL):
            lonely.append(f"{frame.path}: no HR partner in {folder}")
        misfits += _misfits(frame.path, partner, config.imgsz_lr)
    mend = "run `python -m data_utils.prepare` with this config again"
    return [
        Finding(SCOPE, "missing HR partners", "error" if config.has_branch else "warning", lonely, mend),
        Finding(SCOPE, "mis-sized LR/HR pairs", "error", misfits, mend),
    ]


def _hr_folder(frame: AuditFrame, dataset: DatasetSection) -> Path:
    if frame.side.startswith(EXTERNAL):
        return Path(dataset.external[frame.side.removeprefix(EXTERNAL)].processed) / "hr" / "images"
    return dataset.hr_images


def _by_stem(folder: Path) -> dict[str, Path]:
    if not folder.is_dir():
        return {}
    return {path.stem: path for path in list_images(folder)}


def _misfits(lr_path: Path, hr_path: Path | None, side: int) -> Iterator[str]:
    wanted: Sequence[tuple[Path, int]] = [(lr_path, side), *([(hr_path, 2 * side)] if hr_path else [])]
    for path, expected in wanted:
        try:
            width, height = image_size(path)[:2]
        except UnreadableImage as error:
            if path == hr_path:  # an unreadable LR frame is a finding of its own
                yield str(error)
            continue
        if (width, height) != (expected, expected):
            yield f"{path}: {width}x{height} pixels, expected {expected}x{expected}"
