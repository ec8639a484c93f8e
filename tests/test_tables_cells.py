"""A cell: published, ours, difference, verdict."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from study_samples import SavedStudy

from data_utils.config.ablations import read_registry
from evaluation.paper.layout import Cell, cell_of
from evaluation.paper.results import Measured, Study

REGISTRY = read_registry("configs/ablations.yaml")


def cell(**values: Any) -> Cell:
    return Cell(**{"runs": ("a",), "measure": "ap50", "published": 0.77, "mean": 0.80, "n_seeds": 1, "tolerance": 0.03,
                   **values})  # fmt: skip


@pytest.mark.parametrize(
    ("values", "verdict"),
    [
        ({}, "within tolerance"),  # 0.80 - 0.77 is 0.03 and a rounding error
        ({"mean": 0.74}, "within tolerance"),
        ({"mean": 0.7399}, "outside"),
        ({"mean": 0.801}, "outside"),
        ({"mean": None, "n_seeds": 0}, "not run"),
        ({"mean": None, "n_seeds": 2}, "incomplete"),
        ({"on_paper_data": False}, "other data"),
        ({"measure": "fps"}, "other machine"),
        ({"measure": "gflops", "on_paper_data": False}, "within tolerance"),
        ({"measure": "gflops", "on_paper_data": False, "at_paper_side": False}, "other input side"),
        ({"mean": None, "n_seeds": 0, "ran": True}, "not measured"),
        ({"published": None}, ""),
        ({"tolerance": None}, ""),
    ],
)
def test_verdicts(values: dict[str, Any], verdict: str) -> None:
    assert cell(**values).verdict == verdict


def test_texts() -> None:
    assert cell(sd=0.012, low=0.7, high=0.88).texts == ("0.77", "0.800 ± 0.012 [0.700, 0.880]", "+0.030")
    assert cell(mean=None).texts == ("0.77", "-", "")
    assert cell(measure="gflops", published=8.2, mean=8.08).texts == ("8.2", "8.1", "-0.1")


def test_reasons_name_seeds_and_what_the_others_have(tmp_path: Path) -> None:
    saved = SavedStudy(tmp_path)
    saved.add("sr_light", (0,))
    saved.lose("sr_light", 1, "failed", "memory")
    study = Study(tmp_path, REGISTRY)
    found = cell_of(study, (("sr_light", "ap50"),))
    value = study.measured("sr_light", "ap50").by_seed[0]
    assert (found.mean, found.verdict) == (None, "incomplete")
    assert found.why == (
        f"sr_light: seed 1: failed: memory; seed 0 has {value:.3f}; no mean over fewer seeds than were asked for"
    )
    assert isinstance(study.measured("sr_kaiming", "ap50"), Measured)


def test_a_mean_over_rows_needs_all_of_them(tmp_path: Path) -> None:
    saved = SavedStudy(tmp_path)
    saved.add("pretrain_coco")
    sources = (("pretrain_coco", "ap50"), ("plain_split2", "ap50"), ("plain_split3", "ap50"))
    found = cell_of(Study(tmp_path, REGISTRY), sources)
    assert found.published == pytest.approx(0.79)
    assert (found.mean, found.verdict) == (None, "incomplete")
    for run in ("plain_split2", "plain_split3"):
        saved.add(run, missed=0.4)
    study = Study(tmp_path, REGISTRY)
    found = cell_of(study, sources)
    assert found.mean == pytest.approx(sum(cell_of(study, (each,)).mean or 0 for each in sources) / 3)
    assert found.runs == ("pretrain_coco", "plain_split2", "plain_split3")
    both = cell_of(study, tuple((run, size) for run, _ in sources for size in ("ext_small", "ext_medium")))
    assert both.n_seeds == found.n_seeds == 3  # trainings, not cells


def test_a_run_without_an_external_set_is_not_said_not_to_have_run(tmp_path: Path) -> None:
    saved = SavedStudy(tmp_path, imgsz=320)
    saved.add("sr_light")
    path = tmp_path / "ablations" / "sr_light" / "seed0" / "result.json"
    result = json.loads(path.read_text())
    del result["evaluations"]["ext"]
    path.write_text(json.dumps(result))
    study = Study(tmp_path, REGISTRY)
    assert cell_of(study, (("sr_light", "ext_small"),)).verdict == "not measured"
    assert cell_of(study, (("sr_layers_26", "ext_small"),)).verdict == "not run"
    saved.add("pretrain_coco")
    assert cell_of(Study(tmp_path, REGISTRY), (("pretrain_coco", "gflops"),)).verdict == "other input side"
