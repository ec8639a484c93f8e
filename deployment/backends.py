"""Detectors behind the `Backend` protocol of models/predictor.py, chosen by file ending.

Legend: B frames; S input side in pixels; A anchors; nc classes. Nothing heavy is imported before a file is opened, so
that an ONNX file runs where torch is not installed, and a checkpoint where onnxruntime is not.
"""

from __future__ import annotations

import importlib
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from data_utils.errors import InputError
from data_utils.types import FloatArray

if TYPE_CHECKING:
    from collections.abc import Callable

    import onnxruntime

    from models.predictor import Backend

ONNX_FORMAT = "sre-yolo-1"  # value of the metadata key "format": our layout, box unit and normalisation


class TorchBackend:
    """A checkpoint of this project, run by PyTorch in eval mode with each batch norm folded into its convolution."""

    def __init__(self, weights: Path, device: str = "auto") -> None:
        try:
            import torch
        except ImportError as error:
            raise InputError(
                f"{weights}: a checkpoint needs torch ({error}); without it use the .onnx that export.py makes"
            ) from None
        from models.weights import load_model, pick_device

        self._torch = torch
        self.device = pick_device(device)
        model, config, meta = load_model(weights, device=self.device)
        model.eval()
        detector: Any = model.backbone.detector
        detector.fuse(verbose=False)
        self._model: Any = model.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        self.input_size: int = config.imgsz_lr
        self.names: tuple[str, ...] = tuple(meta["names"])
        self.crop_border: bool = config.dataset.crop_border

    def __call__(self, images: FloatArray) -> FloatArray:
        """Detect in float32 [B, 3, S, S]; returns float32 [B, 4+nc, A] with boxes in input pixels."""
        _check_images(images, self.input_size)
        with self._torch.inference_mode():
            batch = self._torch.from_numpy(np.ascontiguousarray(images)).to(self.device)
            return self._model(batch, inference=True).float().cpu().numpy()


class OnnxBackend:
    """A file written by export.py, run by ONNX Runtime; sizes, names and units come from its metadata."""

    def __init__(self, weights: Path, device: str = "auto") -> None:
        try:
            import onnxruntime
        except ImportError as error:
            raise InputError(f"{weights}: an ONNX file needs onnxruntime ({error}); install it") from None
        providers = _onnx_providers(device, onnxruntime.get_available_providers())
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4  # only fatal ones: errors reach the caller as exceptions
        self.path = Path(weights)
        self._errors = _onnx_errors()
        try:
            self._session: Any = onnxruntime.InferenceSession(str(weights), options, providers=providers)
        except self._errors as error:
            raise InputError(f"{weights}: not a readable ONNX file: {_first_line(error)}") from None
        if self._session.get_providers()[0] != providers[0]:
            raise InputError(f"--device {device}: ONNX Runtime could not start {providers[0]}; use --device cpu")
        self.metadata = _onnx_metadata(self._session, self.path)
        self.input_size: int = int(self.metadata["input_size"])
        self.names: tuple[str, ...] = tuple(json.loads(self.metadata["names"]))
        self.crop_border: bool = self.metadata.get("crop_border") == "true"  # absent in older files
        self._input_name: str = self._session.get_inputs()[0].name

    def __call__(self, images: FloatArray) -> FloatArray:
        """Detect in float32 [B, 3, S, S]; returns float32 [B, 4+nc, A] with boxes in input pixels."""
        raw = self.run_graph(images)
        raw[:, :4] *= self.input_size
        return raw

    def run_graph(self, images: FloatArray) -> FloatArray:
        """Return what the graph itself gives: float32 [B, 4+nc, A] with boxes in units of the input side.

        Raises InputError for a shape or type that the file does not take.
        """
        _check_images(images, self.input_size)
        try:
            raw = self._session.run(None, {self._input_name: images})[0]
        except self._errors as error:
            shape = list(images.shape)
            raise InputError(f"{self.path}: refused a batch of shape {shape}: {_first_line(error)}") from None
        return np.asarray(raw, dtype=np.float32)


BACKENDS: dict[str, Callable[[Path, str], Backend]] = {
    ".pt": TorchBackend,
    ".onnx": OnnxBackend,
}


def open_backend(weights: str | os.PathLike[str], device: str = "auto") -> Backend:
    """Open `weights` with the backend for its ending; device: auto, cpu, cuda, cuda:N or mps.

    Raises InputError for a missing or unreadable file, an unknown ending, or a device that was asked for and is absent.
    """
    path = Path(weights)
    if path.suffix.lower() not in BACKENDS:
        raise InputError(f"{path}: weights end in {' or '.join(BACKENDS)}, not in '{path.suffix}'")
    if not path.is_file():
        raise InputError(f"{path}: no such file; train.py writes checkpoints and export.py writes ONNX files")
    return BACKENDS[path.suffix.lower()](path, device)


def _check_images(images: FloatArray, size: int) -> None:
    if images.ndim != 4 or images.shape[1:] != (3, size, size) or images.dtype != np.float32 or not len(images):
        raise InputError(
            f"this detector takes float32 [B, 3, {size}, {size}] with B >= 1, got {images.dtype} {list(images.shape)}"
        )


def _onnx_providers(device: str, available: list[str]) -> list[str]:
    """Name the execution providers for `device`, first choice first; never the CPU for a GPU that was asked for."""
    kind, _, index = device.partition(":")
    if kind not in ("auto", "cpu", "cuda") or (index and not (kind == "cuda" and index.isdigit())):
        raise InputError(f"--device {device}: ONNX Runtime takes auto, cpu, cuda or cuda:0")
    if index not in ("", "0"):
        raise InputError(f"--device {device}: only the first GPU is used; hide the others with CUDA_VISIBLE_DEVICES")
    gpu = "CUDAExecutionProvider"
    if kind == "cuda" and gpu not in available:
        raise InputError(f"--device {device}: no CUDA in this onnxruntime; install onnxruntime-gpu or use --device cpu")
    return [gpu, "CPUExecutionProvider"] if kind != "cpu" and gpu in available else ["CPUExecutionProvider"]


def _onnx_metadata(session: onnxruntime.InferenceSession, path: Path) -> dict[str, str]:
    """Read the metadata and hold it against the graph's shapes; InputError for a file export.py did not write."""
    metadata = dict(session.get_modelmeta().custom_metadata_map)
    if metadata.get("format") != ONNX_FORMAT:
        raise InputError(f"{path}: not written by this project's export.py (metadata 'format' is not {ONNX_FORMAT})")
    try:
        size, n_classes = int(metadata["input_size"]), len(json.loads(metadata["names"]))
    except (KeyError, ValueError, TypeError) as error:
        raise InputError(f"{path}: metadata is damaged ({error}); export the checkpoint again") from None
    input_shape, output_shape = session.get_inputs()[0].shape, session.get_outputs()[0].shape
    if list(input_shape[1:]) != [3, size, size] or output_shape[1] != 4 + n_classes:
        raise InputError(
            f"{path}: metadata says {n_classes} classes at {size} px, but the graph maps {input_shape} to "
            f"{output_shape}; export the checkpoint again"
        )
    return metadata


def _onnx_errors() -> tuple[type[Exception], ...]:
    """ONNX Runtime's exceptions about a file or its input; they share no base class of their own."""
    state = importlib.import_module("onnxruntime.capi.onnxruntime_pybind11_state")
    about_graph = (state.Fail, state.InvalidGraph, state.InvalidProtobuf, state.NoSuchFile, state.NotImplemented)
    return (*about_graph, state.InvalidArgument, state.RuntimeException)


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__).strip()
