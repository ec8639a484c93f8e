"""The benchmark of backends: its table, its plot, its two sides; figures themselves are not tested."""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from test_video import probe
from tiny_checkpoint import write_tiny_checkpoint

from deployment.benchmark import __main__ as benchmark
from deployment.benchmark import measure
from deployment.benchmark.measure import draw, size_of
from deployment.benchmarking.clip import write_clip
from deployment.benchmarking.side_by_side import ratio_rows, sides_of


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return write_tiny_checkpoint(tmp_path / "tiny.pt")


@pytest.mark.integration
def test_every_variant_has_a_row_and_says_why_it_was_not_measured(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    frames = tmp_path / "frames"
    frames.mkdir()
    for k in range(2):
        coarse = np.random.default_rng(k).integers(0, 256, (9, 16, 3), dtype=np.uint8)
        cv2.imwrite(str(frames / f"{k}.png"), cv2.resize(coarse, (160, 90)))
    monkeypatch.setattr(measure, "EXPORTED", [("onnx", "fp32"), ("openvino", "int8")])
    monkeypatch.setattr(measure.importlib.util, "find_spec", lambda name: None if name == "nncf" else object())
    arguments = ["backends", "--weights", str(checkpoint), "--save", str(tmp_path / "out"), "--frames", str(frames)]
    monkeypatch.setattr(sys, "argv", ["benchmark", *arguments, "--n-frames", "4", "--files", str(tmp_path / "files")])
    benchmark.main()
    with (tmp_path / "out" / "backends.csv").open() as stream:
        rows = {f"{row['backend']} {row['precision']}": row for row in csv.DictReader(stream)}
    assert list(rows) == ["torch fp32", "torch bf16", "onnx fp32", "openvino int8"]
    assert rows["openvino int8"]["note"] == "nncf is not installed"
    for name in ("torch fp32", "onnx fp32"):
        assert float(rows[name]["median_ms"]) > 0
        assert float(rows[name]["agreement"]) == 1
    assert (tmp_path / "out" / "backends.png").stat().st_size > 1000
    assert "onnx" in capsys.readouterr().out
    # A second call takes the files that lie there.
    before = (tmp_path / "files" / "tiny_fp32.onnx").stat().st_mtime_ns
    made = measure.make_variants(checkpoint, tmp_path / "files", 1, frames, {("onnx", "fp32")})
    assert [one.name for one in made] == ["torch fp32", "torch bf16", "onnx fp32"]
    assert made[-1].path.stat().st_mtime_ns == before


def test_the_clip_moves_and_is_drawn_alike_each_time(tmp_path: Path):
    first, second = (write_clip(tmp_path / name, 4, (160, 90)) for name in ("a.mp4", "b.mp4"))
    assert first.read_bytes() == second.read_bytes()
    assert probe(first)["size"] == (160, 90)
    assert len(probe(first)["times"]) == 4


def test_ratios_are_those_of_medians():
    rows = ratio_rows({"onnx fp32": [10, 30, 20], "ultralytics square, its own threads": [5, 4, 9]})
    assert rows == [{"ours": "onnx fp32", "theirs": "ultralytics square, its own threads", "ratio": 4.0}]


def test_ultralytics_stands_in_four_ways(checkpoint: Path):
    sides = sides_of([("onnx fp32", Path("a.onnx"))], checkpoint)
    assert [(side.rect, side.threads is None) for side in sides] == [
        (None, True), (False, True), (False, False), (True, True), (True, False)]  # fmt: skip


def test_the_plot_leaves_out_what_was_not_measured(tmp_path: Path):
    (tmp_path / "a.csv").write_text("backend,precision,fps,ap50\nonnx,fp32,20.5,0.8\nopenvino,int8,,\n")
    draw(tmp_path / "a.csv", tmp_path / "a.png")
    picture = cv2.imread(str(tmp_path / "a.png"))
    assert picture is not None
    assert picture.std() > 1


def test_a_models_size_counts_its_weights(tmp_path: Path):
    (tmp_path / "a.xml").write_bytes(bytes(10))
    (tmp_path / "a.bin").write_bytes(bytes(100))
    assert size_of(tmp_path / "a.xml") == 110
