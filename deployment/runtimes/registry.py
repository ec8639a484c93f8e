"""Detectors behind the `Backend` protocol of models/predictor.py, chosen by file ending or by name.

Nothing heavy is imported before a file is opened, so that an ONNX file runs where torch is not installed, and a
checkpoint where onnxruntime is not.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from data_utils.errors import InputError
from deployment.runtimes.onnx_runtime import OnnxBackend
from deployment.runtimes.openvino_runtime import OpenVinoBackend
from deployment.runtimes.pytorch import TorchBackend, TorchScriptBackend

if TYPE_CHECKING:
    from collections.abc import Callable

    from models.predictor import Backend

__all__ = ["BACKENDS", "OnnxBackend", "OpenVinoBackend", "TorchBackend", "TorchScriptBackend", "open_backend"]

BACKENDS: dict[str, tuple[str, Callable[..., Backend]]] = {
    "torch": (".pt", TorchBackend),
    "onnx": (".onnx", OnnxBackend),
    "openvino": (".xml", OpenVinoBackend),
    "torchscript": (".torchscript", TorchScriptBackend),
}
PRECISIONS = ("auto", "fp32", "bf16", "fp16")


def open_backend(
    weights: str | os.PathLike[str],
    device: str = "auto",
    backend: str = "auto",
    *,
    throughput: bool = False,
    precision: str = "fp32",
) -> Backend:
    """Open `weights` with the backend for its ending, or with the one named.

    device: auto, cpu, cuda, cuda:N or mps; gpu or npu for OpenVINO. throughput: for many frames at once, each on a
    share of the cores, where the library can; else for one frame as soon as possible. precision: of a checkpoint; an
    exported file has its own. Raises InputError for a missing or unreadable file, an unknown ending, a library that is
    not installed, or a device that was asked for and is absent.
    """
    path = Path(weights)
    name = _named(backend, path)
    if not path.is_file():
        raise InputError(f"{path}: no such file; train.py writes checkpoints and export.py the other kinds")
    if name == "torch":
        return TorchBackend(path, device, throughput=throughput, precision=precision)
    if precision not in ("auto", "fp32"):
        raise InputError(f"--precision {precision}: only for a checkpoint; an exported file has its own (export.py)")
    return BACKENDS[name][1](path, device, throughput=throughput)


def _named(backend: str, path: Path) -> str:
    """Return the name of the backend for a file, or the one asked for if it reads such files."""
    fitting = [name for name, (ending, _) in BACKENDS.items() if path.suffix.lower() == ending]
    if backend != "auto" and backend not in BACKENDS:
        raise InputError(f"--backend {backend}: use auto, {', '.join(BACKENDS)}")
    if backend == "openvino" and fitting == ["onnx"]:
        return backend  # it reads ONNX files too
    if backend != "auto" and fitting != [backend]:
        raise InputError(f"--backend {backend}: reads files that end in {BACKENDS[backend][0]}, not {path}")
    if not fitting:
        endings = [ending for ending, _ in BACKENDS.values()]
        raise InputError(f"{path}: weights end in {', '.join(endings[:-1])} or {endings[-1]}, not in '{path.suffix}'")
    return fitting[0]
