"""The speed benchmark: what is measured, and the ratios by hand."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import PreparedSet
from training_processes import fork_instead_of_spawning

from training.benchmarks import speed
from training.benchmarks.sides import SIDES, _after_warmup
from training.benchmarks.speed import Row, planned_rows, ratios_of

CPU = torch.device("cpu")


@pytest.mark.parametrize("native", [False, True])
def test_the_rows_of_a_cpu(monkeypatch: pytest.MonkeyPatch, native: bool) -> None:
    monkeypatch.setattr(speed, "has_bf16", lambda device: native)
    rows = [(row.side, row.precision, row.compiled) for row in planned_rows(CPU, [(320, 8)], with_compile=True)]
    fastest = "bf16" if native else "fp32"
    in_fp32 = [(side, "fp32", False) for side in ("ultralytics", "ultralytics, our threads", "ours", "bare")]
    in_bf16 = [(side, "bf16", False) for side in ("ours", "bare")] if native else []
    assert rows == [*in_fp32, *in_bf16, ("ours", fastest, True), ("loader", "-", False)]
    assert {side for side, _, _ in rows} == set(SIDES)


def test_on_cuda_both_sides_train_in_both_precisions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed, "has_bf16", lambda device: True)
    rows = planned_rows(torch.device("cuda"), [(320, 8), (640, 16)], with_compile=False)
    theirs = [(row.precision, row.side_px, row.batch) for row in rows if row.side == "ultralytics"]
    assert theirs == [("fp32", 320, 8), ("bf16", 320, 8), ("bf16", 640, 16)]
    asked = planned_rows(torch.device("cuda"), [(640, 16)], with_compile=False, precisions=["bf16"])
    assert {row.precision for row in asked} == {"bf16", "-"}


def test_ratios_pair_what_was_measured_together() -> None:
    rows = [
        Row("ultralytics", "fp32", False, 320, 8, [10.0, 12.0, 20.0]),
        Row("ours", "fp32", False, 320, 8, [20.0, 30.0, 40.0]),
        Row("bare", "fp32", False, 320, 8, [40.0, 40.0, 40.0]),
        Row("ours", "bf16", False, 320, 8, [60.0, 60.0, 60.0]),
        Row("bare", "bf16", False, 320, 8, [80.0, 60.0, 80.0]),
        Row("loader", "-", False, 320, 8, [240.0, 300.0, 360.0]),
        Row("ours", "fp32", False, 640, 8, [1.0, 1.0, 1.0]),  # another size: nothing to compare it with
    ]
    found = {(r["ratio"], r["precision"]): (r["of_medians"], r["lowest"], r["highest"]) for r in ratios_of(rows)}
    assert found == {
        ("ours / ultralytics", "fp32"): (2.5, 2.0, 2.5),
        ("ours / bare", "fp32"): (0.75, 0.5, 1.0),
        ("loader / ours", "fp32"): (10.0, 9.0, 12.0),
        ("ours / ultralytics", "bf16"): (5.0, 3.0, 6.0),  # a CPU's only precision for ultralytics is fp32
        ("ours / bare", "bf16"): (0.75, 0.75, 1.0),
        ("loader / ours", "bf16"): (5.0, 4.0, 6.0),
    }


def test_a_row_shows_its_median_and_spread() -> None:
    cells = Row("ours", "fp32", False, 320, 8, [3.0, 1.04, 2.0], [70, 90, 80]).cells()
    assert (cells["images_per_s"], cells["lowest"], cells["highest"]) == (2.0, 1.0, 3.0)
    assert (cells["peak_mb"], cells["rounds"]) == (90, 3)


def test_the_first_epoch_warms_up_and_the_others_count_alike() -> None:
    assert _after_warmup([1.0, 10.0, 30.0]) == pytest.approx(15.0)  # as many images at 10 as at 30 a second


def test_a_command_that_is_cut_off_leaves_what_was_measured_and_what_failed(
    monkeypatch: pytest.MonkeyPatch, tiny_prepared: PreparedSet, tmp_path: Path
) -> None:
    turns: list[str] = []

    def measured(_: object, job: Any) -> dict[str, Any]:
        turns.append(job.side)
        if job.side == "ultralytics":
            raise RuntimeError("its loader\ndied")
        if len(turns) == 7:  # the second round: four of five sides take turns, and this is the third of them
            raise KeyboardInterrupt
        return {"images_per_s": 10.0 * len(turns), "peak_mb": None, "threads": 1}

    monkeypatch.setattr(speed._Processes, "measured", measured)
    with pytest.raises(KeyboardInterrupt):
        speed.run_speed(
            tiny_prepared.config, 1, "cpu", [(64, 4)], rounds=2, epochs=2, seconds=0.1, limit=8, with_compile=False,
            precisions=["fp32"], save=tmp_path,
        )  # fmt: skip
    sides = ["ultralytics", "ultralytics, our threads", "ours", "bare", "loader"]
    assert turns == [*sides, *sides[1:3]]
    with open(tmp_path / "speed_cpu.csv", encoding="utf-8", newline="") as file:
        rows = {row["side"]: (row["images_per_s"], row["rounds"], row["missing"]) for row in csv.DictReader(file)}
    assert rows == {
        "ultralytics": ("", "0", "its loader died"),
        "ultralytics, our threads": ("40.0", "2", ""),
        **{side: (f"{10.0 * number}", "1", "") for number, side in enumerate(sides[2:], start=3)},
    }
    record = json.loads((tmp_path / "speed_cpu.json").read_text())
    assert record["rounds_asked_for"] == 2
    assert {ratio["ratio"]: ratio["of_medians"] for ratio in record["ratios"]} == {
        "ours / ultralytics, our threads": 1.5, "ours / bare": 0.75, "loader / ours": 1.67
    }  # fmt: skip


class Deadly:
    """A job that ends its process."""

    side = "ours"

    @property
    def threads(self) -> int:
        os._exit(1)


class Failing:
    """A job that fails, in a process that lives."""

    side = "ours"

    @property
    def threads(self) -> int:
        raise RuntimeError("no memory")


@pytest.mark.integration
def test_a_process_that_died_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    fork_instead_of_spawning(monkeypatch)
    with speed._Processes() as processes:
        with pytest.raises(RuntimeError, match="the process that measured ours died"):
            processes.measured(Deadly())  # type: ignore[arg-type]
        with pytest.raises(RuntimeError, match="no memory"):
            processes.measured(Failing())  # type: ignore[arg-type]
