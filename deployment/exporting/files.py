"""Writing a traced graph as ONNX, OpenVINO or TorchScript, with its metadata inside."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from deployment.runtimes.extras import import_extra
from deployment.runtimes.openvino_runtime import write_info
from deployment.runtimes.pytorch import METADATA_FILE

INPUT_NAME, OUTPUT_NAME = "images", "detections"


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
    """Rewrite an ONNX file with its convolutions' weights in float16, turned back to float32 when it is loaded.

    The arithmetic stays float32: no CPU that ONNX Runtime supports convolves in float16.
    """
    import onnx

    proto = onnx.load(str(path))
    taken = {node.input[1] for node in proto.graph.node if node.op_type == "Conv"}
    weights = [tensor for tensor in proto.graph.initializer if tensor.name in taken]
    casts = []
    for tensor in weights:
        values = onnx.numpy_helper.to_array(tensor).astype(np.float16)
        halved = onnx.numpy_helper.from_array(values, f"{tensor.name}.half")
        to_float = onnx.helper.make_node("Cast", [halved.name], [tensor.name], to=onnx.TensorProto.FLOAT)
        casts.append(to_float)
        proto.graph.initializer.remove(tensor)
        proto.graph.initializer.append(halved)
    nodes = [*casts, *proto.graph.node]
    del proto.graph.node[:]
    proto.graph.node.extend(nodes)
    save_onnx(proto, path, metadata)


def write_openvino(onnx_file: Path, path: Path, metadata: dict[str, str], *, half: bool = False) -> None:
    """Convert an ONNX file into `path` (.xml) and the .bin beside it; half: weights are stored in float16."""
    save_openvino(read_for_openvino(onnx_file), path, metadata, half=half)


def read_for_openvino(onnx_file: Path) -> Any:
    """Read an ONNX file as an OpenVINO model; its `convert_model` would report usage to its makers."""
    return import_extra("openvino", "--format openvino").Core().read_model(str(onnx_file))


def save_openvino(model: Any, path: Path, metadata: dict[str, str], *, half: bool = False) -> None:
    """Write an OpenVINO model with `metadata`."""
    openvino = import_extra("openvino", "--format openvino")
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
