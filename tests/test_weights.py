"""Checkpoints, devices and initial weights."""

from __future__ import annotations

import os
import urllib.error
import urllib.request
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch

from data_utils.config.loading import load_config
from data_utils.config.sections import Config
from data_utils.errors import InputError
from models import hardware
from models.backbone import build_detector
from models.checkpoint import (
    coco_weights,
    load_model,
    load_pretrained,
    pick_device,
    read_checkpoint,
    save_model,
    weights_hash,
    write_checkpoint,
)
from models.sre_yolo import SREYOLO

LIGHT = ("sr_decoder=light", "model.branch_width=8")


@pytest.fixture(scope="module")
def config() -> Config:
    return load_config("configs/train.yaml", LIGHT)


@pytest.fixture(scope="module")
def model(config: Config) -> SREYOLO:
    torch.manual_seed(1)
    return SREYOLO(config)


@pytest.fixture
def checkpoint(tmp_path: Path, model: SREYOLO, config: Config) -> Path:
    save_model(tmp_path / "model.pt", model, config, {"epoch": 7, "run": "first"})
    return tmp_path / "model.pt"


def test_a_model_survives_the_round_trip(checkpoint: Path, model: SREYOLO, config: Config) -> None:
    loaded, its_config, meta = load_model(checkpoint)
    assert its_config == config
    assert not loaded.training
    expected = model.state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in loaded.state_dict().items())
    digest = weights_hash(expected)
    assert meta == {"epoch": 7, "names": ["lesion"], "run": "first", "split": None, "threshold": None,
                    "weights_sha256": digest}  # fmt: skip


def test_averaged_weights_win(tmp_path: Path, model: SREYOLO, config: Config) -> None:
    averaged = {name: torch.full_like(value, 2) for name, value in model.state_dict().items()}
    content = {"config": config.model_dump(mode="json"), "model": model.state_dict(), "ema": averaged}
    write_checkpoint(tmp_path / "c.pt", content)
    loaded = load_model(tmp_path / "c.pt")[0]
    assert all(bool((value == 2).all()) for value in loaded.state_dict().values())


def test_hash_depends_on_names_and_values() -> None:
    one = weights_hash({"a": torch.tensor([1.0])})
    assert one != weights_hash({"b": torch.tensor([1.0])})
    assert one != weights_hash({"a": torch.tensor([1.5])})
    assert one == weights_hash({"a": torch.tensor([1.0])})


def test_another_class_count_is_refused(checkpoint: Path) -> None:
    with pytest.raises(InputError, match=r"another class count or architecture: .*expected"):
        load_model(checkpoint, overrides=["dataset.nc=3", "dataset.names=[a,b,c]"])


def test_another_architecture_is_refused(checkpoint: Path) -> None:
    with pytest.raises(InputError, match="another"):
        load_model(checkpoint, overrides=["model.detector=yolo11n"])


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9, 0.999])
def test_a_truncated_checkpoint_is_refused(checkpoint: Path, share: float) -> None:
    content = checkpoint.read_bytes()
    checkpoint.write_bytes(content[: int(share * len(content))])
    with pytest.raises(InputError, match="truncated, corrupt or of another kind"):
        read_checkpoint(checkpoint)


@pytest.mark.parametrize("share", [0.0001, 0.5])
def test_a_flipped_byte_is_refused(checkpoint: Path, share: float) -> None:
    content = bytearray(checkpoint.read_bytes())
    content[int(share * len(content))] ^= 0xFF
    checkpoint.write_bytes(content)
    with pytest.raises(InputError, match="corrupt"):
        load_model(checkpoint)


def test_missing_and_foreign_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such weights file"):
        read_checkpoint(tmp_path / "none.pt")
    torch.save({"weight": torch.ones(1)}, tmp_path / "foreign.pt")
    with pytest.raises(InputError, match="not an SRE-YOLO checkpoint"):
        read_checkpoint(tmp_path / "foreign.pt")


def test_a_malicious_checkpoint_is_refused_and_nothing_runs(tmp_path: Path) -> None:
    marker = tmp_path / "executed"

    class Payload:
        def __reduce__(self) -> Any:
            return os.system, (f"touch '{marker}'",)

    torch.save({"format": 1, "config": Payload()}, tmp_path / "bad.pt")
    with pytest.raises(InputError, match=r"refused, nothing was executed: it asks for \w+\.system"):
        load_model(tmp_path / "bad.pt")
    assert not marker.exists()


def test_a_failed_save_keeps_the_old_file(checkpoint: Path) -> None:
    before = checkpoint.read_bytes()
    with pytest.raises((AttributeError, TypeError, RuntimeError)):
        write_checkpoint(checkpoint, {"config": lambda: None})
    assert checkpoint.read_bytes() == before
    assert [path.name for path in checkpoint.parent.iterdir()] == [checkpoint.name]


