"""What a file must pass before it is kept. Nothing here knows a file format: backends are compared.

Legend: B frames; S input side in pixels; A anchors; nc classes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from data_utils.config.sections import Config
from data_utils.errors import InputError
from data_utils.records import Detections, FloatArray, FrameResult, iou_xyxy
from deployment.runtimes.exported import ExportedBackend
from evaluation.metrics import compute_ap50
from evaluation.passes.evaluation_set import EvaluationSet, open_evaluation_set
from evaluation.passes.predict import predict
from evaluation.scoring.matching import greedy_match
from models.predictor import Backend, Predictor

if TYPE_CHECKING:
    from models.predictor import Backend

# Whether two backends find the same in the same frames.


SAME_OBJECT = 0.5  # least IoU of two detections of one object


@dataclass(frozen=True)
class Agreement:
    """Detections of two backends compared.

    matched: pairs of one class with IoU >= 0.5. unmatched: those of either side without a partner, but for those whose
    score is so near the threshold that rounding alone may decide. box_px: largest difference of a corner, in frame
    pixels; score: largest difference of scores. n_reference, n_found: detections of either side.
    """

    n_frames: int
    n_reference: int
    n_found: int
    matched: int
    unmatched: int
    box_px: float
    score: float

    @property
    def share(self) -> float:
        """Matched detections over all of either side, in [0, 1]; 1 where neither found anything."""
        total = self.n_reference + self.n_found
        return 2 * self.matched / total if total else 1.0

    def holds(self, box_px: float, score: float) -> bool:
        """Tell whether both found the same: no detection alone, corners and scores within the limits."""
        return self.unmatched == 0 and self.box_px <= box_px and self.score <= score

    def __str__(self) -> str:
        counts = f"{self.matched} of {self.n_reference} detections in {self.n_frames} frames found again"
        return f"{counts}, {self.unmatched} alone, corners within {self.box_px:.3f} px, scores within {self.score:.1e}"


def compare(
    reference: Sequence[Detections], found: Sequence[Detections], conf: float, near: float = 1e-3
) -> Agreement:
    """Compare detections with scores above `conf`, frame by frame; near: what scores may differ by from `conf`."""
    matched = unmatched = 0
    box_px = score = 0.0
    for ours, theirs in zip(reference, found, strict=True):
        iou = iou_xyxy(ours.boxes_xyxy, theirs.boxes_xyxy)
        same_class = ours.class_ids[:, None] == theirs.class_ids[None, :]
        partner = greedy_match(np.where(same_class, iou, 0.0), SAME_OBJECT)
        pairs, taken = np.flatnonzero(partner >= 0), partner[partner >= 0]
        if len(pairs):
            box_px = max(box_px, float(np.abs(ours.boxes_xyxy[pairs] - theirs.boxes_xyxy[taken]).max()))
            score = max(score, float(np.abs(ours.scores[pairs] - theirs.scores[taken]).max()))
        alone = [ours.scores[partner < 0], np.delete(theirs.scores, taken)]
        unmatched += int((np.concatenate(alone) > conf + near).sum())
        matched += len(pairs)
    n_reference, n_found = (sum(map(len, side)) for side in (reference, found))
    return Agreement(len(reference), n_reference, n_found, matched, unmatched, box_px, score)


MAX_ABS_ERROR = 1e-4  # between a float32 file and PyTorch, in units of the input side (boxes) and of scores
MAX_BOX_PX, MAX_SCORE = 0.5, 1e-3  # between their detections on real frames: frame pixels, scores
HALF_BOX_PX, HALF_SCORE = 5.0, 0.02  # the same for files of half precision, whose rounded weights move vague edges
MAX_AP50_DROP = 0.02  # of an INT8 file on the validation list
LOW_CONF = 0.01  # for weights that find nothing above the usual threshold
CHECK_BATCHES = (1, 3)


class ParityError(RuntimeError):
    """The exported file does not agree with PyTorch; nothing was kept."""


@torch.inference_mode()
def parity_errors(graph: nn.Module, backend: ExportedBackend, seed: int = 0) -> dict[str, float]:
    """Return the largest absolute difference between `backend`'s graph and PyTorch, by kind of input and batch."""
    rng, side = np.random.default_rng(seed), backend.input_size
    errors = {}
    for kind, draw in {"random": _random_images, "image-like": smooth_images}.items():
        for batch in CHECK_BATCHES:
            images = draw(rng, batch, side)
            expected = graph(torch.from_numpy(images)).numpy()
            if not np.isfinite(expected).all():
                raise InputError("the checkpoint itself gives NaN or infinite values; export one that was trained well")
            errors[f"{kind}, batch {batch}"] = float(np.abs(backend.run_graph(images) - expected).max())
    return errors


