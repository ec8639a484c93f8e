"""Our settings as ultralytics' trainer takes them."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from conftest import PreparedSet

from data_utils.config.loading import override_config
from models.backbone import ultralytics_module
from training.benchmarks.ultralytics_side import ultralytics_settings, write_data_file


def test_every_setting_is_one_it_knows_and_says_what_ours_says(tiny_prepared: PreparedSet) -> None:
    config = override_config(tiny_prepared.config, ["optim.accumulate=2", "run.workers=3", "augment.scale=0.3"])
    settings = ultralytics_settings(config, "fp32", "cuda")
    taken = vars(ultralytics_module("cfg").get_cfg(overrides=settings))  # raises for a key it does not know
    assert {name: taken[name] for name in settings} == settings
    assert (taken["amp"], taken["device"], taken["workers"]) == (False, "0", 3)
    assert (taken["nbs"], taken["scale"], taken["box"], taken["model"]) == (8, 0.3, 7.5, "yolov8n.yaml")
    assert ultralytics_settings(config, "bf16", "cuda")["amp"] == "bf16"


@pytest.mark.parametrize("part", ["train", "val"])
def test_the_data_file_names_lists_and_classes(tiny_prepared: PreparedSet, tmp_path: Path, part: str) -> None:
    written = yaml.safe_load(write_data_file(tiny_prepared.config, 1, tmp_path).read_text(encoding="utf-8"))
    assert Path(written[part]) == tiny_prepared.config.dataset.split_list(1, part)
    assert written["names"] == {0: "lesion"}
