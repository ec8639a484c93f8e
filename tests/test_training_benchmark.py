"""The command `python -m training.benchmark`, on a tiny prepared set."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
import yaml
from conftest import PreparedSet
from training_processes import fork_instead_of_spawning

from training.benchmark import main


@pytest.fixture
def config_file(tiny_prepared: PreparedSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    fork_instead_of_spawning(monkeypatch)
    settings = tiny_prepared.config.model_dump(mode="json")
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(settings), encoding="utf-8")
    return path


def rows_of(path: Path) -> list[dict[str, str]]:
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def files_under(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.mark.integration
def test_speed_measures_every_side_in_turn(config_file: Path, tiny_prepared: PreparedSet, tmp_path: Path) -> None:
    before = files_under(tiny_prepared.folder)
    main(["--config", str(config_file), "--device", "cpu", "--sizes", "64x4", "--frames", "9", "--epochs", "2",
          "--rounds", "1", "--seconds", "0.1", "--save", str(tmp_path / "saved")])  # fmt: skip
    rows = rows_of(tmp_path / "saved" / "speed_cpu.csv")
    assert {"ultralytics", "ultralytics, our threads", "ours", "bare", "loader"} == {row["side"] for row in rows}
    assert all(float(row["images_per_s"]) > 0 for row in rows)
    record = json.loads((tmp_path / "saved" / "speed_cpu.json").read_text(encoding="utf-8"))
    assert record["frames"] == {"64x4": 8}
    assert len(record["ratios"]) >= 3
    assert files_under(tiny_prepared.folder) == before  # nothing is written beside the real frames


@pytest.mark.integration
def test_accuracy_trains_and_scores_both_sides(config_file: Path, tmp_path: Path) -> None:
    main(["accuracy", "--config", str(config_file), "--device", "cpu", "--seeds", "3", "--epochs", "1",
          "--save", str(tmp_path / "saved")])  # fmt: skip
    ours, theirs, *means = rows_of(tmp_path / "saved" / "accuracy_cpu.csv")
    assert (ours["side"], theirs["side"], ours["seed"], theirs["precision"]) == ("ours", "ultralytics", "3", "fp32")
    assert [row["side"] for row in means] == ["ours", "ultralytics", "ours - ultralytics"]
    assert 0 <= float(theirs["val_ap50"]) <= 1


@pytest.mark.parametrize("size", ["320", "100x8", "320x0", "axb"])
def test_a_size_that_cannot_be_is_refused(size: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--sizes", size])
    assert "write SIDExBATCH" in capsys.readouterr().err
