"""A run folder as evaluate.py leaves it, made of given results in a moment: what the tests of the report read."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from evaluation_samples import frame_result

NAMES = ("lesion", "<b>polyp</b>")
STEM = "secretname"  # frames' names start so; no page may hold it


def some_results() -> list:
    """Four frames of three patients, 640 x 480: two hits, a miss, two false alarms, one healthy frame."""
    frames = [
        frame_result([(100, 100, 200, 200, 0)], [(100, 100, 200, 200, 0, 0.9), (400, 300, 500, 400, 0, 0.8)]),
        frame_result([(20, 20, 60, 60, 1), (300, 200, 420, 320, 0)], [(20, 20, 60, 60, 1, 0.7)]),
        frame_result([], [(500, 40, 560, 100, 0, 0.6)]),
        frame_result([(10, 300, 90, 380, 0)], [(12, 300, 90, 380, 0, 0.85)]),
    ]
    patients = ("ann", "ann", "bob", "cem")
    return [
        replace(frame, stem=f"{STEM}{place}", patient_id=patient, group=patient, source="<i>clinic</i>", modality="WL")
        for place, (frame, patient) in enumerate(zip(frames, patients, strict=True))
    ]


def write_run(
    folder: Path,
    results: list,
    data: str = "test",
    names=NAMES,
    validation: list | None = None,
    run: str | None = None,
    **changes: Any,
) -> Path:
    """Write predictions, truth and evaluation of `results`; return eval_best_lesions_split1_<data>.json.

    changes: keys of the record to set. validation: results of the validation pass; None for none. run: the training's
    name, as its checkpoint tells it.
    """
    from data_utils.config.sections import EvalSection
    from evaluation.passes.stored import list_hash, load, prediction_path, store
    from evaluation.score import score
    from evaluation.statistics.headline import Scoring

    scoring = Scoring(tuple(names), 0.5, 0.001, 320, EvalSection(resamples=20))
    about = {"data": data, "split": 1, "unit": "patient", "imgsz": 320, "conf_thresh": 0.001, "epoch": 7,
             "weights": str(folder / "best.pt"), "weights_sha256": "ab" * 32, "config_sha256": "c0ffee",
             "results_dir": str(folder), "run": run, "notes": [], "scoring": scoring.as_dict()}  # fmt: skip

    def passed(kind: str, frames: list):
        label = f"lesions_split1_{kind}"
        hashed = list_hash((frame.stem for frame in frames), {})
        path = prediction_path(folder, f"best_{label}")
        store(path, frames, about | {"data": kind, "label": label, "list_sha256": hashed})
        return load(path)

    stored = passed(data, results)
    chosen_on = None if validation is None else passed("val", validation)
    config = {"dataset": {"name": "lesions", "group": "patient", "processed": str(folder / "processed"),
                          "splits": str(folder / "splits"), "names": list(names)},
              "run": {"results_dir": str(folder)}}  # fmt: skip
    record = {"weights": about["weights"], "weights_sha256": about["weights_sha256"], "epoch": 7,
              "data": stored.about["label"], "split": 1, "metrics": score(stored, chosen_on), "paper": {"ap50": 0.82},
              "notes": [], "config": config, **changes}  # fmt: skip
    record_file = folder / f"eval_best_{stored.about['label']}.json"
    record_file.write_text(json.dumps(record, allow_nan=False), encoding="utf-8")
    return record_file


def write_surroundings(folder: Path, results: list) -> None:
    """Write what else a run folder and its results may hold: log, run.json, panel, copies of frames, audit, splits."""
    (folder / "log.csv").write_text("epoch,lr,total_loss,ap50\n1,0.01,30,0.1\n2,0.01,nan,\n3,0.001,10,0.4\n4,0.0")
    (folder / "run.json").write_text(
        json.dumps({"command": ["train.py", "--split", "<1>"], "torch": "9.9", "started": "today"})
    )
    audit = {"dataset": "lesions", "verdict": "leak", "checks": [
        {"split": "split1", "check": "shared patients", "found": 1, "verdict": "LEAK", "messages": ["in secretname0"]},
        {"split": "split2", "check": "elsewhere", "found": 0, "verdict": "ok", "messages": []}]}  # fmt: skip
    (folder / "audit.json").write_text(json.dumps(audit))
    (folder / "splits").mkdir()
    (folder / "splits" / "summary.csv").write_text(
        "split,part,patients,frames,boxes\nsplit1,train,9,90,99\nsplit1,test,3,4,5\nsplit2,train,1,7777,1\n"
    )
    write_panel(folder / "panels" / "epoch_003.npz")
    for size, side in (("lr", 32), ("hr", 64)):
        (folder / "processed" / size / "images").mkdir(parents=True)
        for result in results:
            grey = np.full((side, side, 3), 128, np.uint8)
            cv2.imwrite(str(folder / "processed" / size / "images" / f"{result.stem}.png"), grey)


def write_panel(path: Path, **changes: Any) -> None:
    """Write a panel of one frame, 16 / 32 px: a bright square on black, the target a little brighter than SR output."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lr = np.zeros((1, 16, 16, 3), np.uint8)
    lr[:, 4:8, 4:8] = 200
    hr = lr.repeat(2, axis=1).repeat(2, axis=2)
    truth = np.array([[[4, 4, 8, 8], [np.nan] * 4]], np.float32)
    arrays = {"lr": lr, "hr": hr, "sr": np.maximum(hr, 2) - 1, "truth_xyxy": truth, "pred": np.zeros((1, 0, 6))}
    np.savez(path, **{name: array for name, array in (arrays | changes).items() if array is not None})
