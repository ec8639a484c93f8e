"""Which published value stands beside which configuration."""

from __future__ import annotations

import pytest
from evaluation_samples import CONFIG_PATH

from data_utils.config.loading import load_config
from evaluation.paper.published import is_for_tables_9_and_10, paper_notes, paper_values


def values(*overrides, split=1, data="test"):
    return paper_values(load_config(CONFIG_PATH, overrides), split, data)


@pytest.mark.parametrize(
    ("overrides", "ap50"),
    [
        ((), 0.82),
        (["sr_decoder=light"], 0.80),
        (["sr_layers=[2, 6]"], 0.80),
        (["sr_decoder=none"], 0.77),
        (["sr_decoder=none", "pretrain=null"], 0.71),
        (["sr_decoder=none", "model.detector=yolov8s"], 0.77),
        (["sr_decoder=none", "model.detector=yolov5n"], 0.70),
    ],
)
def test_split_1_of_tables_4_to_7(overrides, ap50):
    assert values(*overrides)["ap50"] == ap50


def test_splits_of_table_10():
    assert [values(split=k)["ap50"] for k in (1, 2, 3)] == [0.82, 0.83, 0.82]
    assert [values("sr_decoder=none", split=k)["ap50"] for k in (1, 2, 3)] == [0.77, 0.81, 0.79]
    external = values(split=2, data="ext")
    assert (external["ap50_small"], external["ap50_medium"], "ap50" in external) == (0.95, 0.85, False)
    assert values("sr_decoder=light", data="ext")["ap50_small"] == 0.82


def test_cost_belongs_to_the_detector_and_ap_to_the_papers_data():
    other = values("dataset.name=demo")
    assert other == {"gflops": 8.2, "fps": 58.8}
    assert values("dataset.name=demo", "dataset.nc=2", "dataset.names=[a, b]") == {}
    assert values("dataset.name=demo", "imgsz_lr=320", "imgsz_hr=640") == {}


def test_what_was_not_published_has_no_value():
    assert "ap50" not in values("sr_decoder=light", split=2)
    assert "ap50" not in values("pretrain=null")
    assert "ap50" not in values(data="val")
    assert values("model.detector=yolo11n") == {}
    for other in ("c1=5", "sr_resblocks=4", "loss.sr_target=random", "model.upsampler=direct"):
        assert "ap50" not in values(other), other


def test_tables_9_and_10_are_of_the_papers_set_and_settings():
    def are_for(*overrides, data="ext"):
        return is_for_tables_9_and_10(load_config(CONFIG_PATH, overrides), data)

    assert are_for()
    assert are_for("sr_decoder=none")
    assert are_for("sr_decoder=light", "sr_resblocks=4")  # a decoder without residual blocks
    assert not are_for(data="clinic")
    for other in ("dataset.name=demo", "c1=5", "sr_resblocks=4", "pretrain=null", "model.detector=yolov8s",
                  "sr_layers=[2, 8]"):  # fmt: skip
        assert not are_for(other), other
    assert not are_for("imgsz_lr=320", "imgsz_hr=640")


def test_yolov5_is_said_to_be_another_architecture():
    config = load_config(CONFIG_PATH, ["model.detector=yolov5s", "sr_decoder=none"])
    assert any("without anchors" in note for note in paper_notes(config, paper_values(config, 1, "test")))
    assert paper_notes(config, {}) == []
