"""One row for each training: the epoch that was kept, its numbers on validation and test, and what is missing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from study_samples import SavedStudy, study_of

from evaluation.paper.tables import TRAINING_COLUMNS, trainings

LOG = "epoch,ap50,ap50_small,psnr\n1,,,\n2,0.5,0.25,21.5\n3,0.4,,22\n"


@pytest.fixture
def saved(tmp_path: Path) -> SavedStudy:
    """Two seeds of a run; epoch 2 was the first one's best."""
    made = SavedStudy(tmp_path)
    made.add("plain", (0, 1), missed=0.5)
    trained(made, 0, LOG, best_epoch=2, epochs_trained=3)
    return made


def trained(saved: SavedStudy, seed: int, log: str, **about: object) -> None:
    """Let a seed of `plain` have a run folder with this log."""
    run = saved.evaluation("plain", seed).parent
    (run / "log.csv").write_text(log)
    result = saved.folder / "ablations" / "plain" / f"seed{seed}" / "result.json"
    known = json.loads(result.read_text()) | {"run": run.relative_to(saved.folder).as_posix()} | about
    result.write_text(json.dumps(known))


def test_a_training_has_its_best_epoch_and_its_test(saved: SavedStudy) -> None:
    first = next(trainings(study_of(saved)))
    metrics = json.loads(saved.evaluation("plain", 0).read_text())["metrics"]
    assert set(first) <= set(TRAINING_COLUMNS)
    assert [first[key] for key in ("run", "seed", "dataset", "imgsz", "epochs", "best_epoch", "seconds")] == [
        "plain", 0, "lesions", 640, 3, 2, 90.0,
    ]  # fmt: skip
    assert [first[key] for key in ("val_ap50", "val_small", "val_psnr")] == [0.5, 0.25, 21.5]
    assert [first[key] for key in ("test_ap50", "test_map50_95", "gflops")] == [
        metrics[key] for key in ("ap50", "map50_95", "gflops")
    ]


@pytest.mark.parametrize("log", ["", "epoch,ap50\n", "ap50\n0.5\n", "epoch,ap50\n1,0.5\n"])
def test_a_log_without_that_epoch_leaves_validation_empty(saved: SavedStudy, log: str) -> None:
    trained(saved, 0, log)
    first = next(trainings(study_of(saved)))
    assert first.get("val_ap50") is None
    assert first["test_ap50"] is not None


def test_a_seed_without_a_result_says_why(saved: SavedStudy) -> None:
    saved.lose("plain", 2, "failed", "memory")
    rows = {row["seed"]: row for row in trainings(study_of(saved))}
    assert rows[1]["val_ap50"] is None  # its result names no run folder
    assert rows[2] == {"run": "plain", "seed": 2, "dataset": "lesions", "imgsz": 640, "why": "failed: memory"}
