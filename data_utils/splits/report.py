"""Split lists on disk, and the table that says what is in them."""

from __future__ import annotations

import csv
import hashlib
import itertools
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from data_utils.command_line import format_table
from data_utils.config.sections import DatasetSection, SplitSection
from data_utils.errors import InputError
from data_utils.files import write_csv, write_text
from data_utils.splits.search import (
    HEALTHY,
    HELD_OUT,
    PARTS,
    Split,
    SplitItem,
    hashed_id,
    lesions_suffice,
    shared_patients,
)

LIST_NAMES = (*PARTS, *(part + HEALTHY for part in HELD_OUT))
SUMMARY = "summary.csv"
SOURCE_PREFIX, MODALITY_PREFIX = "source:", "modality:"
WRITTEN = ".written.json"  # digest of each list as this program wrote it: {"split1/train.txt": ...}
POINTS = 2  # by how many per cent of the frames a part may miss its ratio without a note


def write_splits(folder: str | Path, splits: Sequence[Split], image_path: Callable[[str], Path]) -> list[Path]:
    """Write split{k}/{part}.txt, one absolute image path a line in stem order, and summary.csv; returns the files.

    `image_path` maps a stem to its LR image. Lists that an earlier call wrote and this one does not are removed: their
    frames may be gone. Without splits, so is summary.csv.
    """
    folder = Path(folder).absolute()
    texts: dict[Path, str] = {}
    for k, split in enumerate(splits, start=1):
        for part, items in split.items():
            lines = [str(image_path(item.stem).absolute()) for item in sorted(items, key=lambda item: item.stem)]
            for line in lines:
                if len(line.splitlines()) != 1:
                    raise InputError(f"{line!r}: a path in a split list must not hold a line break; rename the file")
            texts[folder / f"split{k}" / f"{part}.txt"] = "".join(line + "\n" for line in lines)
    for path in _listed_before(folder):
        if path not in texts:
            path.unlink(missing_ok=True)
            if path.parent.is_dir() and not any(path.parent.iterdir()):
                path.parent.rmdir()
    for path, text in texts.items():
        write_text(path, text)
    if not texts:
        (folder / WRITTEN).unlink(missing_ok=True)
        (folder / SUMMARY).unlink(missing_ok=True)
        return []
    digests = {path.relative_to(folder).as_posix(): _digest(text.encode()) for path, text in texts.items()}
    write_text(folder / WRITTEN, json.dumps(digests, indent=0) + "\n")
    rows = summary_rows(splits)
    write_csv(folder / SUMMARY, list(rows[0]), rows)
    return [*texts, folder / SUMMARY]


