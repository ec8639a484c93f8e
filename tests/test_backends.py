"""Backends: same answer from PyTorch and ONNX Runtime, clear refusals of files, shapes and devices."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from tiny_checkpoint import TINY_NAMES, TINY_SIDE, write_tiny_checkpoint

from data_utils.errors import InputError
from deployment.export import export_onnx
from deployment.runtimes.registry import OnnxBackend, TorchBackend, open_backend


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_checkpoint(tmp_path_factory.mktemp("weights") / "tiny.pt")


@pytest.fixture(scope="module")
def onnx_file(checkpoint: Path) -> Path:
    return export_onnx(checkpoint, checkpoint.with_suffix(".onnx")).path


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return np.random.default_rng(0).random((3, 3, TINY_SIDE, TINY_SIDE), dtype=np.float32)


def graph_file(path: Path, output_channels: int, metadata: dict[str, str]) -> Path:
    """A well-formed ONNX file that is not a detector: it returns [batch, output_channels, 7] zeros."""
    image = helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, TINY_SIDE, TINY_SIDE])
    output = helper.make_tensor_value_info("detections", TensorProto.FLOAT, [1, output_channels, 7])
    zeros = helper.make_tensor("zeros", TensorProto.FLOAT, [1, output_channels, 7], [0.0] * (output_channels * 7))
    node = helper.make_node("Constant", [], ["detections"], value=zeros)
    model = helper.make_model(helper.make_graph([node], "g", [image], [output]), ir_version=8,
                              opset_imports=[helper.make_opsetid("", 17)])  # fmt: skip
    helper.set_model_props(model, metadata)
    onnx.save(model, str(path))
    return path


def test_the_ending_chooses_the_backend(checkpoint: Path, onnx_file: Path):
    for path, kind in ((checkpoint, TorchBackend), (onnx_file, OnnxBackend)):
        backend = open_backend(path, "cpu")
        assert isinstance(backend, kind)
        assert backend.input_size == TINY_SIDE
        assert backend.names == TINY_NAMES


def test_folding_batch_norm_changes_nothing(checkpoint: Path, images: np.ndarray):
    import torch

    from models.checkpoint import load_model

    model, _, _ = load_model(checkpoint)
    with torch.inference_mode():
        plain = model(torch.from_numpy(images), inference=True).numpy()
    fused = TorchBackend(checkpoint, "cpu")(images)
    assert fused.dtype == np.float32
    assert fused.shape == plain.shape == (3, 4 + len(TINY_NAMES), 12**2 + 6**2 + 3**2)
    np.testing.assert_allclose(fused[:, :4] / TINY_SIDE, plain[:, :4] / TINY_SIDE, atol=1e-4)
    np.testing.assert_allclose(fused[:, 4:], plain[:, 4:], atol=1e-4)
    assert plain[:, 4:].std() > 0.01  # a constant output would agree with anything


def test_onnx_gives_the_same_pixels_as_torch(checkpoint: Path, onnx_file: Path, images: np.ndarray):
    expected, found = TorchBackend(checkpoint, "cpu")(images), OnnxBackend(onnx_file, "cpu")(images)
    np.testing.assert_allclose(found[:, :4] / TINY_SIDE, expected[:, :4] / TINY_SIDE, atol=1e-4)
    np.testing.assert_allclose(found[:, 4:], expected[:, 4:], atol=1e-4)
    assert found[:, 2:4].max() > 2  # pixels, not shares of the side


def test_onnx_metadata_tells_where_the_weights_come_from(onnx_file: Path):
    metadata = OnnxBackend(onnx_file, "cpu").metadata
    assert (metadata["run"], metadata["epoch"]) == ("tiny", "3")
    assert len(metadata["weights_sha256"]) == 64


@pytest.mark.parametrize(
    "shape", [(1, 3, 64, 64), (1, 1, TINY_SIDE, TINY_SIDE), (3, TINY_SIDE, TINY_SIDE), (0, 3, TINY_SIDE, TINY_SIDE)]
)
@pytest.mark.parametrize("kind", ["checkpoint", "onnx_file"])
def test_another_shape_is_refused(request: pytest.FixtureRequest, kind: str, shape: tuple[int, ...]):
    backend = open_backend(request.getfixturevalue(kind), "cpu")
    with pytest.raises(InputError, match=rf"takes float32 \[B, 3, {TINY_SIDE}, {TINY_SIDE}\].*got float32"):
        backend(np.zeros(shape, np.float32))
    with pytest.raises(InputError, match="got float64"):
        backend(np.zeros((1, 3, TINY_SIDE, TINY_SIDE)))


def test_a_batch_the_graph_does_not_take_is_one_clear_line(tmp_path: Path):
    metadata = {"format": "sre-yolo-1", "names": '["a"]', "input_size": str(TINY_SIDE)}
    backend = OnnxBackend(graph_file(tmp_path / "fixed.onnx", 5, metadata), "cpu")
    assert backend(np.zeros((1, 3, TINY_SIDE, TINY_SIDE), np.float32)).shape == (1, 5, 7)
    with pytest.raises(InputError, match=r"fixed\.onnx: refused a batch of shape \[2, 3, 96, 96\]: .+") as caught:
        backend(np.zeros((2, 3, TINY_SIDE, TINY_SIDE), np.float32))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("metadata", "reason"),
    [
        ({}, "not written by this project"),
        ({"format": "sre-yolo-1", "names": '["a"]'}, "metadata is damaged"),
        ({"format": "sre-yolo-1", "names": "[a", "input_size": "96"}, "metadata is damaged"),
        ({"format": "sre-yolo-1", "names": '["a", "b"]', "input_size": "96"}, "2 classes at 96 px, but the graph"),
        ({"format": "sre-yolo-1", "names": '["a"]', "input_size": "64"}, "1 classes at 64 px, but the graph"),
    ],
)
def test_foreign_onnx_files_are_refused(tmp_path: Path, metadata: dict[str, str], reason: str):
    with pytest.raises(InputError, match=reason):
        open_backend(graph_file(tmp_path / "foreign.onnx", 5, metadata), "cpu")


def test_an_onnx_graph_without_an_input_is_foreign_not_a_fault(tmp_path: Path):
    path = graph_file(tmp_path / "constant.onnx", 5, {})
    model = onnx.load(str(path))
    del model.graph.input[:]
    onnx.save(model, str(path))
    with pytest.raises(InputError, match="not written by this project"):
        open_backend(path, "cpu")


@pytest.mark.parametrize("location", ["../outside.bin", "{absolute}", "link.bin"])
@pytest.mark.parametrize("backend", ["onnx", "openvino"])
def test_weights_outside_a_models_folder_are_not_read(tmp_path: Path, onnx_file: Path, backend: str, location: str):
    if backend == "openvino":
        pytest.importorskip("openvino")
    (tmp_path / "models").mkdir()
    model, outside = onnx.load(str(onnx_file)), tmp_path / "outside.bin"
    tensor = max(model.graph.initializer, key=lambda each: len(each.raw_data))
    outside.write_bytes(tensor.raw_data)
    (tmp_path / "models" / "link.bin").symlink_to(outside)
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location.format(absolute=outside))
    (tmp_path / "models" / "a.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(InputError, match=r"a\.onnx: not a readable [^\n]+(outside\.bin|Absolute path)[^\n]*$"):
        open_backend(tmp_path / "models" / "a.onnx", "cpu", backend)


@pytest.mark.parametrize("name", ["w.onnx", "w.pt"])
@pytest.mark.parametrize("content", [b"", b"not weights at all", None], ids=["empty", "text", "truncated"])
def test_corrupt_files_are_refused_with_one_line(
    tmp_path: Path, checkpoint: Path, onnx_file: Path, name: str, content: bytes | None
):
    whole = (onnx_file if name == "w.onnx" else checkpoint).read_bytes()
    path = tmp_path / name
    path.write_bytes(whole[: len(whole) // 2] if content is None else content)
    with pytest.raises(InputError) as caught:
        open_backend(path, "cpu")
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


class _Touch:
    """Pickles to a call that leaves a file behind."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return Path.touch, (self.path,)  # pyright: ignore[reportReturnType]


