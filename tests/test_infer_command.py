"""infer.py and export.py as commands: exit codes, one-line errors, and a machine without torch."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from test_predictor import FakeBackend
from test_video import N_FRAMES, make_video, probe
from tiny_checkpoint import write_tiny_checkpoint

from data_utils.errors import run_command

ROOT = Path(__file__).resolve().parents[1]
# Put in front of a script: importing torch or ultralytics fails, as on a machine that has neither.
BLOCK_TORCH = f"""
import runpy, sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "torchvision", "ultralytics"):
            raise ModuleNotFoundError(f"No module named '{{name}}'")

sys.meta_path.insert(0, Absent())
sys.argv = sys.argv[1:]
sys.path.insert(0, {str(ROOT)!r})
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("a folder with é")


@pytest.fixture(scope="module")
def checkpoint(folder: Path) -> Path:
    return write_tiny_checkpoint(folder / "tiny.pt")


@pytest.fixture(scope="module")
def onnx_file(checkpoint: Path) -> Path:
    from deployment.export import export_onnx

    return export_onnx(checkpoint, checkpoint.with_suffix(".onnx")).path


def command(script: str, *arguments: str, without_torch: bool = False) -> subprocess.CompletedProcess[str]:
    start = ["-c", BLOCK_TORCH] if without_torch else []
    environment = {key: value for key, value in os.environ.items() if key not in ("DISPLAY", "WAYLAND_DISPLAY")}
    return subprocess.run([sys.executable, *start, str(ROOT / script), *arguments], cwd=ROOT, env=environment,
                          capture_output=True, text=True, timeout=120)  # fmt: skip


def last_line(done: subprocess.CompletedProcess[str]) -> str:
    assert "Traceback" not in done.stderr
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1, done.stderr
    return errors[0]


@pytest.mark.parametrize("script", ["infer.py", "export.py"])
def test_help_is_quick_and_names_the_options(script: str):
    start = time.perf_counter()
    done = command(script, "--help")
    assert done.returncode == 0
    assert "--weights" in done.stdout
    assert time.perf_counter() - start < 2  # 0.03 s alone; generous, for machines that do much at once


