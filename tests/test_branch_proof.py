"""The proof that inference leaves the branch alone: it holds for the model, and for none that cheats."""

from __future__ import annotations

import pytest
import torch
from evaluation_samples import CONFIG_PATH
from torch import nn

from evaluation.cost import Touched, prove_branch_free


class Honest(nn.Module):
    """A detector and a branch; inference uses the detector alone."""

    def __init__(self):
        super().__init__()
        self.detector = nn.Conv2d(3, 2, 1)
        self.sr_branch: nn.Module | None = nn.Sequential(nn.Conv2d(2, 3, 1), nn.ReLU())

    def forward(self, lr_image, inference=False):
        found = self.detector(lr_image)
        return self.cheat(found) if inference else self.sr_branch(found)

    def cheat(self, found):
        return found


class Calls(Honest):
    def cheat(self, found):
        return found if self.sr_branch is None else found + 0 * self.sr_branch(found).mean()


class Reads(Honest):
    def cheat(self, found):
        return found if self.sr_branch is None else found + 0 * self.sr_branch[0].weight.sum()  # type: ignore[index]


class KnowsOfIt(Honest):
    def cheat(self, found):
        return found if self.sr_branch is None else found + 1


class NeverUsesIt(Honest):
    def forward(self, lr_image, inference=False):
        return self.detector(lr_image)


FRAME = torch.rand(1, 3, 8, 8)


def test_it_holds_for_a_model_that_leaves_the_branch_alone():
    model = Honest().train()
    model.detector.eval()
    proof = prove_branch_free(model, FRAME)
    assert proof.holds
    assert (proof.inference, proof.training, proof.n_modules, proof.n_params) == (Touched(0, 0), Touched(3, 2), 3, 9)
    assert "none of its 3 modules" in proof.sentence()
    assert "\n" not in proof.sentence()
    assert isinstance(model.sr_branch, nn.Module)
    assert (model.training, model.detector.training, model.sr_branch.training) == (True, False, True)
    assert not model.sr_branch[0]._forward_pre_hooks


@pytest.mark.parametrize("cheat", [Calls, Reads, KnowsOfIt, NeverUsesIt])
def test_it_does_not_hold_for_one_that_cheats_or_a_watch_that_sees_nothing(cheat):
    proof = prove_branch_free(cheat(), FRAME)
    assert not proof.holds
    assert proof.sentence().startswith("NOT SHOWN")
    assert (proof.inference.modules > 0) == (cheat is Calls)
    assert (proof.inference.tensors > 0) == (cheat in (Calls, Reads))
    assert proof.same_output == (cheat is not KnowsOfIt)


@pytest.mark.parametrize("decoder", ["deep", "light"])
def test_it_holds_for_sre_yolo(decoder):
    from data_utils.config.loading import load_config
    from models.sre_yolo import SREYOLO

    small = ["imgsz_lr=64", "imgsz_hr=128", "model.fusion_stride=8", "model.branch_width=8", "sr_resblocks=2"]
    model = SREYOLO(load_config(CONFIG_PATH, [*small, f"sr_decoder={decoder}"]))
    proof = prove_branch_free(model, torch.rand(1, 3, 64, 64))
    assert proof.holds, proof.sentence()
    assert proof.n_params == model.count_params()["sr_branch"] > 0
    assert proof.training.modules > proof.n_modules / 2


def test_without_a_branch_there_is_nothing_to_prove():
    model = Honest()
    model.sr_branch = None
    proof = prove_branch_free(model, FRAME)
    assert proof.holds
    assert "no SR branch" in proof.sentence()
