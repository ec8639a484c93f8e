"""Fixtures shared by the test files."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from data_utils.config.sections import Config

# The same examples in every run, so that a red test is the work of a change; no deadline, because machines differ; no
# example database, because tests write nothing into the checkout.
settings.register_profile("repeatable", deadline=None, derandomize=True, database=None)
settings.load_profile("repeatable")

REPO_ROOT = Path(__file__).resolve().parents[1]
STATUS = Path("/proc/self/status")
DATA_VARIABLE = "SRE_YOLO_TEST_DATA"


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what is marked `gpu` where there is none."""
    if item.get_closest_marker("gpu"):
        import torch

        if not torch.cuda.is_available():
            pytest.skip("needs a CUDA device")


@pytest.fixture(autouse=True)
def _handlers_stay() -> Iterator[None]:
    """Fail the test that leaves a signal handler behind, not the one that dies of it an hour later."""
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [(signal.getsignal(number), _caught(number)) for number in numbers]
    yield
    assert [(signal.getsignal(number), _caught(number)) for number in numbers] == before


def _caught(number: signal.Signals) -> bool | None:
    """Whether this process catches a signal, as the system sees it: libraries in C do not tell Python."""
    if not STATUS.is_file():
        return None
    mask = next(line.split()[1] for line in STATUS.read_text(encoding="utf-8").splitlines() if "SigCgt" in line)
    return bool(int(mask, 16) >> (number - 1) & 1)


@pytest.fixture
def no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out what a finished training draws: in small runs it costs more than the training."""
    import training.loop

    monkeypatch.setattr(training.loop, "redraw", lambda _: None)


@pytest.fixture(scope="session")
def repo_root() -> Path:
    """Root folder of the checkout."""
    return REPO_ROOT


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder holding the real sample sets (`bccd/`, `vocalfolds/`); tests that need it skip where it is absent."""
    folder = Path(os.environ.get(DATA_VARIABLE) or REPO_ROOT.parent / "shared" / "data").expanduser().resolve()
    missing = [name for name in ("bccd", "vocalfolds") if not (folder / name).is_dir()]
    if missing:
        pytest.skip(f"real sample images absent: no {' and '.join(missing)} in {folder} (set {DATA_VARIABLE})")
    return folder


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """The small raw set of tests/small_raw_set.py; outputs go beside it."""
    from small_raw_set import make_raw_set

    return make_raw_set(tmp_path / "räw set" / "raw")


@dataclass(frozen=True)
class PreparedSet:
    """A prepared data set with the config that made it; `folder` also has room for results and weights."""

    config: Config
    folder: Path


@pytest.fixture(scope="session")
def tiny_prepared(tmp_path_factory: pytest.TempPathFactory) -> PreparedSet:
    """A prepared synthetic set: 12 patients, 48 frames of 256 px, LR 64 / HR 128, one split; never change it."""
    from data_utils.config.loading import load_config
    from data_utils.prepare import prepare
    from data_utils.synthetic import make_dataset

    folder = tmp_path_factory.mktemp("tiny prepared")  # with a space in its name, as users have
    make_dataset(folder / "raw", n_patients=12, n_frames=48, size=256, seed=1, workers=1)
    paths = {name: folder / name for name in ("raw", "processed", "splits")}
    overrides = [
        *(f"dataset.{name}='{path}'" for name, path in paths.items()),
        f"dataset.filter_log='{folder / 'filter_log.csv'}'",
        "dataset.name=tiny",
        "dataset.filter={blur_thresh: null, min_bytes: null}",
        "dataset.split={ratios: [60, 20, 20], n_splits: 1}",
        f"run.results_dir='{folder / 'results'}'",
        f"run.weights_dir='{folder / 'weights'}'",
        *("imgsz_lr=64", "imgsz_hr=128", "batch_size=4", "epochs=1", "pretrain=null", "run.workers=0", "run.wandb=off"),
    ]
    config = load_config(REPO_ROOT / "configs" / "train.yaml", overrides)
    prepare(config, workers=1, progress=False)
    return PreparedSet(config, folder)


@pytest.fixture(scope="session")
def few_frames(tiny_prepared: PreparedSet, tmp_path_factory: pytest.TempPathFactory) -> Config:
    """The tiny set with 10 training and 4 validation frames, for runs of which there have to be many."""
    from data_utils.config.loading import override_config

    splits = tmp_path_factory.mktemp("few") / "splits"
    (splits / "split1").mkdir(parents=True)
    for part, count in (("train", 10), ("val", 4)):
        lines = tiny_prepared.config.dataset.split_list(1, part).read_text(encoding="utf-8").splitlines()
        (splits / "split1" / f"{part}.txt").write_text("\n".join(lines[:count]) + "\n", encoding="utf-8")
    return override_config(tiny_prepared.config, [f"dataset.splits='{splits}'"])