@pytest.mark.parametrize("script", ["infer.py", "export.py"])
def test_help_loads_nothing_heavy(script: str):
    code = f"""
import runpy, sys
sys.path.insert(0, {str(ROOT)!r})
sys.argv = ["x", "--help"]
try:
    runpy.run_path({str(ROOT / script)!r}, run_name="__main__")
except SystemExit:
    print(sorted({{"torch", "numpy", "cv2", "av", "pydantic", "onnxruntime"}} & set(sys.modules)), file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"


@pytest.mark.parametrize(("option", "value"), [("conf", 0.25), ("iou", 0.45)])
def test_the_commands_defaults_are_the_predictors(monkeypatch: pytest.MonkeyPatch, option: str, value: float):
    import infer
    from models import predictor

    monkeypatch.setattr(sys, "argv", ["infer.py", "--weights", "w", "--source", "s"])
    from deployment import inference

    arguments = infer.parse_arguments()
    assert getattr(arguments, option) is None  # so that a file's own comes first
    monkeypatch.setattr(inference, "open_backend", lambda *_args, **_kwargs: FakeBackend(np.zeros((5, 0), np.float32)))
    opened, _ = inference.open_predictor(arguments, inference.run_options(arguments), one_at_a_time=False)
    assert getattr(opened, option) == getattr(predictor, f"DEFAULT_{option.upper()}") == value


@pytest.mark.integration
def test_an_onnx_file_runs_where_torch_is_not_installed(onnx_file: Path, checkpoint: Path, tmp_path: Path):
    picture = np.random.default_rng(0).integers(0, 256, (80, 120, 3), dtype=np.uint8)
    cv2.imwrite(str(tmp_path / "a.png"), picture)
    make_video(tmp_path / "b.mp4", size=(64, 48))
    arguments = ["--source", str(tmp_path), "--conf", "0.01", "--out"]
    done = command("infer.py", "--weights", str(onnx_file), *arguments, str(tmp_path / "onnx"), without_torch=True)
    assert done.returncode == 0, done.stderr
    assert f"frames                  {N_FRAMES + 1}" in done.stdout
    assert f"frames with detections  {N_FRAMES + 1}" in done.stdout
    annotated = cv2.imread(str(tmp_path / "onnx" / "a.png"))
    assert annotated is not None
    assert (annotated != picture).any()
    assert len(probe(tmp_path / "onnx" / "b.mp4")["times"]) == N_FRAMES
    # The blocker works: the checkpoint, which does need torch, is refused in one line.
    done = command("infer.py", "--weights", str(checkpoint), *arguments, str(tmp_path / "pt"), without_torch=True)
    assert done.returncode == 2
    assert "a checkpoint needs torch" in last_line(done)


@pytest.mark.integration
def test_checkpoint_and_onnx_annotate_alike(onnx_file: Path, checkpoint: Path, tmp_path: Path):
    picture = np.random.default_rng(0).integers(0, 256, (80, 120, 3), dtype=np.uint8)
    cv2.imwrite(str(tmp_path / "a.png"), picture)
    written = []
    for weights in (checkpoint, onnx_file):
        out = tmp_path / weights.suffix
        done = command("infer.py", "--weights", str(weights), "--source", str(tmp_path / "a.png"), "--conf", "0.01",
                       "--device", "cpu", "--out", str(out))  # fmt: skip
        assert done.returncode == 0, done.stderr
        written.append(cv2.imread(str(out / "a.png")))
    assert (written[0] != picture).any()
    assert (written[0] != written[1]).mean() < 0.01  # a corner or a digit may fall to the other side of rounding


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--source", "{tmp}/text.mp4"], "text.mp4: not a readable video"),
        (["--source", "{tmp}/text.jpg"], "text.jpg: "),
        (["--source", "{tmp}/empty"], "holds no image or video"),
        (["--source", "{tmp}/absent*.jpg"], "holds no image or video"),
        (["--source", "{tmp}/a.png", "--conf", "2"], "conf = 2.0"),
        (["--source", "{tmp}/a.png", "--show"], "--show: there is no display"),
        (["--source", "{tmp}/a.png", "--device", "cuda:9"], "--device cuda:9"),
        (["--source", "{tmp}/a.png", "--weights", "absent.onnx"], "absent.onnx: no such file"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(onnx_file: Path, tmp_path: Path, arguments: list[str], reason: str):
    for name in ("text.mp4", "text.jpg"):
        (tmp_path / name).write_text("only words\n" * 40)
    (tmp_path / "empty").mkdir()
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((40, 40, 3), np.uint8))
    out = tmp_path / "out"
    done = command("infer.py", "--weights", str(onnx_file), "--out", str(out),
                   *(argument.format(tmp=tmp_path) for argument in arguments))  # fmt: skip
    assert done.returncode == 2
    assert reason in last_line(done)
    assert not out.exists() or not list(out.iterdir())


@pytest.mark.integration
def test_ctrl_c_leaves_a_playable_video(onnx_file: Path, tmp_path: Path):
    source = make_video(tmp_path / "long.mp4", size=(320, 240), pts=range(600))
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "infer.py"), "--weights", str(onnx_file), "--source", str(source),
         "--out", str(tmp_path / "out")],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob("out/.*.part.mp4")) and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.02)
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "Traceback" not in errors
    assert "is whole up to there" in errors
    found = probe(tmp_path / "out" / "long.mp4")
    assert 0 < len(found["times"]) < 600
    assert found["codec"] == "h264"


@pytest.mark.integration
def test_export_prints_its_check_and_how_to_go_on(checkpoint: Path, tmp_path: Path):
    target = tmp_path / "new" / "tiny.onnx"
    done = command("export.py", "--weights", str(checkpoint), "--out", str(target))
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("max abs error") == 4
    assert f"--weights {target}" in done.stdout
    assert [path.name for path in target.parent.iterdir()] == ["tiny.onnx"]


def export_in_process(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """Run export.py without importing torch anew; returns its exit code."""
    import export

    monkeypatch.setattr(sys, "argv", ["export.py", *arguments])
    with pytest.raises(SystemExit) as caught:
        run_command(export.main)
    assert isinstance(caught.value.code, int)
    return caught.value.code


def test_exporting_something_else_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    (tmp_path / "w.pt").write_bytes(b"\x80\x04K\x01.")
    code = export_in_process(monkeypatch, "--weights", str(tmp_path / "w.pt"), "--out", str(tmp_path / "w.onnx"))
    assert code == 2
    assert capsys.readouterr().err.startswith(f"error: {tmp_path / 'w.pt'}: ")
    assert not (tmp_path / "w.onnx").exists()


def test_a_failed_check_is_one_line_and_exit_code_1(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr("deployment.export.MAX_ABS_ERROR", 0.0)
    code = export_in_process(monkeypatch, "--weights", str(checkpoint), "--out", str(tmp_path / "w.onnx"))
    assert code == 1
    errors = capsys.readouterr().err.strip().splitlines()
    assert len(errors) == 1
    assert "differs from PyTorch" in errors[0]
    assert not list(tmp_path.iterdir())


def test_the_threshold_chosen_on_validation_is_the_default_of_infer_and_of_exported_files(
    checkpoint: Path, tmp_path: Path
):
    import torch

    from deployment.export import ExportSettings, export_model
    from models.checkpoint import load_model

    content = torch.load(checkpoint, weights_only=True)
    chosen = tmp_path / "chosen.pt"
    torch.save({**content, "threshold": 0.4321}, chosen)
    picture = tmp_path / "a.png"
    assert cv2.imwrite(str(picture), np.zeros((96, 96, 3), np.uint8))
    assert load_model(chosen)[2]["threshold"] == 0.4321
    assert load_model(checkpoint)[2]["threshold"] is None  # one of an earlier version
    files = {"torch": chosen, "onnx": export_model(chosen, tmp_path / "chosen.onnx", ExportSettings()).path}
    for weights in files.values():
        run = ["--weights", str(weights), "--source", str(picture), "--out", str(tmp_path / "out")]
        done = command("infer.py", *run, "--save-json")
        assert done.returncode == 0, done.stderr
        assert "threshold               0.4321 (best F1 on the validation frames)\n" in done.stdout
        assert "no annotated copies are written; --save" in done.stdout
        asked = command("infer.py", *run, "--conf", "0.6", "--save", "--save-json")
        assert "threshold               0.6 (as asked for)\n" in asked.stdout
        assert "no annotated copies" not in asked.stdout
    old = command("infer.py", "--weights", str(checkpoint), "--source", str(picture), "--out", str(tmp_path / "out"))
    assert "threshold               0.25 (the default)\n" in old.stdout
    asked = export_model(chosen, tmp_path / "asked.onnx", ExportSettings(conf=0.3))
    assert asked.metadata["conf"] == "0.3"


@pytest.mark.parametrize("value", [7.0, "high", float("nan")])
def test_a_threshold_that_is_no_score_is_refused(checkpoint: Path, tmp_path: Path, value: object):
    import torch

    from data_utils.errors import InputError
    from models.checkpoint import load_model

    torch.save({**torch.load(checkpoint, weights_only=True), "threshold": value}, tmp_path / "w.pt")
    with pytest.raises(InputError, match=r"w\.pt: threshold = "):
        load_model(tmp_path / "w.pt")


def test_bars_are_silent_where_no_terminal_is(onnx_file: Path, tmp_path: Path):
    make_video(tmp_path / "in.mp4")
    where = ["--source", str(tmp_path / "in.mp4"), "--out", str(tmp_path)]
    done = command("infer.py", "--weights", str(onnx_file), *where)
    assert (done.returncode, done.stderr) == (0, "")
