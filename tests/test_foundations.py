"""What of a run's foundations changed, in words."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest

from data_utils.config.loading import load_config, override_config
from data_utils.errors import InputError
from training.run.resume import code_part, config_part, data_part, differences

CONFIG = load_config("configs/train.yaml")


@pytest.fixture
def files(tmp_path: Path) -> dict[str, list[Path]]:
    folder = tmp_path / "processed" / "lr" / "images"
    folder.mkdir(parents=True)
    paths = [folder / f"{name}.jpg" for name in "abc"]
    for path in paths:
        path.write_bytes(path.name.encode())
    return {"train": paths[:2], "val": paths[2:]}


def found(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    return differences(before, after, "last.pt")


def test_nothing_changed(files: dict[str, list[Path]]) -> None:
    now = {**config_part(CONFIG), **data_part(files), **code_part()}
    assert found(copy.deepcopy(now), now) == []
    assert "training/run/resume.py" in now["code"]
    assert now["versions"]["torch"]


def test_settings_are_named_with_both_values_and_those_of_the_machine_are_not() -> None:
    rest = {**data_part({}), **code_part(), "data": {"train": "x"}, "lists": {"train": "x"}}
    before = {**config_part(CONFIG), **rest}
    other = override_config(CONFIG, ["lr0=0.5", "run.workers=7", "run.name=mine"])
    assert found(before, {**config_part(other), **rest}) == ["settings: lr0 0.05 -> 0.5"]


def test_frames_that_changed_came_and_went_are_named(files: dict[str, list[Path]], tmp_path: Path) -> None:
    base = {**config_part(CONFIG), **code_part()}
    before = {**base, **data_part(files)}
    files["train"][0].write_bytes(b"other")
    gone = {"train": files["train"][:1], "val": files["val"]}
    (clause,) = found(before, {**base, **data_part(gone)})
    assert clause == "data: train.lr/images/a.jpg changed, train.lr/images/b.jpg gone"
    many = {"train": [], "val": [files["val"][0].with_name(f"{n}.jpg") for n in range(9)]}
    for path in many["val"]:
        path.touch()
    assert found(before, {**base, **data_part(many)})[0].endswith(" and 7 more")


def test_another_order_and_a_moved_folder(files: dict[str, list[Path]], tmp_path: Path) -> None:
    base = {**config_part(CONFIG), **code_part()}
    before = {**base, **data_part(files)}
    turned = {"train": files["train"][::-1], "val": files["val"]}
    assert found(before, {**base, **data_part(turned)}) == ["lists: the order of train"]
    (tmp_path / "processed").rename(tmp_path / "moved")
    moved = {part: [tmp_path / "moved/lr/images" / p.name for p in paths] for part, paths in files.items()}
    assert found(before, {**base, **data_part(moved)}) == []  # a file is named by the last parts of its path


def test_code_and_versions(files: dict[str, list[Path]]) -> None:
    now = {**config_part(CONFIG), **data_part(files), **code_part()}
    before = copy.deepcopy(now)
    before["code"]["training/loss.py"] = "0"
    before["versions"]["torch"] = "1.0"
    torch_version = now["versions"]["torch"]
    assert found(before, now) == ["code: training/loss.py changed", f"versions: torch 1.0 -> {torch_version}"]


def test_what_was_not_recorded_is_said_and_a_missing_file_is_named(files: dict[str, list[Path]]) -> None:
    now = {**config_part(CONFIG), **data_part(files), **code_part()}
    assert found({**now, "data": None, "code": {}}, now) == ["not recorded in this checkpoint: data, code"]
    assert found({**now, "config_hash": "0"}, now) == ["settings: their hash does not fit them"]
    files["val"][0].unlink()
    with pytest.raises(InputError, match=r"c\.jpg: No such file"):
        data_part(files)