def check_parity(errors: dict[str, float], what: str, limit: float) -> None:
    """Raise ParityError when an error of `parity_errors` is not below `limit`."""
    worst = max(errors, key=lambda check: errors[check])
    if not errors[worst] < limit:  # NaN fails too
        raise ParityError(
            f"{what} differs from PyTorch by {errors[worst]:.1e} ({worst}; limit {limit:.0e}); the file was deleted. "
            "Try another --opset"
        )


def detections_agree(
    reference: Backend, file: Backend, frames: Sequence[NDArray[np.uint8]], conf: float, iou: float
) -> Agreement:
    """Compare what the two find in real frames, at `conf`, or at LOW_CONF where nothing is found above that.

    A file with the suppression in its graph can only be asked at its own `conf`.
    """
    fixed = isinstance(file, ExportedBackend) and file.meta.nms
    ours = [Predictor(reference, conf, iou).predict(bgr) for bgr in frames]
    if not fixed and not any(map(len, ours)):
        conf = LOW_CONF
        ours = [Predictor(reference, conf, iou).predict(bgr) for bgr in frames]
    theirs = [Predictor(file, conf, iou).predict(bgr) for bgr in frames]
    return compare(ours, theirs, conf)


def check_agreement(agreement: Agreement, what: str, box_px: float, score: float) -> None:
    """Raise ParityError when the two did not find the same."""
    if not agreement.holds(box_px, score):
        limits = f"limits {box_px:g} px and {score:g}"
        raise ParityError(f"{what}: on real frames {agreement}; {limits}; the file was deleted")


def check_ap50(before: float | None, after: float | None, what: str) -> None:
    """Raise ParityError when AP50 fell by more than MAX_AP50_DROP."""
    if before is not None and (after is None or before - after > MAX_AP50_DROP):
        raise ParityError(
            f"{what}: AP50 on the validation list fell from {before:.4f} to {after or 0:.4f} (limit {MAX_AP50_DROP}); "
            "the file was deleted. Try more frames: --calib"
        )



def _random_images(rng: np.random.Generator, batch: int, side: int) -> FloatArray:
    return rng.random((batch, 3, side, side), dtype=np.float32)


def smooth_images(rng: np.random.Generator, batch: int, side: int) -> FloatArray:
    """Draw a coarse pattern enlarged to the input side, with little noise: the statistics of a frame, not of snow."""
    coarse = torch.from_numpy(rng.random((batch, 3, 8, 8), dtype=np.float32))
    smooth = nn.functional.interpolate(coarse, size=(side, side), mode="bicubic").numpy()
    return np.clip(smooth + rng.normal(0, 0.02, smooth.shape), 0, 1).astype(np.float32)


# AP50 of any backend, by the same evaluation as a checkpoint's.


class BackendModule(nn.Module):
    """A backend that can be evaluated as if it were a model on the CPU."""

    def __init__(self, backend: Backend) -> None:
        super().__init__()
        self.backend = backend

    def forward(self, images: Tensor, inference: bool = True) -> Tensor:
        """Map float32 [B, 3, S, S] to raw [B, 4+nc, A], as SREYOLO does with `inference`."""
        return torch.from_numpy(self.backend(images.numpy()))


def open_part(config: Config, split: int, part: str) -> EvaluationSet | None:
    """Open a part of the checkpoint's split, read in this process; None where it is not prepared here."""
    if not config.dataset.split_list(split, part).is_file():
        return None
    run = config.run.model_copy(update={"workers": 0, "sr_metric_frames": 0})
    return open_evaluation_set(config.model_copy(update={"run": run}), split, part)


def evaluate_backend(backend: Backend, loader: Iterable[Any], config: Config, sizes: Any) -> list[FrameResult]:
    """Detect in every frame of `loader` with evaluation's thresholds; see `evaluation.passes.predict.predict`."""
    return predict(BackendModule(backend), loader, "cpu", config, sizes)


def ap50_of(backend: Backend, frames: EvaluationSet, config: Config) -> float | None:
    """Return AP at IoU 0.5, the mean over the classes that have truth; None without truth."""
    return compute_ap50(evaluate_backend(backend, frames.loader, config, frames.sizes), config.dataset.nc)
