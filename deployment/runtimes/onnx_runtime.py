"""Exported .onnx files, run by ONNX Runtime."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import numpy as np

from data_utils.errors import InputError
from data_utils.processes import available_cores
from data_utils.records import FloatArray
from deployment.runtimes.exported import ExportedBackend, first_line, parse_metadata

CUDA = "CUDAExecutionProvider"


class OnnxBackend(ExportedBackend):
    """A file written by export.py, run by ONNX Runtime.

    throughput: one core for each of several frames, called from as many threads, instead of all cores for one.
    """

    def __init__(self, weights: Path, device: str = "auto", *, throughput: bool = False) -> None:
        try:
            import onnxruntime
        except ImportError as error:
            raise InputError(f"{weights}: an ONNX file needs onnxruntime ({error}); install it") from None
        providers = _providers(device, onnxruntime.get_available_providers())
        cores = available_cores()
        spread = throughput and cores > 1 and providers[0] != CUDA
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4  # only fatal ones: errors reach the caller as exceptions
        options.intra_op_num_threads = 1 if spread else cores
        self.errors = _errors()
        try:
            self._session: Any = onnxruntime.InferenceSession(str(weights), options, providers=providers)
        except self.errors as error:
            raise InputError(f"{weights}: not a readable ONNX file: {first_line(error)}") from None
        if self._session.get_providers()[0] != providers[0]:
            raise InputError(f"--device {device}: ONNX Runtime could not start {providers[0]}; use --device cpu")
        meta = parse_metadata(dict(self._session.get_modelmeta().custom_metadata_map), Path(weights))
        given, taken = self._session.get_inputs()[0], self._session.get_outputs()[0]
        meta.check_shapes(Path(weights), given.shape, taken.shape)
        super().__init__(Path(weights), meta, cores if spread else 1)
        self._input_name: str = given.name

    def _run(self, images: FloatArray) -> FloatArray:
        return np.asarray(self._session.run(None, {self._input_name: images})[0], dtype=np.float32)


def _providers(device: str, available: list[str]) -> list[str]:
    """Name the execution providers for `device`, first choice first; never the CPU for a GPU that was asked for."""
    kind, _, index = device.partition(":")
    if kind not in ("auto", "cpu", "cuda") or (index and not (kind == "cuda" and index.isdigit())):
        raise InputError(f"--device {device}: ONNX Runtime takes auto, cpu, cuda or cuda:0")
    if index not in ("", "0"):
        raise InputError(f"--device {device}: only the first GPU is used; hide the others with CUDA_VISIBLE_DEVICES")
    if kind == "cuda" and CUDA not in available:
        raise InputError(f"--device {device}: no CUDA in this onnxruntime; install onnxruntime-gpu or use --device cpu")
    return [CUDA, "CPUExecutionProvider"] if kind != "cpu" and CUDA in available else ["CPUExecutionProvider"]


def _errors() -> tuple[type[Exception], ...]:
    """ONNX Runtime's exceptions about a file or its input; they share no base class of their own."""
    state = importlib.import_module("onnxruntime.capi.onnxruntime_pybind11_state")
    about_graph = (state.Fail, state.InvalidGraph, state.InvalidProtobuf, state.NoSuchFile, state.NotImplemented)
    return (*about_graph, state.InvalidArgument, state.RuntimeException)
