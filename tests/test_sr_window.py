"""Windows: reconstructing a part of each frame in a training step."""

from __future__ import annotations

import pytest
import torch

from models.sr_branch import SRBranch, Windows, draw_windows

CHANNELS, STRIDES, SIDE = (4, 6), (8, 32), 256


def branch_of(upsampler: str = "direct", fusion_stride: int = 8, n_resblocks: int = 1) -> SRBranch:
    torch.manual_seed(0)
    return SRBranch(CHANNELS, STRIDES, "deep", fusion_stride, 8, n_resblocks, upsampler)


def taps(n_frames: int) -> list[torch.Tensor]:
    torch.manual_seed(1)
    return [torch.rand(n_frames, c, SIDE // s, SIDE // s) for c, s in zip(CHANNELS, STRIDES, strict=True)]


def drawn(n_frames: int, share: float = 0.3, margin: int = 2, fusion_stride: int = 8, step: int = 0) -> Windows:
    windows = draw_windows(n_frames, share, margin, SIDE, fusion_stride, seed=3, step=step)
    assert windows is not None
    return windows


@pytest.mark.parametrize(
    ("upsampler", "fusion_stride", "margin"), [("direct", 8, 3), ("staged", 8, 4), ("narrowing", 4, 4)]
)
def test_with_a_margin_as_wide_as_the_decoder_sees_a_window_is_cut_from_the_whole(
    upsampler: str, fusion_stride: int, margin: int
) -> None:
    """One block sees 2 fused pixels each way, the upsamplers one and two more."""
    branch, maps = branch_of(upsampler, fusion_stride), taps(24)
    windows = drawn(24, margin=margin, fusion_stride=fusion_stride)
    assert {0, SIDE // fusion_stride - windows.side} <= {top for top, _ in windows.corners}, "both edges are tried"
    whole, part = branch(*maps), branch(*maps, windows=windows)
    torch.testing.assert_close(part, windows.target(whole), atol=1e-6, rtol=1e-5)


def test_with_a_smaller_margin_only_the_windows_rim_differs() -> None:
    branch, maps, windows = branch_of(), taps(8), drawn(8, margin=0)
    off = (branch(*maps, windows=windows) - windows.target(branch(*maps))).abs().amax(dim=(0, 1))
    rim = 3 * windows.scale
    assert off.max() > 1e-4
    assert off[rim:-rim, rim:-rim].max() < 1e-6


def test_the_target_is_the_part_of_the_hr_frame_the_window_shows() -> None:
    windows = Windows(((1, 2),), 1, ((0, 1),), 3, scale=4)
    hr_image = torch.arange(256).reshape(1, 1, 16, 16)
    assert windows.target(hr_image).tolist() == hr_image[:, :, 4:8, 8:12].tolist()
    assert windows.context(hr_image).tolist() == hr_image[:, :, 0:3, 1:4].tolist()
    context = hr_image[:, :, 0:12, 4:16]  # what a perfect decoder makes of that context
    assert torch.equal(windows.inside(context), windows.target(hr_image))


def test_taps_outside_the_context_get_no_gradient_and_those_inside_do() -> None:
    branch, windows = branch_of(), drawn(2, share=0.25, margin=1)
    shallow, deep = (tap.requires_grad_() for tap in taps(2))
    branch(shallow, deep, windows=windows).square().mean().backward()
    assert shallow.grad is not None
    for grad, (top, left) in zip(shallow.grad, windows.context_corners, strict=True):
        box = slice(top, top + windows.context_side), slice(left, left + windows.context_side)
        assert grad[:, *box].abs().sum() > 0
        grad[:, *box] = 0
        assert not grad.any()


def test_windows_are_drawn_from_seed_and_step_alone() -> None:
    state = torch.get_rng_state()
    assert drawn(4, step=5) == drawn(4, step=5)
    assert len({drawn(4, step=step).corners for step in range(20)}) == 20
    assert len(set(drawn(16).corners)) > 8, "each frame has its own"
    assert draw_windows(4, 0.3, 2, SIDE, 8, seed=4, step=5) != drawn(4, step=5)
    assert torch.equal(torch.get_rng_state(), state)


def test_windows_lie_inside_and_do_not_forget_the_corners() -> None:
    side, seen = SIDE // 8, torch.zeros(SIDE // 8, SIDE // 8)
    for step in range(100):
        windows = drawn(16, share=0.5, step=step)
        assert windows.side == 16
        assert windows.context_side == 20
        for (top, left), (outer_top, outer_left) in zip(windows.corners, windows.context_corners, strict=True):
            assert 0 <= outer_top <= top <= top + 16 <= outer_top + 20 <= side
            assert 0 <= outer_left <= left <= left + 16 <= outer_left + 20 <= side
            seen[top : top + 16, left : left + 16] += 1
    # A place drawn uniformly would meet a corner once for 70 times it meets the middle (1/17 squared against 1/4).
    assert seen.min() > seen.max() / 10


def test_a_share_of_one_is_the_whole_frame_and_the_smallest_is_a_pixel() -> None:
    assert draw_windows(4, 1.0, 2, SIDE, 8, seed=0, step=0) is None
    assert drawn(1, share=0.001, margin=0).side == 1
    assert drawn(1, share=0.9, margin=9).context_side == SIDE // 8
