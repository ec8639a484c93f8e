"""Timing the audit on many frames."""

from __future__ import annotations

from pathlib import Path

import pytest
from audit_samples import config_of, texture

from data_utils.audit import audit
from data_utils.auditing.timing import main, make_views, time_audit
from data_utils.config_sections import Config
from data_utils.imaging.images import write_image


@pytest.fixture
def config(tmp_path: Path) -> Config:
    for seed in range(3):
        write_image(tmp_path / "raw" / f"{seed}.jpg", texture(seed))
        (tmp_path / "raw" / f"{seed}.txt").write_text("")
    return config_of(tmp_path, f"dataset.raw='{tmp_path / 'raw'}'", "dataset.format=yolo", "dataset.metadata=null",
                     "dataset.group=image")  # fmt: skip


def test_the_views_are_a_prepared_set_that_is_audited_in_full(config: Config, tmp_path: Path) -> None:
    made = make_views(config, tmp_path / "views", 40)
    report = audit(made, [1], workers=1)
    assert report.n_frames == 40
    assert [f.check for f in report.findings if f.messages and f.severity == "error"] == []
    assert report.pairs  # views of the same frame in different parts
    again = make_views(config, tmp_path / "again", 40)
    files = sorted(made.dataset.lr_images.iterdir())
    assert all((again.dataset.lr_images / path.name).read_bytes() == path.read_bytes() for path in files)


def test_the_time_is_told(config: Config) -> None:
    assert 0 < time_audit(config, 6, workers=1) < 60


def test_too_few_frames_are_refused() -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["--frames", "2"])
