"""Eight-bit files: activations' ranges are taken from real frames; the decoding of boxes stays in float32."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from data_utils.types import FloatArray
from deployment.exporting.decode_nodes import onnx_decode_nodes, openvino_decode_nodes
from deployment.exporting.files import read_for_openvino, save_onnx, save_openvino
from deployment.runtimes.extras import import_extra

QUIET = "NNCF_CI"  # this environment variable turns nncf's telemetry off


def quantise_onnx(path: Path, inputs: Sequence[FloatArray], metadata: dict[str, str]) -> None:
    """Rewrite an ONNX file for one frame with its convolutions in eight bits.

    inputs: float32 [1, 3, S, S] each. Weights take seven of the eight bits: without VNNI a CPU adds two products of
    eight in 16 bits, which overflow.
    """
    import onnx

    quantization = import_extra("onnxruntime.quantization", "--int8")

    class Reader(quantization.CalibrationDataReader):
        """Hands the inputs out, one at a time."""

        def __init__(self) -> None:
            self._left = iter(inputs)

        def get_next(self) -> dict[str, FloatArray] | None:
            frame = next(self._left, None)
            return None if frame is None else {onnx.load(str(path)).graph.input[0].name: frame}

    target = path.with_name(f"{path.stem}.int8.onnx")
    logger, level = logging.getLogger(), logging.getLogger().level
    try:
        logger.setLevel(logging.ERROR)  # it advises a step that these graphs do not need
        quantization.quantize_static(
            str(path),
            str(target),
            Reader(),
            quant_format=quantization.QuantFormat.QDQ,
            op_types_to_quantize=["Conv"],
            per_channel=True,
            reduce_range=True,
            nodes_to_exclude=onnx_decode_nodes(onnx.load(str(path)).graph),
        )
        save_onnx(onnx.load(str(target)), path, metadata)
    finally:
        logger.setLevel(level)
        target.unlink(missing_ok=True)


def quantise_openvino(
    onnx_file: Path, path: Path, inputs: Sequence[FloatArray], metadata: dict[str, str]
) -> None:
    """Write an ONNX file as an OpenVINO one in eight bits; the rest as in `quantise_onnx`."""
    model = read_for_openvino(onnx_file)
    nncf = import_nncf()
    quantised = nncf.quantize(
        model,
        nncf.Dataset(list(inputs)),
        subset_size=len(inputs),
        preset=nncf.QuantizationPreset.MIXED,  # SiLU's outputs are not symmetric
        ignored_scope=nncf.IgnoredScope(names=openvino_decode_nodes(model), validate=False),
        advanced_parameters=nncf.AdvancedQuantizationParameters(overflow_fix=nncf.OverflowFix.ENABLE),
    )
    save_openvino(quantised, path, metadata)


def import_nncf() -> Any:
    """Import nncf, silenced, and without its report of usage. Raises InputError where it is not installed."""
    was_set = QUIET in os.environ
    os.environ.setdefault(QUIET, "1")  # read once, when it is imported
    try:
        nncf = import_extra("nncf", "--int8 for OpenVINO")
    finally:
        if not was_set:
            del os.environ[QUIET]
    logging.getLogger("nncf").setLevel(logging.ERROR)
    return nncf


def as_inputs(images: FloatArray) -> list[FloatArray]:
    """Split float32 [B, 3, S, S] into B inputs for one frame."""
    return [np.ascontiguousarray(image[None]) for image in images]
