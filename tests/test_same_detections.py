"""The same frames give the same detections, as images, as a folder, and as a lossless video, by every backend."""

from __future__ import annotations

import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from tiny_checkpoint import write_tiny_checkpoint

from data_utils.errors import run_command
from deployment.export import ExportSettings, export_model
from evaluation.video.records import FrameRecord, read_records

N = 5
Run = Callable[..., list[FrameRecord]]


def frames() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    coarse = [rng.integers(0, 256, (9, 16, 3), dtype=np.uint8) for _ in range(N)]
    return [np.asarray(cv2.resize(one, (160, 90), interpolation=cv2.INTER_CUBIC)) for one in coarse]


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with images/0.png... and lossless.mkv of the same frames."""
    folder = tmp_path_factory.mktemp("sources")
    (folder / "images").mkdir()
    for k, frame in enumerate(frames()):
        cv2.imwrite(str(folder / "images" / f"{k}.png"), frame)
    with av.open(str(folder / "lossless.mkv"), "w") as container:
        stream: Any = container.add_stream("ffv1", rate=Fraction(25))
        stream.width, stream.height, stream.pix_fmt = 160, 90, "bgr0"
        for frame in frames():
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="bgr24")))
        container.mux(stream.encode(None))
    return folder


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    checkpoint = write_tiny_checkpoint(tmp_path_factory.mktemp("weights") / "tiny.pt")
    folder = checkpoint.parent
    return {
        "torch": checkpoint,
        "onnx": export_model(checkpoint, folder / "tiny.onnx", ExportSettings()).path,
        "onnx with nms": export_model(checkpoint, folder / "nms.onnx", ExportSettings(nms=True)).path,
        "torchscript": export_model(checkpoint, folder / "a.torchscript", ExportSettings("torchscript")).path,
    }


@pytest.fixture
def detect(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    def run(weights: Path, source: Path | str, *options: str) -> list[FrameRecord]:
        import infer

        out = tmp_path / str(len(list(tmp_path.iterdir())))
        command = ["infer.py", "--weights", str(weights), "--source", str(source), "--out", str(out), "--save-json"]
        monkeypatch.setattr(sys, "argv", [*command, "--device", "cpu", *options])
        with pytest.raises(SystemExit) as caught:
            run_command(infer.main)
        assert caught.value.code == 0
        return read_records(out / "detections.jsonl")

    return run


def found(record: FrameRecord) -> list[list[float]]:
    one = record.detections
    return [[*box, score, kind] for box, score, kind in zip(one.boxes_xyxy.tolist(), one.scores.tolist(),
                                                            one.class_ids.tolist(), strict=True)]  # fmt: skip


@pytest.mark.integration
@pytest.mark.parametrize("backend", ["torch", "onnx", "onnx with nms", "torchscript"])
def test_images_a_folder_and_a_lossless_video_agree(detect: Run, sources: Path, weights: dict[str, Path], backend: str):
    images = [detect(weights[backend], sources / "images" / f"{k}.png")[0] for k in range(N)]
    folder = detect(weights[backend], sources / "images")
    video = detect(weights[backend], sources / "lossless.mkv")
    expected = [found(record) for record in images]
    assert sum(map(len, expected)) >= N  # a comparison of nothing would always hold
    assert len({str(one) for one in expected}) == N  # the frames do differ
    assert [found(record) for record in folder] == expected
    assert [found(record) for record in video] == expected
    assert [(record.frame, record.seconds) for record in video] == [(k, k / 25) for k in range(N)]
    assert {record.seconds for record in folder} == {None}


@pytest.mark.integration
def test_all_backends_agree(detect: Run, sources: Path, weights: dict[str, Path]):
    expected = [found(record) for record in detect(weights["torch"], sources / "images")]
    for backend in ("onnx", "onnx with nms", "torchscript"):
        others = [found(record) for record in detect(weights[backend], sources / "images")]
        assert [len(one) for one in others] == [len(one) for one in expected]
        for one, other in zip(expected, others, strict=True):
            np.testing.assert_allclose(other, one, atol=5e-3)


def test_every_second_frame_is_looked_at(detect: Run, sources: Path, weights: dict[str, Path]):
    every, second = detect(weights["onnx"], sources / "lossless.mkv"), detect(
        weights["onnx"], sources / "lossless.mkv", "--every", "2", "--save")  # fmt: skip
    assert [record.frame for record in second] == [0, 2, 4]
    assert [found(record) for record in second] == [found(every[k]) for k in (0, 2, 4)]


def test_mirrored_and_tiled_views_change_what_is_found(detect: Run, sources: Path, weights: dict[str, Path]):
    plain = [found(record) for record in detect(weights["onnx"], sources / "images")]
    for option in ("--tta", "--tile"):
        looked = [found(record) for record in detect(weights["onnx"], sources / "images", option)]
        assert looked != plain
        assert all(looked)


def test_a_suppressed_file_cannot_be_asked_for_what_it_left_out(
    sources: Path, weights: dict[str, Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    import infer

    for option, value in (("--conf", "0.1"), ("--iou", "0.9")):
        arguments = ["infer.py", "--weights", str(weights["onnx with nms"]), "--source", str(sources), option, value]
        monkeypatch.setattr(sys, "argv", arguments)
        with pytest.raises(SystemExit) as caught:
            run_command(infer.main)
        assert caught.value.code == 2
        assert "suppressed inside at --conf 0.25 --iou 0.45" in capsys.readouterr().err
