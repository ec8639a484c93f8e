"""Speed and cost: counts checked by hand on one convolution, and the published GFLOPs of YOLOv8n."""

from __future__ import annotations

import time

import pytest
import torch
from evaluation_samples import CONFIG_PATH
from torch import nn

from evaluation.benchmark import LEAST_ITERATIONS, eval_mode, measure_fps, measure_gflops, measure_speed


class Sleeper(nn.Module):
    """Takes `seconds` for each pass, and `slow` once; counts its passes."""

    def __init__(self, seconds=0.002, slow=0.0):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, bias=False)
        self.seconds, self.slow, self.passes = seconds, slow, 0

    def forward(self, lr_image, inference=False):
        assert inference
        assert not self.training
        assert not torch.is_grad_enabled()
        self.passes += 1
        time.sleep(self.slow if self.passes == 3 else self.seconds)
        return self.conv(lr_image)


def test_one_convolution_counts_two_operations_a_multiply_add():
    # Output 4 x 30 x 30, each value 3 x 3 x 3 multiply-adds.
    assert measure_gflops(Sleeper(), imgsz=32) == pytest.approx(2 * 4 * 30 * 30 * 27 / 1e9)


def test_yolov8n_with_one_class_costs_the_published_gflops_whatever_the_branch():
    from data_utils.config import load_config
    from models.sre_yolo import SREYOLO

    with_branch = SREYOLO(load_config(CONFIG_PATH, ["sr_decoder=light", "model.fusion_stride=8"]))
    plain = SREYOLO(load_config(CONFIG_PATH, ["sr_decoder=none"]))
    costs = [measure_gflops(model, 640) for model in (with_branch, plain)]
    assert costs[0] == pytest.approx(8.2, abs=0.5)
    assert costs[0] == costs[1]


def test_fps_is_the_inverse_of_the_median_so_one_hiccup_does_not_count():
    model = Sleeper(seconds=0.002, slow=0.2)
    speed = measure_speed(model, imgsz=16, n_warmup=1, n_iters=15)
    assert model.passes == 16
    assert speed.n_iters == 15
    assert 2 <= speed.median_ms < 20
    assert speed.fps == pytest.approx(1000 / speed.median_ms)
    assert speed.p95_ms > speed.median_ms
    assert (speed.threads, speed.device) == (torch.get_num_threads(), "cpu")


def test_time_allowed_cuts_the_iterations_short_but_not_below_a_median_worth_having():
    model = Sleeper(seconds=0.01)
    speed = measure_speed(model, imgsz=16, n_warmup=50, n_iters=500, max_seconds=0.02)
    assert speed.n_iters == LEAST_ITERATIONS
    assert model.passes <= LEAST_ITERATIONS + 2
    assert measure_fps(Sleeper(), imgsz=16, n_warmup=0, n_iters=3) > 0


def test_the_model_gets_back_the_mode_of_every_part():
    model = nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3))
    model.train()
    model[1].eval()  # a frozen part
    modes = []

    def fail():
        with eval_mode(model):
            modes.append([model.training, model[0].training, model[1].training])
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert modes == [[False] * 3]
    assert (model.training, model[0].training, model[1].training) == (True, True, False)
