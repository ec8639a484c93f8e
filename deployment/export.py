"""Write the detector of a checkpoint as an ONNX file, and keep it only when it agrees with PyTorch.

Legend: B frames; S input side in pixels; A anchors; nc classes. The graph maps float32 [B, 3, S, S], RGB in [0, 1], to
float32 [B, 4+nc, A]: (cx, cy, w, h) in units of the input side, then class scores in [0, 1].
"""

from __future__ import annotations

import json
import os
import shlex
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from data_utils.errors import InputError
from data_utils.types import FloatArray
from deployment.backends import ONNX_FORMAT, OnnxBackend
from models.predictor import DEFAULT_CONF, DEFAULT_IOU
from models.sre_yolo import SREYOLO
from models.weights import load_model

MAX_ABS_ERROR = 1e-4  # between the graph and PyTorch, in units of the input side (boxes) and of scores
MIN_OPSET, MAX_OPSET = 13, 20  # what the tracing exporter of PyTorch writes and ONNX Runtime has long read
CHECK_BATCHES = (1, 3)
INPUT_NAME, OUTPUT_NAME = "images", "detections"


class ParityError(RuntimeError):
    """The exported graph does not agree with PyTorch; nothing was kept."""


@dataclass(frozen=True)
class ExportReport:
    """What was written. errors: largest absolute difference from PyTorch, by check ("random, batch 1", ...)."""

    path: Path
    n_bytes: int
    errors: dict[str, float]
    metadata: dict[str, str]

    def lines(self) -> list[str]:
        """Return what a user wants to read after an export."""
        side = self.metadata["input_size"]
        return [
            *(f"parity   {check}: max abs error {error:.1e}" for check, error in self.errors.items()),
            f"limit    {MAX_ABS_ERROR:.0e} (units: the input side for boxes, 1 for scores)",
            f"size     {self.n_bytes / 1e6:.1f} MB",
            f"wrote    {self.path}",
            f"input    {INPUT_NAME}: float32 [B, 3, {side}, {side}], RGB / 255, plain resize",
            f"output   {OUTPUT_NAME}: float32 [B, 4+nc, A], (cx, cy, w, h) over the input side, then class scores",
            f"classes  {', '.join(json.loads(self.metadata['names']))}",
            f"use      python infer.py --weights {shlex.quote(str(self.path))} --source FRAME_OR_FOLDER_OR_VIDEO",
        ]


class InferenceGraph(nn.Module):
    """The detector alone, with boxes divided by the input side; the SR branch is not part of it."""

    def __init__(self, model: SREYOLO, input_size: int) -> None:
        super().__init__()
        self.backbone = model.backbone
        self.input_size = input_size

    def forward(self, images: Tensor) -> Tensor:
        """Map float32 [B, 3, S, S] to [B, 4+nc, A] with boxes in units of the input side."""
        decoded = self.backbone.detect(images)
        return torch.cat([decoded[:, :4] / self.input_size, decoded[:, 4:]], dim=1)


