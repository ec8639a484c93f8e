"""Work every number out again from stored predictions, without the model: `python -m evaluation.score RUN`.

RUN is a run folder or one predictions_*.jsonl. Each file gives the table that evaluate.py prints, and rewrites the
numbers in eval_*.json beside it; what only the model gives (speed, cost, PSNR) stays as it was measured.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from data_utils.errors import InputError, run_command
from data_utils.files import read_saved_json, write_text

NO_CHOICE = "No threshold could be chosen on validation frames"
DEFAULT_THRESHOLD = 0.25  # infer.py's, where no validation frames say otherwise


def score(stored: Any, validation: Any | None = None) -> dict[str, Any]:
    """Return every number of a `StoredPass`, as plain values; a pure function of its files.

    validation: the stored pass of the same weights on validation frames, on which threshold and sweep setting are
    chosen; for the validation frames themselves, that very pass. None: DEFAULT_THRESHOLD, and no sweep setting.
    """
    from evaluation.metrics import detection_metrics
    from evaluation.scoring import clinical
    from evaluation.scoring.operating_points import hit_table, threshold_curves
    from evaluation.statistics.headline import Scoring, headline_intervals

    scoring, results = Scoring.from_dict(stored.about["scoring"]), stored.results
    threshold = chosen_threshold(stored, validation, scoring)
    numbers = detection_metrics(results, scoring, threshold)
    headline, n_units = headline_intervals(results, scoring, threshold.value)
    curves = threshold_curves(hit_table(results, scoring.iou_thresh, scoring.eval.max_det))
    return numbers | {
        "intervals": {name: asdict(interval) for name, interval in headline.items()},
        "n_units": n_units,
        "unit": stored.about.get("unit", "frame"),
        "n_resamples": scoring.eval.resamples,
        "froc": clinical.froc(results, scoring),
        "healthy": clinical.healthy_view(results, scoring, threshold.value),
        "sensitivity": clinical.sensitivity_view(results, scoring, threshold.value),
        "breakdown": clinical.breakdown(results, scoring, threshold.value),
        "size_curve": clinical.size_curve(results, scoring, threshold.value),
        "calibration": clinical.calibration(results, scoring),
        "threshold_curves": _thinned(asdict(curves)),
        "sweep": _sweep(stored, validation, scoring),
    }


def chosen_threshold(stored: Any, validation: Any | None, scoring: Any) -> Any:
    """Return the `Threshold` of best F1 on the validation pass; DEFAULT_THRESHOLD where there is none."""
    from evaluation.scoring.operating_points import Threshold, best_f1

    if validation is None:
        why = "there are no validation predictions of these weights on other frames"
        return Threshold(DEFAULT_THRESHOLD, f"infer.py's default: {why}")
    point = best_f1(validation.results, scoring.iou_thresh, scoring.eval.max_det)
    value = point.threshold
    if value is None:
        return Threshold(DEFAULT_THRESHOLD, "infer.py's default: nothing on the validation frames decides")
    own = validation.path == stored.path
    where = "these very frames" if own else "validation frames"
    return Threshold(value, f"best F1 on {where}" + ("" if point.f1 else ", where nothing was hit: F1 0"), own)


def validation_pass(stored: Any) -> Any | None:
    """Return the validation pass that lies in the same folder and fits: None if none does.

    It is of the same weights and settings, on the split they were trained on, and shares neither frame nor group with
    the scored frames, unless those are themselves the validation frames.
    """
    from evaluation.passes.stored import load

    about = stored.about
    if about["data"] == "val":
        return stored
    trained_split = about.get("trained_split") or about["split"]
    for path in sorted(stored.path.parent.glob("predictions_*.jsonl")):
        other = read_about(path)
        if other.get("data") == "val" and other.get("split") == trained_split and _same_settings(about, other):
            validation = load(path)
            if not _overlap(stored, validation):
                return validation
    return None


def _overlap(stored: Any, validation: Any) -> bool:
    """Return whether two passes share a frame or a group.

    Other data sets may use the same names (P001, 0001.jpg) for others: there a shared frame has equal boxes too.
    """
    if _of_one_set(stored.about, validation.about):
        own = {result.stem for result in stored.results} | {result.group for result in stored.results if result.group}
        return any(result.stem in own or result.group in own for result in validation.results)
    boxes = {result.stem: result.truth_xyxy.tolist() for result in stored.results if len(result.truth_xyxy)}
    return any(boxes.get(result.stem) == result.truth_xyxy.tolist() for result in validation.results)


def _of_one_set(about: dict[str, Any], other: dict[str, Any]) -> bool:
    from evaluation.passes.evaluation_set import PARTS

    names = [str(one.get("label")).rpartition(f"_split{one.get('split')}_{one['data']}")[0] for one in (about, other)]
    return about["data"] in PARTS and not (all(names) and names[0] != names[1])


def _same_settings(about: dict[str, Any], other: dict[str, Any]) -> bool:
    """Return whether two passes are of one model and kept detections by one rule."""
    if any(other.get(key) != about.get(key) for key in ("weights_sha256", "imgsz", "conf_thresh")):
        return False
    sections = [one.get("scoring", {}).get("eval", {}) for one in (about, other)]
    return all(sections[0].get(key) == sections[1].get(key) for key in ("nms_iou", "max_det"))


def find_predictions(place: Path) -> list[Path]:
    """Return the prediction files `place` holds or is; raises InputError where there are none."""
    if place.is_file():
        return [place]
    found = sorted(place.glob("predictions_*.jsonl"))
    if not found:
        raise InputError(f"{place}: holds no predictions_*.jsonl; `python evaluate.py --weights ...` writes them")
    return found


def rescore(path: Path) -> tuple[str, Path]:
    """Score one prediction file and rewrite its evaluation; return the table and the JSON file."""
    from evaluation.passes.stored import load, require_origin
    from evaluation.report.text import format_report
    from evaluation.scoring.ledger import is_spent_by_scoring, note_scoring

    stored = load(path)
    require_origin(stored)
    about = stored.about
    record_file = evaluation_path(path)
    record = _old_record(record_file, about["weights_sha256"])
    metrics = record.get("metrics", {}) | score(stored, validation_pass(stored))
    old = [note for note in record.get("notes", []) if not _is_of_one_scoring(note)]
    notes = list(dict.fromkeys([*stored.notes, *about.get("notes", []), *old]))
    if is_spent_by_scoring(about["data"]):
        command = f"python -m evaluation.score {shlex.quote(str(path))}"
        notes.append(note_scoring(ledger_folder(stored), about, command).sentence())
    record |= {"weights": about["weights"], "weights_sha256": about["weights_sha256"], "epoch": about["epoch"],
               "data": about["label"], "split": about["split"], "metrics": metrics, "notes": notes}  # fmt: skip
    write_text(record_file, json.dumps(record, indent=1, allow_nan=False) + "\n")
    paper = record.get("paper", {})
    return format_report(metrics, f"{about['weights']} on {about['label']}", paper, notes), record_file


def _is_of_one_scoring(note: str) -> bool:
    """Return whether a note speaks of the scoring it was written at alone, not of the model or the data."""
    from evaluation.passes.stored import LOST, TORN
    from evaluation.scoring.ledger import SENTENCE

    return note.startswith((SENTENCE, NO_CHOICE)) or note.endswith(TORN) or LOST in note


def evaluation_path(predictions: Path) -> Path:
    """Return the eval_*.json that belongs to a prediction file."""
    return predictions.with_name("eval" + predictions.stem.removeprefix("predictions") + ".json")


def _sweep(stored: Any, validation: Any | None, scoring: Any) -> dict[str, Any]:
    from evaluation.scoring.operating_points import at_threshold
    from evaluation.scoring.sweep import best_setting, sweep, thin_out

    if validation is None:
        return {"chosen_on": None, "setting": None, "rows": [], "here": None}
    rows = sweep(validation.results, scoring)
    setting = best_setting(rows)
    here = None
    if setting is not None:
        thinned = thin_out(stored.results, setting.nms_iou)
        here = asdict(at_threshold(thinned, scoring.iou_thresh, setting.conf, scoring.eval.max_det))
    chosen_on = validation.about["label"]
    return {"chosen_on": chosen_on, "setting": setting and asdict(setting), "rows": rows, "here": here}


def _thinned(curves: dict[str, Any], most: int = 200) -> dict[str, list[float]]:
    """Keep at most `most` points of each curve, evenly over their order and the best F1 among them."""
    import numpy as np

    count = len(curves["f1"])
    kept = np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(int)) if count else []
    if count:
        kept = np.union1d(kept, [int(curves["f1"].argmax())])
    names = ("thresholds", "precision", "recall", "f1")
    return {name: [round(float(value), 6) for value in curves[name][kept]] if count else [] for name in names}


def read_about(path: Path) -> dict[str, Any]:
    """Return the first line of a prediction file; empty if it cannot be read."""
    try:
        with path.open(encoding="utf-8") as stream:
            about = json.loads(stream.readline())
    except (OSError, ValueError):
        return {}
    return about if isinstance(about, dict) else {}


def ledger_folder(stored: Any) -> Path:
    """Return the results folder whose ledger counts a pass: the one it was made under, if it is still there.

    For a run that was moved, the folder above its `runs` folder; else the folder the predictions lie in.
    """
    made_under, run = Path(stored.about["results_dir"]), stored.path.resolve().parent
    if made_under.is_dir():
        return made_under
    return run.parents[1] if run.parent.name == "runs" else run


def _old_record(path: Path, weights_sha256: str) -> dict[str, Any]:
    """Return what an evaluation of the very same weights left there; else nothing."""
    record = read_saved_json(path)
    return record if record.get("weights_sha256") == weights_sha256 else {}


def main(argv: Sequence[str] | None = None) -> None:
    """Score every prediction file of a run folder, or one."""
    parser = argparse.ArgumentParser(
        prog="python -m evaluation.score",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="example: python -m evaluation.score results/runs/RUN",
    )
    parser.add_argument("run", type=Path, help="run folder, or one predictions_*.jsonl")
    arguments = parser.parse_args(sys.argv[1:] if argv is None else argv)
    from evaluation.passes.stored import load, require_origin

    paths = find_predictions(arguments.run)
    for path in paths:
        require_origin(load(path))  # a damaged file is found before any scoring is noted
    for path in paths:
        report, record_file = rescore(path)
        print(f"{report}\n\nwritten: {record_file}\n")


if __name__ == "__main__":
    run_command(main)
