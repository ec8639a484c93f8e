"""Writing a traced graph as ONNX, OpenVINO or TorchScript, with its metadata inside."""

from __future__ import annotations

import importlib
import json
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from data_utils.errors import InputError
from deployment.exporting.decode_nodes import onnx_decode_nodes
from deployment.runtimes.openvino_runtime import import_openvino, write_info
from deployment.runtimes.pytorch import METADATA_FILE

INPUT_NAME, OUTPUT_NAME = "images", "detections"


def import_extra(name: str, what: str) -> Any:
    """Import an optional package. Raises InputError, saying what needs it, where it is not installed."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        package = name.partition(".")[0]
        raise InputError(f"{what} needs {package} ({error}); install it: pip install {package}") from None


@torch.no_grad()
def write_onnx(
    graph: nn.Module,
    path: Path,
    input_size: int,
    opset: int,
    metadata: dict[str, str],
    *,
    dynamic: bool = False,
    simplify: bool = False,
) -> None:
    """Trace `graph` into `path`, for one frame or, with `dynamic`, for any number; `metadata` is stored in it."""
    onnx = import_extra("onnx", "exporting")
    example = torch.zeros(2 if dynamic else 1, 3, input_size, input_size)
    with warnings.catch_warnings():
        # Tracing warns about sizes that become constants: the side is meant to be one, the batch is checked later.
        warnings.simplefilter("ignore")
        sizes = graph(example).shape[1:]  # also lets the head prepare its anchors, outside the trace
        torch.onnx.export(
            graph,
            (example,),
            str(path),
            dynamo=False,
            opset_version=opset,
            input_names=[INPUT_NAME],
            output_names=[OUTPUT_NAME],
            dynamic_axes={INPUT_NAME: {0: "batch"}, OUTPUT_NAME: {0: "batch"}} if dynamic else None,
        )
    proto = onnx.load(str(path))
    if simplify:
        proto = import_extra("onnxslim", "--simplify").slim(proto)
    shape = proto.graph.output[0].type.tensor_type.shape
    for dim, size in zip(shape.dim[1:], sizes, strict=True):
        dim.dim_value = size  # the trace leaves them open
    save_onnx(proto, path, metadata)


def save_onnx(proto: Any, path: Path, metadata: dict[str, str]) -> None:
    """Check an ONNX model and write it with `metadata`."""
    import onnx

    onnx.helper.set_model_props(proto, metadata)
    onnx.checker.check_model(proto)
    onnx.save(proto, str(path))


def halve_onnx(path: Path, metadata: dict[str, str]) -> None:
    """Rewrite an ONNX file with float16 weights and arithmetic; input, output and the decoding of boxes stay float32."""
    import onnx

    float16 = import_extra("onnxruntime.transformers.float16", "--half")
    proto = onnx.load(str(path))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it tells of every value that is rounded to a half
        kept = onnx_decode_nodes(proto.graph)
        halved = float16.convert_float_to_float16(proto, keep_io_types=True, node_block_list=kept)
    save_onnx(halved, path, metadata)


def write_openvino(onnx_file: Path, path: Path, metadata: dict[str, str], *, half: bool = False) -> None:
    """Convert an ONNX file into `path` (.xml) and the .bin beside it; half: weights are stored in float16."""
    save_openvino(read_for_openvino(onnx_file), path, metadata, half=half)


def read_for_openvino(onnx_file: Path) -> Any:
    """Read an ONNX file as an OpenVINO model; its `convert_model` would report usage to its makers."""
    return import_openvino("--format openvino").Core().read_model(str(onnx_file))


def save_openvino(model: Any, path: Path, metadata: dict[str, str], *, half: bool = False) -> None:
    """Write an OpenVINO model with `metadata`."""
    openvino = import_openvino("--format openvino")
    write_info(model, metadata)
    openvino.save_model(model, str(path), compress_to_fp16=half)


@torch.no_grad()
def write_torchscript(graph: nn.Module, path: Path, input_size: int, metadata: dict[str, str]) -> None:
    """Trace and freeze `graph`, which folds its batch norms, into `path`."""
    example: Tensor = torch.zeros(1, 3, input_size, input_size)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # sizes that become constants; and TorchScript's own deprecation
        graph(example)
        frozen: Any = torch.jit.freeze(torch.jit.trace(graph, example, check_trace=False))
        torch.jit.save(frozen, str(path), _extra_files={METADATA_FILE: json.dumps(metadata)})
