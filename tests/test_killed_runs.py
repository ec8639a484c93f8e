"""A run that is killed at any moment goes on from its last verified checkpoint and ends as if nothing had been."""

from __future__ import annotations

import hashlib
import random
import shutil
import time
from pathlib import Path

import pytest
from stopped_runs import different_fields
from training_processes import ended, start, train, train_and_cut_the_save

from data_utils.config.loading import override_config
from data_utils.config.sections import Config

KILLED = -9
SMALL = (
    *("sr_decoder=light", "model.branch_width=8", "model.fusion_stride=8", "augment.close_mosaic=1"),
    *("optim.warmup_epochs=0", "lr0=0.001", "run.precision=fp32", "run.panel_every=0", "epochs=2"),
    *("batch_size=4", "optim.accumulate=2"),
)
pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def config(few_frames: Config, tmp_path_factory: pytest.TempPathFactory) -> Config:
    folder = tmp_path_factory.mktemp("killed")
    return override_config(few_frames, [*SMALL, f"run.results_dir='{folder / 'results'}'"])


@pytest.fixture(scope="module")
def whole(config: Config) -> Path:
    """The folder of an uninterrupted run."""
    settings = override_config(config, ["run.name=whole"])
    assert ended(start(train, settings.model_dump(mode="json"))) == 0
    return folder_of(settings)


@pytest.fixture(scope="module")
def begun(config: Config) -> Path:
    """The folder of a run with one epoch saved: it died when it began to save the second."""
    settings = override_config(config, ["run.name=begun"])
    assert ended(start(train, settings.model_dump(mode="json"), None, True)) == KILLED
    return folder_of(settings)


def folder_of(config: Config) -> Path:
    return Path(config.run.results_dir) / "runs" / str(config.run.name)


def files_hash(folder: Path) -> str:
    """Hash the names and bytes of a folder's files."""
    contents = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        contents.update(str(path.relative_to(folder)).encode() + path.read_bytes())
    return contents.hexdigest()


def resumed(config: Config) -> Path:
    """Resume the run until it ends; return its folder."""
    run_dir = folder_of(config)
    assert ended(start(train, config.model_dump(mode="json"), run_dir)) == 0
    return run_dir


def test_a_save_can_be_cut_at_every_step(config: Config, whole: Path, begun: Path) -> None:
    told = begun.parent / "steps.txt"
    counted = override_config(config, ["run.name=counted"])
    shutil.copytree(begun, folder_of(counted))
    assert ended(start(train_and_cut_the_save, counted.model_dump(mode="json"), folder_of(counted), told)) == 0
    steps = told.read_text().splitlines()
    assert [steps.count(name) for name in ("half-way through torch.save", "reading back")] == [2, 1]
    left = [begun.with_name(f"cut_{number}") for number in range(len(steps) + 1)]
    assert different_fields(whole, left.pop()) == set()  # the save that was not cut
    assert different_fields(whole, left[0]) != set()
    seen: set[str] = set()
    for number, step in enumerate(steps):
        if (content := files_hash(left[number])) in seen:
            continue  # a step that wrote nothing left the same files as the one before: the same start, the same end
        seen.add(content)
        settings = override_config(config, [f"run.name=cut_{number}"])
        assert different_fields(whole, resumed(settings)) == set(), f"killed before {step} (step {number})"
    assert len(seen) > len(steps) / 3


def survives_random_moments(config: Config, whole: Path, n_moments: int, seed: int) -> None:
    """Kill runs at moments spread at random over the time that an uninterrupted one takes, and resume each."""
    started = time.monotonic()
    timed = override_config(config, [f"run.name=timed_{seed}"])
    assert ended(start(train, timed.model_dump(mode="json"))) == 0
    seconds, draw = time.monotonic() - started, random.Random(seed)
    for number in range(n_moments):
        settings, moment = override_config(config, [f"run.name=killed_{seed}_{number}"]), draw.uniform(0, seconds)
        process = start(train, settings.model_dump(mode="json"))
        time.sleep(moment)
        process.kill()
        ended(process)
        run_dir = folder_of(settings)
        if "result" in (run_dir / "run.json").read_text() if (run_dir / "run.json").exists() else False:
            continue  # it was faster than the one that was timed
        if not list(run_dir.glob("last*.pt")):  # nothing was saved: the same command starts again
            assert ended(start(train, settings.model_dump(mode="json"))) == 0
        else:
            resumed(settings)
        assert different_fields(whole, run_dir) == set(), f"killed after {moment:.2f} of {seconds:.2f} s"


def test_five_random_moments(config: Config, whole: Path) -> None:
    survives_random_moments(config, whole, 5, seed=1)


@pytest.mark.slow
def test_thirty_random_moments(config: Config, whole: Path) -> None:
    survives_random_moments(config, whole, 30, seed=2)
