"""The denoiser's net: sizes, tiles, and what its weights files may be."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_checkpoint import write_tiny_checkpoint

from data_utils.config.loading import load_config, override_config
from data_utils.errors import InputError
from models.checkpoint import DENOISE, load_model, load_pretrained, save_model
from models.denoiser import SpeckleDenoiser, denoise_image, load_denoiser, require_same_net

CONFIG = load_config("configs/denoise.yaml", ["denoise.width=4", "denoise.levels=2"])


def awake(width: int = 4, levels: int = 2) -> SpeckleDenoiser:
    """A model whose output is not just its input."""
    torch.manual_seed(0)
    model = SpeckleDenoiser(width, levels)
    torch.nn.init.normal_(model.head.weight, std=0.1)
    return model.eval()


def picture(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_untrained_it_is_the_identity() -> None:
    noisy = torch.rand(2, 3, 24, 40)
    assert torch.equal(SpeckleDenoiser(4, 3)(noisy), noisy)
    assert np.array_equal(denoise_image(SpeckleDenoiser(4, 3), picture(30, 17)), picture(30, 17))


@pytest.mark.parametrize(("height", "width"), [(16, 16), (17, 30), (1, 5), (33, 8)])
def test_any_size_goes_in_and_comes_out(height: int, width: int) -> None:
    assert awake(levels=3)(torch.rand(1, 3, height, width)).shape == (1, 3, height, width)


def test_every_part_takes_part() -> None:
    model = awake(levels=3)
    model(torch.rand(1, 3, 32, 32)).square().mean().backward()
    assert [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum()] == []


@pytest.mark.parametrize("levels", [1, 2, 3])
def test_the_margin_covers_the_receptive_field(levels: int) -> None:
    model = awake(width=2, levels=levels).double()
    side = 4 * model.margin
    centre = side // 2
    noisy = torch.rand(1, 3, side, side, dtype=torch.float64, requires_grad=True)
    model(noisy)[0, :, centre, centre].sum().backward()
    assert noisy.grad is not None
    reached = noisy.grad[0].abs().sum(0).nonzero()
    radius = int((reached - centre).abs().max())
    assert model.margin // 2 < radius <= model.margin


def test_tiles_give_the_picture_of_the_whole() -> None:
    model, noisy = awake(), picture(150, 101)
    whole = denoise_image(model, noisy)
    assert not np.array_equal(whole, noisy)
    in_tiles = denoise_image(model, noisy, tile=32)
    assert np.abs(whole.astype(int) - in_tiles).max() <= 1  # a last bit may round the other way
    assert (whole != in_tiles).mean() < 0.001


def test_weights_come_back(tmp_path: Path) -> None:
    model = awake()
    save_model(tmp_path / "run" / "best.pt", model, CONFIG, {"task": DENOISE, "epoch": 3, "split": 2})
    for path in (tmp_path / "run", tmp_path / "run" / "best.pt"):
        again, config, meta = load_denoiser(path)
        assert np.array_equal(denoise_image(again, picture(20, 20)), denoise_image(model, picture(20, 20)))
        assert config == CONFIG
        assert (meta["epoch"], meta["split"], Path(meta["weights"]).name) == (3, 2, "best.pt")


def test_weights_of_something_else_are_refused(tmp_path: Path) -> None:
    detector = write_tiny_checkpoint(tmp_path / "detector.pt", decoder="none")
    with pytest.raises(InputError, match=r"made by train\.py, for detection; this needs denoise"):
        load_denoiser(detector)
    denoiser = tmp_path / "denoiser.pt"
    save_model(denoiser, awake(), CONFIG, {"task": DENOISE})
    with pytest.raises(InputError, match=r"made by python -m training\.denoise, for denoise; this needs detection"):
        load_model(denoiser)
    with pytest.raises(InputError, match="this needs detection"):
        load_pretrained(torch.nn.Conv2d(1, 1, 1), denoiser)
    other_width = override_config(CONFIG, ["denoise.width=8"])
    save_model(denoiser, awake(), other_width, {"task": DENOISE})
    with pytest.raises(InputError, match="another class count or architecture"):
        load_denoiser(denoiser)
    with pytest.raises(InputError, match=r"denoise\.width = 8: cannot be overridden, best\.pt was trained with 4"):
        require_same_net(other_width, CONFIG, "best.pt")
    require_same_net(override_config(CONFIG, ["denoise.eval_looks=2"]), CONFIG, "best.pt")


def test_missing_and_torn_weights_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"best\.pt: no such weights file"):
        load_denoiser(tmp_path)
    save_model(tmp_path / "best.pt", awake(), CONFIG, {"task": DENOISE})
    content = (tmp_path / "best.pt").read_bytes()
    (tmp_path / "best.pt").write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match=r"best\.pt") as refused:
        load_denoiser(tmp_path)
    assert "\n" not in str(refused.value)