@pytest.mark.parametrize("name", ["evil.pt", "evil.onnx"])
def test_a_pickle_with_code_is_refused_and_not_run(tmp_path: Path, name: str):
    import torch

    trace = tmp_path / "executed"
    torch.save({"format": 1, "model": _Touch(trace)}, tmp_path / "zip")
    for content in (pickle.dumps(_Touch(trace)), (tmp_path / "zip").read_bytes()):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError):
            open_backend(tmp_path / name, "cpu")
    assert not trace.exists()


def test_missing_files_and_unknown_endings(tmp_path: Path):
    with pytest.raises(InputError, match="no such file"):
        open_backend(tmp_path / "absent.onnx")
    with pytest.raises(InputError, match=r"weights end in \.pt, \.onnx, \.xml or \.torchscript, not in '\.h5'"):
        open_backend(tmp_path / "weights.h5")


@pytest.mark.parametrize("kind", ["checkpoint", "onnx_file"])
@pytest.mark.parametrize("device", ["cuda", "cuda:7", "mps", "tpu"])
def test_a_device_that_is_absent_is_an_error(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, kind: str, device: str
):
    import onnxruntime

    from models import hardware

    monkeypatch.setattr(hardware, "n_cuda_devices", lambda: 0)
    monkeypatch.setattr(hardware, "has_mps", lambda: False)
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    with pytest.raises(InputError, match=f"--device {device}"):
        open_backend(request.getfixturevalue(kind), device)


@pytest.mark.filterwarnings("ignore:Specified provider")
def test_a_gpu_that_fails_to_start_is_no_silent_cpu(onnx_file: Path, monkeypatch: pytest.MonkeyPatch):
    import onnxruntime

    # The package claims CUDA, but its libraries do not load: ONNX Runtime itself would fall back to the CPU.
    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this ONNX Runtime does have CUDA")
    claimed = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: claimed)
    with pytest.raises(InputError, match="could not start CUDAExecutionProvider"):
        open_backend(onnx_file, "cuda")
