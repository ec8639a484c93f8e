"""Training lists in which images of rare classes stand several times: splits/split<k>/train_balanced.txt.

    python -m data_utils.balance --config configs/train.yaml [--split N] [--cap 4] [--power 1.0] [key=value ...]

Only the training list is balanced, by lines and never by copied files; train on it with `dataset.balanced=true`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from data_utils.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from data_utils.augment import Labels
    from data_utils.balance.repeats import Presence
    from data_utils.config.sections import DatasetSection

HEALTHY, ALL = "(healthy)", "(all)"  # rows of the table that are no class
Row = dict[str, str | int]


@dataclass(frozen=True)
class Rule:
    """How images are repeated; see repeat_factors.py. healthy: frames without a box count as a class of their own."""

    cap: int = 4
    power: float = 1.0
    seed: int = 0
    healthy: bool = False


@dataclass(frozen=True)
class Balanced:
    """One balanced list: the file, its table's rows (counts before and after), and what is to be said about it."""

    path: Path
    rows: list[Row]
    notes: list[str]


def balance_split(dataset: DatasetSection, split: int, rule: Rule) -> Balanced:
    """Write train_balanced.txt and train_balanced.csv of one split beside its train.txt.

    Every image of train.txt stands there in the same order, 1 to `rule.cap` times in a row. The same list, labels and
    rule give the same file on any machine. Raises InputError for a list or labels that training would refuse.
    """
    import numpy as np

    from data_utils.balance.repeats import class_factors, repeat_counts
    from data_utils.files import write_csv, write_text
    from data_utils.lists import read_all_labels, read_entries, read_split_list

    source = dataset.split_list(split, "train")
    images, entries = read_split_list(source), read_entries(source)
    labels = read_all_labels(images, dataset.nc, allow_background=dataset.allow_background)
    names, presence = _presence(labels, dataset.names, rule.healthy)
    rng = np.random.default_rng([rule.seed, split])
    counts = repeat_counts(presence, rule.cap, rule.power, rng)
    factors = class_factors(presence, rule.cap, rule.power)
    rows = _rows(labels, counts, dict(zip(names, factors.tolist(), strict=True)), dataset.names)
    target = source.with_name("train_balanced.txt")
    lines = (entry + "\n" for entry, count in zip(entries, counts.tolist(), strict=True) for _ in range(count))
    write_text(target, "".join(lines))
    write_csv(target.with_suffix(".csv"), list(rows[0]), rows)
    return Balanced(target, rows, _notes(names, presence, counts, rows, rule))


def prepared_splits(dataset: DatasetSection) -> list[int]:
    """Return the numbers of the splits that have a train.txt; raises InputError when there is none."""
    numbers = [number for number in dataset.split_numbers() if dataset.split_list(number, "train").is_file()]
    if not numbers:
        raise InputError(f"{dataset.splits}: holds no split<k>/train.txt; run `python -m data_utils.prepare` first")
    return numbers


def _presence(labels: Sequence[Labels], names: Sequence[str], healthy: bool) -> tuple[list[str], Presence]:
    """Return the classes that count and which of them each image shows, bool [I, C]."""
    import numpy as np

    shown = np.zeros((len(labels), len(names)), np.bool_)
    for index, frame in enumerate(labels):
        shown[index, frame[:, 0].astype(int)] = True
    if not healthy:
        return list(names), shown
    return [*names, HEALTHY], np.concatenate([shown, ~shown.any(axis=1, keepdims=True)], axis=1)


def _rows(labels: Sequence[Labels], counts: NDArray[np.int64], factors: dict[str, float],
          names: Sequence[str]) -> list[Row]:  # fmt: skip
    """Count boxes and images of each class, of healthy frames and of all, before and after."""
    import numpy as np

    boxes = np.array([np.bincount(frame[:, 0].astype(int), minlength=len(names)) for frame in labels])
    healthy = boxes.sum(axis=1) == 0
    parts = {name: (boxes[:, c], boxes[:, c] > 0) for c, name in enumerate(names)}
    parts |= {HEALTHY: (np.zeros(len(labels), int), healthy), ALL: (boxes.sum(axis=1), np.ones(len(labels), bool))}
    return [
        {
            "class": name,
            "factor": f"{factors[name]:.2f}" if name in factors else "",
            "images_before": int(in_image.sum()),
            "images_after": int(counts @ in_image),
            "boxes_before": int(n_boxes.sum()),
            "boxes_after": int(counts @ n_boxes),
        }
        for name, (n_boxes, in_image) in parts.items()
    ]


def _notes(names: Sequence[str], presence: Presence, counts: NDArray[np.int64], rows: Sequence[Row],
           rule: Rule) -> list[str]:  # fmt: skip
    from data_utils.balance.repeats import imbalance

    images, after = presence.sum(axis=0), counts @ presence
    absent = [name for name, count in zip(names, images.tolist(), strict=True) if not count and name != HEALTHY]
    notes = [f"no training image shows {', '.join(absent)}; repeating cannot help there"] if absent else []
    if (images > 0).sum() < 2:
        way = "" if rule.healthy else "; --healthy weighs lesion against healthy frames"
        notes.append(f"nothing to balance: fewer than two classes occur, so every image stands once{way}")
        return notes
    boxes = [[int(row[f"boxes_{when}"]) for row in rows if row["class"] in names and row["class"] != HEALTHY]
             for when in ("before", "after")]  # fmt: skip
    by_boxes = [max(numbers) / min(positive) for numbers in boxes if len(positive := [n for n in numbers if n]) > 1]
    notes.append(f"most frequent / rarest class, by images: {imbalance(images):.2f} -> {imbalance(after):.2f}"
                 + (f", by boxes: {by_boxes[0]:.2f} -> {by_boxes[1]:.2f}" if by_boxes else ""))  # fmt: skip
    if by_boxes and by_boxes[1] > by_boxes[0]:
        notes.append("by boxes it grew: repeated images bring all their boxes along, also many of one class")
    if imbalance(images) > 1 and counts.max() == 1:
        notes.append("no image is repeated: the classes are too even, or the list too small, for whole repetitions")
    return notes
