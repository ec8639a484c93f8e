"""The sweep: twenty settings from one stored pass, chosen by F1."""

from __future__ import annotations

from evaluation_samples import frame_result, small_config

from evaluation.scoring.sweep import Setting, best_setting, sweep, thin_out
from evaluation.statistics.headline import Scoring

# Two detections of one lesion overlap by 0.52: NMS at 0.5 leaves one.
BOX, DOUBLE = (0, 0, 100, 100), (0, 0, 100, 52)


def test_twenty_settings_and_the_best_of_them():
    frames = [frame_result([(*BOX, 0)], [(*BOX, 0, 0.9), (*DOUBLE, 0, 0.42)])]
    rows = sweep(frames, Scoring.of(small_config()))
    assert len(rows) == 20
    by_setting = {(row["conf"], row["nms_iou"]): (row["tp"], row["fp"]) for row in rows}
    assert by_setting[0.3, 0.5] == (1, 0)
    assert by_setting[0.3, 0.55] == (1, 1)
    assert by_setting[0.45, 0.6] == (1, 0)
    assert best_setting(rows) == Setting(0.3, 0.45)  # the first among equals


def test_nms_keeps_the_better_score_and_other_classes():
    frame = frame_result(found=[(*BOX, 0, 0.5), (*DOUBLE, 0, 0.9), (*DOUBLE, 1, 0.4)])
    kept = thin_out([frame], 0.5)[0].detections
    assert [round(float(score), 2) for score in kept.scores] == [0.9, 0.4]
    assert len(thin_out([frame_result()], 0.5)[0].detections) == 0


def test_nothing_to_choose_from():
    rows = sweep([frame_result()], Scoring.of(small_config()))
    assert (len(rows), rows[0]["f1"], best_setting(rows)) == (20, None, None)
