"""The header parser: sizes, orientation, layouts, and headers that lie."""

from __future__ import annotations

import struct
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from image_samples import DECODED, JPEG, by_pillow, textured
from PIL import Image

from data_utils.imaging.header import HEADER_BYTES, UnreadableImage, exif_orientation, parse_header, read_header
from data_utils.imaging.images import decode_bgr, image_size


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".bmp", ".tif", ".webp"])
def test_the_size_is_known_from_the_file(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / "frame"
    path.write_bytes(cv2.imencode(suffix, textured(50, 70))[1].tobytes())
    header = read_header(path)
    assert (header.width, header.height, header.orientation, header.frames) == (70, 50, 1, 1)


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize(("layout", "mode"), [("L", "L"), ("RGB", "RGB"), ("CMYK", "CMYK")])
def test_jpeg_layouts(layout: str, mode: str, progressive: bool) -> None:
    data = by_pillow(Image.new(layout, (30, 20)), "JPEG", progressive=progressive)
    header = parse_header(data, "frame.jpg")
    assert (header.kind, header.mode, header.displayed_size) == ("JPEG", mode, (30, 20))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_turned_frame_swaps_its_sides_when_displayed(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    header = parse_header(by_pillow(Image.new("RGB", (30, 20)), "JPEG", exif=exif), "frame.jpg")
    assert (header.width, header.height, header.orientation) == (30, 20, orientation)
    assert header.displayed_size == ((30, 20) if orientation < 5 else (20, 30))


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(("stored", "read"), [(1, 1), (6, 6), (8, 8), (0, 1), (9, 1)])
def test_exif_in_both_byte_orders(order: str, stored: int, read: int) -> None:
    start = b"II*\0" if order == "<" else b"MM\0*"
    entries = struct.pack(order + "HHIHH", 0x0100, 3, 1, 5, 0) + struct.pack(order + "HHIHH", 0x0112, 3, 1, stored, 0)
    assert exif_orientation(start + struct.pack(order + "IH", 8, 2) + entries) == read


@given(st.binary(max_size=80), st.sampled_from([b"", b"II*\0\x08\0\0\0", b"MM\0*\0\0\0\x08"]))
@settings(max_examples=200, deadline=None)
def test_any_exif_block_gives_an_orientation(data: bytes, start: bytes) -> None:
    assert 1 <= exif_orientation(start + data) <= 8


@pytest.mark.parametrize("block", [b"", b"II", b"II*\0\xff\xff\xff\xff", b"MM\0*\0\0\0\x08\0\x09", b"XX" + bytes(60)])
def test_a_damaged_exif_block_means_no_rotation(block: bytes) -> None:
    segment = b"Exif\0\0" + block
    data = JPEG[:2] + b"\xff\xe1" + struct.pack(">H", len(segment) + 2) + segment + JPEG[2:]
    np.testing.assert_array_equal(decode_bgr(data, "frame.jpg").bgr, DECODED)


def test_a_size_behind_large_metadata_is_found(tmp_path: Path) -> None:
    segment = b"\xff\xe2" + struct.pack(">H", 65535) + bytes(65533)
    path = tmp_path / "frame.jpg"
    path.write_bytes(JPEG[:2] + segment * (HEADER_BYTES // 65537 + 2) + JPEG[2:])
    assert image_size(path) == (160, 120, 1)


def test_twelve_bit_jpeg_is_refused_by_its_header() -> None:
    at = JPEG.index(b"\xff\xc0") + 4
    with pytest.raises(UnreadableImage, match="12 bits"):
        parse_header(JPEG[:at] + b"\x0c" + JPEG[at + 1 :], "frame.jpg")
