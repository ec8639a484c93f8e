"""Exported .xml files (with their .bin beside them), and .onnx files, run by OpenVINO."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from data_utils.errors import InputError
from data_utils.records import FloatArray
from deployment.runtimes.exported import ExportedBackend, import_extra, parse_metadata

# Keys of the model's runtime info below which our metadata stands: in our own files, and after reading an ONNX file.
INFO_KEY, ONNX_KEY = "sre_yolo", "framework"
# OpenVINO would compute in bf16 wherever a CPU can, which moves boxes by up to a pixel: only fp16 files may.
_HINTS = {"fp32": "f32", "int8": "f32"}


class OpenVinoBackend(ExportedBackend):
    """A file written by export.py, run by OpenVINO.

    throughput: several frames at once, called from as many threads, each on its share of the cores.
    """

    errors = (RuntimeError, ValueError)

    def __init__(self, weights: Path, device: str = "auto", *, throughput: bool = False) -> None:
        core = import_extra("openvino", f"{weights}: running it with OpenVINO").Core()
        name = _device(device, core.available_devices)
        binary = Path(weights).with_suffix(".bin")
        if Path(weights).suffix.lower() == ".xml" and not binary.is_file():
            raise InputError(f"{binary}: no such file; an OpenVINO model is this and the .xml beside it")
        try:
            model = core.read_model(str(weights))
        except self.errors as error:
            raise InputError(f"{weights}: not a readable OpenVINO file: {_reason(error)}") from None
        meta = parse_metadata(read_info(model), Path(weights))
        meta.check_shapes(Path(weights), _shape(model.input(0)), _shape(model.output(0)))
        if meta.batch is None:
            model.reshape([1, 3, meta.input_size, meta.input_size])  # open sizes cost speed
            meta = replace(meta, batch=1)
        settings = {"PERFORMANCE_HINT": "THROUGHPUT" if throughput else "LATENCY"}
        if hint := _HINTS.get(meta.precision):
            settings["INFERENCE_PRECISION_HINT"] = hint
        try:
            self._compiled: Any = core.compile_model(model, name, settings)
        except self.errors as error:
            raise InputError(f"{weights}: OpenVINO cannot run it on {name}: {_reason(error)}") from None
        parallel = int(self._compiled.get_property("OPTIMAL_NUMBER_OF_INFER_REQUESTS")) if throughput else 1
        super().__init__(Path(weights), meta, parallel)
        self._of_thread = threading.local()  # a request runs one frame at a time, so each thread has its own

    def _run(self, images: FloatArray) -> FloatArray:
        request = getattr(self._of_thread, "request", None)
        if request is None:
            request = self._of_thread.request = self._compiled.create_infer_request()
        request.infer([np.ascontiguousarray(images)])
        return np.array(request.get_output_tensor(0).data, dtype=np.float32)  # the request overwrites its own


def read_info(model: Any) -> dict[str, str]:
    """Return the metadata that `write_info`, or an ONNX file, put into an OpenVINO model; empty for a foreign one."""
    info = dict(model.get_rt_info())
    entries = info.get(INFO_KEY, info.get(ONNX_KEY))
    return {key: str(value.value) for key, value in entries.items()} if isinstance(entries, dict) else {}


def write_info(model: Any, texts: dict[str, str]) -> None:
    """Put metadata into an OpenVINO model; it is saved with it."""
    for key, value in texts.items():
        model.set_rt_info(value, [INFO_KEY, key])


def _reason(error: Exception) -> str:
    """Return what OpenVINO says went wrong; before it stands where in its source that was noticed."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__


def _shape(port: Any) -> list[object]:
    """Return the sizes of a port, None where one is open."""
    return [int(size.get_length()) if size.is_static else None for size in port.partial_shape]


def _device(device: str, available: list[str]) -> str:
    """Name OpenVINO's device; never the CPU for another that was asked for."""
    if device in ("auto", "cpu"):
        return "CPU"
    if device in ("gpu", "npu") and any(name.split(".")[0] == device.upper() for name in available):
        return device.upper()
    raise InputError(f"--device {device}: OpenVINO has {', '.join(available)} here; use auto, cpu, gpu or npu")
