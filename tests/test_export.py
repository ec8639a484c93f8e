"""Export: what is written, what is checked, and that nothing bad is kept."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from tiny_checkpoint import TINY_NAMES, TINY_SIDE, write_tiny_checkpoint

from data_utils.errors import InputError
from deployment.backends import OnnxBackend
from deployment.export import ExportReport, ExportSettings, ParityError, export_model, export_onnx
from models.weights import load_model


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("export with space")


@pytest.fixture(scope="module")
def checkpoint(folder: Path) -> Path:
    return write_tiny_checkpoint(folder / "light.pt", "light")


@pytest.fixture(scope="module")
def report(checkpoint: Path, folder: Path) -> ExportReport:
    return export_model(checkpoint, folder / "light.onnx", ExportSettings(dynamic=True))


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
