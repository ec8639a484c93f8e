"""The detector, built by ultralytics, and the hooks that tap its feature maps.

Legend: B batch; S input side in pixels; A anchors (8400 for S = 640); nc classes; C_l, s_l channels and stride of
layer l.
"""

from __future__ import annotations

import functools
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from data_utils.errors import InputError, nearest_name

# Named variants and the architecture each stands for. Today's ultralytics builds yolov5n/s as anchor-free u-models
# (7.1 and 23.8 GFLOPs with one class), not the anchor-based ones of the paper's Table 5.
BACKBONES = {
    **{f"yolov5{scale}": f"yolov5{scale}.yaml" for scale in "nsmlx"},
    **{f"yolov8{scale}": f"yolov8{scale}.yaml" for scale in "nsmlx"},
    **{f"yolov8{scale}-p2": f"yolov8{scale}-p2.yaml" for scale in "nsmlx"},
    **{f"yolo11{scale}": f"yolo11{scale}.yaml" for scale in "nsmlx"},
}

_YOLO_ENVIRONMENT = {"YOLO_AUTOINSTALL": "false", "YOLO_OFFLINE": "1", "YOLO_VERBOSE": "false"}


@functools.cache
def ultralytics_module(name: str) -> ModuleType:
    """Import `ultralytics.<name>`; the one door to it in this project.

    Importing it installs packages, reports usage, writes settings, replaces `torch.save` and limits OpenCV's and
    OpenMP's threads unless told otherwise, so the environment is set before and its changes are undone after.
    """
    import importlib

    import cv2
    import numpy as np

    environment, threads = dict(os.environ), cv2.getNumThreads()
    torch_save, torch_load, numpy_print = torch.save, torch.load, np.get_printoptions()
    config_dir = Path(tempfile.gettempdir()) / f"sre_yolo_{os.getuid() if hasattr(os, 'getuid') else 'user'}"
    config_dir.mkdir(parents=True, exist_ok=True)
    try:
        os.environ.update(_YOLO_ENVIRONMENT, YOLO_CONFIG_DIR=str(config_dir))
        return importlib.import_module(f"ultralytics.{name}")
    finally:
        os.environ.clear()
        os.environ.update(environment)
        cv2.setNumThreads(threads)
        torch.save, torch.load = torch_save, torch_load
        torch.set_printoptions(profile="default")
        np.set_printoptions(**numpy_print)


def build_detector(name: str, nc: int) -> nn.Module:
    """Build the detector `name` ("yolov8n" or "yolov8n.yaml") for `nc` classes with random (Kaiming) weights.

    Raises InputError for an unknown name, and for a model that is not an anchor-free one-to-many detector.
    """
    architecture = BACKBONES.get(name, f"{name.removesuffix('.yaml')}.yaml")
    try:
        model = ultralytics_module("nn.tasks").DetectionModel(architecture, nc=nc, verbose=False)
    except (FileNotFoundError, KeyError, TypeError, AttributeError):
        near = nearest_name(name, BACKBONES)
        hint = f", did you mean '{near}'?" if near else "."
        raise InputError(f"model.detector = '{name}': not a detector{hint} Known: {', '.join(BACKBONES)}") from None
    head = model.model[-1]
    kind = type(head).__name__
    if kind != "Detect" or getattr(head, "one2one_cv2", None) is not None:
        raise InputError(f"model.detector = '{name}': its {kind} head is not a one-to-many Detect head")
    # ultralytics' default hyperparameters scale its loss terms; our weights are c2, c3 and c4, so its gains are 1.
    model.args = SimpleNamespace(box=1.0, cls=1.0, dfl=1.0)
    return model


