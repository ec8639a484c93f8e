"""Pictures from saved files: what is drawn is read back from the figure or the picture, torn input is survived."""

from __future__ import annotations

import json
import math

import cv2
import numpy as np
import pytest

from data_utils.errors import InputError
from evaluation import plots

HEADER = "epoch,lr,l_sr,l_bbox,total_loss,ap50,ap50_small,ap50[RBC],comment"


@pytest.fixture
def drawn(monkeypatch):
    """The figures that were saved, in order."""
    figures = []
    save = plots._save
    monkeypatch.setattr(plots, "_save", lambda figure, path: (figures.append(figure), save(figure, path)))
    return figures


def write_panel(path, **changes):
    lr = np.zeros((2, 32, 32, 3), np.uint8)
    truth, pred = np.full((2, 3, 4), np.nan, np.float32), np.full((2, 4, 6), np.nan, np.float32)
    truth[0, 0] = [4, 6, 12, 18]
    pred[0, :3] = [[5, 6, 12, 18, 0.875, 0], [1, 1, 3, 3, 0.1, 0], [20, 20, 30, 30, 0.5, 0]]
    large = np.zeros((2, 64, 64, 3), np.uint8)
    arrays = {"lr": lr, "sr": large, "hr": large, "truth_xyxy": truth, "pred": pred} | changes
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, **{name: array for name, array in arrays.items() if array is not None})
    return path


def rectangles(axes):
    return [(*patch.get_xy(), patch.get_width(), patch.get_height()) for patch in axes.patches]


def test_curves_leave_out_what_is_missing_and_skip_a_torn_line(tmp_path, drawn):
    lines = [HEADER, "1,0.01,0.2,2,30,0.1,,0.2,x", "2,0.01,nan,1.5,25,,,,y", "3,0.009,0.1,1,20,0.3,,0.4,z", "4,0.00"]
    (tmp_path / "log.csv").write_text("\n".join(lines))
    assert plots.loss_curves(tmp_path / "log.csv", tmp_path / "curves.png") == 1
    curves = {axes.get_title(): {line.get_label(): line.get_xydata() for line in axes.lines} for axes in drawn[0].axes}
    assert set(curves) == {"total loss", "loss terms, unweighted", "validation AP", "validation AP50 by class",
                           "learning rate"}  # fmt: skip
    assert curves["loss terms, unweighted"]["l_sr"].tolist() == [[1, 0.2], [3, 0.1]]
    assert list(curves["validation AP"]) == ["ap50"]
    assert curves["validation AP"]["ap50"].tolist() == [[1, 0.1], [3, 0.3]]
    assert curves["validation AP50 by class"]["ap50[RBC]"].tolist() == [[1, 0.2], [3, 0.4]]
    assert cv2.imread(str(tmp_path / "curves.png")).std() > 0


@pytest.mark.parametrize(
    ("text", "message"),
    [("", "no finished epoch"), (HEADER + "\n", "no finished epoch"), ("a,b\n1,2\n", "no finished epoch"),
     ("epoch,other\n1,2\n", "known columns")],
)  # fmt: skip
def test_a_log_without_numbers_is_refused(tmp_path, text, message):
    (tmp_path / "log.csv").write_text(text)
    with pytest.raises(InputError, match=message):
        plots.loss_curves(tmp_path / "log.csv", tmp_path / "curves.png")
    with pytest.raises(InputError, match="no such log"):
        plots.read_log(tmp_path / "none.csv")


def test_cells_that_are_no_numbers_are_gaps(tmp_path):
    (tmp_path / "log.csv").write_text("epoch,ap50\n1,0.5\n2,inf\n3,n/a\n")
    log, n_skipped = plots.read_log(tmp_path / "log.csv")
    assert (log["ap50"][0], n_skipped) == (0.5, 0)
    assert all(map(math.isnan, log["ap50"][1:]))


def test_a_panel_shows_boxes_in_the_pixels_of_its_picture(tmp_path, drawn):
    plots.draw_panel(write_panel(tmp_path / "p.npz"), tmp_path / "p.png")
    (figure,) = drawn
    assert len(figure.axes) == 2 * 4
    assert [axes.get_title() for axes in figure.axes[:3]] == ["LR input", "SR output", "HR target"]
    # On the HR target, twice the LR pixels: the true box, then the two predictions above the floor, best first.
    assert rectangles(figure.axes[3]) == [(8, 12, 16, 24), (10, 12, 14, 24), (40, 40, 20, 20)]
    assert [text.get_text() for text in figure.axes[3].texts] == ["0.88", "0.50"]
    assert rectangles(figure.axes[7]) == []


