"""Measures of videos, counted by hand."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from data_utils.errors import InputError
from data_utils.records import Detections
from evaluation.video import __main__ as video
from evaluation.video.__main__ import report_lines, video_metrics
from evaluation.video.records import FrameRecord, LesionBox, record_line

LESION, ELSEWHERE = (10, 10, 50, 50), (100, 100, 140, 140)
FPS = 10


def frame(
    index: int,
    *boxes: tuple[int, ...],
    tracks: tuple[int, ...] | None = None,
    alert: bool = True,
    source: str = "a.mp4",
) -> FrameRecord:
    found = Detections(np.array(boxes, np.float32), np.linspace(0.9, 0.8, len(boxes)), np.zeros(len(boxes)))
    alerts = None if tracks is None else (alert,) * len(boxes)
    return FrameRecord(source, index, index / FPS, (200, 200), found, tracks, alerts)


def true(
    *frames: int, lesion: str = "A", box: tuple[int, ...] = LESION, source: str = "a.mp4", class_id: int | None = None
) -> list[LesionBox]:
    return [LesionBox(source, k, lesion, np.array(box, float), class_id) for k in frames]


def test_a_lesion_found_late_and_one_never_found():
    records = [frame(k, *([LESION] if k >= 5 else [])) for k in range(10)]
    truth = true(*range(2, 10)) + true(*range(4, 8), lesion="B", box=ELSEWHERE)
    metrics = video_metrics(records, truth)
    assert (metrics["n_lesions"], metrics["n_found"], metrics["sensitivity"]) == (2, 1, 0.5)
    assert metrics["delay_median_s"] == metrics["delay_longest_s"] == pytest.approx(0.3)  # frame 2 to frame 5
    assert metrics["frame_sensitivity"] == pytest.approx((5 / 8 + 0) / 2)
    assert metrics["minutes"] == pytest.approx(1 / 60)  # ten frames of a tenth of a second
    assert (metrics["alerts"], metrics["false_alerts"]) == (1, 0)
    assert metrics["alerts_a_minute"] == pytest.approx(60)


def test_without_tracks_each_run_of_shown_frames_is_an_alert():
    shown = "x..xx.x..."
    records = [frame(k, *([ELSEWHERE] if mark == "x" else [])) for k, mark in enumerate(shown)]
    metrics = video_metrics(records, true(3, 4, box=ELSEWHERE))
    assert (metrics["alerts"], metrics["false_alerts"]) == (3, 2)


def test_with_tracks_each_raised_identity_is_an_alert_and_unraised_ones_count_for_nothing():
    records = [frame(0, LESION, ELSEWHERE, tracks=(1, 2), alert=False)]
    records += [frame(k, LESION, ELSEWHERE, tracks=(1, 2)) for k in range(1, 5)]
    metrics = video_metrics(records, true(*range(5)))
    assert (metrics["alerts"], metrics["false_alerts"]) == (2, 1)
    assert metrics["delay_median_s"] == pytest.approx(0.1)  # detected at once, raised in the next frame


def test_a_hit_needs_overlap_and_the_class_where_it_is_named():
    records = [frame(0, (10, 10, 50, 30))]  # IoU 1/2
    assert video_metrics(records, true(0), iou=0.5)["n_found"] == 1
    assert video_metrics(records, true(0), iou=0.51)["n_found"] == 0
    assert video_metrics(records, true(0, class_id=0))["n_found"] == 1
    assert video_metrics(records, true(0, class_id=1))["n_found"] == 0


def test_frames_that_were_not_looked_at_are_no_misses():
    records = [frame(k, LESION) for k in (0, 5)]
    metrics = video_metrics(records, true(*range(6)))
    assert metrics["frame_sensitivity"] == 1


def notes_of(records: list[FrameRecord], truth: list[LesionBox]) -> tuple[dict, str]:
    metrics = video_metrics(records, truth)
    text = "\n".join(report_lines(metrics))
    assert all(f"note: {note}" in text for note in metrics["notes"])
    json.dumps(metrics, allow_nan=False)
    return metrics, " ".join(metrics["notes"])


def test_a_truth_that_fits_its_frames_needs_no_note():
    metrics, notes = notes_of([frame(k, LESION) for k in range(4)], true(*range(4)))
    assert (metrics["sensitivity"], metrics["frame_sensitivity"], notes) == (1, 1, "")
    assert metrics["truth"]["rows"] == 4


def test_rows_behind_the_end_are_counted_said_and_misses():
    records = [frame(k, LESION) for k in range(4)]
    metrics, notes = notes_of(records, true(*range(4), 4, 99))
    assert metrics["truth"]["rows_behind_the_end"] == 2
    assert metrics["frame_sensitivity"] == pytest.approx(4 / 6)  # no perfect score
    assert "2 of 6 rows of truth are behind the last frame looked at" in notes
    assert "frame 99 of a.mp4" in notes
    assert "Frames count from 0" in notes  # frame 4 of 0 to 3 may well be the fourth


def test_a_lesion_of_which_no_frame_was_looked_at_is_missed_not_forgotten():
    records = [frame(k, LESION) for k in (0, 5, 10)]
    for lost in (true(3, lesion="B"), true(700, lesion="B")):
        metrics, notes = notes_of(records, true(0, 5, 10) + lost)
        assert (metrics["n_lesions"], metrics["n_found"], metrics["sensitivity"]) == (2, 1, 0.5)
        assert metrics["frame_sensitivity"] == 0.5
        assert "1 lesions are in no frame looked at and count as missed" in notes
    metrics, notes = notes_of(records, true(*range(15)))
    assert metrics["frame_sensitivity"] == 1  # frames between those that --every chose are no misses, but said
    assert "12 of 15 rows of truth are of frames that were not looked at (--every, or damaged): a.mp4, frame 1" in notes


def test_videos_without_truth_are_counted_and_named():
    records = [frame(0, LESION), frame(0, LESION, source="b.mp4"), frame(0, source="c.mp4")]
    metrics, notes = notes_of(records, true(0))
    assert metrics["truth"]["videos_without"] == ["b.mp4", "c.mp4"]
    assert "2 videos have no row of truth and count as free of lesions: b.mp4; c.mp4" in notes
    assert metrics["false_alerts"] == 1
    _, notes = notes_of(records, [])
    assert "3 videos have no row of truth" in notes


def test_boxes_off_their_frame_are_refused_or_cut_and_counted():
    records = [frame(0, LESION)]
    for box, reason in (((300, 10, 340, 50), "outside the frame of a.mp4, 200x200 px"),
                        ((0.1, 0.1, 0.3, 0.3), "in pixels, not shares")):  # fmt: skip
        with pytest.raises(InputError, match=reason):
            video_metrics(records, true(0, box=box))
        with pytest.raises(InputError, match=reason):
            video_metrics(records, true(50, box=box))  # a frame not looked at has its video's size
    metrics, notes = notes_of([frame(0, (160, 160, 200, 200))], true(0, box=(160, 160, 230, 240)))
    assert (metrics["n_found"], metrics["truth"]["boxes_cut"]) == (1, 1)
    assert "1 boxes of truth reach out of their frame" in notes


def test_a_lesion_is_of_one_video_and_stands_once_in_a_frame():
    records = [frame(0, LESION, source="x/a.mp4"), frame(0, source="x/b.mp4")]
    metrics, notes = notes_of(records, true(0, source="x/a.mp4") + true(0, source="b.mp4"))
    assert (metrics["n_lesions"], metrics["n_found"]) == (2, 1)
    assert "1 names stand in several videos (A): a lesion of each" in notes
    with pytest.raises(InputError, match=r"lesion A stands twice in frame 0 of x/a\.mp4"):
        video_metrics(records, true(0, source="x/a.mp4") + true(0, source="a.mp4"))


def test_names_are_matched_by_the_end_of_a_path_and_the_nearest_is_named():
    records = [frame(0, LESION, source="/data/x/a\u0308.mp4"), frame(0, source="/data/y/a\u0308.mp4")]
    metrics = video_metrics(records, true(0, source="x/\u00e4.mp4"))  # composed here, decomposed there
    assert metrics["n_found"] == 1
    for source in ("A.MP4", "a.avi", "clips/a.mp4"):
        with pytest.raises(InputError, match=r"no such video among the saved detections \(a\.mp4\).*mean a\.mp4\?"):
            video_metrics([frame(0)], true(0, source=source))
    with pytest.raises(InputError, match=r"and 1 more names like it"):
        video_metrics([frame(0)], true(0, source="q.mp4") + true(0, source="r.mp4"))


def test_nothing_to_measure_is_none_not_nan():
    assert json.dumps(video_metrics([], []), allow_nan=False)
    metrics = video_metrics([frame(0), frame(1)], [])
    assert metrics["sensitivity"] is metrics["delay_median_s"] is metrics["frame_sensitivity"] is None
    assert metrics["alerts_a_minute"] == 0
    assert "\n".join(report_lines(metrics)).count("-") >= 3


def test_videos_are_told_apart_by_path_or_by_name_where_that_is_one():
    records = [frame(0, LESION, source="x/a.mp4"), frame(0, source="x/b.mp4")]
    metrics = video_metrics(records, true(0) + true(0, source="x/b.mp4"))
    assert {source: one["n_found"] for source, one in metrics["videos"].items()} == {"x/a.mp4": 1, "x/b.mp4": 0}
    with pytest.raises(InputError, match=r"truth of c\.mp4: no such video"):
        video_metrics(records, true(0, source="c.mp4"))
    with pytest.raises(InputError, match="2 videos of that name"):
        video_metrics([*records, frame(0, source="y/a.mp4")], true(0))


def test_frames_without_times_need_fps():
    image = FrameRecord("a.mp4", 3, None, (9, 9), Detections.empty())
    with pytest.raises(InputError, match="give --fps"):
        video_metrics([image], [])
    assert video_metrics([image], [], fps=25)["n_frames"] == 1


def test_a_frame_that_stands_twice_is_refused():
    with pytest.raises(InputError, match=r"a\.mp4: frame 1 stands twice"):
        video_metrics([frame(0), frame(1), frame(1, LESION)], [])


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    lines = [record_line(frame(k, LESION), ("lesion",)) for k in range(4)]
    (tmp_path / "found.jsonl").write_text("\n".join(lines))
    (tmp_path / "truth.csv").write_text("source,frame,lesion,x1,y1,x2,y2\na.mp4,1,A,10,10,50,50\n")
    command = ["video", "--detections", str(tmp_path / "found.jsonl"), "--truth", str(tmp_path / "truth.csv")]
    monkeypatch.setattr(sys, "argv", [*command, "--save", str(tmp_path / "out.json")])
    video.main()
    assert "lesions found        1 of 1 (sensitivity 1.000, IoU 0.5)" in capsys.readouterr().out
    assert json.loads((tmp_path / "out.json").read_text())["n_found"] == 1
    (tmp_path / "truth.csv").write_text("source,frame,lesion,x1,y1,x2,y2\na.mp4,1,A,10,10,50,50\na.mp4,8,B,1,1,9,9\n")
    monkeypatch.setattr(sys, "argv", command)
    video.main()
    out = capsys.readouterr().out
    assert "1 of 2 (sensitivity 0.500" in out
    assert f"behind the last frame looked at and count as misses: {tmp_path / 'truth.csv'}:3, frame 8 of a.mp4" in out
    (tmp_path / "found.jsonl").write_text("")
    with pytest.raises(InputError, match=r"found\.jsonl: holds no frame"):
        video.main()
    monkeypatch.setattr(sys, "argv", [*command, "--iou", "0"])
    with pytest.raises(InputError, match="--iou 0"):
        video.main()
