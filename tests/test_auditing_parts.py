"""Which frames stand in which part."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from audit_samples import add_frame, config_of, make_set, texture, write_list
from conftest import PreparedSet

from data_utils.audit.frames import read_split, split_numbers
from data_utils.config.loading import override_config
from data_utils.config.sections import Config
from data_utils.errors import InputError


def test_every_list_is_read_and_healthy_frames_belong_to_their_part(tmp_path: Path) -> None:
    dataset = make_set(tmp_path).dataset
    add_frame(dataset.lr_images.parents[1], "h0", texture(50))
    write_list(tmp_path, "val_healthy", ["h0"])
    write_list(tmp_path, "test_healthy", [])
    split = read_split(dataset, 1)
    assert split.problems == split.unchecked == []
    sides = [frame.side for frame in split.frames]
    assert [sides.count(side) for side in ("train", "val", "test")] == [6, 3, 2]
    assert {frame.path.stem: frame.part for frame in split.frames}["h0"] == "val_healthy"
    assert all(frame.row is not None and frame.row.stem == frame.path.stem for frame in split.frames)


def test_splits_are_found_by_number(tmp_path: Path) -> None:
    dataset = make_set(tmp_path).dataset
    write_list(tmp_path, "train", ["f0"], split=10)
    (tmp_path / "splits" / "splitter").mkdir()
    assert split_numbers(dataset) == [1, 10]
    with pytest.raises(InputError, match=r"no split lists here; run `python -m data_utils\.prepare`"):
        split_numbers(config_of(tmp_path / "elsewhere").dataset)


@pytest.mark.parametrize(
    ("part", "stems", "message"),
    [
        ("val", ["f6", "gone"], "val.txt:2: 1 of 2 listed images do not exist"),
        ("train", ["f0", "f1", "f0"], "train.txt:3: repeats line 1"),
        ("test", [], "test.txt: the split is empty"),
        ("val_healthy", ["f6"], "f6.jpg: listed in val and in val_healthy"),
    ],
)
def test_a_list_that_cannot_be_used_is_a_problem(tmp_path: Path, part: str, stems: list[str], message: str) -> None:
    dataset = make_set(tmp_path).dataset
    write_list(tmp_path, part, stems)
    (problem,) = read_split(dataset, 1).problems
    assert message in problem


def test_a_missing_val_list_is_a_problem_and_a_missing_test_list_is_none(tmp_path: Path) -> None:
    dataset = make_set(tmp_path).dataset
    for part in ("val", "test"):
        dataset.split_list(1, part).unlink()
    (problem,) = read_split(dataset, 1).problems
    assert "val.txt: no such split list" in problem


def test_manifests_that_are_missing_torn_or_incomplete_are_told(tmp_path: Path) -> None:
    dataset = make_set(tmp_path).dataset
    text = dataset.manifest.read_text()
    dataset.manifest.write_text("\n".join(text.split("\n")[:-2]) + "\n")
    (problem,) = read_split(dataset, 1).problems
    assert problem.startswith("1 listed frames are not in a manifest, e.g.")
    dataset.manifest.write_text("stem\nf0\n")
    assert "columns" in read_split(dataset, 1).problems[0]
    dataset.manifest.unlink()
    split = read_split(dataset, 1)
    assert split.problems == []
    assert "patients and groups are not checked" in split.unchecked[0]


def test_external_sets_are_parts_of_their_own(tmp_path: Path) -> None:
    make_set(tmp_path)
    add_frame(tmp_path / "ext", "e0", texture(90))
    (tmp_path / "list.txt").write_text(str(tmp_path / "ext/lr/images/e0.jpg"))
    for more in ("", f", list_file: '{tmp_path / 'list.txt'}'"):
        external = f"dataset.external={{hospital: {{processed: '{tmp_path / 'ext'}'{more}}}}}"
        split = read_split(config_of(tmp_path, external).dataset, 1)
        assert split.problems == []
        assert [(f.path.stem, f.side) for f in split.frames if f.row and f.row.stem == "e0"] == [
            ("e0", "external:hospital")
        ]
    dataset = config_of(tmp_path, f"dataset.external={{hospital: {{processed: '{tmp_path / 'nothing'}'}}}}").dataset
    assert any("hospital" in problem for problem in read_split(dataset, 1).problems)


def test_an_interrupted_preparation_blocks(tmp_path: Path, tiny_prepared: PreparedSet) -> None:
    config = _copied(tiny_prepared, tmp_path)
    config.dataset.manifest.unlink()
    [problem] = read_split(config.dataset, 1).problems
    assert "no manifest, so preparing was interrupted" in problem


def test_a_file_of_another_folder_inherits_no_patient(tmp_path: Path, tiny_prepared: PreparedSet) -> None:
    config = _copied(tiny_prepared, tmp_path)
    listed = config.dataset.split_list(1, "val")
    first, *others = listed.read_text().splitlines()
    stranger = tmp_path / "other/lr/images" / Path(first).name
    stranger.parent.mkdir(parents=True)
    shutil.copyfile(first, stranger)
    listed.write_text("\n".join([str(stranger), *others]) + "\n")
    split = read_split(config.dataset, 1)
    assert [frame.path for frame in split.frames if frame.row is None] == [stranger]
    assert any("1 listed frames are not in a manifest" in problem for problem in split.problems)


def _copied(prepared: PreparedSet, tmp_path: Path) -> Config:
    """A copy of the tiny set that a test may spoil."""
    for name in ("processed", "splits"):
        shutil.copytree(prepared.folder / name, tmp_path / name)
    for path in (tmp_path / "splits").rglob("*.txt"):
        path.write_text(path.read_text().replace(str(prepared.folder), str(tmp_path)))
    paths = [f"dataset.{name}='{tmp_path / name}'" for name in ("processed", "splits")]
    return override_config(prepared.config, paths)