def set_edited_lists_aside(folder: str | Path) -> list[Path]:
    """Rename the lists that were edited by hand since `write_splits` wrote them, so that the next call loses nothing.

    split1/test.txt becomes split1/test.edited.txt (test.edited2.txt...). Returns the new names.
    """
    folder = Path(folder)
    try:
        written = json.loads((folder / WRITTEN).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return []  # never written, or by an older version
    moved = []
    for path in sorted(folder.glob("split*/*.txt")):
        digest = written.get(path.relative_to(folder).as_posix()) if isinstance(written, dict) else None
        if digest is None or _digest(path.read_bytes()) == digest:
            continue
        names = (path.with_suffix(f".edited{n if n > 1 else ''}.txt") for n in itertools.count(1))
        moved.append(path.rename(next(name for name in names if not name.exists())))
    return moved


def summary_rows(splits: Sequence[Split]) -> list[dict[str, str | float]]:
    """Count each part of each split: patients, groups, frames and their share, lesion and healthy frames, boxes.

    Then boxes by size, frames by source, and by modality where there are several. The share, in per cent, is that of
    train, val and test together; frames set aside by lesion_only_eval have none.
    """
    items = [item for split in splits for part in split.values() for item in part]
    sources = sorted({item.source for item in items})
    modalities = sorted({item.modality for item in items})
    rows: list[dict[str, str | float]] = []
    for k, split in enumerate(splits, start=1):
        shares = dict(zip(PARTS, _shares(split), strict=True))
        for part, frames in split.items():
            share = round(shares[part], 1) if part in shares else ""
            counts = _counts(frames, share, sources, modalities if len(modalities) > 1 else ())
            rows.append({"split": f"split{k}", "part": part, **counts})
    return rows


def format_splits(rows: Sequence[Mapping[str, str | float]]) -> str:
    """Lay the rows of `summary_rows` out as aligned text."""
    return format_table(rows, _heading)


def independence_note(splits: Sequence[Split], group_kind: str) -> list[str]:
    """Say that splits by sequence or image are not patient-independent; nothing for splits by patient."""
    if group_kind == "patient" or not splits:
        return []
    shared = max(shared_patients(split) for split in splits)
    known = f": {shared} patients have frames in more than one part" if shared else ""
    return [f"split by {group_kind} (dataset.group), so NOT patient-independent{known}"]


def lesion_notes(splits: Sequence[Split]) -> list[str]:
    """Name the parts without a single lesion, where AP is not defined."""
    return [
        f"split{k}/{part} holds no frame with a box, so it has no AP"
        for k, split in enumerate(splits, start=1)
        for part in PARTS
        if all(item.has_lesion is False for item in split[part])
    ]


def repeat_notes(splits: Sequence[Split]) -> list[str]:
    """Name the splits that train on the same frames as an earlier one: few groups, and models that are the same."""
    notes, seen = [], {}
    for k, split in enumerate(splits, start=1):
        stems = tuple(item.stem for item in split["train"])
        first = seen.setdefault(stems, k)
        if first != k:
            notes.append(f"split{k} trains on the same frames as split{first}: too few groups for others")
    return notes


def ratio_notes(splits: Sequence[Split], section: SplitSection, group_kind: str) -> list[str]:
    """Say which splits miss the ratios by more than two points in a part, by how much the worst does, and why.

    Also say where lesion_only_eval cannot take the ratios over lesion frames.
    """
    wanted = [100 * ratio / sum(section.ratios) for ratio in section.ratios]
    ratios = f"dataset.split.ratios {':'.join(f'{ratio:g}' for ratio in section.ratios)}"
    counted = [_counted(split, section) for split in splits]
    misses = [max(abs(share - ratio) for share, ratio in zip(_shares(parts), wanted, strict=True)) for parts in counted]
    notes = []
    if any(len(counted[k][part]) != len(split[part]) for k, split in enumerate(splits) for part in PARTS):
        notes.append(f"{ratios} are those of all frames, healthy held-out ones too: lesions are too few for more")
    if missed := sum(miss > POINTS + 1e-9 for miss in misses):
        worst = misses.index(max(misses))
        sizes = Counter(item.group for items in counted[worst].values() for item in items)
        group, largest = min(sizes.items(), key=lambda pair: (-pair[1], pair[0]))
        found = zip(PARTS, _shares(counted[worst]), strict=True)
        notes.append(
            f"{missed} of {len(splits)} splits are more than {POINTS} points from {ratios}, e.g. split{worst + 1} with "
            f"{', '.join(f'{part} {share:.1f} %' for part, share in found)}: no nearer one was found that cuts no "
            f"{group_kind}; #{hashed_id(group)} alone holds {100 * largest / sizes.total():.0f} % of these frames, "
            f"{len(sizes)} hold them all"
        )
    return notes


def external_note(dataset: DatasetSection) -> str:
    """Say how to evaluate on a set prepared without a split."""
    name = dataset.name
    return (
        f"no split (dataset.split.n_splits = 0), so an external test set: put {name}: {{processed: "
        f"{dataset.processed}}} under dataset.external of the config you train with; for weights trained before, run "
        f"`python evaluate.py --data {name} dataset.external.{name}.processed={dataset.processed}`"
    )


def _counted(split: Split, section: SplitSection) -> dict[str, list[SplitItem]]:
    """Return the frames of train, val and test that the ratios are taken over; see `splits.hold_outs`."""
    items = [item for part in split.values() for item in part]
    n_lesions = sum(item.has_lesion is not False for item in items)
    whole = section.lesion_only_eval and not lesions_suffice(len(items), n_lesions, section)
    return {part: split[part] + (split.get(part + HEALTHY, []) if whole else []) for part in PARTS}


def _shares(split: Mapping[str, Sequence[SplitItem]]) -> list[float]:
    """Return the shares of train, val and test in per cent; frames set aside belong to none."""
    counts = [len(split[part]) for part in PARTS]
    return [100 * count / max(sum(counts), 1) for count in counts]


def _heading(column: str) -> str:
    if column.endswith(":unknown"):
        return column.replace(":", " ")
    return column.removeprefix(SOURCE_PREFIX).removeprefix(MODALITY_PREFIX).replace("_", " ")


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _counts(
    items: Sequence[SplitItem], share: float | str, sources: Sequence[str], modalities: Sequence[str]
) -> dict[str, str | float]:
    by_source = Counter(item.source for item in items)
    by_modality = Counter(item.modality for item in items)
    return {
        "patients": len({item.patient_id for item in items}),
        "groups": len({item.group for item in items}),
        "frames": len(items),
        "share_%": share,
        "lesion_frames": sum(item.has_lesion is True for item in items),
        "healthy_frames": sum(item.has_lesion is False for item in items),
        "boxes": sum(item.n_boxes for item in items),
        "small": sum(item.n_small for item in items),
        "medium": sum(item.n_medium for item in items),
        "large": sum(item.n_large for item in items),
        **{SOURCE_PREFIX + source: by_source[source] for source in sources},
        **{MODALITY_PREFIX + modality: by_modality[modality] for modality in modalities},
    }


def _listed_before(folder: Path) -> list[Path]:
    """Return the lists an earlier summary.csv names, so that no list somebody wrote by hand is ever removed."""
    try:
        with (folder / SUMMARY).open(encoding="utf-8", newline="") as stream:
            rows = list(csv.DictReader(stream))
    except (OSError, UnicodeDecodeError, csv.Error):
        return []
    named = [(row.get("split") or "", row.get("part") or "") for row in rows]
    return [folder / split / f"{part}.txt" for split, part in named
            if part in LIST_NAMES and split.removeprefix("split").isdigit()]  # fmt: skip
