"""Parameter groups and the learning-rate schedule."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import nn

from data_utils.config.loading import load_config
from training.optim import (
    build_optimizer,
    clip_gradients,
    learning_rate,
    n_frozen_layers,
    part_rate_factor,
    set_learning_rate,
)

CONFIG = load_config("configs/train.yaml", ["epochs=10", "optim.warmup_epochs=2"])


def small_net() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 2, 1, bias=False))


@pytest.mark.parametrize(("name", "kind"), [("AdamW", torch.optim.AdamW), ("SGD", torch.optim.SGD)])
def test_no_decay_on_norms_and_biases(name: str, kind: type) -> None:
    net = small_net()
    optimizer = build_optimizer(net, load_config("configs/train.yaml", [f"optimizer={name}"]))
    assert isinstance(optimizer, kind)
    decayed, spared = optimizer.param_groups
    assert decayed["weight_decay"] == 1e-4
    assert spared["weight_decay"] == 0
    assert {id(p) for p in decayed["params"]} == {id(net[0].weight), id(net[2].weight)}
    assert {id(p) for p in spared["params"]} == {id(net[0].bias), id(net[1].weight), id(net[1].bias)}


def test_frozen_parameters_are_left_out() -> None:
    net = small_net()
    net[0].requires_grad_(False)
    groups = build_optimizer(net, CONFIG).param_groups
    assert sum(len(group["params"]) for group in groups) == 3


def test_schedule_warms_up_linearly_then_follows_the_cosine() -> None:
    steps = 5  # an epoch; 10 steps of warm-up, 50 in all
    rates = [learning_rate(step, steps, CONFIG) for step in range(50)]
    assert rates[0] == pytest.approx(0.05 / 10)
    assert rates[4] == pytest.approx(0.05 / 2)
    assert max(rates) == rates[9] == pytest.approx(0.05)
    assert rates[10] == pytest.approx(0.05)
    assert rates[49] == pytest.approx(0.01)  # lr0 * lrf, as published
    middle = 0.05 * (0.2 + 0.8 * (1 + math.cos(math.pi * 20 / 39)) / 2)
    assert rates[30] == pytest.approx(middle)
    assert all(later <= earlier for earlier, later in itertools.pairwise(rates[9:]))


def test_schedule_without_warm_up_and_past_the_end() -> None:
    config = load_config("configs/train.yaml", ["epochs=1", "optim.warmup_epochs=0"])
    assert learning_rate(0, 1, config) == pytest.approx(0.05)
    assert learning_rate(99, 4, config) == pytest.approx(0.01)


def test_setting_the_rate_and_clipping() -> None:
    net = small_net()
    optimizer = build_optimizer(net, CONFIG)
    set_learning_rate(optimizer, 0.125)
    assert [group["lr"] for group in optimizer.param_groups] == [0.125, 0.125]
    parameter = nn.Parameter(torch.zeros(2))
    parameter.grad = torch.tensor([30.0, 40.0])
    assert float(clip_gradients([parameter], 0)) == pytest.approx(50)
    assert parameter.grad.tolist() == [30, 40]
    assert float(clip_gradients([parameter], 10)) == pytest.approx(50)
    assert parameter.grad.tolist() == pytest.approx([6, 8], rel=1e-4)


@pytest.mark.parametrize("largest", [1e-3, 1e3])
def test_clipping_is_torchs_own_and_leaves_small_gradients_alone(largest: float) -> None:
    net, theirs = small_net(), small_net()
    for parameter, twin in zip(net.parameters(), theirs.parameters(), strict=True):
        parameter.grad = largest * torch.rand(parameter.shape)
        twin.grad = parameter.grad.clone()
    gradients = [parameter.grad for parameter in net.parameters() if parameter.grad is not None]
    writes = [gradient._version for gradient in gradients]
    norm = clip_gradients(net.parameters(), 10)
    assert torch.equal(norm, nn.utils.clip_grad_norm_(theirs.parameters(), 10))
    assert all(torch.equal(gradient, twin.grad) for gradient, twin in zip(gradients, theirs.parameters(), strict=True))
    assert (norm <= 10) == (largest < 1)
    if norm <= 10:
        assert writes == [gradient._version for gradient in gradients]


def test_a_gradient_that_is_not_a_number_spreads_to_all() -> None:
    net = small_net()
    for parameter in net.parameters():
        parameter.grad = torch.ones_like(parameter)
    next(net.parameters()).grad[0] = math.nan  # pyright: ignore[reportOptionalSubscript]
    assert clip_gradients(net.parameters(), 10).isnan()
    assert all(parameter.grad.isnan().all() for parameter in net.parameters() if parameter.grad is not None)


def test_parts_learn_at_their_own_rates() -> None:
    net = small_net()
    factors = {"0.weight": 0.1, "0.bias": 0.1}
    optimizer = build_optimizer(net, CONFIG, lambda name: factors.get(name, 2.0))
    set_learning_rate(optimizer, 0.5)
    rates = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    assert {name: rates[id(p)] for name, p in net.named_parameters()} == {
        "0.weight": 0.05, "0.bias": 0.05, "1.weight": 1.0, "1.bias": 1.0, "2.weight": 1.0
    }  # fmt: skip
    assert [group["weight_decay"] for group in optimizer.param_groups] == [1e-4, 0, 1e-4, 0]


@pytest.mark.parametrize(
    ("name", "factor"),
    [
        ("backbone.detector.model.0.conv.weight", 0.1),
        ("backbone.detector.model.9.cv1.bn.bias", 0.1),
        ("backbone.detector.model.10.x", 1.0),
        ("backbone.detector.model.22.cv3.0.2.bias", 1.0),
        ("sr_branch.fuse.0.weight", 3.0),
    ],
)
def test_a_parameters_part_follows_from_its_name(name: str, factor: float) -> None:
    optim = load_config("configs/train.yaml", ["optim.lr_backbone=0.1", "optim.lr_branch=3"]).optim
    assert part_rate_factor(name, optim, n_backbone_layers=10) == factor


def test_layers_thaw_at_the_epoch_asked_for() -> None:
    def frozen(*overrides: str) -> list[int]:
        config = load_config("configs/train.yaml", overrides)
        return [n_frozen_layers(config, epoch, 23) for epoch in range(4)]

    assert frozen() == [0, 0, 0, 0]
    assert frozen("optim.freeze=10") == [10, 10, 10, 10]
    assert frozen("optim.freeze=10", "optim.unfreeze_epoch=3") == [10, 10, 0, 0]
    assert frozen("stages.train=branch") == [23, 23, 23, 23]
    assert frozen("stages.train=branch+backbone") == [0, 0, 0, 0]


@pytest.mark.parametrize("name", ["AdamW", "SGD"])
def test_parameters_are_stepped_together_where_torch_can(name: str) -> None:
    config = load_config("configs/train.yaml", [f"optimizer={name}"])
    assert build_optimizer(small_net(), config).defaults["fused"] is True
    assert build_optimizer(small_net().to("meta"), config).defaults["fused"] is False
