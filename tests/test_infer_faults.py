"""What may go wrong at inference, planted through infer.py: one line, the right exit code, nothing half-done."""

from __future__ import annotations

import resource
import subprocess
import sys
import zlib
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from PIL import Image
from test_video import make_video, mjpeg_chunks, probe
from tiny_checkpoint import write_tiny_checkpoint

from data_utils.errors import run_command
from deployment.export import export_onnx

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def onnx_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    checkpoint = write_tiny_checkpoint(tmp_path_factory.mktemp("weights") / "tiny.pt")
    return export_onnx(checkpoint, checkpoint.with_suffix(".onnx")).path


class Infer:
    """Runs infer.py in this process."""

    def __init__(self, weights: Path, out: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
        self.weights, self.out, self.monkeypatch, self.capsys = weights, out, monkeypatch, capsys

    def __call__(self, source: Path | str, *options: str) -> tuple[int, str, str]:
        """Return exit code, stdout, and the error line (empty without one)."""
        import infer

        arguments = ["infer.py", "--weights", str(self.weights), "--out", str(self.out), "--source", str(source)]
        self.monkeypatch.setattr(sys, "argv", [*arguments, *options])
        with pytest.raises(SystemExit) as caught:
            run_command(infer.main)
        captured = self.capsys.readouterr()
        assert "Traceback" not in captured.err
        errors = [line for line in captured.err.splitlines() if line.startswith("error: ")]
        assert len(errors) == (caught.value.code != 0)
        return int(caught.value.code or 0), captured.out, "".join(errors)


@pytest.fixture
def infer(onnx_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    return Infer(onnx_file, tmp_path / "out", monkeypatch, capsys)


def picture(height: int = 60, width: int = 90) -> np.ndarray:
    coarse = np.random.default_rng(0).integers(0, 256, (6, 9, 3), dtype=np.uint8)
    return np.asarray(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC))


def test_other_pixel_layouts_are_converted_and_counted(infer: Infer, tmp_path: Path):
    folder = tmp_path / "in"
    folder.mkdir()
    rgb = picture()[:, :, ::-1]
    Image.fromarray(rgb).convert("CMYK").save(folder / "cmyk.jpg")
    Image.fromarray(rgb).convert("L").save(folder / "grey.png")
    Image.fromarray(rgb).convert("RGBA").save(folder / "alpha.png")
    cv2.imwrite(str(folder / "deep.png"), picture().astype(np.uint16) * 257)
    code, said, _ = infer(folder)
    assert code == 0
    for note in ("cmyk", "grey", "alpha", "16-bit"):
        assert f"{note}: 1" in said
    assert len(list(infer.out.iterdir())) == 4


def test_exif_rotation_is_applied_once(infer: Infer, tmp_path: Path):
    exif = Image.Exif()
    exif[0x0112] = 6  # shown turned by a quarter
    Image.fromarray(picture(60, 90)).save(tmp_path / "a.jpg", exif=exif)
    assert infer(tmp_path / "a.jpg")[0] == 0
    with Image.open(infer.out / "a.jpg") as written:
        assert written.size == (60, 90)
        assert 0x0112 not in written.getexif()


def test_a_pixel_bomb_is_refused_with_its_size(infer: Infer, tmp_path: Path):
    content = bytearray(cv2.imencode(".png", np.zeros((4, 4), np.uint8))[1].tobytes())
    content[16:24] = (60_000).to_bytes(4, "big") * 2
    content[29:33] = zlib.crc32(content[12:29]).to_bytes(4, "big")
    (tmp_path / "bomb.png").write_bytes(content)
    code, _, error = infer(tmp_path / "bomb.png")
    assert code == 2
    assert "bomb.png" in error
    assert "60000" in error


def test_a_single_pixel_is_refused_with_its_size(infer: Infer, tmp_path: Path):
    cv2.imwrite(str(tmp_path / "dot.png"), np.zeros((1, 1, 3), np.uint8))
    code, _, error = infer(tmp_path / "dot.png")
    assert code == 2
    assert "1x1" in error


def test_spaces_unicode_and_long_names(infer: Infer, tmp_path: Path):
    folder = tmp_path / "a folder – 喉头"
    folder.mkdir()
    names = ["é " + "x" * 190 + ".png", "b c.png"]
    for name in names:
        (folder / name).write_bytes(cv2.imencode(".png", picture())[1].tobytes())
    assert infer(folder, "--save", "--save-txt", "--save-json")[0] == 0
    assert len(list(infer.out.glob("*.png"))) == len(list((infer.out / "labels").iterdir())) == 2


def test_an_output_folder_that_cannot_be_one_is_met_before_the_work(infer: Infer, tmp_path: Path):
    cv2.imwrite(str(tmp_path / "a.png"), picture())
    infer.out.write_text("a file where the folder should be")
    code, said, error = infer(tmp_path / "a.png")
    assert code == 2
    assert str(infer.out) in error
    assert "frames" not in said


@pytest.mark.integration
def test_a_full_disk_ends_in_one_line_and_code_75(onnx_file: Path, tmp_path: Path):
    source = make_video(tmp_path / "a.avi", "mjpeg", size=(320, 240), pts=range(200))
    out = tmp_path / "out"
    done = subprocess.run(
        [sys.executable, str(ROOT / "infer.py"), "--weights", str(onnx_file), "--source", str(source),
         "--out", str(out)],
        cwd=ROOT, capture_output=True, text=True, timeout=120,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000)),
    )  # fmt: skip
    assert "Traceback" not in done.stderr
    assert done.returncode == 75
    assert [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert not list(out.iterdir())  # no file that does not play


def test_damaged_frames_are_counted_and_the_others_keep_their_index(infer: Infer, tmp_path: Path):
    source = make_video(tmp_path / "a.avi", "mjpeg")
    content = bytearray(source.read_bytes())
    start, length = mjpeg_chunks(bytes(content))[7]
    content[start : start + length] = bytes(length)
    source.write_bytes(content)
    code, said, _ = infer(source, "--save", "--save-txt")
    assert code == 0
    assert "frames that did not decode: 1" in said
    numbers = sorted(int(path.stem[-6:]) for path in (infer.out / "labels").iterdir())
    assert numbers == [k for k in range(20) if k != 7]
    assert len(probe(infer.out / "a.mp4")["times"]) == 19


def test_weights_of_another_class_count_are_refused(infer: Infer, tmp_path: Path):
    import torch

    checkpoint = write_tiny_checkpoint(tmp_path / "two.pt")
    content = torch.load(checkpoint, weights_only=True)
    content["config"]["dataset"] |= {"nc": 1, "names": ["lesion"]}
    torch.save(content, checkpoint)
    cv2.imwrite(str(tmp_path / "a.png"), picture())
    infer.weights = checkpoint
    code, _, error = infer(tmp_path / "a.png")
    assert code == 2
    assert "another class count or architecture" in error


def test_an_onnx_file_whose_names_do_not_fit_its_graph_is_refused(infer: Infer, onnx_file: Path, tmp_path: Path):
    proto = onnx.load(str(onnx_file))
    next(entry for entry in proto.metadata_props if entry.key == "names").value = '["lesion"]'
    onnx.save(proto, str(tmp_path / "one.onnx"))
    cv2.imwrite(str(tmp_path / "a.png"), picture())
    infer.weights = tmp_path / "one.onnx"
    code, _, error = infer(tmp_path / "a.png")
    assert code == 2
    assert "metadata says 1 classes" in error


def test_a_torchscript_file_that_is_a_pickle_is_refused_and_not_run(infer: Infer, tmp_path: Path):
    import pickle

    trace = tmp_path / "executed"

    class Touch:
        def __reduce__(self) -> tuple[object, tuple[Path]]:  # pyright: ignore[reportIncompatibleMethodOverride]
            return Path.touch, (trace,)

    (tmp_path / "evil.torchscript").write_bytes(pickle.dumps(Touch()))
    cv2.imwrite(str(tmp_path / "a.png"), picture())
    infer.weights = tmp_path / "evil.torchscript"
    code, _, error = infer(tmp_path / "a.png")
    assert code == 2
    assert "not a readable TorchScript file" in error
    assert not trace.exists()


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--every", "0"], "--every 0"),
        (["--track", "--alert", "5/3"], "--alert 5/3"),
        (["--iou", "1.5"], "iou = 1.5"),
        (["--fps", "nan"], "--fps nan"),
        (["--device", "cuda:3"], "--device cuda:3"),
        (["--device", "abacus"], "--device abacus"),
        (["--backend", "tensorflow"], "--backend tensorflow"),
        (["--backend", "torch"], "--backend torch: reads files that end in .pt"),
        (["--precision", "bf16"], "--precision bf16: only for a checkpoint"),
    ],
)
def test_options_that_mean_nothing_are_one_line(infer: Infer, tmp_path: Path, options: list[str], reason: str):
    cv2.imwrite(str(tmp_path / "a.png"), picture())
    code, _, error = infer(tmp_path / "a.png", *options)
    assert code == 2
    assert reason in error
    assert not list(infer.out.glob("*.png"))
