"""The confusion matrix against counts made by hand."""

from __future__ import annotations

from evaluation_samples import frame_result

from evaluation.scoring.operating_points import confusion_matrix

BOX, FAR = (10, 10, 60, 60), (300, 300, 350, 350)


def test_confusion_counts_hits_confusions_false_alarms_and_misses():
    scored = frame_result(
        [(*BOX, 0), (100, 100, 150, 150, 1), (200, 200, 250, 250, 1)],
        [(*BOX, 0, 0.9), (100, 100, 150, 150, 0, 0.8), (*FAR, 1, 0.7), (400, 10, 450, 60, 1, 0.1)],
    )
    matrix = confusion_matrix([scored, frame_result()], nc=2, iou_thresh=0.5, threshold=0.5)
    # Rows: found lesion, found polyp, missed. Columns: true lesion, true polyp, background.
    assert matrix.tolist() == [[1, 1, 0], [0, 0, 1], [0, 1, 0]]


def test_a_hit_goes_before_a_confusion_with_a_better_score():
    scored = frame_result([(*BOX, 0)], [(*BOX, 1, 0.9), (*BOX, 0, 0.8)])
    assert confusion_matrix([scored], 2, 0.5, None).tolist() == [[1, 0, 0], [0, 0, 1], [0, 0, 0]]
