"""The four terms against ultralytics' own and against hand-computed values."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from data_utils.config.loading import load_config
from models.backbone import ultralytics_module
from models.sre_yolo import SREYOLO
from training.loss import LOSS_TERMS, SREYOLOLoss, mean_absolute_error

C = {"c1": 0.1, "c2": 7.5, "c3": 1.5, "c4": 0.5}
LABELS = torch.tensor([[0, 0, 0.5, 0.5, 0.3, 0.2], [1, 1, 0.3, 0.3, 0.2, 0.4], [1, 0, 0.7, 0.6, 0.1, 0.1]])
NO_LABELS = torch.zeros(0, 6)


@pytest.fixture(scope="module")
def model() -> SREYOLO:
    torch.manual_seed(0)
    overrides = ["sr_decoder=light", "model.branch_width=8", "dataset.nc=2", "dataset.names=[a, b]"]
    return SREYOLO(load_config("configs/train.yaml", overrides)).train()


@pytest.fixture(scope="module")
def images() -> Tensor:
    return torch.rand(2, 3, 96, 96, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def hr_image() -> Tensor:
    return torch.rand(2, 3, 192, 192, generator=torch.Generator().manual_seed(2))


def run(model: SREYOLO, images: Tensor) -> dict[str, Any]:
    output = model(images)
    assert isinstance(output, dict)
    return output


@pytest.mark.parametrize("labels", [LABELS, LABELS[:1], NO_LABELS], ids=["boxes", "one frame empty", "no boxes"])
def test_detection_terms_equal_ultralytics(model: SREYOLO, images: Tensor, hr_image: Tensor, labels: Tensor) -> None:
    """Ultralytics' loss with its own default gains, divided by them, is ours to 1e-6."""
    output = run(model, images)
    ours = SREYOLOLoss(model, **C)(output, {"labels": labels, "hr_image": hr_image})
    detector = model.backbone.detector
    gains, detector.args = detector.args, SimpleNamespace(box=7.5, cls=0.5, dfl=1.5)
    try:
        theirs = ultralytics_module("utils.loss").v8DetectionLoss(detector)
    finally:
        detector.args = gains
    batch = {"batch_idx": labels[:, 0], "cls": labels[:, 1], "bboxes": labels[:, 2:]}
    scaled, items = theirs(output["predictions"], batch)
    expected = {"l_bbox": items["box_loss"] / 7.5, "l_cls": items["cls_loss"] / 0.5, "l_dfl": items["dfl_loss"] / 1.5}
    for name, value in expected.items():
        torch.testing.assert_close(ours[name].detach(), value, rtol=1e-6, atol=1e-6)
    # Ultralytics returns B times the weighted sum, ours is the plain one.
    plain = ours["total_loss"] - C["c1"] * ours["l_sr"]
    torch.testing.assert_close(scaled.sum(), 2 * plain, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("scale", "factor"), [("sum", 1), ("batch", 2)])
def test_total_is_the_weighted_sum_of_unweighted_terms(
    model: SREYOLO, images: Tensor, hr_image: Tensor, scale: str, factor: int
) -> None:
    losses = SREYOLOLoss(model, **C, loss_scale=scale)(run(model, images), {"labels": LABELS, "hr_image": hr_image})
    assert losses.keys() == {"total_loss", *LOSS_TERMS}
    detection = 7.5 * losses["l_bbox"] + 1.5 * losses["l_dfl"] + 0.5 * losses["l_cls"]
    torch.testing.assert_close(losses["total_loss"], 0.1 * losses["l_sr"] + factor * detection)


def test_sr_term_is_the_mean_absolute_error(model: SREYOLO, images: Tensor) -> None:
    output = run(model, images)
    target = output["sr_output"].detach() + 0.25
    losses = SREYOLOLoss(model, **C)(output, {"labels": LABELS, "hr_image": target})
    assert losses["l_sr"].item() == pytest.approx(0.25, abs=1e-6)


def test_without_a_branch_it_is_plain_yolo(images: Tensor) -> None:
    plain = SREYOLO(load_config("configs/train.yaml", ["c1=0"])).train()
    losses = SREYOLOLoss(plain, **{**C, "c1": 0.0})(run(plain, images), {"labels": LABELS[:1]})
    assert losses["l_sr"].item() == 0
    detection = 7.5 * losses["l_bbox"] + 1.5 * losses["l_dfl"] + 0.5 * losses["l_cls"]
    torch.testing.assert_close(losses["total_loss"], detection)


def test_empty_frames_give_finite_terms_and_gradients(model: SREYOLO, images: Tensor, hr_image: Tensor) -> None:
    model.zero_grad()
    losses = SREYOLOLoss(model, **C)(run(model, images), {"labels": NO_LABELS, "hr_image": hr_image})
    assert losses["l_bbox"].item() == losses["l_dfl"].item() == 0
    losses["total_loss"].backward()
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    assert gradients
    assert all(bool(torch.isfinite(g).all()) for g in gradients)


def test_eval_mode_predictions_score_the_same_loss(model: SREYOLO, images: Tensor, hr_image: Tensor) -> None:
    """In eval mode the head returns (decoded, raw); the loss reads the raw part."""
    model.eval()
    try:
        losses = SREYOLOLoss(model, **C)(run(model, images), {"labels": LABELS, "hr_image": hr_image})
    finally:
        model.train()
    assert losses["total_loss"].item() > 0


def test_the_order_and_type_of_the_label_rows_do_not_matter(model: SREYOLO, images: Tensor, hr_image: Tensor) -> None:
    output, criterion = run(model, images), SREYOLOLoss(model, **C)
    expected = criterion(output, {"labels": LABELS, "hr_image": hr_image})
    for labels in (LABELS[[1, 0, 2]], LABELS[[2, 0, 1]].double()):
        losses = criterion(output, {"labels": labels, "hr_image": hr_image})
        for name, value in expected.items():
            torch.testing.assert_close(losses[name], value, rtol=1e-6, atol=1e-6)


def test_a_target_of_another_shape_is_refused(model: SREYOLO, images: Tensor, hr_image: Tensor) -> None:
    with pytest.raises(ValueError, match=r"hr_image is \[1, 3, 192, 192\], the branch's output \[2, 3, 192, 192\]"):
        SREYOLOLoss(model, **C)(run(model, images), {"labels": LABELS, "hr_image": hr_image[:1]})


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_the_mean_absolute_error_is_torchs_to_the_bit(layout: torch.memory_format) -> None:
    generator = torch.Generator().manual_seed(0)
    output, target = (torch.rand(2, 3, 160, 160, generator=generator) for _ in range(2))
    output[0, 0, :8], target[0, 0, :8] = 0.5, 0.5  # no error, hence no gradient
    found = []
    for loss in (mean_absolute_error, F.l1_loss):
        own = output.contiguous(memory_format=layout).requires_grad_()
        value = loss(own, target)
        (3 * value).backward()
        found.append((value, own.grad))
    assert torch.equal(found[0][0], found[1][0])
    assert torch.equal(found[0][1], found[1][1])
    assert found[0][1][0, 0, :8].count_nonzero() == 0


def test_the_mean_absolute_error_of_what_is_not_finite_is_not_finite() -> None:
    for value in (mean_absolute_error(torch.tensor([1.0, bad]), torch.zeros(2)) for bad in (math.nan, math.inf)):
        assert not value.isfinite()
