"""Which nodes of an exported graph decode boxes. They must stay in float32, whatever the rest is computed in.

A box's coordinate in eight bits would move by many pixels. The decoding is what no convolution comes after, the fixed
integral of the head's distributions (weights 0, 1, 2, ...) not counted as one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np


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