def export_onnx(weights: Path, target: Path, opset: int = 17) -> ExportReport:
    """Export the checkpoint `weights` to `target`, with names, sizes and origin in the file's metadata.

    Written under a hidden name, checked on random and on image-like input at batch 1 and 3, and renamed only when every
    value agrees within MAX_ABS_ERROR; else it is deleted, an older `target` stays, and ParityError is raised.
    Raises InputError for a bad checkpoint, opset or target.
    """
    if not MIN_OPSET <= opset <= MAX_OPSET:
        raise InputError(f"--opset {opset}: must lie between {MIN_OPSET} and {MAX_OPSET}")
    if target.suffix.lower() != ".onnx":
        raise InputError(f"--out {target}: must end in .onnx")
    model, config, meta = load_model(weights)
    graph = InferenceGraph(model, config.imgsz_lr).eval()  # eval on the wrapper: the exporter restores its mode
    metadata = {
        "format": ONNX_FORMAT,
        "names": json.dumps(meta["names"]),
        "crop_border": json.dumps(config.dataset.crop_border),
        "input_size": str(config.imgsz_lr),
        "normalisation": "RGB, value / 255, plain bilinear resize without letterbox",
        "box_unit": "input side",
        "conf": str(DEFAULT_CONF),
        "iou": str(DEFAULT_IOU),
        "run": str(meta.get("run") or config.run.name or ""),
        "epoch": str(meta["epoch"]),
        "weights_sha256": str(meta["weights_sha256"]),
    }
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{os.getpid()}.part.onnx")
    try:
        write_graph(graph, partial, config.imgsz_lr, opset, metadata)
        errors = parity_errors(graph, OnnxBackend(partial, "cpu"), config.imgsz_lr)
        worst = max(errors, key=lambda check: errors[check])
        if not errors[worst] < MAX_ABS_ERROR:  # NaN fails too
            raise ParityError(
                f"{weights}: the ONNX graph differs from PyTorch by {errors[worst]:.1e} ({worst}; limit "
                f"{MAX_ABS_ERROR:.0e}); the file was deleted. Try another --opset"
            )
        os.replace(partial, target)
    finally:
        partial.unlink(missing_ok=True)
    return ExportReport(target, target.stat().st_size, errors, metadata)


def write_graph(graph: nn.Module, path: Path, input_size: int, opset: int, metadata: dict[str, str]) -> None:
    """Trace `graph` with a dynamic batch into `path` and store `metadata` in it."""
    try:
        import onnx
    except ImportError as error:
        raise InputError(f"exporting needs the package onnx ({error}); install it") from None
    example = torch.zeros(2, 3, input_size, input_size)
    with warnings.catch_warnings(), torch.no_grad():
        # Tracing warns about sizes that become constants: the side is meant to be one, the batch is checked later.
        warnings.simplefilter("ignore")
        n_channels, n_anchors = graph(example).shape[1:]  # also lets the head prepare its anchors, outside the trace
        torch.onnx.export(
            graph,
            (example,),
            str(path),
            dynamo=False,
            opset_version=opset,
            input_names=[INPUT_NAME],
            output_names=[OUTPUT_NAME],
            dynamic_axes={INPUT_NAME: {0: "batch"}, OUTPUT_NAME: {0: "batch"}},
        )
    proto = onnx.load(str(path))
    for dim, size in zip(proto.graph.output[0].type.tensor_type.shape.dim[1:], (n_channels, n_anchors), strict=True):
        dim.dim_value = size  # the trace leaves them open
    onnx.helper.set_model_props(proto, metadata)
    onnx.checker.check_model(proto)
    onnx.save(proto, str(path))


@torch.inference_mode()
def parity_errors(graph: nn.Module, backend: OnnxBackend, input_size: int, seed: int = 0) -> dict[str, float]:
    """Return the largest absolute difference between `backend`'s graph and PyTorch, by kind of input and batch."""
    rng = np.random.default_rng(seed)
    errors = {}
    for kind, draw in {"random": _random_images, "image-like": _smooth_images}.items():
        for batch in CHECK_BATCHES:
            images = draw(rng, batch, input_size)
            expected = graph(torch.from_numpy(images)).numpy()
            if not np.isfinite(expected).all():
                raise InputError("the checkpoint itself gives NaN or infinite values; export one that was trained well")
            errors[f"{kind}, batch {batch}"] = float(np.abs(backend.run_graph(images) - expected).max())
    return errors


def _random_images(rng: np.random.Generator, batch: int, side: int) -> FloatArray:
    return rng.random((batch, 3, side, side), dtype=np.float32)


def _smooth_images(rng: np.random.Generator, batch: int, side: int) -> FloatArray:
    """Draw a coarse pattern enlarged to the input side, with little noise: the statistics of a frame, not of snow."""
    coarse = torch.from_numpy(rng.random((batch, 3, 8, 8), dtype=np.float32))
    smooth = nn.functional.interpolate(coarse, size=(side, side), mode="bicubic").numpy()
    return np.clip(smooth + rng.normal(0, 0.02, smooth.shape), 0, 1).astype(np.float32)
