"""The averaged weights."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from training.optim import ModelEMA


def test_average_follows_its_formula() -> None:
    net = nn.Linear(1, 1, bias=False)
    nn.init.constant_(net.weight, 1.0)
    ema = ModelEMA(net, decay=0.9, tau=10.0)
    expected = 1.0
    for update in (1, 2, 3):
        nn.init.constant_(net.weight, float(update + 1))
        ema.update(net)
        decay = 0.9 * (1 - math.exp(-update / 10))
        expected = decay * expected + (1 - decay) * (update + 1)
        assert ema.model.weight.item() == pytest.approx(expected)


def test_decay_zero_copies_and_counters_are_copied() -> None:
    net = nn.BatchNorm1d(2)
    ema = ModelEMA(net, decay=0.0, tau=1.0)
    net(torch.randn(4, 2))
    ema.update(net)
    assert torch.equal(ema.model.running_mean, net.running_mean)
    assert ema.model.num_batches_tracked.item() == 1


def test_the_copy_is_in_eval_mode_without_gradients() -> None:
    ema = ModelEMA(nn.Linear(2, 2).train(), 0.9, 1.0)
    assert not ema.model.training
    assert not any(p.requires_grad for p in ema.model.parameters())


def test_a_loaded_state_is_averaged_on() -> None:
    net = nn.Linear(1, 1, bias=False)
    ema = ModelEMA(net, decay=0.0, tau=1.0)
    ema.update(net)
    net.load_state_dict({"weight": torch.tensor([[5.0]])})  # as a resumed run does, after the lists were made
    ema.update(net)
    assert ema.model.weight.item() == 5.0