def test_pretrained_of_another_class_count_leaves_the_class_head(tmp_path: Path) -> None:
    source, target = build_detector("yolov8n", 80), build_detector("yolov8n", 1)
    torch.save({"model": source}, tmp_path / "coco.pt")
    transfer = load_pretrained(target, tmp_path / "coco.pt")
    assert transfer.taken == 319
    assert transfer.not_taken
    assert all(name.startswith("model.22.cv3.") for name in transfer.not_taken)
    assert torch.equal(target.state_dict()["model.0.conv.weight"], source.state_dict()["model.0.conv.weight"])


def test_our_own_checkpoint_initialises_a_detector(checkpoint: Path, model: SREYOLO) -> None:
    target = build_detector("yolov8n", 1)
    transfer = load_pretrained(target, checkpoint)
    assert transfer.not_taken == {}
    expected = model.backbone.detector.state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in target.state_dict().items())


def test_pretrained_of_another_architecture_is_refused(tmp_path: Path) -> None:
    torch.save({"model": build_detector("yolov8s", 1)}, tmp_path / "s.pt")
    with pytest.raises(InputError, match=r"another architecture: \d+ of 355 tensors fit"):
        load_pretrained(build_detector("yolov8n", 1), tmp_path / "s.pt")


def test_coco_weights_without_a_network_name_file_folder_and_way_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def offline(*_: object, **__: object) -> None:
        raise urllib.error.URLError("no network")

    monkeypatch.setattr(urllib.request, "urlopen", offline)
    with pytest.raises(InputError) as error:
        coco_weights("yolov8n", tmp_path)
    message = str(error.value)
    assert "\n" not in message
    assert all(part in message for part in ("yolov8n.pt", str(tmp_path), "pretrain=null"))


def test_coco_weights_on_disk_need_no_network(tmp_path: Path) -> None:
    (tmp_path / "yolov8n.pt").write_bytes(b"anything")
    assert coco_weights("yolov8n", tmp_path) == tmp_path / "yolov8n.pt"


@pytest.mark.parametrize("content", [b"not weights", b"short"])
def test_a_bad_download_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    class Answer:
        headers = {"Content-Length": "11"}  # noqa: RUF012 a stand-in

        def __enter__(self) -> Answer:
            return self

        def __exit__(self, *_: object) -> None: ...

        def read(self) -> bytes:
            return content

    monkeypatch.setattr(urllib.request, "urlopen", lambda *_, **__: Answer())
    with pytest.raises(InputError, match=r"broke off at 5 of 11|not a PyTorch weights file"):
        coco_weights("yolov8n", tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "message"),
    [("cuda:99", "CUDA device"), ("quantum", "not a device"), ("xpu", "not supported"), ("cpu:7", "not supported")],
)
def test_an_absent_device_is_an_error_not_a_silent_cpu(name: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        pick_device(name)


@pytest.mark.parametrize(("n_devices", "expected"), [(0, "cpu"), (2, "cuda")])
def test_cpu_and_auto_are_devices(monkeypatch: pytest.MonkeyPatch, n_devices: int, expected: str) -> None:
    monkeypatch.setattr(hardware, "n_cuda_devices", lambda: n_devices)
    assert pick_device("cpu").type == "cpu"
    assert pick_device("auto").type == expected


@pytest.mark.parametrize("there", [True, False])
def test_apples_gpu_is_taken_where_there_is_one(monkeypatch: pytest.MonkeyPatch, there: bool) -> None:
    monkeypatch.setattr(hardware, "has_mps", lambda: there)
    if there:
        assert pick_device("mps").type == "mps"
    else:
        with pytest.raises(InputError, match="--device mps"):
            pick_device("mps")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"config": None}, "without its settings"),
        ({"model": [1, 2]}, "without weights"),
        ({"model": {"backbone": 1}}, "without weights"),
        ({"model": None}, "without weights"),
    ],
)
def test_a_checkpoint_with_other_content_is_refused(
    checkpoint: Path, config: Config, content: dict[str, Any], message: str
) -> None:
    write_checkpoint(checkpoint, {**read_checkpoint(checkpoint), **content})
    with pytest.raises(InputError, match=message):
        load_model(checkpoint)
    if "model" in content:
        with pytest.raises(InputError, match=message):
            load_pretrained(build_detector("yolov8n", 1), checkpoint)


def test_an_ultralytics_model_is_named_for_what_it_is(tmp_path: Path) -> None:
    torch.save({"model": build_detector("yolov8n", 1)}, tmp_path / "yolo.pt")
    with pytest.raises(InputError, match=r"an ultralytics model.* train\.py --weights"):
        load_model(tmp_path / "yolo.pt")


