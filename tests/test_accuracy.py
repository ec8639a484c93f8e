"""Both trainers from scratch, scored by one evaluation."""

from __future__ import annotations

import csv
from concurrent.futures import Future
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from training.benchmarks import accuracy
from training.benchmarks.accuracy import SCORED, mean_scores


def test_means_and_their_difference() -> None:
    rows = [
        {"side": side, "seed": seed, **dict.fromkeys(SCORED, value)}
        for side, seed, value in (("ours", 0, 0.5), ("ours", 1, 0.7), ("ultralytics", 0, 0.4), ("ultralytics", 1, 0.6))
    ]
    ours, theirs, difference = mean_scores(rows)
    assert [ours["val_ap50"], theirs["test_ap50"], difference["val_map50_95"]] == [0.6, 0.5, 0.1]
    assert difference["side"] == "ours - ultralytics"


def test_seeds_that_one_side_lacks_are_not_compared() -> None:
    rows: list[dict[str, Any]] = [{"side": "ours", "seed": 0, **dict.fromkeys(SCORED, 0.5)}]
    assert mean_scores(rows) == []
    assert mean_scores([*rows, {"side": "ultralytics", "seed": 0, "missing": "died"}]) == []


def test_a_training_that_fails_is_told_and_the_others_saved(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    class Pool:
        """Runs what it is given at once."""

        def __init__(self, *_: object) -> None: ...
        def __enter__(self) -> Pool:
            return self

        def __exit__(self, *_: object) -> None: ...
        def submit(self, work: Any, training: Any) -> Future[Any]:
            future: Future[Any] = Future()
            try:
                future.set_result(work(training))
            except RuntimeError as error:
                future.set_exception(error)
            return future

    def train_and_score(training: Any) -> dict[str, Any]:
        if training.side == "ultralytics":
            raise RuntimeError("its loader\ndied")
        return {"side": "ours", "seed": training.config.seed, "epochs": 2, **dict.fromkeys(SCORED, 0.5)}

    monkeypatch.setattr(accuracy, "ProcessPoolExecutor", Pool)
    monkeypatch.setattr(accuracy, "train_and_score", train_and_score)
    trainings: list[Any] = [
        SimpleNamespace(side=side, config=SimpleNamespace(seed=3, epochs=2)) for side in ("ours", "ultralytics")
    ]
    rows = []
    for row in accuracy._trained(trainings, 1):
        rows.append(row)
        accuracy._save(tmp_path, "cpu", {}, rows)
        with open(tmp_path / "accuracy_cpu.csv", encoding="utf-8", newline="") as file:
            assert len(list(csv.DictReader(file))) == len(rows)
    assert {row["side"]: row.get("missing") for row in rows} == {"ours": None, "ultralytics": "its loader died"}
