"""Checkpoints and TorchScript files, run by PyTorch."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from data_utils.errors import InputError
from data_utils.records import FloatArray
from deployment.runtimes.exported import ExportedBackend, check_images, first_line, parse_metadata

METADATA_FILE = "metadata.json"  # inside a TorchScript archive


class TorchBackend:
    """A checkpoint of this project, run by PyTorch in eval mode.

    Each batch norm is folded into its convolution, and memory is laid out channels-last. precision: fp32, bf16, fp16,
    or auto (fp32 on a CPU, half where a GPU has it); boxes are decoded in float32 whatever it is. threshold: the score
    chosen on validation frames, or None.
    """

    parallel = 1  # PyTorch spreads one frame over the cores itself

    def __init__(
        self, weights: Path, device: str = "auto", *, throughput: bool = False, precision: str = "fp32"
    ) -> None:
        try:
            import torch
        except ImportError as error:
            raise InputError(
                f"{weights}: a checkpoint needs torch ({error}); without it use the .onnx that export.py makes"
            ) from None
        from models.checkpoint import load_model, pick_device
        from models.precision import pick_precision

        self._torch = torch
        self.device = pick_device(device)
        self.number_format = pick_precision(precision, self.device)
        self.precision = self.number_format.name
        model, config, meta = load_model(weights, device=self.device)
        model.eval()
        detector: Any = model.backbone.detector
        detector.fuse(verbose=False)
        self._model: Any = model.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        self.input_size: int = config.imgsz_lr
        self.names: tuple[str, ...] = tuple(meta["names"])
        self.crop_border: bool = config.dataset.crop_border
        self.threshold: float | None = meta["threshold"]

    def __call__(self, images: FloatArray) -> FloatArray:
        """Detect in float32 [B, 3, S, S]; returns float32 [B, 4+nc, A] with boxes in input pixels."""
        from models.precision import autocast

        check_images(images, self.input_size)
        with self._torch.inference_mode(), autocast(self.precision, self.device):
            batch = self._torch.from_numpy(np.ascontiguousarray(images)).to(self.device)
            batch = batch.contiguous(memory_format=self._torch.channels_last)
            return self._model(batch, inference=True).float().cpu().numpy()


class TorchScriptBackend(ExportedBackend):
    """A .torchscript file written by export.py, run by PyTorch on the CPU.

    Such a file is a program of tensor operations, as an ONNX graph is; no Python in it is executed.
    """

    errors = (RuntimeError,)

    def __init__(self, weights: Path, device: str = "auto", *, throughput: bool = False) -> None:
        try:
            import torch
            import torchvision  # noqa: F401 - registers the NMS that a file may hold
        except ImportError as error:
            raise InputError(f"{weights}: a TorchScript file needs torch ({error}); use an .onnx without it") from None
        if device not in ("auto", "cpu"):
            raise InputError(f"--device {device}: a TorchScript file runs on the CPU alone; use the checkpoint")
        self._torch = torch
        extra: dict[str, Any] = {METADATA_FILE: ""}
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # PyTorch advises torch.export, whose files are pickles of programs
                self._model: Any = torch.jit.load(str(weights), map_location="cpu", _extra_files=extra).eval()
            texts = json.loads(extra[METADATA_FILE] or "{}")
        except (RuntimeError, ValueError) as error:
            raise InputError(f"{weights}: not a readable TorchScript file: {first_line(error)}") from None
        super().__init__(Path(weights), parse_metadata(texts, Path(weights)), 1)

    def _run(self, images: FloatArray) -> FloatArray:
        with self._torch.inference_mode():
            return self._model(self._torch.from_numpy(np.ascontiguousarray(images))).numpy()
