"""What a file must pass before it is kept. Nothing here knows a file format: backends are compared.

Legend: B frames; S input side in pixels; A anchors; nc classes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from data_utils.errors import InputError
from data_utils.types import FloatArray
from deployment.agreement import Agreement, compare
from deployment.runtimes.exported import ExportedBackend
from models.predictor import Backend, Predictor

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
