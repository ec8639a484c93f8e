"""Counters of a run and the lines it prints."""

from __future__ import annotations

import pytest

from training.loss import LOSS_COLUMNS
from training.run.log import Progress, ProgressPrinter, Score

TERMS = {"total_loss": 3.0, "l_sr": 0.1, "l_bbox": 0.2, "l_dfl": 0.3, "l_cls": 0.4}
ROW = {**TERMS, "lr": 0.002, "images_per_s": 12.34, "memory_gb": 1.26}


def test_better_means_strictly_higher_and_none_always_counts() -> None:
    progress = Progress(best_score=0.5, best_epoch=3)
    assert progress.is_better(0.51)
    assert not progress.is_better(0.5)
    assert progress.is_better(None)
    assert Progress().is_better(0.0)


def test_state_survives_a_round_trip() -> None:
    progress = Progress(epoch=3, step=9, batches=12, best_score=0.25, best_epoch=2)
    other = Progress()
    other.load(progress.state())
    assert other == progress


def test_the_state_of_an_earlier_version_is_understood() -> None:
    progress = Progress()
    progress.load({"epoch": 3, "step": 9, "batches": 12, "best_ap50": 0.25, "best_epoch": 2})
    assert progress == Progress(epoch=3, step=9, batches=12, best_score=0.25, best_epoch=2)


def test_another_task_has_its_own_terms_and_score(capsys: pytest.CaptureFixture[str]) -> None:
    printer = ProgressPrinter(1, 1, 0, ("total_loss",), Score("psnr", "PSNR"))
    printer.epoch(1, {"total_loss": 0.05, "lr": 0.002, "images_per_s": 1.0, "memory_gb": 1.0, "psnr": 27.25})
    printer.close()
    line = capsys.readouterr().out
    assert "total_loss 0.050  lr 0.002  PSNR 27.250" in line


@pytest.mark.parametrize(
    ("scores", "expected"), [({"ap50": 0.5}, "AP50 0.500"), ({"ap50": None}, "AP50 n/a"), ({}, "AP50 -")]
)
def test_an_epoch_is_one_line(capsys: pytest.CaptureFixture[str], scores: dict, expected: str) -> None:
    printer = ProgressPrinter(4, 10, 0, LOSS_COLUMNS, Score("ap50", "AP50"))
    printer.batch()
    printer.epoch(1, {**ROW, **scores})
    printer.close()
    line = capsys.readouterr().out
    assert line.count("\n") == 1
    for part in ("epoch   1/4", "sr 0.100", "lr 0.002", "12.3 img/s", "1.3 GB", "left", expected):
        assert part in line