class BackboneWithHooks(nn.Module):
    """A detector whose layers `hook_layers` can be read while it runs.

    weights: a variant name such as "yolov8n" or "yolov8n.yaml" (random weights), or the path of a .pt file to load
    into `detector`.
    """

    def __init__(self, weights: str, hook_layers: Sequence[int], nc: int = 1, detector: str = "yolov8n") -> None:
        super().__init__()
        is_file = weights.endswith(".pt")
        self.detector = build_detector(detector if is_file else weights, nc)
        self.hook_layers = tuple(hook_layers)
        self.stops_at_taps = False  # set by a training of the branch alone, which needs no predictions
        self._tapped: dict[int, Tensor] | None = None
        n_layers = len(self.layers)
        for layer in self.hook_layers:
            if not 0 <= layer < n_layers - 1:
                raise InputError(f"sr_layers = {list(hook_layers)}: layer {layer} is not among 0..{n_layers - 2}")
            self.layers[layer].register_forward_hook(functools.partial(self._tap, layer))
        if is_file:
            from models.checkpoint import load_pretrained

            load_pretrained(self.detector, Path(weights))

    @property
    def layers(self) -> Any:
        """The detector's layers in the order of its yaml."""
        return self.detector.model

    @property
    def n_backbone_layers(self) -> int:
        """How many of the layers are the backbone's; neck and detection head follow."""
        architecture: Any = self.detector.yaml
        return len(architecture["backbone"])

    @property
    def head(self) -> Any:
        """The detection head."""
        return self.layers[-1]

    def forward(self, images: Tensor) -> tuple[Any, dict[int, Tensor]]:
        """Run the detector on float [B, 3, S, S] in [0, 1].

        Returns its predictions (raw maps in training mode, decoded and raw in eval mode) and the tapped feature maps
        {layer: [B, C_l, S / s_l, S / s_l]}. No reference to a feature map is kept. With `stops_at_taps` no layer behind
        the deepest tap is run, and the predictions are None.
        """
        with self._tapping() as features:
            predictions = self._run_to_taps(images) if self.stops_at_taps else self.detector(images)
            return predictions, dict(features)

    def _run_to_taps(self, images: Tensor) -> None:
        outputs: list[Tensor | None] = []
        for layer in self.layers[: max(self.hook_layers) + 1]:
            sources = [layer.f] if isinstance(layer.f, int) else layer.f
            inputs = [images if source == -1 else outputs[source] for source in sources]
            images = layer(inputs[0] if isinstance(layer.f, int) else inputs)
            outputs.append(images if layer.i in self.detector.save else None)

    def detect(self, images: Tensor) -> Tensor:
        """Return decoded predictions, float32 [B, 4 + nc, A], without tapping anything; needs eval mode."""
        output = self.detector(images)
        if not isinstance(output, tuple):  # export mode
            return output
        decoded, raw = output
        return decoded if decoded.dtype == torch.float32 else self._decode_in_float32(raw)

    def _decode_in_float32(self, raw: dict[str, Any]) -> Tensor:
        # Half precision rounds a coordinate of 300 pixels to 2; the arithmetic before it bears that, the decoding not.
        self.head.shape = None  # its cached anchors are of the forward's precision
        with torch.autocast(raw["boxes"].device.type, enabled=False):
            maps = {"boxes": raw["boxes"].float(), "scores": raw["scores"].float()}
            return self.head._inference({**maps, "feats": [feature.float() for feature in raw["feats"]]})

    def get_hook_channels(self) -> dict[int, int]:
        """Return {layer: channels} of the tapped maps, read from the model."""
        return {layer: shape[0] for layer, shape in self._hook_shapes().items()}

    def get_hook_strides(self) -> dict[int, int]:
        """Return {layer: stride in input pixels} of the tapped maps, read from the model."""
        return {layer: _PROBE_SIDE // shape[1] for layer, shape in self._hook_shapes().items()}

    @torch.no_grad()
    def _hook_shapes(self) -> dict[int, tuple[int, ...]]:
        # In eval mode the probe leaves BatchNorm's statistics as they are.
        parameter = next(self.parameters())
        probe = torch.zeros(1, 3, _PROBE_SIDE, _PROBE_SIDE, dtype=parameter.dtype, device=parameter.device)
        mode = self.training
        self.eval()
        try:
            features = self(probe)[1]
        finally:
            self.train(mode)
        return {layer: tuple(features[layer].shape[1:]) for layer in self.hook_layers}

    @contextmanager
    def _tapping(self) -> Iterator[dict[int, Tensor]]:
        self._tapped = {}
        try:
            yield self._tapped
        finally:
            self._tapped = None

    def _tap(self, layer: int, _module: nn.Module, _inputs: Any, output: Tensor) -> None:
        if self._tapped is not None:
            self._tapped[layer] = output


_PROBE_SIDE = 256
