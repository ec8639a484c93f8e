"""The arrays behind the picture panels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import PreparedSet

from data_utils.config.loading import override_config
from data_utils.dataset import SREYOLODataset, collate
from models.sre_yolo import SREYOLO
from training.trainer import save_panel


@pytest.mark.parametrize("decoder", ["light", "none"])
def test_arrays_have_their_documented_form(tiny_prepared: PreparedSet, tmp_path: Path, decoder: str) -> None:
    config = override_config(tiny_prepared.config, [f"sr_decoder={decoder}", "model.branch_width=8"])
    hr_images = config.dataset.hr_images if config.has_branch else None
    frames = SREYOLODataset(config.dataset.split_list(1, "train"), hr_images, config=config, uint8=True)
    with_boxes = next(index for index, labels in enumerate(frames.labels) if len(labels))
    healthy = next(index for index, labels in enumerate(frames.labels) if not len(labels))
    batch = collate([frames[with_boxes], frames[healthy]])
    save_panel(tmp_path / "panels" / "p.npz", SREYOLO(config).eval(), batch, torch.device("cpu"), config)

    with np.load(tmp_path / "panels" / "p.npz") as panel:
        assert panel["lr"].shape == (2, 64, 64, 3)
        assert np.array_equal(panel["lr"], batch["lr_image"].permute(0, 2, 3, 1).numpy())
        assert ("sr" in panel) == ("hr" in panel) == (decoder == "light")
        if decoder == "light":
            assert panel["sr"].shape == panel["hr"].shape == (2, 128, 128, 3)
        first = frames.labels[with_boxes][0, 1:] * 64
        corners = [first[0] - first[2] / 2, first[1] - first[3] / 2, first[0] + first[2] / 2, first[1] + first[3] / 2]
        assert panel["truth_xyxy"][0, 0] == pytest.approx(corners, abs=1e-3)
        assert np.isnan(panel["truth_xyxy"][1]).all()
        assert panel["pred"].shape[::2] == (2, 6)
