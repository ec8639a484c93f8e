"""Denoising a prepared set into another one that training reads."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import PreparedSet

from data_utils.config.loading import override_config
from data_utils.config.sections import Config
from data_utils.dataset import SREYOLODataset
from data_utils.errors import InputError, InterruptedRun
from data_utils.imaging.images import encode_image, read_bgr
from data_utils.lists import read_split_list
from data_utils.manifest import read_manifest
from models.denoiser import SpeckleDenoiser, denoise_image
from training.denoise import apply as denoise_apply
from training.denoise.apply import check_out, denoise_prepared, find_prepared


@pytest.fixture
def config(tiny_prepared: PreparedSet, tmp_path: Path) -> Config:
    """A copy of the tiny set that a test may spoil, with a list that repeats frames and a file nobody listed."""
    folder = tmp_path / "sét one"
    for name in ("processed", "splits", "raw"):
        shutil.copytree(tiny_prepared.folder / name, folder / name)
    for path in (folder / "splits").rglob("*.txt"):
        path.write_text(path.read_text().replace(str(tiny_prepared.folder), str(folder)))
    train = folder / "splits" / "split1" / "train.txt"
    train.with_name("train_balanced.txt").write_text(train.read_text() * 2)
    paths = [f"dataset.{name}='{folder / name}'" for name in ("processed", "splits", "raw")]
    return override_config(tiny_prepared.config, paths)


def model() -> SpeckleDenoiser:
    torch.manual_seed(0)
    net = SpeckleDenoiser(2, 1)
    torch.nn.init.normal_(net.head.weight, std=0.5)
    return net.eval()


def apply(config: Config, out: Path) -> dict[str, int]:
    return denoise_prepared(model(), find_prepared(config.dataset), out, {"weights": "w.pt"}, progress=False)


def digest(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_the_copy_is_a_prepared_set_with_denoised_pictures(config: Config, tmp_path: Path) -> None:
    source, out = Path(config.dataset.processed), tmp_path / "out"
    before = digest(source.parent)
    counts = apply(config, out)
    assert digest(source.parent) == before
    n_frames = len(read_manifest(config.dataset.manifest))
    assert counts == {
        "frames": n_frames, "lists": 4, "frames_without_label_file": 0, "files_not_in_the_manifest": 0
    }  # fmt: skip
    assert json.loads((out / "denoised.json").read_text()) == {"weights": "w.pt", **counts}
    copied = digest(out / "processed")
    assert set(copied) == set(digest(source)) - {"prepare_state.jsonl", "audit_cache.jsonl"}
    same = {name for name, value in copied.items() if before[f"processed/{name}"] == value}
    assert same == {name for name in copied if "images" not in name}  # labels and manifest, byte by byte
    for part, side in (("lr", 64), ("hr", 128)):
        name = sorted(os.listdir(source / part / "images"))[0]
        original = read_bgr(source / part / "images" / name).bgr
        assert original.shape == (side, side, 3)
        expected = denoise_image(model(), np.ascontiguousarray(original[..., ::-1]))[..., ::-1]
        assert np.abs(expected.astype(int) - original).mean() > 5
        assert (out / "processed" / part / "images" / name).read_bytes() == encode_image(expected, ".jpg", 95)
    assert not list(tmp_path.glob(".*"))


def test_training_reads_the_copy_in_place_of_the_source(config: Config, tmp_path: Path) -> None:
    out = tmp_path / "out put"
    apply(config, out)
    moved = override_config(config, [f"dataset.processed='{out / 'processed'}'", f"dataset.splits='{out / 'splits'}'"])
    for part in ("train", "val", "test"):
        lists = [read_split_list(each.dataset.split_list(1, part)) for each in (config, moved)]
        assert [path.name for path in lists[0]] == [path.name for path in lists[1]]
        assert {path.parent for path in lists[1]} == {out / "processed" / "lr" / "images"}
    balanced = out / "splits" / "split1" / "train_balanced.txt"
    assert len(balanced.read_text().splitlines()) == 2 * len(lists_of(config, "train"))
    frames = SREYOLODataset(moved.dataset.split_list(1, "train"), moved.dataset.hr_images, config=moved)
    source = SREYOLODataset(config.dataset.split_list(1, "train"), config.dataset.hr_images, config=config)
    assert all(np.array_equal(a, b) for a, b in zip(frames.labels, source.labels, strict=True))
    assert not torch.equal(frames[0]["lr_image"], source[0]["lr_image"])
    assert (out / "splits" / "summary.csv").read_bytes() == (Path(config.dataset.splits) / "summary.csv").read_bytes()


def lists_of(config: Config, part: str) -> list[Path]:
    return read_split_list(config.dataset.split_list(1, part))


def test_what_is_missing_or_odd_is_counted_or_named(config: Config, tmp_path: Path) -> None:
    images = config.dataset.lr_images
    first, second = sorted(images.iterdir())[:2]
    shutil.copyfile(first, images / "stranger.jpg")
    (images.parent / "labels" / f"{second.stem}.txt").unlink()
    counts = apply(config, tmp_path / "out")
    assert (counts["frames_without_label_file"], counts["files_not_in_the_manifest"]) == (1, 1)
    assert not (tmp_path / "out" / "processed" / "lr" / "images" / "stranger.jpg").exists()
    val = config.dataset.split_list(1, "val")
    val.write_text(val.read_text() + str(images / "stranger.jpg") + "\n")
    n_lines = len(val.read_text().splitlines())
    with pytest.raises(InputError, match=rf"val\.txt:{n_lines}: stranger\.jpg is not in .*manifest\.csv"):
        apply(config, tmp_path / "again")
    first.unlink()
    with pytest.raises(InputError, match=rf"1 of \d+ frames are not in .*first {first.stem}"):
        find_prepared(config.dataset)
    shutil.rmtree(config.dataset.splits)
    shutil.copyfile(second, first)
    with pytest.raises(InputError, match="no split lists"):
        find_prepared(config.dataset)
    config.dataset.manifest.unlink()
    with pytest.raises(InputError, match="no manifest"):
        find_prepared(config.dataset)
    assert not (tmp_path / "again").exists()


def test_a_place_that_is_taken_or_overlaps_the_source_is_refused(config: Config, tmp_path: Path) -> None:
    source = Path(config.dataset.processed)
    (tmp_path / "taken").mkdir()
    check_out(tmp_path / "taken", config.dataset)
    (tmp_path / "taken" / "file").write_text("mine")
    (tmp_path / "file").write_text("mine")
    for out in (tmp_path / "taken", tmp_path / "file"):
        with pytest.raises(InputError, match="is there and not empty"):
            check_out(out, config.dataset)
    for out in (source / "denoised", Path(config.dataset.splits) / "x", Path(config.dataset.raw) / "x"):
        with pytest.raises(InputError, match="overlaps"):
            check_out(out, config.dataset)
    (tmp_path / "link").symlink_to(source)
    with pytest.raises(InputError, match="overlaps"):
        check_out(tmp_path / "link" / "denoised", config.dataset)


def test_an_empty_folder_is_filled(config: Config, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    apply(config, tmp_path / "out")
    assert (tmp_path / "out" / "processed" / "manifest.csv").is_file()


def test_a_failure_or_a_signal_leaves_nothing(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, written = denoise_apply.write_image, []

    def disk_full_after_five(path: Path, *arguments: object) -> None:
        written.append(path)
        if len(written) > 5:
            raise OSError(28, "No space left on device", str(path))
        write(path, *arguments)  # pyright: ignore[reportArgumentType]

    here = set(tmp_path.iterdir())
    monkeypatch.setattr(denoise_apply, "write_image", disk_full_after_five)
    with pytest.raises(OSError, match="No space left"):
        apply(config, tmp_path / "out")
    assert set(tmp_path.iterdir()) == here

    asked: list[Path] = []

    def signalled(_model: object, path: Path, *_: object) -> None:
        asked.append(path)
        if len(asked) == 1:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(denoise_apply, "_denoise_file", signalled)
    with pytest.raises(InterruptedRun, match=r"stopped by SIGTERM; .*out was not written") as stopped:
        apply(config, tmp_path / "out")
    assert stopped.value.exit_code == 143
    assert set(tmp_path.iterdir()) == here
    assert len(asked) == 2  # the frame in hand was finished, LR and HR
