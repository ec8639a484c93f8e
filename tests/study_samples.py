"""Saved results of an ablation study, made without training: predictions, evaluations, results, plan."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
from evaluation_samples import random_results

from data_utils.config.ablations import read_registry
from data_utils.config.loading import load_config
from data_utils.records import Detections, FrameResult
from evaluation.paper.layout import Laid
from evaluation.paper.results import Study
from evaluation.passes.stored import prediction_path, store
from evaluation.score import evaluation_path
from evaluation.statistics.headline import Scoring, headline_intervals

SCORING = Scoring.of(load_config("configs/train.yaml", ["eval.resamples=50"]))
TABLE = Laid(
    title="a & b",
    groups=[("AP50", 2), ("GFLOPs", 1)],
    columns=["ours", "verdict", "ours"],
    rows=[
        ["sr_light | x", "0.800 ± 0.010 [0.700, 0.900]", "within tolerance", "8.1"],
        ["<b>", "-", "not run (a)", "-"],
    ],
    reasons=["needs C:\\x_1 {50 %}"],
    notes=["one <note>"],
    first="run",
    paper=4,
)


class SavedStudy:
    """Results below `folder`, written run by run; `missed` of a run's detections are left out, in every frame alike."""

    def __init__(self, folder: Path, dataset: str = "lesions", imgsz: int = 640, n_frames: int = 16) -> None:
        self.folder, self.dataset, self.imgsz = folder, dataset, imgsz
        self.frames = random_results(np.random.default_rng(0), n_frames, n_patients=6)
        self.plan: dict[str, Any] = {}

    def add(self, run: str, seeds: tuple[int, ...] = (0,), missed: float = 0.0, **changes: Any) -> None:
        """Write a finished run; `changes` go into its plan."""
        for seed in seeds:
            self._seed(run, seed, missed)
        self._note(run, {str(seed): f"{run}/seed{seed}" for seed in seeds}, **changes)

    def lose(self, run: str, seed: int, state: str, why: str) -> None:
        """Let a seed of a run, asked for, end in another state than done."""
        folder = f"{run}/seed{seed}"
        place = self.folder / "ablations" / folder
        place.mkdir(parents=True, exist_ok=True)
        (place / "result.json").unlink(missing_ok=True)
        (place / "state.json").write_text(json.dumps({"state": state, "why": why, "key": run}))
        seeds = self.plan.get(run, {}).get("seeds", {})
        self._note(run, {**seeds, str(seed): folder})

    def share(self, run: str, owner: str) -> None:
        """Let a run be another one, of the same settings."""
        self.plan[run] = self.plan[owner]
        self._write_plan()

    def evaluation(self, run: str, seed: int = 0, data: str = "test") -> Path:
        """Return an evaluation's file."""
        return evaluation_path(prediction_path(self.folder / "runs" / f"{run}_{seed}", f"best_{data}"))

    def _seed(self, run: str, seed: int, missed: float) -> None:
        rng = np.random.default_rng(100 + seed)
        results = [_thinned(frame, missed, rng) for frame in self.frames]
        files = {}
        for data in ("test", "ext"):
            evaluation = self.evaluation(run, seed, data)
            evaluation.parent.mkdir(parents=True, exist_ok=True)
            predictions = prediction_path(evaluation.parent, f"best_{data}")
            store(predictions, results, {"scoring": SCORING.as_dict(), "data": data, "weights_sha256": run})
            metrics = {name: each.value for name, each in headline_intervals(results, SCORING, None)[0].items()}
            evaluation.write_text(json.dumps({"metrics": metrics | {"gflops": 8.1, "fps": 20.0 + seed}}))
            files[data] = evaluation.relative_to(self.folder).as_posix()
        place = self.folder / "ablations" / run / f"seed{seed}"
        place.mkdir(parents=True, exist_ok=True)
        (place / "result.json").write_text(json.dumps({"key": run, "seconds": 90.0, "evaluations": files}))

    def _note(self, run: str, seeds: dict[str, str], **changes: Any) -> None:
        about = {"key": run, "seeds": seeds, "split": 1, "config": "configs/train.yaml", "dataset": self.dataset,
                 "imgsz": self.imgsz, "epochs": 20, "needs": None}  # fmt: skip
        self.plan[run] = about | changes
        self._write_plan()

    def _write_plan(self) -> None:
        (self.folder / "ablations").mkdir(parents=True, exist_ok=True)
        (self.folder / "ablations" / "plan.json").write_text(json.dumps({"version": 1, "runs": self.plan}))


def two_runs(folder: Path) -> SavedStudy:
    """Write a study with two runs of two seeds, one of which misses more."""
    made = SavedStudy(folder)
    made.add("plain", (0, 1), missed=0.5)
    made.add("branch", (0, 1), missed=0.1)
    return made


def study_of(saved: SavedStudy) -> Study:
    """Return what the tables see of it."""
    return Study(saved.folder, read_registry("configs/ablations.yaml"))


def values(saved: SavedStudy, run: str, key: str = "ap50") -> list[float]:
    """Return one metric of both seeds, as their evaluations have it."""
    return [json.loads(saved.evaluation(run, seed).read_text())["metrics"][key] for seed in (0, 1)]


def _thinned(frame: FrameResult, missed: float, rng: np.random.Generator) -> FrameResult:
    found = frame.detections
    kept = rng.random(len(found.scores)) >= missed
    return dataclasses.replace(
        frame, detections=Detections(found.boxes_xyxy[kept], found.scores[kept], found.class_ids[kept])
    )
