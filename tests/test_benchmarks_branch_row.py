"""What a row of the branch's ledger measures."""

from __future__ import annotations

import pytest
from conftest import PreparedSet

from data_utils.config.loading import load_config, override_config
from evaluation.child_process import in_a_child
from training.benchmarks.branch_ledger import Shape
from training.benchmarks.branch_row import (
    RowJob,
    Steps,
    kept_batches,
    measure_cost,
    measure_memory,
    measure_row,
    validation_batches,
    without_branch,
)

# GMACs of width-64 `deep` branches on a 640 frame, counted with the 1x1 convolutions at the fused size.
REFERENCE_GMACS = {2: 202, 4: 113, 8: 91}


def job_of(prepared: PreparedSet, *settings: str, steps: int = 1) -> RowJob:
    small = ("model.branch_width=8", "sr_resblocks=2", "model.fusion_stride=8", "run.sr_log_frames=3")
    config = override_config(prepared.config, [*small, "lr0=0.001", *settings])
    return RowJob(config, 1, "cpu", "fp32", steps, turns=1)


@pytest.mark.parametrize("stride", REFERENCE_GMACS)
def test_costs_are_those_of_the_reference(stride: int) -> None:
    cost = measure_cost(load_config("configs/train.yaml", Shape("deep", "staged", 64, stride).settings()))
    assert cost["branch_gflops"] == pytest.approx(2 * REFERENCE_GMACS[stride], rel=0.02)
    assert cost["branch_gflops_step"] == cost["branch_gflops"]
    assert cost["detector_gflops"] == pytest.approx(8.2, abs=0.5)


def test_a_window_and_cheaper_upsamplers_cost_less() -> None:
    def gflops(upsampler: str, window: float = 1.0) -> tuple[float, float]:
        cost = measure_cost(load_config("configs/train.yaml", Shape("deep", upsampler, 64, 8, window).settings()))
        return cost["branch_gflops"], cost["branch_gflops_step"]

    whole, step = gflops("staged", window=0.2)
    assert step == pytest.approx(whole * (20 / 80) ** 2, rel=0.1)  # 16 of 80 pixels and 2 on each side
    assert gflops("direct")[0] < gflops("staged")[0] / 5
    assert gflops("narrowing")[0] < gflops("staged")[0] / 5


@pytest.mark.integration
def test_a_row_reports_cost_speed_and_signal_in_turn(tiny_prepared: PreparedSet) -> None:
    parts: list[dict] = []
    measure_row(job_of(tiny_prepared, "model.branch_window=0.5", "model.branch_margin=1"), parts.append)
    cost, speed, signal = parts
    assert cost["branch_gflops_step"] < cost["branch_gflops"]
    assert speed["step_ratio"] == pytest.approx(speed["images_per_s_without"] / speed["images_per_s"])
    assert speed["step_ratio_lowest"] <= speed["step_ratio_highest"]
    assert 0 < signal["psnr"] < signal["psnr_bicubic"]
    assert signal["grad_shallow"] > 0
    assert signal["grad_deep"] > 0


@pytest.mark.integration
def test_steps_train_the_branch_and_leave_out_none_of_it(tiny_prepared: PreparedSet) -> None:
    job = job_of(tiny_prepared)
    batch, steps = kept_batches(job, 1)[0], Steps(job, job.config)
    before = {name: value.clone() for name, value in steps.model.named_parameters()}
    assert steps.run(batch) > 0
    still = [name for name, value in steps.model.named_parameters() if value.requires_grad
             and before[name].equal(value)]  # fmt: skip
    assert not [name for name in still if name.startswith("sr_branch")]
    plain = Steps(job, without_branch(job.config))
    plain.run(batch)
    assert plain.model.sr_branch is None


@pytest.mark.integration
def test_memory_is_more_than_the_weights(tiny_prepared: PreparedSet) -> None:
    found, reason = in_a_child(measure_memory, job_of(tiny_prepared), 200.0)  # this process has had its peak
    assert reason == ""
    assert found["peak_mib"] > 12  # 3 M float32 parameters


def test_validation_frames_are_spread_over_the_list(tiny_prepared: PreparedSet) -> None:
    job = job_of(tiny_prepared)
    chosen = [path for batch in validation_batches(job) for path in batch["img_path"]]
    listed = tiny_prepared.config.dataset.split_list(1, "val").read_text().splitlines()
    assert chosen == [listed[0], listed[round((len(listed) - 1) / 2)], listed[-1]]
