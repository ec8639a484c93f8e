"""The detector and its taps."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import weakref

import pytest
import torch

from data_utils.errors import InputError
from models.backbone import BACKBONES, BackboneWithHooks, build_detector, ultralytics_module


def test_channels_and_strides_are_read_from_the_model() -> None:
    backbone = BackboneWithHooks("yolov8n", (2, 4, 6, 8))
    assert backbone.get_hook_channels() == {2: 32, 4: 64, 6: 128, 8: 256}
    assert backbone.get_hook_strides() == {2: 4, 4: 8, 6: 16, 8: 32}


def test_taps_have_the_published_shapes() -> None:
    _, features = BackboneWithHooks("yolov8n", (4, 8)).eval()(torch.zeros(1, 3, 640, 640))
    assert features[4].shape == (1, 64, 80, 80)
    assert features[8].shape == (1, 256, 20, 20)


def test_reading_shapes_leaves_batchnorm_and_mode_alone() -> None:
    backbone = BackboneWithHooks("yolov8n", (4,)).train()
    before = {k: v.clone() for k, v in backbone.state_dict().items()}
    backbone.get_hook_channels()
    assert backbone.training
    assert all(torch.equal(v, before[k]) for k, v in backbone.state_dict().items())


def test_no_tapped_tensor_outlives_the_forward() -> None:
    backbone = BackboneWithHooks("yolov8n", (4, 8)).eval()
    with torch.no_grad():
        _, features = backbone(torch.zeros(1, 3, 64, 64))
    references = [weakref.ref(tensor) for tensor in features.values()]
    del features, _
    gc.collect()
    assert len(references) == 2
    assert all(reference() is None for reference in references)


def test_a_failing_forward_keeps_nothing() -> None:
    backbone = BackboneWithHooks("yolov8n", (4,)).eval()
    with pytest.raises(RuntimeError):
        backbone(torch.zeros(1, 5, 64, 64))
    assert backbone._tapped is None


@pytest.mark.parametrize("name", ["yolov5n", "yolov8n-p2", "yolo11n"])
def test_other_detectors_build_and_detect(name: str) -> None:
    assert name in BACKBONES
    decoded = BackboneWithHooks(name, (4,), nc=2).eval().detect(torch.zeros(1, 3, 64, 64))
    strides = (4, 8, 16, 32) if name.endswith("p2") else (8, 16, 32)
    assert decoded.shape == (1, 4 + 2, sum((64 // stride) ** 2 for stride in strides))


def test_a_typo_names_the_nearest_detector() -> None:
    with pytest.raises(InputError, match="did you mean 'yolov8n'"):
        build_detector("yolo8n", 1)


def test_end_to_end_heads_are_refused() -> None:
    with pytest.raises(InputError, match="not a one-to-many Detect head"):
        build_detector("yolo26n", 1)


def test_a_layer_beyond_the_backbone_is_refused() -> None:
    with pytest.raises(InputError, match=r"layer 99 is not among 0\.\.21"):
        BackboneWithHooks("yolov8n", (4, 99))


def test_importing_ultralytics_changes_nothing_outside() -> None:
    """ultralytics replaces torch.save, sets OMP_NUM_THREADS and OpenCV's threads when imported."""
    code = (
        "import os, torch, cv2, numpy as np\n"
        "def seen(): return dict(os.environ), torch.save, torch.load, cv2.getNumThreads(), np.get_printoptions()\n"
        "cv2.setNumThreads(2); before = seen()\n"
        "from models.backbone import ultralytics_module\n"
        "ultralytics_module('nn.tasks'); ultralytics_module('utils.loss')\n"
        "assert seen() == before, [(a, b) for a, b in zip(before, seen()) if a != b]\n"
    )
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("YOLO", "OMP"))}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""


def test_ultralytics_may_not_install_or_report() -> None:
    utils = ultralytics_module("utils")
    assert utils.AUTOINSTALL is False
    assert utils.ONLINE is False


def test_a_yaml_name_is_the_variant_of_that_name() -> None:
    assert BackboneWithHooks("yolov8n.yaml", [4, 8]).get_hook_channels() == {4: 64, 8: 256}
    with pytest.raises(InputError, match=r"not a detector\. Known: yolov5n"):
        build_detector("", 1)
