"""COCO's crowds from the raw set to the scoring: left out of training with a count, ignored in evaluation."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from data_utils.config.loading import load_config
from data_utils.convert import convert
from data_utils.manifest import read_manifest
from data_utils.prepare import prepare
from evaluation.passes.evaluation_set import open_evaluation_set
from evaluation.passes.predict import predict


class Silent(torch.nn.Module):
    """A detector that finds nothing."""

    def forward(self, images: torch.Tensor, inference: bool = False) -> torch.Tensor:
        return torch.zeros(len(images), 5, 1)


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """Twelve frames of twelve patients: each with a crowd alone in one half, an ordinary box in the other."""
    images, annotations, rows = [], [], ["filename,patient_id,dataset_source"]
    rng = np.random.default_rng(0)
    for number in range(12):
        path = tmp_path / "raw" / "images" / f"f{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), rng.integers(0, 255, (64, 64, 3), dtype=np.uint8))
        images.append({"id": number, "file_name": path.name, "width": 64, "height": 64})
        annotations.append({"id": number, "image_id": number, "category_id": 1, "bbox": [8, 8, 32, 16],
                            "iscrowd": number % 2, "segmentation": {"size": [64, 64], "counts": "x"}})  # fmt: skip
        rows.append(f"{path.name},p{number},made")
    (tmp_path / "raw" / "annotations.json").write_text(
        json.dumps({"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "lesion"}]})
    )
    (tmp_path / "raw" / "metadata.csv").write_text("\n".join(rows))
    return tmp_path / "raw"


def prepared(raw: Path, *overrides: str):
    out = raw.parent
    config = load_config("configs/train.yaml", [
        f"dataset.raw={raw}", f"dataset.processed={out}/out", f"dataset.splits={out}/splits", "imgsz_lr=64",
        f"dataset.filter_log={out}/log.csv", "imgsz_hr=128", "dataset.filter.blur_thresh=null", "run.workers=0",
        "dataset.filter.min_bytes=null", "dataset.split.ratios=[6,3,3]", "dataset.split.n_splits=1", "pretrain=null",
        *overrides,
    ])  # fmt: skip
    return config, prepare(config, workers=1)


def stems(config, part: str) -> set[str]:
    return {Path(line).stem for line in config.dataset.split_list(1, part).read_text().split()}


def test_crowded_frames_do_not_train_and_are_ignored_in_evaluation(raw: Path, tmp_path: Path) -> None:
    config, report = prepared(raw)
    crowded = {f"f{number}" for number in range(1, 12, 2)}
    assert not stems(config, "train") & crowded
    assert (stems(config, "val") | stems(config, "test")) & crowded
    assert any("6 frames hold crowds" in note for note in report.notes)
    rows = read_manifest(config.dataset.manifest)
    assert {stem for stem, row in rows.items() if row.n_crowd} == crowded
    assert all(row.has_lesion for row in rows.values())
    results = []
    for part in ("val", "test"):
        opened = open_evaluation_set(config, 1, part)
        results += predict(Silent(), opened.loader, torch.device("cpu"), config, opened.sizes)
    by_stem = {result.stem: result for result in results}
    seen = [by_stem[stem] for stem in crowded & set(by_stem)]
    assert seen
    assert all(np.allclose(result.crowd_xyxy, [[8, 8, 40, 24]]) and not result.is_healthy for result in seen)


def test_taken_as_boxes_they_train(raw: Path) -> None:
    config, _ = prepared(raw, "dataset.crowd=box")
    assert not (config.dataset.lr_images.parent / "crowd").exists()
    rows = read_manifest(config.dataset.manifest)
    assert [row.n_boxes for row in rows.values()] == [1] * 12


def test_preparing_again_removes_what_no_longer_holds(raw: Path) -> None:
    prepared(raw)
    assert len(list((raw.parent / "out/lr/crowd").iterdir())) == 6
    prepared(raw, "dataset.crowd=box")
    assert not list((raw.parent / "out/lr/crowd").iterdir())


def test_converting_leaves_them_out_or_keeps_them(raw: Path, tmp_path: Path) -> None:
    report = convert(raw, tmp_path / "yolo", "yolo")
    assert report.counts["frames"] == 6
    assert any("6 frames with crowds" in note for note in report.notes)
    convert(raw, tmp_path / "coco", "coco")
    written = json.loads((tmp_path / "coco/annotations/instances.json").read_text())
    assert sorted(each["iscrowd"] for each in written["annotations"]) == [0] * 6 + [1] * 6
