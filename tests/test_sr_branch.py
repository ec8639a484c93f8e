"""The SR branch's geometry, blocks and decoders."""

from __future__ import annotations

import copy
import itertools
import typing

import pytest
import torch
from torch import nn

from data_utils.config.sections import ModelSection
from models.sr_branch import SR_DECODERS, UPSAMPLERS, FeatureFusion, ResBlock, SRBranch, UpsamplePS

TAPS = {"4-8": ((64, 256), (8, 32)), "2-6": ((32, 128), (4, 16))}


def taps_of(name: str, side: int) -> tuple[torch.Tensor, torch.Tensor]:
    channels, strides = TAPS[name]
    shallow, deep = (torch.rand(1, c, side // s, side // s) for c, s in zip(channels, strides, strict=True))
    return shallow, deep


@pytest.mark.parametrize(
    ("taps", "decoder", "fusion_stride", "upsampler", "side"),
    [
        *itertools.product(TAPS, SR_DECODERS, (2, 4, 8), UPSAMPLERS, (96,)),
        ("4-8", "deep", 8, "direct", 32),
        ("4-8", "light", 2, "staged", 160),
        ("2-6", "deep", 4, "staged", 64),
    ],
)
def test_every_combination_ends_at_twice_the_input(
    taps: str, decoder: str, fusion_stride: int, upsampler: str, side: int
) -> None:
    channels, strides = TAPS[taps]
    branch = SRBranch(channels, strides, decoder, fusion_stride, width=8, n_resblocks=1, upsampler=upsampler)
    assert branch(*taps_of(taps, side)).shape == (1, 3, 2 * side, 2 * side)


def test_resblock_adds_a_residual_without_batchnorm() -> None:
    block = ResBlock(4)
    for parameter in block.parameters():
        nn.init.zeros_(parameter)
    x = torch.randn(1, 4, 5, 5)
    assert torch.equal(block(x), x)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in block.modules())


def test_resblock_is_conv_relu_conv() -> None:
    block, x = ResBlock(2), torch.randn(1, 2, 6, 6)
    expected = x + nn.functional.conv2d(
        nn.functional.conv2d(x, block.conv1.weight, block.conv1.bias, padding=1).clamp(min=0),
        block.conv2.weight,
        block.conv2.bias,
        padding=1,
    )
    torch.testing.assert_close(block(x), expected)


def test_upsample_places_sub_pixels_in_row_order() -> None:
    up = UpsamplePS(1, 1, factor=2)
    nn.init.zeros_(up.conv.weight)
    assert up.conv.bias is not None
    up.conv.bias.data = torch.tensor([1.0, 2.0, 3.0, 4.0])
    assert up(torch.zeros(1, 1, 1, 1)).squeeze().tolist() == [[1, 2], [3, 4]]


def test_deep_has_the_published_sixteen_blocks() -> None:
    branch = SRBranch((64, 256), (8, 32))
    assert sum(isinstance(module, ResBlock) for module in branch.modules()) == 16


def test_light_at_stride_4_has_three_transposed_convolutions() -> None:
    branch = SRBranch((64, 256), (8, 32), "light", fusion_stride=4)
    kernels = [(m.kernel_size, m.stride) for m in branch.modules() if isinstance(m, nn.ConvTranspose2d)]
    assert kernels == [((4, 4), (2, 2))] * 3


@pytest.mark.parametrize(("fusion_stride", "expected_gmac"), [(2, 202), (4, 113), (8, 91)])
def test_cost_is_that_of_the_reference(fusion_stride: int, expected_gmac: float) -> None:
    """REFERENCE: 202, 113 and 91 GMACs at width 64 on a 640 frame (1x1 convolutions counted at the fused size)."""
    from torch.utils.flop_counter import FlopCounterMode

    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        branch = SRBranch((64, 256), (8, 32), "deep", fusion_stride)
        branch(torch.empty(1, 64, 80, 80), torch.empty(1, 256, 20, 20))
    assert counter.get_total_flops() / 2e9 == pytest.approx(expected_gmac, rel=0.02)


def test_the_config_offers_the_upsamplers_there_are() -> None:
    assert set(typing.get_args(ModelSection.model_fields["upsampler"].annotation)) == set(UPSAMPLERS)


def test_narrowing_halves_the_width_at_each_stage() -> None:
    layers = UPSAMPLERS["narrowing"](64, 4)
    ups = [layer.conv for layer in layers if isinstance(layer, UpsamplePS)]
    assert [(conv.in_channels, conv.out_channels // 4) for conv in ups] == [(64, 32), (32, 16), (16, 8), (8, 8)]


def test_checkpointing_changes_memory_and_nothing_else() -> None:
    torch.manual_seed(0)
    kept = SRBranch((64, 256), (8, 32), fusion_stride=8, width=8, n_resblocks=8, upsampler="direct")
    again = copy.deepcopy(kept)
    again.checkpointing = True
    fused, saved = torch.rand(1, 8, 16, 16), []
    for branch in (kept, again):
        held: list[int] = []
        with torch.autograd.graph.saved_tensors_hooks(lambda t, held=held: held.append(t.numel()) or t, lambda t: t):
            output = branch._decode(fused)
        output.square().mean().backward()
        saved.append(sum(held))
    assert saved[1] < 0.6 * saved[0]
    for one, other in zip(kept.decoder.parameters(), again.decoder.parameters(), strict=True):
        assert one.grad is not None
        assert other.grad is not None
        assert torch.equal(one.grad, other.grad)
    assert kept.state_dict().keys() == again.state_dict().keys()


def test_fusion_gives_both_taps_a_gradient() -> None:
    fusion = FeatureFusion((4, 6), shallow_stride=8, fusion_stride=4, width=5)
    shallow, deep = torch.rand(1, 4, 4, 4, requires_grad=True), torch.rand(1, 6, 1, 1, requires_grad=True)
    fused = fusion(shallow, deep)
    assert fused.shape == (1, 5, 8, 8)
    fused.sum().backward()
    assert shallow.grad is not None
    assert deep.grad is not None
    assert shallow.grad.abs().sum() > 0
    assert deep.grad.abs().sum() > 0


def test_output_starts_near_mid_grey() -> None:
    torch.manual_seed(0)
    output = SRBranch((64, 256), (8, 32), width=16, n_resblocks=2)(*taps_of("4-8", 64))
    assert 0.3 < output.mean().item() < 0.7


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"decoder": "depe"}, "not among"),
        ({"fusion_stride": 3}, "power of two"),
        ({"strides": (32, 8)}, "shallower first"),
        ({"channels": (64,), "strides": (8,)}, "two maps"),
    ],
)
def test_impossible_geometry_is_refused(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SRBranch(**{"channels": (64, 256), "strides": (8, 32), **arguments})
