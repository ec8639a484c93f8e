"""Figures 3 and 5: what is drawn, and what is said to be missing."""

from __future__ import annotations

import itertools
from pathlib import Path

import cv2
import pytest
from study_samples import SavedStudy

from data_utils.config.ablations import read_registry
from evaluation.paper import figures
from evaluation.paper.results import Study

REGISTRY = read_registry("configs/ablations.yaml")


def drawn(monkeypatch: pytest.MonkeyPatch, study: Study, number: int, out: Path) -> tuple[list[str], list]:
    kept: list = []
    save = figures._save
    monkeypatch.setattr(figures, "_save", lambda figure, path: (kept.append(figure), save(figure, path)))
    missing = getattr(figures, f"figure_{number}")(study, out)
    assert cv2.imread(str(out)) is not None
    return missing, kept[0].axes


def test_figure_3_draws_means_over_c1_and_names_gaps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved = SavedStudy(tmp_path)
    for run in ("c1_0", "c1_0.1"):
        saved.add(run, (0, 1), missed=0.3)
    saved.lose("c1_5", 0, "failed", "memory")
    study = Study(tmp_path, REGISTRY)
    missing, (axes,) = drawn(monkeypatch, study, 3, tmp_path / "3.png")
    lines = {tuple(line.get_xdata()) for line in axes.get_lines()}
    assert (0, 0.1) in lines
    curve = next(line for line in axes.get_lines() if tuple(line.get_xdata()) == (0, 0.1))
    assert curve.get_ydata()[1] == study.measured("c1_0.1", "ap50").mean
    published = next(line for line in axes.get_lines() if line.get_label().startswith("published"))
    assert list(published.get_ydata()) == [0.77, 0.82]
    assert "figure 3: failed: memory" in missing
    assert len(missing) == 2  # and that the others were never asked for


def test_figure_5_draws_published_and_ours_and_keeps_labels_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved = SavedStudy(tmp_path)
    for run in ("pretrain_coco", "sr_layers_48", "yolov8s"):
        saved.add(run)  # all three at one point
    missing, axes = drawn(monkeypatch, Study(tmp_path, REGISTRY), 5, tmp_path / "5.png")
    assert [ax.get_xlabel() for ax in axes] == ["FPS, one frame at a time", "GFLOPs"]
    texts = [text for text in axes[0].texts if text.get_color() == figures.OURS]
    assert {text.get_text() for text in texts} == {"YOLOv8n", "SRE-YOLO", "YOLOv8s"}
    heights = sorted(text.xy[1] for text in texts)
    low, high = axes[0].get_ylim()
    gap = figures.LINE_HEIGHT * (high - low)
    assert [b - a for a, b in itertools.pairwise(heights)] == pytest.approx([gap, gap])
    names = [text.get_text() for text in axes[1].texts if text.get_color() == figures.PAPER]
    assert sorted(names) == ["SRE-YOLO", "YOLOv5n*", "YOLOv5s*", "YOLOv8n", "YOLOv8s"]
    assert missing == ["figure 5: `python run_all_ablations.py` has not been asked for it"]


def test_figures_without_any_result_show_what_was_published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in (3, 5):
        missing, axes = drawn(monkeypatch, Study(tmp_path, REGISTRY), number, tmp_path / f"{number}.png")
        assert len(missing) == 1
        assert axes


def test_a_registry_that_states_no_published_values_gives_figures_that_name_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.yaml").write_text("runs: {pretrain_coco: {figures: [5]}, mine: {figures: [3], c1: 0}}\n")
    study = Study(tmp_path, read_registry(tmp_path / "a.yaml"))
    for number in (3, 5):
        missing, axes = drawn(monkeypatch, study, number, tmp_path / "figure.png")
        assert missing
        assert not any("published" in label for ax in axes for label in ax.get_legend_handles_labels()[1])
        assert "YOLOv5" not in axes[0].figure.get_suptitle()
