"""What a run would train on."""

from __future__ import annotations

import math
import shutil
from pathlib import Path

import pytest
from conftest import PreparedSet

from data_utils.config.loading import load_config, override_config
from data_utils.errors import InputError
from training.dry_run import describe_run, require_prepared, switched_off


def test_counts_are_those_of_the_lists(tiny_prepared: PreparedSet) -> None:
    config = tiny_prepared.config
    text = describe_run(config, 1, None)
    for part in ("train", "val", "test"):
        n_frames = len(config.dataset.split_list(1, part).read_text().split("\n")) - 1
        assert f"{part:<10} {n_frames} frames" in text
    assert "weights: random" in text
    assert "deep on layers 4-8, fused at stride 2, width 64, 16 blocks, staged upsampler" in text


def test_plain_training_is_called_so(tiny_prepared: PreparedSet) -> None:
    text = describe_run(override_config(tiny_prepared.config, ["c1=0"]), 1, "mine.pt")
    assert "none: plain detector training" in text
    assert "weights: mine.pt (no such file)" in text
    assert "learning   everything\n" in text


def test_what_learns_and_how_fast_is_told(tiny_prepared: PreparedSet) -> None:
    frozen = ["optim.freeze=10", "optim.unfreeze_epoch=3", "optim.lr_backbone=0.1", "lr0=0.002"]
    text = describe_run(override_config(tiny_prepared.config, frozen), 1, None)
    assert "the detector's first 10 layers are frozen until epoch 3, BatchNorm included" in text
    assert "lr backbone 0.0002, neck and head 0.002, branch 0.002" in text
    branch_alone = override_config(tiny_prepared.config, ["stages.train=branch", "stages.branch=b.pt"])
    text = describe_run(branch_alone, 1, None)
    assert "labels are not read" in text
    assert "learning   the branch; the whole detector is frozen" in text
    assert "loss       0.1 L_SR, no detection terms" in text
    assert "weights: b.pt (no such file)" in text
    resumed = describe_run(branch_alone, 1, "those of a run", resumed=True)
    assert "<time>" not in resumed  # it goes on where it is
    assert resumed.count("weights: those of a run") == 2


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (["epochs=8", "augment.close_mosaic=10"], "mosaic is off for the whole run: augment.close_mosaic = 10, epochs"),
        (["epochs=20"], "nothing ends the run early: patience = 50, epochs = 20"),
        (["epochs=4", "run.val_every=5"], "only the last epoch is validated: run.val_every = 5"),
        (["epochs=3"], "the learning rate only rises: optim.warmup_epochs = 3"),
        (["optim.freeze=5", "optim.unfreeze_epoch=101"], "what is frozen stays so: optim.unfreeze_epoch = 101"),
        (["optim.freeze=5", "optim.unfreeze_epoch=1"], "nothing is frozen in any epoch: optim.freeze = 5"),
        (["sr_decoder=none", "augment.multi_scale=0.04"], "all batches have one side: augment.multi_scale = 0.04"),
        (["stages.train=branch"], "labels, c2, c3 and c4 are not used: stages.train = branch"),
        (["sr_decoder=none", "loss.sr_target=random", "optim.lr_branch=2.0"],
         "without effect: loss.sr_target = random, optim.lr_branch = 2.0, because sr_decoder = none"),
        (["c1=0", "model.branch_window=0.5"], "without effect: model.branch_window = 0.5, because c1 = 0"),
        (["sr_decoder=light", "model.upsampler=direct"], "without effect: model.upsampler = direct, because"),
    ],
)  # fmt: skip
def test_what_settings_switch_off_is_noted(tiny_prepared: PreparedSet, settings: list[str], said: str) -> None:
    config = load_config("configs/train.yaml", settings)
    assert any(note.startswith(said) for note in switched_off(config)), switched_off(config)
    shown = override_config(tiny_prepared.config, [*settings, "patience=50", "imgsz_lr=640", "imgsz_hr=1280"])
    assert f"\nnote       {said.partition(',')[0]}" in describe_run(shown, 1, None)


def test_the_published_settings_switch_nothing_off() -> None:
    assert switched_off(load_config("configs/train.yaml")) == []
    assert switched_off(load_config("configs/train.yaml", ["sr_decoder=none"])) == []


def test_a_missing_split_names_those_found(tiny_prepared: PreparedSet) -> None:
    with pytest.raises(InputError, match=r"no such split list \(found: split1\)"):
        require_prepared(tiny_prepared.config.dataset, 7, "x.yaml")


def test_an_external_test_set_is_not_trained_on(tiny_prepared: PreparedSet, tmp_path: Path) -> None:
    config = override_config(tiny_prepared.config, [f"dataset.splits='{tmp_path}'", "dataset.split.n_splits=0"])
    with pytest.raises(InputError, match=r"^x\.yaml: dataset\.split\.n_splits = 0 makes tiny an external test set"):
        require_prepared(config.dataset, 1, "x.yaml")


def test_bad_labels_stop_a_dry_run_too(tiny_prepared: PreparedSet, tmp_path: Path) -> None:
    (tmp_path / "split1").mkdir()
    (tmp_path / "split1" / "train.txt").write_text("")
    config = override_config(tiny_prepared.config, [f"dataset.splits='{tmp_path}'"])
    with pytest.raises(InputError, match="empty"):
        describe_run(config, 1, None)


def test_the_published_settings_are_described() -> None:
    config = load_config("configs/train.yaml")
    assert (config.lr0, config.lrf, config.epochs, config.patience, config.batch_size) == (0.05, 0.2, 100, 50, 16)
    assert (config.c1, config.c2, config.c3, config.c4) == (0.1, 7.5, 1.5, 0.5)
    assert (config.imgsz_lr, config.imgsz_hr, config.seed, config.optim.weight_decay) == (640, 1280, 42, 1e-4)


def test_a_balanced_list_is_shown_and_counted_with_its_repeats(tiny_prepared: PreparedSet, tmp_path: Path) -> None:
    shutil.copytree(tiny_prepared.config.dataset.splits, tmp_path / "splits")
    config = override_config(tiny_prepared.config, [f"dataset.splits='{tmp_path / 'splits'}'", "dataset.balanced=true"])
    lists = tmp_path / "splits/split1"
    with pytest.raises(InputError, match=r"no such list.*`python -m data_utils\.balance --config x\.yaml --split 1`"):
        require_prepared(config.dataset, 1, "x.yaml")
    lines = (lists / "train.txt").read_text().splitlines()
    (lists / "train_balanced.txt").write_text("\n".join([lines[0], lines[0], lines[0], *lines[1:]]))
    require_prepared(config.dataset, 1, "x.yaml")
    text = describe_run(config, 1, None)
    assert f"train      {len(lines) + 2} frames, " in text
    assert f"balanced   {len(lines)} different frames, 2 lines repeat rare classes\n" in text
    assert f"epochs of {math.ceil((len(lines) + 2) / 4)} batches" in text
    assert "(" + str(lists / "train_balanced.txt") + ")" in text
    (lists / "train_balanced.txt").write_text("\n".join(lines[1:]))
    with pytest.raises(InputError, match=r"stale: 1 images of train\.txt are not in it"):
        describe_run(config, 1, None)
    assert "balanced" not in describe_run(tiny_prepared.config, 1, None)
