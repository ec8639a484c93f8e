"""The manifest survives a round trip; damage is named by file and line."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_utils.errors import InputError
from data_utils.manifest import COLUMNS, ManifestRow, read_manifest, write_manifest

ROW = ManifestRow("a", "images/a.jpg", "P1", "P1", "S1", "NBI", 1920, 1080, "native", 2, "0" * 32)
text = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=12)


def rows() -> st.SearchStrategy[ManifestRow]:
    whole = st.integers(0, 10**6)
    kind = st.sampled_from(["native", "upsampled"])
    score = st.floats(0, 1e6, allow_nan=False)
    return st.builds(ManifestRow, text, text, text, text, text, text, whole, whole, kind, whole, text,
                     *[whole] * 6, *[score] * 4, text, whole)  # fmt: skip


@given(st.lists(rows(), max_size=5, unique_by=lambda row: row.stem))
def test_round_trip(tmp_path_factory: pytest.TempPathFactory, written: list[ManifestRow]) -> None:
    path = tmp_path_factory.mktemp("manifest") / "manifest.csv"
    write_manifest(path, written)
    assert read_manifest(path) == {row.stem: row for row in written}


def test_lines_are_sorted_by_stem_and_an_equal_file_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "new folder" / "manifest.csv"
    later = ManifestRow("b", *[getattr(ROW, name) for name in COLUMNS[1:]])
    assert write_manifest(path, [later, ROW])
    assert list(read_manifest(path)) == ["a", "b"]
    assert not write_manifest(path, [ROW, later])
    assert [entry.name for entry in path.parent.iterdir()] == ["manifest.csv"]


def test_a_frame_without_boxes_is_healthy() -> None:
    assert ROW.has_lesion
    assert not ManifestRow("a", "a.jpg", "P", "P", "S", "WL", 9, 9, "native", 0, "").has_lesion


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("1920", "wide", r"manifest\.csv:2: width = 'wide' is not a whole number"),
        ("1080", "-1", r"manifest\.csv:2: height = '-1' is not a whole number"),
        ("native", "real", r"manifest\.csv:2: hr_kind = 'real', allowed: native, upsampled"),
        (",2," + "0" * 32, "", r"manifest\.csv:2: the line has too few columns"),
        ("patient_id", "who", r"manifest\.csv:1: columns \['patient_id'\] are missing"),
        (",0.0,0.0,", ",0.0,dull,", r"manifest\.csv:2: brightness = 'dull' is no number"),
    ],
)
def test_damage_is_named_with_its_line(tmp_path: Path, old: str, new: str, message: str) -> None:
    path = tmp_path / "manifest.csv"
    write_manifest(path, [ROW])
    damaged = path.read_text().replace(old, new, 1)
    assert damaged != path.read_text()
    path.write_text(damaged)
    with pytest.raises(InputError, match=message):
        read_manifest(path)


def test_a_stem_that_stands_twice_is_named(tmp_path: Path) -> None:
    path = tmp_path / "manifest.csv"
    write_manifest(path, [ROW])
    path.write_text(path.read_text() + path.read_text().splitlines()[1] + "\n")
    with pytest.raises(InputError, match=r"manifest\.csv:3: stem 'a' stands twice"):
        read_manifest(path)


def test_missing_and_binary_manifests(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no manifest; run"):
        read_manifest(tmp_path / "manifest.csv")
    (tmp_path / "manifest.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="not a readable CSV"):
        read_manifest(tmp_path / "manifest.csv")
