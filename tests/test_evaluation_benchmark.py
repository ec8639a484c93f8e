"""Speed and cost: counts checked by hand on one convolution, and the published GFLOPs of YOLOv8n."""

from __future__ import annotations

import time

import numpy as np
import pytest
import torch
from evaluation_samples import CONFIG_PATH
from torch import nn

from evaluation.cost import LEAST_ITERATIONS, eval_mode, measure_fps, measure_gflops, measure_speed, measure_steps


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
    from data_utils.config.loading import load_config
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


class Batched(Sleeper):
    """Notes the shape of every pass."""

    def __init__(self, seconds=0.002):
        super().__init__(seconds, slow=seconds)
        self.shapes = []

    def forward(self, lr_image, inference=False):
        self.shapes.append(tuple(lr_image.shape))
        return super().forward(lr_image, inference)


def test_a_batch_counts_all_its_frames():
    model = Batched(0.01)
    speed = measure_speed(model, imgsz=16, n_warmup=1, n_iters=5, batch_size=4)
    assert model.shapes == [(4, 3, 16, 16)] * 6
    assert speed.fps == pytest.approx(4000 / speed.median_ms)
    assert 10 <= speed.p5_ms <= speed.median_ms <= speed.p95_ms
    assert speed.batch_size == 4


class SlowFinder(nn.Module):
    """Takes 20 ms, and finds one box in the middle of the input: 8 px wide and high, in 32 px."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))

    def forward(self, lr_image, inference=False):
        time.sleep(0.02)
        return torch.tensor([16.0, 16, 8, 8, 0.9]).reshape(1, 5, 1) * self.weight


def test_steps_are_timed_apart_and_on_infers_own_code():
    steps = measure_steps(SlowFinder(), imgsz=32, n_iters=5)
    assert (steps.n_iters, steps.frame_size, steps.n_detections) == (5, (64, 64), 1)
    assert steps.network.median_ms >= 20
    assert 0 < steps.preprocess.median_ms < 20
    assert 0 < steps.postprocess.median_ms < 20
    large = measure_steps(SlowFinder(), imgsz=32, frame=np.zeros((2000, 3000, 3), np.uint8), n_iters=3)
    assert large.frame_size == (3000, 2000)
    assert measure_steps(SlowFinder(), imgsz=32, n_iters=500, max_seconds=0.01).n_iters == 3


def test_the_training_graph_costs_the_branch_on_top():
    from torch.utils.flop_counter import FlopCounterMode

    from data_utils.config.loading import load_config
    from models.sre_yolo import SREYOLO

    small = ["imgsz_lr=64", "imgsz_hr=128", "model.fusion_stride=8", "model.branch_width=8", "sr_resblocks=2"]
    model = SREYOLO(load_config(CONFIG_PATH, small)).eval()
    assert model.sr_branch is not None
    with FlopCounterMode(display=False) as counter:
        taps = [torch.zeros(1, 64, 8, 8), torch.zeros(1, 256, 2, 2)]
        model.sr_branch(*taps)
    inference, training = (measure_gflops(model, 64, training=flag) for flag in (False, True))
    assert training - inference == pytest.approx(counter.get_total_flops() / 1e9, rel=1e-6)


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
