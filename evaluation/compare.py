"""Is B better than A? `python -m evaluation.compare A B` compares two models on the same frames, patient by patient.

A and B are run folders or predictions_*.jsonl files. With --splits 1 2 3 (or --seeds 0 1 2) both hold {split} ({seed}),
and Wilcoxon's signed-rank test over them stands beside the paired bootstrap of each.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from data_utils.errors import InputError, run_command
from data_utils.manifest import FEW_UNITS, few_units

HEADERS = ("measure", "A", "B", "B - A", "95 % interval", "p", "detectable")


def compare(first: Path, second: Path, data: str, resamples: int | None = None) -> dict[str, Any]:
    """Compare two stored passes on `data`; returns {"about": ..., "pairs": {measure: Pair}}.

    Thresholds are each model's own, chosen on validation predictions. Raises InputError when a pass is missing or the
    two were not scored on the same frames under the same settings.
    """
    from evaluation.passes.stored import load, require_origin
    from evaluation.score import chosen_threshold, validation_pass
    from evaluation.statistics.bootstrap import units_of
    from evaluation.statistics.headline import Scoring
    from evaluation.statistics.paired import paired_intervals, sized_as

    passes = [load(find_pass(place, data)) for place in (first, second)]
    for stored in passes:
        require_origin(stored)
    settings = [Scoring.from_dict(stored.about["scoring"]) for stored in passes]
    if settings[0].names != settings[1].names:
        raise InputError(f"{second}: classes {list(settings[1].names)}, but {first} has {list(settings[0].names)}")
    if rule := settings[0].other_rule(settings[1]):
        raise InputError(f"{second}: {rule}; evaluate both under one setting")
    scoring, notes = settings[0], [*passes[0].notes, *passes[1].notes]
    if settings[0].imgsz != settings[1].imgsz and scoring.eval.size_reference != "original":
        passes[1] = replace(passes[1], results=sized_as(passes[0].results, passes[1].results))
        sides = f"{settings[0].imgsz} and {settings[1].imgsz}"
        what = "input" if scoring.eval.size_reference == "input" else "HR target"
        notes.append(f"The inputs' sides are {sides} px; B's sizes, too, are counted in pixels of A's {what}.")
    if resamples is not None:
        scoring = replace(scoring, eval=scoring.eval.model_copy(update={"resamples": resamples}))
    thresholds = [chosen_threshold(stored, validation_pass(stored), scoring) for stored in passes]
    pairs = paired_intervals(passes[0].results, passes[1].results, scoring, (thresholds[0].value, thresholds[1].value))
    about = {
        "first": str(passes[0].path),
        "second": str(passes[1].path),
        "label": passes[0].about["label"],
        "n_frames": len(passes[0].results),
        "n_units": len(units_of(passes[0].results)[1]),
        "unit": passes[0].about.get("unit", "frame"),
        "n_resamples": scoring.eval.resamples,
        "weights_sha256": [stored.about["weights_sha256"] for stored in passes],
        "thresholds": [asdict(threshold) for threshold in thresholds],
        "notes": [*notes, *_note_scorings(passes)],
    }
    return {"about": about, "pairs": pairs}


def _note_scorings(passes: Sequence[Any]) -> list[str]:
    """Note in the ledger that a test list was looked at once more with each model."""
    from evaluation.score import ledger_folder
    from evaluation.scoring.ledger import is_spent_by_scoring, note_scoring

    if not is_spent_by_scoring(passes[0].about["data"]):
        return []
    sentences = [
        note_scoring(ledger_folder(one), one.about, "python -m evaluation.compare").sentence() for one in passes
    ]
    return sentences[-1:]


def find_pass(place: Path, data: str) -> Path:
    """Return the one prediction file on `data` that `place`, a file or run folder, is or holds."""
    from evaluation.score import find_predictions, read_about

    if place.is_file():
        return place
    if not place.exists():
        raise InputError(f"{place}: no such run folder or prediction file")
    own = [path for path in find_predictions(place) if read_about(path).get("data") == data]
    if len(own) != 1:
        names = ", ".join(path.name for path in own) or "none"
        raise InputError(
            f"{place}: needs one prediction file on {data}, found {names}; run `python evaluate.py --data {data}`, or "
            "name the file itself"
        )
    return own[0]


def report(compared: Mapping[str, Any]) -> str:
    """Lay out one comparison: table, plain words for AP50 and its size buckets, and what the data can show."""
    from evaluation.report.text import format_table
    from evaluation.statistics.paired import ASKED, in_words

    about, pairs = compared["about"], compared["pairs"]
    rows = [_row(name, pair) for name, pair in pairs.items() if pair.difference.value is not None]
    lines = [
        f"A {about['first']}\nB {about['second']}\non {about['label']}: {about['n_frames']} frames, {about['n_units']} "
        f"{about['unit']}s, {about['n_resamples']} resamples of them, the same for both",
        format_table((*HEADERS, f"{about['unit']}s for {ASKED:g}"), rows),
        "\n".join(in_words(name, pair) for name, pair in pairs.items() if name.startswith(("ap50", "froc_mean"))),
    ]
    lines.append(
        "A and B are the same weights: any difference comes from how they were run."
        if len(set(about["weights_sha256"])) == 1
        else "Each side is one training: what another seed would have given is in none of the intervals and may be as "
        "large as the difference; train both with several seeds and compare them with --seeds."
    )
    headline = pairs["ap50"]
    if headline.detectable is not None:
        lines.append(
            f"With {about['n_units']} {about['unit']}s the smallest difference in AP50 found in 80 % of studies is "
            f"{headline.detectable:.3f}; a difference of {ASKED:g} would need about {headline.patients_for_asked:,}."
        )
    if about["n_units"] < FEW_UNITS:
        lines.append(few_units(about["n_units"], about["unit"]))
    if about["unit"] != "patient":
        lines.append(f"Frames are grouped by {about['unit']}, not by patient: intervals may be too narrow.")
    lines.append(
        "A dozen measures are compared at once and none of the intervals allows for that: decide before looking which "
        "one answers the question."
    )
    return "\n\n".join([*lines, *about["notes"]])


def over_repeats(compared: Sequence[Mapping[str, Any]], what: str) -> str:
    """Return Wilcoxon's test of each measure over splits or seeds, and how small its p can be at all."""
    from evaluation.report.text import format_table, format_value
    from evaluation.statistics.paired import pooled, signed_rank

    tables, rows, least = [one["pairs"] for one in compared], [], 1.0
    for name in tables[0]:
        first, second = pooled(tables, name)
        if not first:
            continue
        p, its_least = signed_rank(first, second)
        least = min(least, its_least)  # of a measure that is defined in all of them, where there is one
        mean = sum(b - a for a, b in zip(first, second, strict=True)) / len(first)
        rows.append([name, str(len(first)), f"{mean:+.3f}", format_value(p)])
    note = f"Wilcoxon's signed-rank test over {len(tables)} {what} cannot give a p below {least:.3g}"
    verdict = ": it cannot show a difference at the 5 % level, whatever the values." if least > 0.05 else "."
    rests = _trainings([one["about"]["weights_sha256"] for one in compared], what)
    return f"{format_table(('measure', what, 'mean B - A', 'p'), rows)}\n\n{note}{verdict}\n{rests}"


