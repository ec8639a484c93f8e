"""Split lists on disk, and the table that says what is in them."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from data_utils.atomic import write_csv, write_text
from data_utils.errors import InputError
from data_utils.splits import HEALTHY, HELD_OUT, PARTS, Split, SplitItem, shared_patients

LIST_NAMES = (*PARTS, *(part + HEALTHY for part in HELD_OUT))
SUMMARY = "summary.csv"
COLUMNS = ("split", "part", "patients", "groups", "frames", "lesion_frames", "healthy_frames", "boxes")
SOURCE_PREFIX = "source:"


def write_splits(folder: str | Path, splits: Sequence[Split], image_path: Callable[[str], Path]) -> list[Path]:
    """Write split{k}/{part}.txt, one absolute image path a line in stem order, and summary.csv; returns the files.

    `image_path` maps a stem to its LR image. Lists that an earlier call wrote and this one does not are removed: their
    frames may be gone.
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
    rows = summary_rows(splits)
    write_csv(folder / SUMMARY, list(rows[0]), rows)
    return [*texts, folder / SUMMARY]


def summary_rows(splits: Sequence[Split]) -> list[dict[str, str | int]]:
    """Count each part of each split: patients, groups, frames, lesion and healthy frames, boxes, frames by source."""
    sources = sorted({item.source for split in splits for items in split.values() for item in items})
    return [
        {"split": f"split{k}", "part": part, **_counts(items, sources)}
        for k, split in enumerate(splits, start=1)
        for part, items in split.items()
    ]


def format_table(rows: Sequence[Mapping[str, str | int]]) -> str:
    """Lay rows out as aligned text: words to the left, numbers to the right."""
    columns = list(rows[0])
    cells = [[name.replace("_", " ").removeprefix(SOURCE_PREFIX) for name in columns]]
    cells += [[str(row[name]) for name in columns] for row in rows]
    widths = [max(len(line[i]) for line in cells) for i in range(len(columns))]
    is_word = [isinstance(rows[0][name], str) for name in columns]
    aligned = (
        "  ".join(c.ljust(w) if word else c.rjust(w) for c, w, word in zip(line, widths, is_word, strict=True))
        for line in cells
    )
    return "\n".join(line.rstrip() for line in aligned)


def independence_note(splits: Sequence[Split], group_kind: str) -> list[str]:
    """Say that splits by sequence or image are not patient-independent; nothing for splits by patient."""
    if group_kind == "patient":
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
    """Name the splits that equal an earlier one, as happens with very few groups: their mean is no independent one."""
    notes, seen = [], {}
    for k, split in enumerate(splits, start=1):
        stems = tuple(tuple(item.stem for item in split[part]) for part in PARTS)
        first = seen.setdefault(stems, k)
        if first != k:
            notes.append(f"split{k} equals split{first}: too few groups for another one")
    return notes


def _counts(items: Sequence[SplitItem], sources: Sequence[str]) -> dict[str, int]:
    by_source = Counter(item.source for item in items)
    return {
        "patients": len({item.patient_id for item in items}),
        "groups": len({item.group for item in items}),
        "frames": len(items),
        "lesion_frames": sum(item.has_lesion is True for item in items),
        "healthy_frames": sum(item.has_lesion is False for item in items),
        "boxes": sum(item.n_boxes for item in items),
        **{SOURCE_PREFIX + source: by_source[source] for source in sources},
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
