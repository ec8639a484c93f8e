"""The branch's ledger."""

from __future__ import annotations

import csv
import itertools
import json
from pathlib import Path
from typing import Any

import pytest
from conftest import PreparedSet

from data_utils.config.loading import load_config, override_config
from data_utils.errors import InputError
from evaluation.child_process import TIME_IS_UP
from models.sr_branch import SR_DECODERS, UPSAMPLERS
from training.benchmarks import branch_ledger
from training.benchmarks.branch_ledger import SHAPES, Shape, run_ledger
from training.benchmarks.branch_row import measure_memory, measure_row


def test_every_decoder_upsampler_and_stride_has_its_row() -> None:
    rows = {(shape.decoder, shape.upsampler, shape.fusion_stride) for shape in SHAPES["whole"] if shape.window == 1}
    strides = (2, 4, 8)
    assert rows >= set(itertools.product(["deep"], UPSAMPLERS, strides))
    assert rows >= set(itertools.product(SR_DECODERS, ["staged"], strides))
    assert len(set(SHAPES["all"])) == len(SHAPES["all"])


def test_a_shape_is_what_the_config_says() -> None:
    config = load_config("configs/train.yaml", Shape("deep", "direct", 32, 4, 0.5, checkpointing=True).settings())
    model = config.model
    assert (config.sr_decoder, model.upsampler, model.branch_width, model.fusion_stride) == ("deep", "direct", 32, 4)
    assert (model.branch_window, model.branch_checkpointing) == (0.5, True)


def test_costs_alone_need_no_data(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shapes = [Shape("light", "staged", 8, 8), Shape("deep", "direct", 8, 8, window=0.5)]
    config = load_config("configs/train.yaml", ["imgsz_lr=96", "imgsz_hr=192"])
    run_ledger(config, 1, "cpu", steps=0, turns=0, shapes=shapes, save=tmp_path)
    with open(tmp_path / "branch_costs_96.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["decoder"] for row in rows] == ["light", "deep"]
    assert float(rows[1]["branch_gflops_step"]) < float(rows[1]["branch_gflops"])
    assert "psnr" not in rows[0]
    assert "step_ratio" not in capsys.readouterr().out


def test_what_a_row_did_not_reach_is_said(
    tiny_prepared: PreparedSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ends: dict[Any, Any] = {
        measure_memory: ({"peak_mib": 123.4}, ""),
        measure_row: ({"branch_params": 5, "branch_gflops": 1.23456789, "step_ratio": 1.5}, TIME_IS_UP),
    }
    monkeypatch.setattr(branch_ledger, "in_a_child", lambda measure, job, seconds: ends[measure])
    shapes = [Shape("light", "staged", 8, 8)]
    (row,) = run_ledger(tiny_prepared.config, 1, "cpu", row_seconds=60, shapes=shapes, notes={"a": 1}, save=tmp_path)
    assert row["left_out"] == "psnr: time is up (60 s)"
    assert (row["peak_mib"], row["peak_mib_without"]) == (123.4, 123.4)
    saved = json.loads((tmp_path / "branch_price_cpu.json").read_text())
    assert (saved["a"], saved["imgsz"], saved["rows"][0]["branch_params"]) == (1, 64, 5)
    with open(tmp_path / "branch_price_cpu.csv", encoding="utf-8", newline="") as file:
        (line,) = csv.DictReader(file)
    assert (line["branch_gflops"], line["psnr"]) == ("1.2346", "")


def test_a_set_that_is_not_prepared_or_too_small_is_refused_at_once(tiny_prepared: PreparedSet) -> None:
    with pytest.raises(InputError, match=r"batch_size = 1000: the training list has \d+ frames only"):
        run_ledger(override_config(tiny_prepared.config, ["batch_size=1000"]), 1, "cpu")
    with pytest.raises(InputError, match="split7"):
        run_ledger(tiny_prepared.config, 7, "cpu")
