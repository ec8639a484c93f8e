"""Export: what is written, what is checked, and that nothing bad is kept."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pytest
import torch
from conftest import PreparedSet
from tiny_checkpoint import TINY_NAMES, TINY_SIDE, write_tiny_checkpoint

from data_utils.config.loading import override_config
from data_utils.errors import InputError
from deployment.export import FORMATS, ExportReport, ExportSettings, ParityError, export_model, export_onnx
from deployment.exporting.checks import check_ap50
from deployment.exporting.int8 import find_frames, spread
from deployment.runtimes.exported import ExportedBackend, Metadata
from deployment.runtimes.registry import OnnxBackend, open_backend
from models.checkpoint import load_model


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("export with space")


@pytest.fixture(scope="module")
def checkpoint(folder: Path) -> Path:
    return write_tiny_checkpoint(folder / "light.pt", "light")


@pytest.fixture(scope="module")
def report(checkpoint: Path, folder: Path) -> ExportReport:
    return export_model(checkpoint, folder / "light.onnx", ExportSettings(dynamic=True))


def test_a_split_that_is_not_there_is_named(tiny_prepared: PreparedSet, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"--split 9: no .*; here are split1"):
        find_frames(tiny_prepared.config, 9, "val", None)
    assert find_frames(tiny_prepared.config, 1, "val", None)
    elsewhere = override_config(tiny_prepared.config, [f"dataset.splits='{tmp_path / 'none'}'"])
    assert find_frames(elsewhere, 9, "val", None) == []


def test_the_file_agrees_with_pytorch(report: ExportReport):
    assert set(report.errors) == {f"{kind}, batch {n}" for kind in ("random", "image-like") for n in (1, 3)}
    assert 0 < max(report.errors.values()) < 1e-4
    text = "\n".join(report.lines())
    assert "max abs error" in text
    assert f"python infer.py --weights '{report.path}'" in text  # quoted: its folder has a space in its name


def test_the_graph_maps_any_batch_to_boxes_in_units_of_the_input_side(report: ExportReport, checkpoint: Path):
    import onnxruntime

    session = onnxruntime.InferenceSession(str(report.path), providers=["CPUExecutionProvider"])
    assert session.get_inputs()[0].shape == ["batch", 3, TINY_SIDE, TINY_SIDE]
    assert session.get_outputs()[0].shape == ["batch", 6, 12**2 + 6**2 + 3**2]
    images = np.random.default_rng(1).random((5, 3, TINY_SIDE, TINY_SIDE), dtype=np.float32)
    found = session.run(None, {"images": images})[0]
    model, _, _ = load_model(checkpoint)
    with torch.inference_mode():
        expected = model(torch.from_numpy(images), inference=True).numpy()
    np.testing.assert_allclose(found[:, :4], expected[:, :4] / TINY_SIDE, atol=1e-4)
    np.testing.assert_allclose(found[:, 4:], expected[:, 4:], atol=1e-4)


def test_metadata_is_in_the_file(report: ExportReport):
    proto = onnx.load(str(report.path))
    assert [(opset.domain, opset.version) for opset in proto.opset_import] == [("", 17)]
    metadata = {entry.key: entry.value for entry in proto.metadata_props}
    assert json.loads(metadata["names"]) == list(TINY_NAMES)
    expected = {"input_size": "96", "box_unit": "input side", "conf": "0.25", "iou": "0.45"}
    assert metadata.items() >= (expected | {"run": "tiny", "epoch": "3"}).items()
    assert "RGB" in metadata["normalisation"]
    assert metadata["weights_sha256"] == load_model(report.path.with_suffix(".pt"))[2]["weights_sha256"]


def test_the_branch_leaves_no_trace(report: ExportReport, folder: Path):
    # Equal detector weights, once with and once without the branch, give the identical graph.
    settings = ExportSettings(dynamic=True)
    without = export_model(write_tiny_checkpoint(folder / "none.pt", "none"), folder / "none.onnx", settings)
    graphs = [onnx.load(str(path)).graph for path in (report.path, without.path)]
    assert graphs[0].SerializeToString() == graphs[1].SerializeToString()
    assert not [name for tensor in graphs[0].initializer if "sr_branch" in (name := tensor.name)]
    # The comparison can fail: other weights give another graph.
    other = export_model(write_tiny_checkpoint(folder / "other.pt", "none", seed=1), folder / "other.onnx", settings)
    assert onnx.load(str(other.path)).graph.SerializeToString() != graphs[0].SerializeToString()


@pytest.fixture(scope="module")
def frames(folder: Path) -> Path:
    (folder / "frames").mkdir()
    for k in range(4):
        coarse = np.random.default_rng(k).integers(0, 256, (12, 16, 3), dtype=np.uint8)
        cv2.imwrite(str(folder / "frames" / f"{k}.png"), cv2.resize(coarse, (160, 120), interpolation=cv2.INTER_CUBIC))
    return folder / "frames"


KINDS = {
    "simplified": ExportSettings(simplify=True),
    "half": ExportSettings(half=True),
    "int8": ExportSettings(int8=True, calib=3),
    "nms": ExportSettings(nms=True, conf=0.3, iou=0.5),
    "torchscript": ExportSettings("torchscript"),
    "torchscript nms": ExportSettings("torchscript", nms=True),
}


@pytest.fixture(scope="module", params=KINDS)
def kind(request: pytest.FixtureRequest, checkpoint: Path, folder: Path, frames: Path) -> tuple[str, ExportReport]:
    if request.param == "simplified":
        pytest.importorskip("onnxslim")
    settings = dataclasses.replace(KINDS[request.param], frames=frames)
    return request.param, export_model(checkpoint, folder / f"{request.param}{settings.ending}", settings)


@pytest.mark.integration
@pytest.mark.filterwarnings("ignore")
def test_every_kind_of_file_passes_its_check_and_runs_from_itself_alone(kind: tuple[str, ExportReport], frames: Path):
    name, report = kind
    backend = open_backend(report.path, "cpu")
    assert isinstance(backend, ExportedBackend)
    assert (backend.input_size, backend.names, backend.meta.batch) == (TINY_SIDE, TINY_NAMES, 1)
    assert backend.meta.nms == ("nms" in name)
    assert backend.metadata["run"] == "tiny"
    assert report.agreement is not None
    assert report.agreement.n_reference > 4  # real frames on which something is found
    if name in ("simplified", "nms", "torchscript", "torchscript nms"):
        assert max(report.errors.values()) < 1e-4
        assert report.agreement.holds(0.5, 1e-3)
    if name in ("half", "int8"):
        assert 1e-7 < max(report.errors.values()) < 0.1
        assert backend.meta.precision == {"half": "fp16", "int8": "int8"}[name]
    raw = backend(np.zeros((3, 3, TINY_SIDE, TINY_SIDE), np.float32))  # a fixed batch is fed frame by frame
    assert raw.shape[:2] == (3, 4 + len(TINY_NAMES))


@pytest.mark.integration
def test_smaller_kinds_are_smaller(kind: tuple[str, ExportReport], report: ExportReport):
    limits = {"half": 0.55, "int8": 0.35}
    if kind[0] in limits:
        assert kind[1].n_bytes < limits[kind[0]] * report.n_bytes


def test_eight_bits_leave_the_decoding_in_float(kind: tuple[str, ExportReport]):
    if kind[0] != "int8":
        pytest.skip("of the INT8 file alone")
    graph = onnx.load(str(kind[1].path)).graph
    makers = {value: node for node in graph.node for value in node.output}
    softmax = next(node for node in graph.node if node.op_type == "Softmax")
    integral = next(node for node in graph.node if node.op_type == "Conv" and "dfl" in node.name)
    assert makers[integral.input[0]].op_type != "DequantizeLinear"
    assert makers[softmax.input[0]].op_type != "DequantizeLinear"
    quantised = [node for node in graph.node if node.op_type == "Conv" and
                 makers[node.input[0]].op_type == "DequantizeLinear"]  # fmt: skip
    assert len(quantised) == len([node for node in graph.node if node.op_type == "Conv"]) - 1


def test_a_file_whose_detections_differ_is_deleted(
    checkpoint: Path, frames: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    to_raw = Metadata.to_raw

    def shifted(self: Metadata, output: np.ndarray) -> np.ndarray:
        raw = to_raw(self, output)
        raw[:, 0] += 1  # input pixel: 1.7 of the frame's
        return raw

    monkeypatch.setattr(Metadata, "to_raw", shifted)
    with pytest.raises(ParityError, match="on real frames"):
        export_model(checkpoint, tmp_path / "a.onnx", ExportSettings(frames=frames))
    assert not list(tmp_path.iterdir())


def test_a_fall_of_ap50_is_refused():
    check_ap50(0.8, 0.79, "w")
    check_ap50(None, None, "w")
    for after in (0.77, None):
        with pytest.raises(ParityError, match=r"AP50 on the validation list fell from 0\.8000 to 0\..*--calib"):
            check_ap50(0.8, after, "w")


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"format": "tflite"}, "--format tflite"),
        ({"half": True, "int8": True}, "exclude each other"),
        ({"format": "torchscript", "int8": True}, "has no --int8"),
        ({"format": "openvino", "dynamic": True}, "--dynamic"),
        ({"nms": True, "dynamic": True}, "--dynamic and --nms"),
        ({"int8": True, "calib": 0}, "--calib 0"),
        ({"conf": 2.0}, "conf = 2.0"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(settings: dict[str, Any], reason: str):
    with pytest.raises(InputError, match=reason):
        ExportSettings(**settings)


def test_eight_bits_need_frames(checkpoint: Path, tmp_path: Path):
    with pytest.raises(InputError, match=r"--int8: .*train\.txt is not prepared here.*--frames"):
        export_model(checkpoint, tmp_path / "a.onnx", ExportSettings(int8=True))
    with pytest.raises(InputError, match="no folder with images"):
        export_model(checkpoint, tmp_path / "a.onnx", ExportSettings(int8=True, frames=tmp_path))


def test_frames_are_taken_evenly():
    paths = [Path(str(k)) for k in range(10)]
    assert [path.name for path in spread(paths, 4)] == ["0", "3", "6", "9"]
    assert spread(paths, 20) == paths


def test_the_commands_endings_are_the_formats():
    import export

    assert {name: ExportSettings(name).ending for name in FORMATS} == export.ENDINGS


def test_batch_norm_is_exported_in_eval_mode(report: ExportReport):
    kinds = {node.op_type for node in onnx.load(str(report.path)).graph.node}
    assert "BatchNormalization" not in kinds  # folded, which only eval mode allows
    assert "Conv" in kinds


@pytest.mark.parametrize("before", [b"an earlier export", None], ids=["with an older file", "alone"])
@pytest.mark.parametrize("damage", [lambda x: x + 1, lambda x: x * float("nan")], ids=["shifted", "NaN"])
def test_a_file_that_fails_its_check_is_deleted(
    checkpoint: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    damage: Callable[[np.ndarray], np.ndarray],
    before: bytes | None,
):
    target = tmp_path / "out.onnx"
    if before is not None:
        target.write_bytes(before)
    run_graph = OnnxBackend.run_graph
    monkeypatch.setattr(OnnxBackend, "run_graph", lambda self, images: damage(run_graph(self, images)))
    with pytest.raises(ParityError, match="differs from PyTorch"):
        export_onnx(checkpoint, target)
    assert [path.name for path in tmp_path.iterdir()] == ([target.name] if before else [])
    assert before is None or target.read_bytes() == before


def test_bad_requests_are_refused_before_anything_is_written(checkpoint: Path, tmp_path: Path):
    for weights, name, opset, reason in (
        (checkpoint, "a.onnx", 3, "--opset 3"),
        (checkpoint, "a.pt", 17, r"must end in \.onnx"),
        (tmp_path / "absent.pt", "a.onnx", 17, "no such"),
    ):
        with pytest.raises(InputError, match=reason):
            export_onnx(weights, tmp_path / "out" / name, opset)
    assert not (tmp_path / "out").exists()


def test_weights_that_give_nan_are_named_instead_of_the_exporter(tmp_path: Path):
    weights = write_tiny_checkpoint(tmp_path / "nan.pt")
    content = torch.load(weights, weights_only=True)
    bias = "backbone.detector.model.22.cv3.0.2.bias"
    content["model"][bias] = content["model"][bias] * torch.nan
    torch.save(content, weights)
    with pytest.raises(InputError, match="the checkpoint itself gives NaN"):
        export_onnx(weights, tmp_path / "nan.onnx")
    assert [path.name for path in tmp_path.iterdir()] == ["nan.pt"]
