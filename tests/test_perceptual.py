"""The perceptual hash stays nearly the same under recompression and resizing, and differs between frames."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from data_utils.imaging.quality import HASH_BITS, differing_bits, is_perceptual_hash, perceptual_hash


def grey(seed: int, side: int = 240) -> np.ndarray:
    noise = np.random.default_rng(seed).integers(0, 256, (12, 12), dtype=np.uint8)
    return cv2.resize(noise, (side, side), interpolation=cv2.INTER_CUBIC)


def test_bits_are_counted() -> None:
    assert differing_bits("0" * 16, "0" * 16) == 0
    assert differing_bits("0" * 15 + "5", "0" * 16) == 2
    assert differing_bits("f" * 16, "0" * 16) == HASH_BITS


def test_a_horizontal_wave_sets_the_bit_of_its_frequency() -> None:
    wave = 128 + 100 * np.cos(np.pi * 3 * (np.arange(32) + 0.5) / 32)
    value = int(perceptual_hash(np.tile(wave.astype(np.uint8), (32, 1))), 16)
    assert value >> (HASH_BITS - 1 - 3) & 1  # row 0, column 3 of the 8x8 lowest frequencies


def test_brightness_recompression_and_size_change_few_bits() -> None:
    frame = grey(0)
    original = perceptual_hash(frame)
    _, jpeg = cv2.imencode(".jpg", frame, [cv2.IMWRITE_JPEG_QUALITY, 40])
    darker = (frame * 0.7 + 10).astype(np.uint8)
    copies = [cv2.imdecode(jpeg, cv2.IMREAD_GRAYSCALE), cv2.resize(frame, (120, 120)), darker]
    assert max(differing_bits(original, perceptual_hash(copy)) for copy in copies) <= 4


def test_other_frames_differ() -> None:
    hashes = [perceptual_hash(grey(seed)) for seed in range(20)]
    assert min(differing_bits(a, b) for i, a in enumerate(hashes) for b in hashes[:i]) >= 16


def test_flat_frames_hash_alike() -> None:
    assert perceptual_hash(np.zeros((9, 7), np.uint8)) == "0" * 16
    assert len(perceptual_hash(np.full((1, 1), 255, np.uint8))) == 16


def test_real_recompressed_frames_keep_their_hash(shared_data: Path) -> None:
    paths = sorted((shared_data / "bccd/JPEGImages").glob("*.jpg"))[:20]
    assert len(paths) == 20
    for path in paths:
        frame = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
        _, jpeg = cv2.imencode(".jpg", frame, [cv2.IMWRITE_JPEG_QUALITY, 40])
        again = cv2.imdecode(jpeg, cv2.IMREAD_GRAYSCALE)
        assert differing_bits(perceptual_hash(frame), perceptual_hash(again)) <= 4, path


@pytest.mark.parametrize(("value", "expected"), [("0f" * 8, True), ("0F" * 8, False), ("0" * 15, False), (7, False)])
def test_values_from_files_are_told_apart(value: object, expected: bool) -> None:
    assert is_perceptual_hash(value) is expected