def _trainings(weights: Sequence[Sequence[str]], what: str) -> str:
    """Say how many different trainings stand behind each side of repeats, of which `weights` holds (A's, B's)."""
    from evaluation.statistics.paired import a_side

    first, second = (len(set(side)) for side in zip(*weights, strict=True))
    counts = f"It rests on {a_side(first) if first == second else f'{first} trainings of A and {second} of B'}"
    if min(first, second) < len(weights):
        return f"{counts}, fewer than {what}: the same weights stand for several of them, so p says less than it seems."
    left_out = "" if what == "seeds" else ", each with one seed: what another seed would have given is left out"
    return f"{counts}{left_out}."


def _row(name: str, pair: Any) -> list[str]:
    from evaluation.report.text import format_value
    from evaluation.statistics.bootstrap import difference_texts

    difference = pair.difference
    change, bounds = f"{difference.value:+.3f}", ""
    if difference.low is not None:
        change, bounds = difference_texts(difference.value, difference.low, difference.high)
    numbers = [format_value(value) for value in (pair.first.value, pair.second.value)]
    needed = "" if pair.patients_for_asked is None else f"{pair.patients_for_asked:,}"
    # p, too, shows the digit that decides
    digits = 3 if pair.p is None else next((n for n in (3, 4, 5) if round(pair.p, n) != 0.05), 6)
    p, detectable = ("" if value is None else f"{value:.{n}f}" for value, n in ((pair.p, digits), (pair.detectable, 3)))
    return [name, *numbers, change, bounds, p, detectable, needed]


def _filled(place: str, key: str | None, value: int | None) -> Path:
    if key is None:
        return Path(place)
    if f"{{{key}}}" not in place:
        raise InputError(f"{place}: with --{key}s the path needs {{{key}}} where its number stands")
    return Path(place.replace(f"{{{key}}}", str(value)))


def _count(text: str) -> int:
    if not text.isdigit():
        raise argparse.ArgumentTypeError(f"'{text}': a whole number, 0 for no intervals")
    return int(text)


def _plain(compared: Mapping[str, Any]) -> dict[str, Any]:
    return {"about": compared["about"], "pairs": {name: asdict(pair) for name, pair in compared["pairs"].items()}}


def main(argv: Sequence[str] | None = None) -> None:
    """Compare, print, and save if asked."""
    parser = argparse.ArgumentParser(
        prog="python -m evaluation.compare",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="example: python -m evaluation.compare results/runs/plain results/runs/sr",
    )
    parser.add_argument("first", metavar="A", help="run folder or prediction file of the first model")
    parser.add_argument("second", metavar="B", help="of the second")
    parser.add_argument("--data", default="test", help="test, val or an external set (default: %(default)s)")
    repeats = parser.add_mutually_exclusive_group()
    repeats.add_argument("--splits", nargs="+", type=int, help="split numbers, put where A and B say {split}")
    repeats.add_argument("--seeds", nargs="+", type=int, help="seeds, put where A and B say {seed}")
    parser.add_argument("--resamples", type=_count, help="of the patients (default: as evaluated)")
    parser.add_argument("--save", type=Path, metavar="JSON", help="also write the numbers there")
    arguments = parser.parse_args(sys.argv[1:] if argv is None else argv)
    for numbers in (arguments.splits or [], arguments.seeds or []):
        if len(set(numbers)) < len(numbers):
            raise InputError(f"{' '.join(map(str, numbers))}: a number stands twice; each repeat counts once")
    key = "split" if arguments.splits else "seed" if arguments.seeds else None
    compared = [
        compare(_filled(arguments.first, key, number), _filled(arguments.second, key, number), arguments.data,
                arguments.resamples)
        for number in arguments.splits or arguments.seeds or [None]
    ]  # fmt: skip
    print("\n\n".join(report(one) for one in compared))
    if key is not None:
        print("\n" + over_repeats(compared, f"{key}s"))
    if arguments.save:
        from data_utils.files import write_text

        write_text(arguments.save, json.dumps([_plain(one) for one in compared], indent=1, allow_nan=False) + "\n")
        print(f"\nwritten: {arguments.save}")


if __name__ == "__main__":
    run_command(main)
