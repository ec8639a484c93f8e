"""The training loss (Baldini et al. 2025, equation of section 2.3): c1*L_SR + c2*L_bbox + c3*L_dfl + c4*L_cls.

Legend: B batch; S input side; nc classes; A anchors; R reg_max (16).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from models.backbone import ultralytics_module
from models.sre_yolo import SREYOLO
from training.distributed import share_of_mean, summed

# term -> the constructor's weight for it, in the paper's order
LOSS_TERMS = {"l_sr": "c1", "l_bbox": "c2", "l_dfl": "c3", "l_cls": "c4"}
LOSS_COLUMNS = ("total_loss", *LOSS_TERMS)


class _MeanAbsoluteError(torch.autograd.Function):
    # F.l1_loss to the bit, in fewer passes on the way back: these are the branch's largest maps.

    @staticmethod
    def forward(ctx: Any, output: Tensor, target: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        difference = output - target
        ctx.save_for_backward(difference)
        return difference.abs().mean()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        (difference,) = ctx.saved_tensors
        return difference.sign().mul_(gradient / difference.numel()), None


def mean_absolute_error(output: Tensor, target: Tensor) -> Tensor:
    """Return the mean of |output - target|, differentiable in `output` alone and once; any equal shapes, one dtype."""
    return _MeanAbsoluteError.apply(output, target)  # pyright: ignore[reportReturnType]


class SREYOLOLoss(nn.Module):
    """Weighted sum of four terms; the terms themselves are returned unweighted.

    l_sr: mean absolute error against the HR frame. l_bbox: 1 - CIoU. l_dfl: distribution focal loss. l_cls: BCE. The
    last three are YOLOv8's, normalised by the sum of the task-aligned target scores.

    Under torchrun each process sees its share of the batch; its terms are weighted so that their mean over processes is
    the term of the whole batch, normalised by the whole batch's target scores.

    loss_scale: `sum` is the plain sum above. `batch` multiplies the detection terms, and not L_SR, by the batch size,
    as ultralytics and SuperYOLO do; the branch's effective weight is then c1 / B.
    """

    def __init__(self, model: SREYOLO, c1: float, c2: float, c3: float, c4: float, loss_scale: str = "sum") -> None:
        super().__init__()
        self.weights = {"l_sr": c1, "l_bbox": c2, "l_dfl": c3, "l_cls": c4}
        self.loss_scale = loss_scale
        self._detection_loss = ultralytics_module("utils.loss").v8DetectionLoss(model.backbone.detector)
        self._detection_loss.assigner.register_forward_hook(self._keep_target_scores)
        self._target_scores: Tensor | None = None

    def forward(self, model_output: dict[str, Any], targets: dict[str, Tensor]) -> dict[str, Tensor]:
        """Compare the model's output with float `labels` [N, 6] (index in batch, class, cx, cy, w, h in [0, 1]) and,
        where the model has a branch, float `hr_image` [B, 3, 2S, 2S] in [0, 1].

        Rows of labels may come in any order. Where predictions is None, as when the branch is trained alone, the
        detection terms are 0 and the labels are not looked at. Raises ValueError when hr_image and the branch's output
        differ in shape. Returns scalars: total_loss (differentiable), l_sr, l_bbox, l_dfl, l_cls (unweighted,
        differentiable).
        """
        predictions = model_output["predictions"]
        l_sr = self._sr_term(model_output["sr_output"], targets)
        if predictions is None:
            nothing = l_sr.new_zeros(())
            return {"total_loss": self.weights["l_sr"] * l_sr, **dict.fromkeys(LOSS_TERMS, nothing), "l_sr": l_sr}
        raw = predictions[1] if isinstance(predictions, tuple) else predictions
        terms = {"l_sr": l_sr, **self._detection_terms(raw, targets["labels"])}
        batch_scale = self._batch_size(raw["scores"]) if self.loss_scale == "batch" else 1
        scale = {"l_sr": 1, "l_bbox": batch_scale, "l_dfl": batch_scale, "l_cls": batch_scale}
        total = torch.stack([self.weights[name] * scale[name] * terms[name] for name in LOSS_TERMS]).sum()
        return {"total_loss": total, **terms}

    def _sr_term(self, sr_output: Tensor | None, targets: dict[str, Tensor]) -> Tensor:
        if sr_output is None:
            return targets["labels"].new_zeros(())
        hr_image = targets["hr_image"]
        if hr_image.shape != sr_output.shape:  # a batch of one would be stretched over the others
            raise ValueError(f"hr_image is {list(hr_image.shape)}, the branch's output {list(sr_output.shape)}")
        n_frames = hr_image.new_tensor(float(len(hr_image)))
        return mean_absolute_error(sr_output.float(), hr_image.float()) * share_of_mean(n_frames)

    def _detection_terms(self, raw: dict[str, Any], labels: Tensor) -> dict[str, Tensor]:
        # The assigner works in float32: half precision would round box coordinates to several pixels.
        # ultralytics counts a frame's boxes by their distance from its first row: rows of one frame must be neighbours.
        labels = labels[labels[:, 0].argsort(stable=True)].float()
        preds = {"boxes": raw["boxes"].float(), "scores": raw["scores"].float(), "feats": raw["feats"]}
        batch = {"batch_idx": labels[:, 0], "cls": labels[:, 1], "bboxes": labels[:, 2:]}
        _, (l_bbox, l_cls, l_dfl), _ = self._detection_loss.get_assigned_targets_and_loss(preds, batch)
        assert self._target_scores is not None
        share = share_of_mean(self._target_scores.sum(), floor=1.0)  # v8DetectionLoss divides by at least 1
        return {"l_bbox": l_bbox * share, "l_dfl": l_dfl * share, "l_cls": l_cls * share}

    def _keep_target_scores(self, _assigner: nn.Module, _inputs: Any, assigned: tuple[Tensor, ...]) -> None:
        self._target_scores = assigned[2]

    @staticmethod
    def _batch_size(scores: Tensor) -> int:
        return int(summed(scores.new_tensor(float(len(scores)))))
