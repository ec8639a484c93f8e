"""The watch over the loss: what it returns when, and how it holds steps back."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from training.loss import FILES_NAMED, LossWatch, NonFiniteLossError, lag_on

CPU = torch.device("cpu")
DEVICES = [CPU, pytest.param(torch.device("cuda"), marks=pytest.mark.gpu)]


def weights_and_optimizer(
    device: torch.device = CPU, kind: type = torch.optim.AdamW, **options: float
) -> tuple[Tensor, torch.optim.Optimizer]:
    weights = nn.Parameter(torch.tensor([1.0, -2.0], device=device))
    return weights, kind([weights], lr=0.1, fused=True, **options)


def terms(*values: float, device: torch.device = CPU) -> Tensor:
    return torch.tensor(values, device=device)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(("lag", "arrives"), [(0, [[1], [2], [3], []]), (1, [[], [1], [2], [3]])])
def test_every_batch_arrives_once_and_in_order(device: torch.device, lag: int, arrives: list[list[int]]) -> None:
    watch = LossWatch(("total_loss", "l_cls"), 1, weights_and_optimizer(device)[1], lag)
    found = [watch.follow(n, terms(n, 10 * n, device=device), ["a.jpg"]) for n in (1, 2, 3)]
    found.append(watch.rest())
    assert [[batch for batch, _ in each] for each in found] == arrives
    assert [values.tolist() for each in found for _, values in each] == [[1, 10], [2, 20], [3, 30]]
    assert watch.rest() == []


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_not_finite_is_refused_with_its_terms_and_files(value: float) -> None:
    watch = LossWatch(("total_loss", "l_cls"), 3, weights_and_optimizer()[1], 0)
    files = [f"/data/{n}.jpg" for n in range(40)]
    with pytest.raises(NonFiniteLossError, match=rf"in epoch 3: total_loss {value}, l_cls 2; files: 0\.jpg") as refused:
        watch.follow(1, terms(value, 2), files)
    assert str(refused.value).count(".jpg") == FILES_NAMED


def test_a_term_of_no_weight_may_be_infinite() -> None:
    watch = LossWatch(("total_loss", "l_cls"), 1, weights_and_optimizer()[1], 0)
    assert len(watch.follow(1, terms(1, math.inf), [])) == 1


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(("kind", "options"), [(torch.optim.AdamW, {}), (torch.optim.SGD, {"momentum": 0.9})])
def test_with_a_lag_steps_from_the_bad_loss_on_are_held_back(
    device: torch.device, kind: type, options: dict[str, float]
) -> None:
    (guarded, optimizer), (plain, without) = (weights_and_optimizer(device, kind, **options) for _ in range(2))
    watch = LossWatch(("total_loss",), 1, optimizer, 1)

    def step(gradient: float) -> None:
        for weights, each in ((guarded, optimizer), (plain, without)):
            weights.grad = torch.full_like(weights, gradient)
            each.step()

    for batch in (1, 2):
        watch.follow(batch, terms(0.5, device=device), ["good.jpg"])
        step(0.3)
    assert torch.equal(guarded, plain)  # a guard that is down changes no bit
    before = guarded.detach().clone()
    watch.follow(3, terms(math.nan, device=device), ["bad.jpg"])
    step(math.nan)
    step(0.3)  # nor is one that follows before the loss was seen
    assert torch.equal(guarded, before)
    assert not torch.equal(plain, before)
    with pytest.raises(NonFiniteLossError, match=r"files: bad\.jpg"):
        watch.follow(4, terms(0.5, device=device), ["next.jpg"])


def test_the_last_batch_is_looked_at_before_the_epoch_ends() -> None:
    watch = LossWatch(("total_loss",), 1, weights_and_optimizer()[1], 1)
    watch.follow(1, terms(math.nan), ["last.jpg"])
    with pytest.raises(NonFiniteLossError, match=r"files: last\.jpg"):
        watch.rest()


def test_only_cuda_is_looked_at_late_and_not_under_a_gradient_scaler() -> None:
    cuda = torch.device("cuda", 0)
    assert (lag_on(CPU, False), lag_on(cuda, False), lag_on(cuda, True)) == (0, 1, 0)
