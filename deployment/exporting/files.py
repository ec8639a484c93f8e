"""Writing a traced graph as ONNX, OpenVINO or TorchScript, with its metadata inside."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from deployment.runtimes.exported import import_extra
from deployment.runtimes.openvino_runtime import write_info
from deployment.runtimes.pytorch import METADATA_FILE
from models.sre_yolo import SREYOLO

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


# The modules that are traced for an export.
#
# Legend: B frames; S input side in pixels; A anchors; nc classes; K = max_det rows.


NMS_CANDIDATES = 3000  # best-scored anchors that enter the graph's NMS


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


class NmsGraph(nn.Module):
    """An `InferenceGraph` and the suppression that models/predictor.py does, for one frame."""

    def __init__(self, graph: nn.Module, conf: float, iou: float, max_det: int) -> None:
        super().__init__()
        self.graph = graph
        self.conf, self.iou, self.max_det = conf, iou, max_det

    def forward(self, images: Tensor) -> Tensor:
        """Map float32 [1, 3, S, S] to [1, K, 6]: corners in units of the input side, score, class; the rest zeros."""
        from torchvision.ops import nms

        raw = self.graph(images)[0]
        scores, class_ids = raw[4:].max(dim=0)
        scores, order = scores.topk(min(NMS_CANDIDATES, scores.shape[0]))
        boxes, class_ids = raw[:4, order].T, class_ids[order].to(raw.dtype)
        corners = torch.cat([boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, :2] + boxes[:, 2:] / 2], dim=1)
        kept = nms(corners + class_ids[:, None] * 4, scores, self.iou)  # boxes of two classes never meet 4 sides apart
        kept = kept[scores[kept] > self.conf]
        rows = torch.cat([corners[kept], scores[kept, None], class_ids[kept, None]], dim=1)
        return torch.cat([rows, rows.new_zeros(self.max_det, 6)])[None, : self.max_det]


# Which nodes of an exported graph decode boxes. They must stay in float32, whatever the rest is computed in.
#
# A box's coordinate in eight bits would move by many pixels. The decoding is what no convolution comes after, the fixed
# integral of the head's distributions (weights 0, 1, 2, ...) not counted as one.


def tail_nodes(consumers: Mapping[str, Iterable[str]], convolutions: set[str]) -> list[str]:
    """Return the nodes from which no convolution is reached, themselves none.

    consumers: for each node, in topological order, those that take its output.
    """
    leads_to_one: dict[str, bool] = {}
    for node in reversed(list(consumers)):
        leads_to_one[node] = any(after in convolutions or leads_to_one[after] for after in consumers[node])
    return [node for node, leads in leads_to_one.items() if not leads and node not in convolutions]


def onnx_decode_nodes(graph: Any) -> list[str]:
    """Return the names of an ONNX graph's decoding nodes."""
    import onnx

    weights = {tensor.name: tensor for tensor in graph.initializer}
    takers: dict[str, list[str]] = {}
    for node in graph.node:
        for value in node.input:
            takers.setdefault(value, []).append(node.name)
    consumers = {node.name: [after for value in node.output for after in takers.get(value, [])] for node in graph.node}
    convolutions = {
        node.name
        for node in graph.node
        if node.op_type == "Conv"
        and not (node.input[1] in weights and _is_integral(onnx.numpy_helper.to_array(weights[node.input[1]])))
    }
    return tail_nodes(consumers, convolutions)


def openvino_decode_nodes(model: Any) -> list[str]:
    """Return the names of an OpenVINO model's decoding nodes, constants left out."""
    consumers: dict[str, list[str]] = {}
    convolutions, constants = set(), set()
    for node in model.get_ordered_ops():
        name = node.get_friendly_name()
        consumers[name] = [
            target.get_node().get_friendly_name() for port in node.outputs() for target in port.get_target_inputs()
        ]
        if node.get_type_name() == "Convolution" and not _is_integral(_openvino_weight(node)):
            convolutions.add(name)
        if node.get_type_name() in ("Constant", "Parameter", "Result"):
            constants.add(name)
    return [name for name in tail_nodes(consumers, convolutions) if name not in constants]


def _openvino_weight(convolution: Any) -> Any:
    """Return the weights of a convolution, float16 ones behind a conversion too, or None."""
    node = convolution.input_value(1).get_node()
    while node.get_type_name() == "Convert":
        node = node.input_value(0).get_node()
    return np.asarray(node.get_data()) if node.get_type_name() == "Constant" else None


def _is_integral(weight: Any) -> bool:
    return weight is not None and weight.shape[0] == 1 and np.array_equal(weight.ravel(), np.arange(weight.size))
