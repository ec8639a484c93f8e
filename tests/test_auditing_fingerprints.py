"""Hashes and thumbnails of files, and their cache."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from audit_samples import texture
from hypothesis import given
from hypothesis import strategies as st

from data_utils.audit import likeness as module
from data_utils.audit.likeness import FILE_NAME, SIDE, describe, describe_bytes, fingerprints, read_cache
from data_utils.imaging.images import encode_image, file_hash, write_image


@pytest.fixture
def paths(tmp_path: Path) -> list[Path]:
    made = [tmp_path / f"ä {i}{suffix}" for i, suffix in enumerate([".jpg", ".png", ".jpg"])]
    for i, path in enumerate(made):
        write_image(path, texture(i))
    return made


@pytest.mark.parametrize("side", [20, 64, 130, 640, 1300])
def test_the_thumbnail_shows_the_frame_whatever_its_size(tmp_path: Path, side: int) -> None:
    bgr = texture(0, side)
    write_image(tmp_path / "a.jpg", bgr)
    got = describe(tmp_path / "a.jpg")
    assert got.file_hash == file_hash(tmp_path / "a.jpg")
    assert got.thumbnail is not None
    assert (got.thumbnail.shape, got.thumbnail.dtype, got.problem) == ((SIDE, SIDE), np.uint8, "")
    expected = cv2.resize(cv2.cvtColor(bgr, cv2.COLOR_BGR2GRAY), (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    assert np.abs(got.thumbnail.astype(int) - expected).mean() < 4


def test_a_second_run_decodes_nothing(paths: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = fingerprints(paths, tmp_path / FILE_NAME)
    monkeypatch.setattr(module, "describe", lambda path: pytest.fail(f"decoded {path} again"))
    second = fingerprints(paths, tmp_path / FILE_NAME)
    for path in paths:
        assert first[path].file_hash == second[path].file_hash
        assert np.array_equal(first[path].thumbnail, second[path].thumbnail)


def test_a_changed_file_and_a_spoiled_cache_are_described_anew(paths: list[Path], tmp_path: Path) -> None:
    cache = tmp_path / FILE_NAME
    fingerprints(paths, cache)
    write_image(paths[0], texture(7))
    lines = cache.read_text().splitlines()
    old = json.dumps({**json.loads(lines[1]), "version": -1})
    cache.write_text("\n".join([lines[0][: len(lines[0]) // 2], old, "[]", "null", "\0", *lines[2:]]))
    again = fingerprints(paths, cache)
    assert np.array_equal(again[paths[0]].thumbnail, describe(paths[0]).thumbnail)
    assert read_cache(cache).keys() == {file_hash(path) for path in paths}


def test_without_write_nothing_is_written(paths: list[Path], tmp_path: Path) -> None:
    fingerprints(paths, tmp_path / FILE_NAME, write=False)
    assert not (tmp_path / FILE_NAME).exists()


def test_a_cache_that_cannot_be_written_stops_nothing(paths: list[Path], tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).mkdir()
    assert fingerprints(paths, tmp_path / FILE_NAME).keys() == set(paths)


def test_files_that_cannot_be_read_say_so(paths: list[Path], tmp_path: Path) -> None:
    paths[0].write_bytes(b"no picture")
    paths[2].write_bytes(paths[2].read_bytes()[:-900])
    prints = fingerprints([*paths, tmp_path / "gone.jpg"], tmp_path / FILE_NAME)
    assert prints[paths[1]].problem == ""
    for path in (paths[0], paths[2], tmp_path / "gone.jpg"):
        assert prints[path].thumbnail is None
        assert prints[path].problem.startswith(str(path))


def test_processes_describe_as_this_one_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MIN_FRAMES_FOR_POOL", 1)
    made = [tmp_path / f"{i}.jpg" for i in range(3)]
    for i, path in enumerate(made):
        write_image(path, texture(i))
    got = fingerprints(made, tmp_path / FILE_NAME, workers=2)
    assert all(np.array_equal(got[path].thumbnail, describe(path).thumbnail) for path in made)


@given(st.binary(max_size=200), st.integers(0, 400), st.integers(0, 255))
def test_no_bytes_break_the_description(noise: bytes, place: int, value: int) -> None:
    sound = bytearray(encode_image(texture(0, 40), ".jpg"))
    sound[place % len(sound)] = value
    for data in (noise, bytes(sound), bytes(sound[:place])):
        got = describe_bytes(data, "a.jpg")
        assert (got.thumbnail is None) == bool(got.problem)
        assert "\n" not in got.problem


def test_a_cache_line_nested_too_deeply_is_passed_over(paths: list[Path], tmp_path: Path) -> None:
    cache = tmp_path / FILE_NAME
    fingerprints(paths, cache, workers=1)
    known = read_cache(cache)
    cache.write_text(cache.read_text() + "[" * 200_000 + "\n")
    assert read_cache(cache).keys() == known.keys()
