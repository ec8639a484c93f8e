"""The command: python -m training.denoise."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from conftest import REPO_ROOT, PreparedSet
from tiny_checkpoint import write_tiny_checkpoint

from data_utils.config.loading import override_config
from data_utils.errors import InputError
from data_utils.manifest import read_manifest
from training.denoise.__main__ import main

SETTINGS = (
    *("denoise.width=4", "denoise.levels=1", "denoise.crop=16", "denoise.eval_frames=2", "denoise.nlm_frames=1"),
    *("batch_size=8", "run.precision=fp32", "run.panel_every=0", "run.name=mine", "epochs=1"),
)


@pytest.fixture
def config_file(tiny_prepared: PreparedSet, tmp_path: Path) -> str:
    config = override_config(tiny_prepared.config, [*SETTINGS, f"run.results_dir='{tmp_path / 'results'}'"])
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(config.model_dump(mode="json")))
    return str(tmp_path / "run.yaml")


def run(*arguments: str | Path) -> None:
    main([*map(str, arguments)])


@pytest.mark.integration
def test_train_evaluate_apply(
    config_file: str, tmp_path: Path, tiny_prepared: PreparedSet, capsys: pytest.CaptureFixture[str]
) -> None:
    n_frames = len(read_manifest(tiny_prepared.config.dataset.manifest))
    run("--config", config_file, "--device", "cpu", "--wandb-off")
    printed = capsys.readouterr().out
    run_dir = tmp_path / "results" / "runs" / "mine"
    for part in ("1 levels from width 4", "best validation PSNR", "non-local means", "tiny_split1_test: 2 frames"):
        assert part in printed
    assert {path.name for path in run_dir.iterdir()} >= {"denoise.json", "denoise.csv", "denoise_panel.png", "best.pt"}

    run("--evaluate", run_dir, "--device", "cpu", "denoise.eval_looks=2")
    assert "gamma speckle of 2 looks" in capsys.readouterr().out
    other_noise = run_dir / "denoise_tiny_gamma_looks2_grain0.json"
    looks = [json.loads(path.read_text())["noise"]["looks"] for path in (run_dir / "denoise.json", other_noise)]
    assert looks == [8, 2]  # the run's own measure stays

    out = tmp_path / "tiny_denoised"
    run("--apply", run_dir / "best.pt", "--out", out, "--device", "cpu", "--dry-run")
    assert f"{n_frames} frames (LR and HR) and 3 lists" in capsys.readouterr().out
    assert not out.exists()
    run("--apply", run_dir / "best.pt", "--out", out, "--device", "cpu")
    printed = capsys.readouterr().out
    assert f"dataset.processed={out / 'processed'}" in printed
    assert f"frames                     {n_frames}\n" in printed
    assert json.loads((out / "denoised.json").read_text())["weights"]["run"] == "mine"
    with pytest.raises(InputError, match="is there and not empty"):
        run("--apply", run_dir, "--out", out)
    with pytest.raises(InputError, match=r"denoise\.width = 8: cannot be overridden"):
        run("--apply", run_dir, "--out", tmp_path / "other", "denoise.width=8")
    with pytest.raises(InputError, match="this run is finished"):
        run("--resume", run_dir, "--device", "cpu")


def test_another_set_is_named_by_its_config(config_file: str, tmp_path: Path, tiny_prepared: PreparedSet) -> None:
    from models.checkpoint import DENOISE, save_model
    from models.denoiser import SpeckleDenoiser

    elsewhere = override_config(tiny_prepared.config, [*SETTINGS, "dataset.processed=/nowhere", "dataset.splits=/no"])
    save_model(tmp_path / "w.pt", SpeckleDenoiser(4, 1), elsewhere, {"task": DENOISE, "split": 1})
    with pytest.raises(InputError, match=r"/nowhere/manifest\.csv: no manifest"):
        run("--apply", tmp_path / "w.pt", "--out", tmp_path / "out", "--device", "cpu")
    run("--apply", tmp_path / "w.pt", "--out", tmp_path / "out", "--data", config_file, "--dry-run")


def test_dry_run_tells_and_writes_nothing(
    config_file: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run("--config", config_file, "--dry-run", "denoise.grain=1.5")
    printed = capsys.readouterr().out
    for part in ("tiny, split 1, LR frames", "2 of them measured", "4 to 16 looks", "grain 1.5 px", "1 epochs of 4"):
        assert part in printed
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--config", "configs/denoise.yaml", "dataset.splits=/nowhere"), "no such split list"),
        (("denoise.look=[2,3]",), r"did you mean 'denoise\.looks'"),
        (("denoise.looks=[9,3]",), r"denoise\.looks = \[9\.?0?, 3\.?0?\]: the smaller number"),
        (("--evaluate", "nothing.pt"), "no such weights file"),
        (("--resume", "nowhere"), "not a run folder"),
    ],
)
def test_bad_input_is_one_line(
    arguments: tuple[str, ...], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(REPO_ROOT)
    with pytest.raises(InputError, match=message) as refused:
        run(*arguments)
    assert "\n" not in str(refused.value)


def test_a_detectors_weights_are_refused(tmp_path: Path) -> None:
    detector = write_tiny_checkpoint(tmp_path / "detector.pt", decoder="none")
    with pytest.raises(InputError, match="for detection; this needs denoise"):
        run("--apply", detector, "--out", tmp_path / "out", "--device", "cpu")
    with pytest.raises(InputError, match="CUDA device"):
        run("--evaluate", detector, "--device", "cuda:99")


@pytest.mark.parametrize(
    "arguments",
    [("--apply", "run"), ("--out", "x"), ("--apply", "a", "--resume", "b"), ("--evaluate", "a", "--weights", "b")],
)
def test_arguments_that_do_not_go_together_are_usage_errors(
    arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        run(*arguments)
    assert stopped.value.code == 2
    assert "usage:" in capsys.readouterr().err
