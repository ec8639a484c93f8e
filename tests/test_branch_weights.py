"""The branch's first weights."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from data_utils.config.loading import load_config
from data_utils.errors import InputError
from models.checkpoint import load_branch, save_model
from models.sre_yolo import SREYOLO

SMALL = ("sr_resblocks=1", "model.fusion_stride=8", "model.branch_width=8", "model.upsampler=direct")
CONFIG = load_config("configs/train.yaml", SMALL)


@pytest.fixture(scope="module")
def source() -> SREYOLO:
    return SREYOLO(CONFIG)


@pytest.fixture(scope="module")
def checkpoint(source: SREYOLO, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "best.pt"
    save_model(path, source, CONFIG)
    return path


def test_the_branch_is_taken_whole_and_the_detector_left_alone(source: SREYOLO, checkpoint: Path) -> None:
    config = load_config("configs/train.yaml", [*SMALL, "dataset.nc=2", "dataset.names=[a, b]"])
    model = SREYOLO(config)
    detector = {name: value.clone() for name, value in model.backbone.state_dict().items()}
    assert model.sr_branch is not None
    assert source.sr_branch is not None
    expected = source.sr_branch.state_dict()
    assert load_branch(model, config, checkpoint) == len(expected)
    assert all(torch.equal(value, expected[name]) for name, value in model.sr_branch.state_dict().items())
    assert all(torch.equal(value, detector[name]) for name, value in model.backbone.state_dict().items())


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["model.branch_width=16"], "set model.branch_width=8$"),
        (["sr_decoder=light"], "set sr_decoder=deep sr_resblocks=1 model.upsampler=direct$"),
        (["sr_layers=[4,6]", "sr_resblocks=2"], r"set sr_layers=\[4,8\] sr_resblocks=1$"),
        (["model.detector=yolov8s"], "set model.detector=yolov8n$"),
    ],
)
def test_another_geometry_names_the_keys_to_change(checkpoint: Path, overrides: list[str], message: str) -> None:
    config = load_config("configs/train.yaml", [*SMALL, *overrides])
    model = SREYOLO(config)
    with pytest.raises(InputError, match="another geometry; to use it, " + message):
        load_branch(model, config, checkpoint)


def test_files_without_a_usable_branch_are_refused(source: SREYOLO, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"stages\.branch = .*none\.pt: no such file; put the checkpoint there"):
        load_branch(source, CONFIG, tmp_path / "none.pt")
    plain = load_config("configs/train.yaml", ["sr_decoder=none"])
    save_model(tmp_path / "plain.pt", SREYOLO(plain), plain)
    with pytest.raises(InputError, match="holds no SR branch"):
        load_branch(source, CONFIG, tmp_path / "plain.pt")
    spoiled = SREYOLO(CONFIG)
    assert spoiled.sr_branch is not None
    with torch.no_grad():
        next(spoiled.sr_branch.parameters()).fill_(torch.nan)
    save_model(tmp_path / "nan.pt", spoiled, CONFIG)
    with pytest.raises(InputError, match=r"sr_branch\..* holds NaN"):
        load_branch(source, CONFIG, tmp_path / "nan.pt")
    (tmp_path / "torn.pt").write_bytes((tmp_path / "nan.pt").read_bytes()[:5000])
    with pytest.raises(InputError, match=r"torn\.pt: "):
        load_branch(source, CONFIG, tmp_path / "torn.pt")