def test_a_panel_without_branch_and_target_is_drawn_on_the_input(tmp_path, drawn):
    several = np.full((2, 2, 6), np.nan, np.float32)
    several[1] = [[0, 0, 9, 9, 0.9, 1], [9, 9, 20, 20, 0.8, 0]]
    no_truth = np.zeros((2, 0, 4), np.float32)
    plots.draw_panel(write_panel(tmp_path / "p.npz", sr=None, hr=None, truth_xyxy=no_truth, pred=several),
                     tmp_path / "p.png")  # fmt: skip
    assert len(drawn[0].axes) == 2 * 2
    assert rectangles(drawn[0].axes[3]) == [(0, 0, 9, 9), (9, 9, 11, 11)]
    assert [text.get_text() for text in drawn[0].axes[3].texts] == ["1: 0.90", "0: 0.80"]


def test_a_panel_file_that_is_none_is_refused(tmp_path):
    (tmp_path / "torn.npz").write_bytes(write_panel(tmp_path / "p.npz").read_bytes()[:200])
    np.savez(tmp_path / "pickled.npz", lr=np.array([{}], dtype=object))
    np.savez(tmp_path / "other.npz", lr=np.zeros(3))
    for name, message in (("torn", "not a readable"), ("pickled", "not a readable"), ("other", "truth_xyxy, pred")):
        with pytest.raises(InputError, match=message):
            plots.draw_panel(tmp_path / f"{name}.npz", tmp_path / "out.png")
    assert not (tmp_path / "out.png").exists()


def test_a_comparison_has_a_column_for_each_array(tmp_path, drawn):
    pictures = np.zeros((2, 16, 16, 3), np.uint8)
    np.savez(tmp_path / "denoise_panel.npz", **{"noisy input": pictures, "clean": pictures + 200})
    lines = plots.redraw(tmp_path)
    assert lines == [str(tmp_path / "denoise_panel.png")]
    (figure,) = drawn
    assert [axes.get_title() for axes in figure.axes] == ["noisy input", "", "clean", ""]
    assert [int(axes.images[0].get_array().max()) for axes in figure.axes] == [0, 0, 200, 200]
    np.savez(tmp_path / "empty.npz")
    (tmp_path / "torn.npz").write_bytes(b"torn")
    for name, message in (("empty", "holds no picture"), ("torn", "not a readable")):
        with pytest.raises(InputError, match=message):
            plots.draw_comparison(tmp_path / f"{name}.npz", tmp_path / "out.png")


def write_evaluation(path, curves):
    per_class = [{"name": "RBC", "ap50": 0.5}, {"name": "x", "ap50": None}]
    metrics = {"iou_thresh": 0.5, "n_boxes": 7, "per_class": per_class}
    path.write_text(json.dumps({"metrics": metrics | {"pr_curves": {"recall": [0.0, 0.5, 1.0], "precision": curves}}}))


def test_precision_over_recall_of_each_class(tmp_path, drawn):
    write_evaluation(tmp_path / "eval_a.json", {"RBC": [1.0, 0.5, 0.0]})
    plots.pr_curves(tmp_path / "eval_a.json", tmp_path / "pr.png")
    (line,) = drawn[0].axes[0].lines
    assert line.get_label() == "RBC: AP 0.500"
    assert line.get_xydata().tolist() == [[0, 1], [0.5, 0.5], [1, 0]]
    write_evaluation(tmp_path / "eval_b.json", {})
    plots.pr_curves(tmp_path / "eval_b.json", tmp_path / "pr.png")
    assert [text.get_text() for text in drawn[1].axes[0].texts] == ["no true boxes"]
    (tmp_path / "eval_c.json").write_text("[]")
    with pytest.raises(InputError, match="not an evaluation"):
        plots.pr_curves(tmp_path / "eval_c.json", tmp_path / "pr.png")


def test_a_run_folder_is_redrawn_and_an_empty_one_refused(tmp_path):
    with pytest.raises(InputError, match="nothing to draw"):
        plots.redraw(tmp_path)
    (tmp_path / "log.csv").write_text("epoch,ap50\n1,0.5\n2")
    write_panel(tmp_path / "panels" / "epoch_001.npz")
    write_evaluation(tmp_path / "eval_best_test.json", {"RBC": [1.0, 0.5, 0.0]})
    lines = plots.redraw(tmp_path)
    assert lines[0].endswith("loss_curves.png (1 torn lines skipped)")
    drawn = {path.name for path in tmp_path.rglob("*.png")}
    assert drawn == {"loss_curves.png", "epoch_001.png", "pr_best_test.png"}
    assert not list(tmp_path.rglob("*.tmp"))
