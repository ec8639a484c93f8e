"""OpenVINO files: written, checked, run, in eight bits too; and what is said where the packages are missing."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from tiny_checkpoint import TINY_NAMES, TINY_SIDE, write_tiny_checkpoint

from data_utils.errors import InputError
from deployment.export import ExportReport, ExportSettings, export_model
from deployment.runtimes.registry import OpenVinoBackend, TorchBackend, open_backend

needs_openvino = pytest.mark.skipif(importlib.util.find_spec("openvino") is None, reason="openvino is not installed")
needs_nncf = pytest.mark.skipif(importlib.util.find_spec("nncf") is None, reason="nncf is not installed")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_checkpoint(tmp_path_factory.mktemp("open vino") / "tiny.pt")


@pytest.fixture(scope="module")
def frames(checkpoint: Path) -> Path:
    folder = checkpoint.parent / "frames"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for k in range(4):
        coarse = rng.integers(0, 256, (12, 16, 3), dtype=np.uint8)
        cv2.imwrite(str(folder / f"{k}.png"), cv2.resize(coarse, (160, 120), interpolation=cv2.INTER_CUBIC))
    return folder


@pytest.fixture(scope="module")
def report(checkpoint: Path, frames: Path) -> ExportReport:
    return export_model(checkpoint, checkpoint.with_suffix(".xml"), ExportSettings("openvino", frames=frames))


@needs_openvino
def test_the_file_agrees_with_pytorch_and_needs_nothing_else(report: ExportReport, checkpoint: Path):
    assert max(report.errors.values()) < 1e-4
    assert report.agreement is not None
    assert report.agreement.matched > 0
    assert sorted(path.name for path in report.path.parent.glob("tiny.*")) == ["tiny.bin", "tiny.pt", "tiny.xml"]
    images = np.random.default_rng(0).random((3, 3, TINY_SIDE, TINY_SIDE), dtype=np.float32)
    for backend in (open_backend(report.path), OpenVinoBackend(report.path, "cpu", throughput=True)):
        assert (backend.input_size, backend.names) == (TINY_SIDE, TINY_NAMES)
        found, expected = backend(images), TorchBackend(checkpoint, "cpu")(images)
        np.testing.assert_allclose(found[:, :4] / TINY_SIDE, expected[:, :4] / TINY_SIDE, atol=1e-4)
        np.testing.assert_allclose(found[:, 4:], expected[:, 4:], atol=1e-4)
    metadata = OpenVinoBackend(report.path).metadata
    assert (metadata["run"], metadata["epoch"], len(metadata["weights_sha256"])) == ("tiny", "3", 64)


@needs_openvino
def test_a_model_without_its_binary_foreign_or_damaged_is_refused(report: ExportReport, tmp_path: Path):
    import openvino

    (tmp_path / "a.xml").write_bytes(report.path.read_bytes())
    with pytest.raises(InputError, match=r"a\.bin: no such file"):
        open_backend(tmp_path / "a.xml")
    (tmp_path / "a.bin").write_bytes(b"")
    with pytest.raises(InputError, match=r"a\.xml: "):
        open_backend(tmp_path / "a.xml")
    (tmp_path / "a.xml").write_bytes(report.path.read_bytes()[:9000])
    with pytest.raises(InputError, match=r"a\.xml: not a readable OpenVINO file: .* at offset \d+$"):
        open_backend(tmp_path / "a.xml")
    (tmp_path / "a.xml").write_text("words")
    with pytest.raises(InputError, match=r"a\.xml: not a readable OpenVINO file: [^\n]*$"):
        open_backend(tmp_path / "a.xml")
    parameter = openvino.opset13.parameter([1, 3, 8, 8])
    openvino.save_model(openvino.Model([openvino.opset13.relu(parameter)], [parameter]), str(tmp_path / "f.xml"))
    with pytest.raises(InputError, match="not written by this project"):
        open_backend(tmp_path / "f.xml")


@needs_openvino
@pytest.mark.parametrize("device", ["cuda", "gpu", "npu"])
def test_a_device_that_is_absent_is_an_error(report: ExportReport, device: str):
    with pytest.raises(InputError, match=f"--device {device}: OpenVINO has CPU here"):
        open_backend(report.path, device)


@needs_openvino
@needs_nncf
@pytest.mark.integration
@pytest.mark.filterwarnings("ignore")
def test_eight_bits_keep_the_decoding_in_float(checkpoint: Path, frames: Path, tmp_path: Path):
    settings = ExportSettings("openvino", int8=True, calib=4, frames=frames)
    report = export_model(checkpoint, tmp_path / "tiny.xml", settings)
    assert max(report.errors.values()) < 0.02  # of the side, boxes; decoding in eight bits would round to 1/128
    assert report.metadata["precision"] == "int8"
    assert report.n_bytes < 0.5 * checkpoint.stat().st_size
    assert "AP50 was not measured" in "\n".join(report.lines())


def test_without_the_packages_one_line_says_what_to_install(
    checkpoint: Path, frames: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(InputError, match=r"--format openvino needs openvino .*pip install openvino"):
        export_model(checkpoint, tmp_path / "a.xml", ExportSettings("openvino", frames=frames))
    assert not list(tmp_path.iterdir())
    (tmp_path / "a.xml").touch()
    with pytest.raises(InputError, match="needs openvino"):
        open_backend(tmp_path / "a.xml")