def test_a_plain_state_dict_of_the_whole_model_initialises_its_detector(tmp_path: Path, model: SREYOLO) -> None:
    torch.save(model.state_dict(), tmp_path / "state.pt")
    detector = build_detector("yolov8n", 1)
    assert not load_pretrained(detector, tmp_path / "state.pt").not_taken
    expected = model.backbone.detector.state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in detector.state_dict().items())


def test_initial_weights_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    state = build_detector("yolov8n", 1).state_dict()
    torch.save({**state, "model.0.conv.weight": state["model.0.conv.weight"] * torch.nan}, tmp_path / "nan.pt")
    with pytest.raises(InputError, match=r"model\.0\.conv\.weight holds NaN"):
        load_pretrained(build_detector("yolov8n", 1), tmp_path / "nan.pt")


def test_a_torchscript_file_is_named_as_such(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    path = tmp_path / "a.pt"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.trace(torch.nn.Identity(), torch.zeros(1)), str(path))
    with pytest.raises(InputError, match=r"a\.pt: a TorchScript file, no checkpoint"):
        read_checkpoint(path)
    assert not recwarn


@pytest.mark.parametrize(
    "prefix",
    ["", "module.", "_orig_mod.", "model.", "module._orig_mod.", "_orig_mod.module.", "model.module._orig_mod.model.",
     "module.backbone.detector.", "model.backbone.detector._orig_mod."],
)  # fmt: skip
@pytest.mark.parametrize("key", [None, "state_dict", "model", "ema", "model_state"])
def test_names_under_wrappers_are_the_detectors(tmp_path: Path, prefix: str, key: str | None) -> None:
    source, target = build_detector("yolov8n", 1), build_detector("yolov8n", 1)
    state: Any = {prefix + name: tensor for name, tensor in source.state_dict().items()}
    state["n_averaged"] = torch.tensor(3)
    torch.save(state if key is None else {key: state, "epoch": 3}, tmp_path / "w.pt")
    assert not load_pretrained(target, tmp_path / "w.pt").not_taken
    assert all(torch.equal(target.state_dict()[name], tensor) for name, tensor in source.state_dict().items())


def test_names_of_a_bare_sequential_and_of_a_wrapper_inside_fit_too(tmp_path: Path) -> None:
    detector = build_detector("yolov8n", 1)
    for inside in ("", "model.module.", "model._orig_mod."):
        state = {inside + name.removeprefix("model."): tensor for name, tensor in detector.state_dict().items()}
        torch.save(state, tmp_path / "w.pt")
        assert not load_pretrained(detector, tmp_path / "w.pt").not_taken


@pytest.mark.parametrize("prefix", ["net.", "module.student.", "detector.model."])
def test_an_unknown_prefix_is_named(tmp_path: Path, prefix: str) -> None:
    detector = build_detector("yolov8n", 1)
    torch.save({prefix + name: tensor for name, tensor in detector.state_dict().items()}, tmp_path / "w.pt")
    named = prefix.removeprefix("module.").removesuffix("model.")
    with pytest.raises(InputError, match=rf"w\.pt: .*unknown prefix '{named}'"):
        load_pretrained(detector, tmp_path / "w.pt")


def test_one_tensor_under_two_wrappers_is_a_question(tmp_path: Path) -> None:
    state = build_detector("yolov8n", 1).state_dict()
    torch.save({**state, **{f"module.{name}": tensor + 1 for name, tensor in state.items()}}, tmp_path / "w.pt")
    with pytest.raises(InputError, match=r"model\.0\.conv\.weight and module\.model\.0\.conv\.weight"):
        load_pretrained(build_detector("yolov8n", 1), tmp_path / "w.pt")


def test_a_checkpoint_saved_from_a_wrapped_model_loads(tmp_path: Path, model: SREYOLO, config: Config) -> None:
    state = {f"module._orig_mod.{name}": tensor for name, tensor in model.state_dict().items()}
    write_checkpoint(tmp_path / "w.pt", {"config": config.model_dump(mode="json"), "model": state})
    loaded, _, _ = load_model(tmp_path / "w.pt")
    assert torch.equal(next(loaded.parameters()), next(model.parameters()))


def test_the_official_weights_load_under_wrappers(tmp_path: Path) -> None:
    official = Path(__file__).parents[2] / "shared/data/coco_yolov8n/yolov8n.pt"
    if not official.is_file():
        pytest.skip("the shared data are not here")
    state = torch.load(official, weights_only=True)
    torch.save({"ema": {f"module.{name}": tensor for name, tensor in state.items()}}, tmp_path / "w.pt")
    for path in (official, tmp_path / "w.pt"):
        assert load_pretrained(build_detector("yolov8n", 80), path).not_taken == {}
