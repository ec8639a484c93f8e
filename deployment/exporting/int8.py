"""Eight-bit files: activations' ranges are taken from real frames; the decoding of boxes stays in float32."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_utils.config.sections import Config
from data_utils.errors import InputError
from data_utils.imaging.images import list_images, read_bgr
from data_utils.lists import read_split_list
from data_utils.records import FloatArray
from deployment.exporting.files import (
    onnx_decode_nodes,
    openvino_decode_nodes,
    read_for_openvino,
    save_onnx,
    save_openvino,
)
from deployment.runtimes.exported import import_extra

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


# Real frames for an export: to compare detections on, and to calibrate eight bits by.


def find_frames(config: Config, split: int, part: str, folder: Path | None) -> list[Path]:
    """List frames: those in `folder` where it is given, else of a part of the checkpoint's own split.

    Empty where no split is prepared here. Raises InputError for a folder without images, and for a split that is not
    there among others that are.
    """
    if folder is not None:
        found = list_images(folder) if folder.is_dir() else []
        if not found:
            raise InputError(f"--frames {folder}: no folder with images")
        return sorted(found)
    listed = config.dataset.split_list(split, part)
    if listed.is_file():
        return [path for path in read_split_list(listed) if path.is_file()]
    if there := config.dataset.split_numbers():
        raise InputError(f"--split {split}: no {listed}; here are {', '.join(f'split{number}' for number in there)}")
    return []


def spread(paths: Sequence[Path], count: int) -> list[Path]:
    """Take at most `count` of the paths, evenly spread, so that neighbouring video frames do not crowd out others."""
    if len(paths) <= count:
        return list(paths)
    return [paths[k] for k in np.linspace(0, len(paths) - 1, count).round().astype(int)]


def read_frames(paths: Sequence[Path]) -> list[NDArray[np.uint8]]:
    """Decode frames, uint8 [H, W, 3] BGR each."""
    return [read_bgr(path).bgr for path in paths]
