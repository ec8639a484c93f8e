"""Both trainers from scratch, scored by one evaluation."""

from __future__ import annotations

from training.benchmarks.accuracy import COLUMNS, mean_scores


def test_means_and_their_difference() -> None:
    names = COLUMNS[4:]
    rows = [
        {"side": side, "seed": seed, **dict.fromkeys(names, value)}
        for side, seed, value in (("ours", 0, 0.5), ("ours", 1, 0.7), ("ultralytics", 0, 0.4), ("ultralytics", 1, 0.6))
    ]
    ours, theirs, difference = mean_scores(rows)
    assert [ours["val_ap50"], theirs["test_ap50"], difference["val_map50_95"]] == [0.6, 0.5, 0.1]
    assert difference["side"] == "ours - ultralytics"
