"""The command evaluate.py: what it prints, and one line with exit code 2 for every bad input."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from dataclasses import dataclass

import pytest
from evaluation_samples import write_prepared_set
from tiny_checkpoint import write_tiny_checkpoint

from data_utils.errors import run_command


@dataclass(frozen=True)
class Finished:
    """How a command ended."""

    returncode: int
    stdout: str
    stderr: str


@pytest.fixture
def run(monkeypatch, capsys, tmp_path):
    """Run the command in this process, in an empty folder: importing PyTorch anew each time would take seconds."""
    import evaluate

    monkeypatch.chdir(tmp_path)

    def command(*arguments: object) -> Finished:
        monkeypatch.setattr(sys, "argv", ["evaluate.py", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            run_command(evaluate.main)
        return Finished(int(ended.value.code or 0), *capsys.readouterr())

    return command


def assert_one_line(finished, *words):
    assert finished.returncode == 2, finished.stderr
    assert finished.stdout == ""
    assert len(finished.stderr.strip().splitlines()) == 1, finished.stderr
    for word in words:
        assert word in finished.stderr


def test_without_weights_it_says_what_is_missing_and_how_to_go_on(run, repo_root, tmp_path):
    line = [sys.executable, str(repo_root / "evaluate.py")]
    finished = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert_one_line(finished, "weights/best_split1.pt", "--weights", "train.py --split 1", "make demo")
    assert_one_line(run("--split", 3), "weights/best_split3.pt")
    assert_one_line(run("--weights", "nowhere.pt"), "nowhere.pt")


class Planted:
    """A pickle that would make a folder when it is loaded."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_corrupt_and_malicious_weights_are_refused_and_nothing_is_executed(run, tmp_path):
    import torch

    good = write_tiny_checkpoint(tmp_path / "good.pt", decoder="none").read_bytes()
    (tmp_path / "torn.pt").write_bytes(good[: len(good) // 2])
    assert_one_line(run("--weights", "torn.pt"), "torn.pt", "corrupt")
    (tmp_path / "bare.pt").write_bytes(pickle.dumps(Planted(tmp_path / "executed")))
    assert_one_line(run("--weights", "bare.pt"), "bare.pt")
    torch.save({"format": 1, "model": Planted(tmp_path / "executed")}, tmp_path / "planted.pt")
    assert_one_line(run("--weights", "planted.pt"), "refused", "nothing was executed")
    assert not (tmp_path / "executed").exists()


def test_weights_of_other_classes_absent_devices_and_missing_data_are_one_line(run, tmp_path):
    write_tiny_checkpoint(tmp_path / "tiny.pt", decoder="none")
    other = ("dataset.nc=1", "dataset.names=[lesion]")
    assert_one_line(run("--weights", "tiny.pt", *other), "2 classes ['lesion', 'polyp']", "1 classes ['lesion']")
    assert_one_line(run("--weights", "tiny.pt"), "split1", "data_utils.prepare")
    assert_one_line(run("--weights", "tiny.pt", "--device", "cuda:99"), "cuda:99", "--device cpu")
    assert_one_line(run("--weights", "tiny.pt", "--config", "none.yaml"), "none.yaml")


@pytest.mark.integration
def test_the_whole_command(run, tmp_path):
    write_tiny_checkpoint(tmp_path / "weights" / "best_split1.pt")
    overrides = [*write_prepared_set(tmp_path), "run.workers=0", "eval.batch_size=4"]
    finished = run("--split", 1, "--device", "cpu", "--save-csv", "--fps-iters", 3, *overrides)
    assert (finished.returncode, finished.stderr) == (0, "")
    for expected in ("AP50 small (< 32x32, n=0)", "mAP50-95", "PSNR of bicubic upsampling", "GFLOPs", "found polyp"):
        assert expected in finished.stdout
    written = [line.removeprefix("written: ") for line in finished.stdout.splitlines() if line.startswith("written: ")]
    name = "best_split1_lesions_split1_test"
    assert written == [
        *(f"results/eval_{name}.{kind}" for kind in ("json", "csv")),
        *(f"results/{kind}_{name}.jsonl" for kind in ("predictions", "truth")),
        f"results/report_{name}.html",
    ]
    assert all((tmp_path / path).is_file() for path in written)
    assert "data:image/jpeg" in (tmp_path / written[-1]).read_text()  # frames at hand are pictured
    (tmp_path / written[-1]).unlink()
    assert "report" not in run("--split", 1, "--device", "cpu", "--no-report", "--fps-iters", 1, *overrides).stdout
    assert not (tmp_path / written[-1]).exists()
