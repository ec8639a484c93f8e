"""The training loss (Baldini et al. 2025, equation of section 2.3): c1*L_SR + c2*L_bbox + c3*L_dfl + c4*L_cls.

Legend: B batch; S input side; nc classes; A anchors; R reg_max (16).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from data_utils.errors import ResumableError
from models.backbone import ultralytics_module
from models.sre_yolo import SREYOLO
from training import distributed
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


# The watch over the loss: the terms of every batch are fetched, and one that is not finite is never followed.


FILES_NAMED = 16  # of a batch whose loss is not finite
GUARD = "found_inf"  # where this attribute holds a one, torch's fused optimisers leave the weights as they are


class NonFiniteLossError(ResumableError):
    """The loss became NaN or infinite; nothing of that batch reached the weights."""


class Watched(NamedTuple):
    """The terms [T] of one batch, on the CPU, and the batch's number in the run, from 1."""

    batch: int
    terms: Tensor


class _Underway(NamedTuple):
    watched: Watched
    arrival: torch.cuda.Event | None  # None: it is there
    files: Sequence[str]


def lag_on(device: torch.device, scales_gradients: bool) -> int:
    """Return how many batches late the loss is looked at: none, but one on CUDA, where looking waits for the device.

    fp16's gradient scaler sets the optimiser's guard itself, so there the loss is looked at at once.
    """
    return 1 if device.type == "cuda" and not scales_gradients else 0


class LossWatch:
    """Fetches the terms of an epoch's batches, `lag` batches late, and refuses a loss that is not finite.

    With a lag, steps have been asked for by the time a bad loss is seen. So the optimiser, which must be a fused one,
    gets a guard that the device itself sets: from the first bad loss on, a step changes no weights. Terms are means
    over all processes, so all of them stop together.
    """

    def __init__(self, names: Sequence[str], epoch: int, optimizer: torch.optim.Optimizer, lag: int) -> None:
        """names: of the terms, the one that is minimised first. epoch: its number, from 1."""
        self._names, self._epoch, self._lag = names, epoch, lag
        self._underway: deque[_Underway] = deque()
        self._device = optimizer.param_groups[0]["params"][0].device
        self._guard = torch.zeros((), device=self._device)
        if lag:
            assert optimizer.defaults["fused"], "only a fused optimiser can be held back by the device"
            setattr(optimizer, GUARD, self._guard)

    def follow(self, batch: int, terms: Tensor, files: Sequence[str]) -> list[Watched]:
        """Take the terms of batch `batch` before its optimiser step; returns what has arrived in the meantime.

        Raises NonFiniteLossError for a batch that has arrived and whose loss is not finite; `files` are its frames.
        """
        terms = distributed.summed(terms) / distributed.world_size()
        if self._lag:
            self._guard.logical_or_(~torch.isfinite(terms[0]))
        on_cpu, arrival = _sent_to_cpu(terms)
        self._underway.append(_Underway(Watched(batch, on_cpu), arrival, files))
        return self._arrived(self._lag)

    def rest(self) -> list[Watched]:
        """Return the batches still under way, once the device has done all its work; raises as `follow` does."""
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)  # so that an epoch's time holds its last step
        return self._arrived(0)

    def _arrived(self, under_way: int) -> list[Watched]:
        """Wait until no more than `under_way` batches are left."""
        found = []
        while len(self._underway) > under_way:
            watched, arrival, files = self._underway.popleft()
            if arrival is not None:
                arrival.synchronize()
            self._require_finite(watched.terms, files)
            found.append(watched)
        return found

    def _require_finite(self, terms: Tensor, files: Sequence[str]) -> None:
        if torch.isfinite(terms[0]):
            return
        values = ", ".join(f"{name} {value:.4g}" for name, value in zip(self._names, terms.tolist(), strict=True))
        named = ", ".join(Path(path).name for path in files[:FILES_NAMED])
        raise NonFiniteLossError(
            f"the loss is not finite in epoch {self._epoch}: {values}; files: {named}; look at them, "
            "or train with a lower lr0 or run.precision=fp32"
        )


def _sent_to_cpu(terms: Tensor) -> tuple[Tensor, torch.cuda.Event | None]:
    """Return a copy on the CPU, and on CUDA the event that says when it is whole: nobody waits for it here."""
    if not terms.is_cuda:
        return terms.cpu(), None
    copy = torch.empty(terms.shape, dtype=terms.dtype, pin_memory=True)
    copy.copy_(terms, non_blocking=True)
    arrival = torch.cuda.Event()
    arrival.record(torch.cuda.current_stream(terms.device))
    return copy, arrival
