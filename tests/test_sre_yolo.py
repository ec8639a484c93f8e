"""The composed model."""

from __future__ import annotations

import gc

import pytest
import torch

from data_utils.config.loading import load_config
from data_utils.config.sections import Config
from data_utils.errors import InputError
from models.sre_yolo import SREYOLO, largest_stride

SMALL_BRANCH = ("model.branch_width=8", "sr_resblocks=1")


def config_with(*overrides: str) -> Config:
    return load_config("configs/train.yaml", [*SMALL_BRANCH, *overrides])


@pytest.fixture(scope="module")
def model() -> SREYOLO:
    torch.manual_seed(0)
    return SREYOLO(config_with())


@pytest.mark.parametrize("layers", ["[4,8]", "[2,6]"])
@pytest.mark.parametrize("decoder", ["deep", "light"])
@pytest.mark.parametrize("fusion_stride", [2, 4, 8])
def test_sr_output_is_twice_the_input(layers: str, decoder: str, fusion_stride: int) -> None:
    built = SREYOLO(config_with(f"sr_layers={layers}", f"sr_decoder={decoder}", f"model.fusion_stride={fusion_stride}"))
    output = built.eval()(torch.zeros(1, 3, 96, 96))
    assert isinstance(output, dict)
    assert output["sr_output"].shape == (1, 3, 192, 192)


@pytest.mark.parametrize("detector", ["yolov5n", "yolov8n-p2", "yolo11n"])
def test_branch_fits_other_detectors(detector: str) -> None:
    output = SREYOLO(config_with(f"model.detector={detector}")).eval()(torch.zeros(1, 3, 64, 64))
    assert isinstance(output, dict)
    assert output["sr_output"].shape == (1, 3, 128, 128)


def test_inference_equals_the_plain_detector_bit_for_bit(model: SREYOLO) -> None:
    plain = SREYOLO(config_with("sr_decoder=none")).eval()
    plain.backbone.load_state_dict(model.backbone.state_dict())
    image = torch.rand(2, 3, 128, 96)
    with torch.no_grad():
        ours = model.eval()(image, inference=True)
        assert torch.equal(ours, plain(image, inference=True))
        assert torch.equal(ours, plain.backbone.detector(image)[0])


def test_inference_never_calls_the_branch(model: SREYOLO) -> None:
    def fail(*_: object) -> None:
        raise AssertionError("the branch was called")

    assert model.sr_branch is not None
    handle = model.sr_branch.register_forward_pre_hook(fail)
    try:
        model.eval()(torch.zeros(1, 3, 64, 64), inference=True)
        with pytest.raises(AssertionError, match="the branch was called"):
            model(torch.zeros(1, 3, 64, 64))
    finally:
        handle.remove()


def test_inference_needs_eval_mode(model: SREYOLO) -> None:
    with pytest.raises(ValueError, match="eval mode"):
        model.train()(torch.zeros(1, 3, 64, 64), inference=True)


def test_no_feature_map_outlives_inference(model: SREYOLO) -> None:
    model.eval()
    with torch.no_grad():
        model(torch.zeros(1, 3, 64, 64), inference=True)  # anchors of this size are now cached
        gc.collect()
        before = sum(isinstance(o, torch.Tensor) for o in gc.get_objects())
        model(torch.zeros(1, 3, 64, 64), inference=True)
    gc.collect()
    assert sum(isinstance(o, torch.Tensor) for o in gc.get_objects()) == before


def test_branch_sees_nothing_but_the_taps(model: SREYOLO) -> None:
    """With the tapped maps fixed, another image changes nothing in the branch's output."""
    model.eval()
    layers = model.backbone.hook_layers
    with torch.no_grad():
        _, fixed = model.backbone(torch.rand(1, 3, 64, 64))
        handles = [
            model.backbone.layers[k].register_forward_hook(lambda _m, _i, _o, value=fixed[k]: value, prepend=True)
            for k in layers
        ]
        try:
            outputs = [model(image)["sr_output"] for image in (torch.zeros(1, 3, 64, 64), torch.rand(1, 3, 64, 64))]
        finally:
            for handle in handles:
                handle.remove()
        free = [model(image)["sr_output"] for image in (torch.zeros(1, 3, 64, 64), torch.rand(1, 3, 64, 64))]
    assert torch.equal(*outputs)
    assert not torch.equal(*free)


def test_plain_yolo_without_branch_or_weight() -> None:
    for override in ("sr_decoder=none", "c1=0"):
        plain = SREYOLO(config_with(override))
        assert plain.sr_branch is None
        output = plain(torch.zeros(2, 3, 64, 64))
        assert isinstance(output, dict)
        assert output["sr_output"] is None


def test_gradient_of_the_branch_reaches_the_backbone_up_to_the_deeper_tap(model: SREYOLO) -> None:
    model.train().zero_grad()
    output = model(torch.rand(2, 3, 64, 64))
    assert isinstance(output, dict)
    output["sr_output"].mean().backward()
    deepest = max(model.backbone.hook_layers)
    reached = [any(p.grad is not None for p in layer.parameters()) for layer in model.backbone.layers]
    assert all(reached[: deepest + 1])
    assert not any(reached[deepest + 1 :])


def test_freezing_and_counting(model: SREYOLO) -> None:
    counts = model.count_params()
    assert counts["total"] == counts["backbone"] + counts["sr_branch"] == sum(p.numel() for p in model.parameters())
    assert counts["backbone"] == 3_011_043  # ultralytics' own count of YOLOv8n with one class
    trainable_before = {name for name, p in model.named_parameters() if p.requires_grad}
    model.freeze_backbone()
    assert {name.split(".")[0] for name, p in model.named_parameters() if p.requires_grad} == {"sr_branch"}
    model.unfreeze_all()
    assert {name for name, p in model.named_parameters() if p.requires_grad} == trainable_before


def test_frozen_layers_stay_as_they_are_in_train_mode(model: SREYOLO) -> None:
    state = {name: value.clone() for name, value in model.state_dict().items()}
    model.freeze_layers(5)
    model.train().zero_grad()
    output = model(torch.rand(2, 3, 64, 64))
    assert isinstance(output, dict)
    output["sr_output"].mean().backward()
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, state[name])}
    moved = {int(name.split(".")[3]) for name in changed}  # BatchNorm's statistics of the others
    assert (min(moved), max(moved)) == (5, 22)
    with_gradient = {name for name, p in model.named_parameters() if p.grad is not None}
    assert not any(f"model.{layer}." in name for layer in range(5) for name in with_gradient)
    assert any("model.5." in name for name in with_gradient)
    model.load_state_dict(state)
    model.unfreeze_all()
    model.eval()


def test_building_from_a_path_and_its_stride() -> None:
    built = SREYOLO("configs/train.yaml")
    assert built.count_params()["sr_branch"] > 1_000_000
    assert largest_stride(built) == 32


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["sr_layers=[9,12]"], r"sr_layers = \[9, 12\]: these maps of yolov8n have strides 32 and 16"),
        (["model.detector=yolov8n-p6", "imgsz_lr=96", "imgsz_hr=192"], "imgsz_lr = 96: yolov8n-p6 needs .* of 64"),
    ],
)
def test_settings_that_do_not_fit_the_detector_are_refused(overrides: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        SREYOLO(load_config("configs/train.yaml", overrides))
