"""Truncated, corrupted and random image files: found by the full decode, in one line, with a clean terminal."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from image_samples import DECODED, JPEG, SCAN, WARNED_OF, by_pillow, jpeg_block, put, textured
from PIL import Image

from data_utils.errors import InputError
from data_utils.imaging import images
from data_utils.imaging.header import MAX_STRAY
from data_utils.imaging.images import (
    UnreadableImage,
    decode_bgr,
    encode_image,
    image_size,
    read_bgr,
)
from data_utils.imaging.metadata import strip_metadata


def assert_one_line(error: pytest.ExceptionInfo[InputError], name: str) -> None:
    message = str(error.value)
    assert name in message
    assert "\n" not in message


# -- row 1: damage -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("share", [0.01, 0.3, 0.6, 0.95])
@pytest.mark.parametrize("end", [b"", b"\xff\xd9"], ids=["cut", "cut with end marker"])
@pytest.mark.parametrize("progressive", [False, True])
def test_truncated_jpeg(capfd: pytest.CaptureFixture[str], share: float, end: bytes, progressive: bool) -> None:
    whole = by_pillow(textured(), "JPEG", quality=90, progressive=progressive)
    with pytest.raises(UnreadableImage) as error:
        decode_bgr(whole[: int(len(whole) * share)] + end, "frame.jpg")
    assert_one_line(error, "frame.jpg")
    assert capfd.readouterr().err == "", "the decoder's chatter reached the terminal"


@pytest.mark.parametrize(
    "damage",
    [
        lambda data, at: data[:at] + bytes(512) + data[at + 512 :],
        lambda data, at: data[:at] + np.random.default_rng(3).bytes(512) + data[at + 512 :],
        lambda data, at: data[:at] + data[at + 512 :],
        lambda data, at: data[:at] + b"\xff\xc0" + data[at + 2 :],
        lambda data, at: data[:at] + b"\xff\xd9" + data[at + 2 :],
    ],
    ids=["zeros", "random bytes", "missing bytes", "stray marker", "early end"],
)
def test_jpeg_damaged_inside_its_scan(damage, capfd: pytest.CaptureFixture[str]) -> None:
    damaged = damage(JPEG, (SCAN + len(JPEG)) // 2)
    assert damaged.endswith(b"\xff\xd9")
    with pytest.raises(UnreadableImage) as error:
        decode_bgr(damaged, "frame.jpg")
    assert_one_line(error, "frame.jpg: damaged JPEG")
    assert capfd.readouterr().err == ""


def test_lost_sectors_in_jpegs_are_nearly_always_found() -> None:
    found = 0
    for seed in range(40):
        data = bytearray(encode_image(textured(240, 320, seed), ".jpg", 90))
        at = int(np.random.default_rng(seed).integers(SCAN, len(data) - 516))
        data[at : at + 512] = bytes(512)
        try:
            decode_bgr(bytes(data), "frame.jpg")
        except UnreadableImage:
            found += 1
    assert found >= 36  # the module docstring says 97 %


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif", ".webp"])
@pytest.mark.parametrize("share", [0.1, 0.6, 0.95])
def test_other_kinds_truncated(suffix: str, share: float, capfd: pytest.CaptureFixture[str]) -> None:
    data = cv2.imencode(suffix, textured())[1].tobytes()
    with pytest.raises(UnreadableImage) as error:
        decode_bgr(data[: int(len(data) * share)], "frame")
    assert_one_line(error, "frame")
    assert capfd.readouterr().err == ""


@given(st.integers(0, 10**6), st.integers(0, 7))
@settings(max_examples=60, deadline=None)
def test_png_any_flipped_bit_is_found(position: int, bit: int) -> None:
    data = bytearray(encode_image(textured(24, 32), ".png"))
    data[position % len(data)] ^= 1 << bit
    with pytest.raises(UnreadableImage):
        decode_bgr(bytes(data), "frame.png")


def test_tiff_with_damaged_strip_is_found() -> None:
    data = bytearray(cv2.imencode(".tif", textured())[1].tobytes())
    data[len(data) // 2 : len(data) // 2 + 200] = bytes(200)
    with pytest.raises(UnreadableImage, match="damaged TIFF"):
        decode_bgr(bytes(data), "frame.tif")


@pytest.mark.parametrize("content", [b"", b"x", b"\xff\xd8\xff", b"GIF89a" + bytes(50), b"<html>not found</html>"])
def test_what_is_no_image(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "frame.jpg"
    path.write_bytes(content)
    for read in (read_bgr, image_size):
        with pytest.raises(UnreadableImage) as error:
            read(path)
        assert_one_line(error, "frame.jpg")


def test_absent_file_and_folder(tmp_path: Path) -> None:
    for path in (tmp_path / "absent.jpg", tmp_path):
        for read in (read_bgr, image_size):
            with pytest.raises(UnreadableImage) as error:
                read(path)
            assert_one_line(error, str(path))


FIRST_BYTES = [b"", b"\xff\xd8\xff\xe0", b"\x89PNG\r\n\x1a\n", b"BM", b"II*\0", b"RIFF"]


@given(st.binary(max_size=300), st.sampled_from(FIRST_BYTES))
@settings(max_examples=250, deadline=None)
def test_random_bytes_raise_input_errors_only(data: bytes, start: bytes) -> None:
    with pytest.raises(InputError):
        decode_bgr(start + data, "frame")


WHOLE = [JPEG] + [cv2.imencode(suffix, textured(20, 30))[1].tobytes() for suffix in (".png", ".bmp", ".tif", ".webp")]


@given(st.sampled_from(WHOLE), st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), min_size=1, max_size=6))
@settings(max_examples=300, deadline=None)
def test_random_edits_raise_input_errors_only(data: bytes, edits: list[tuple[int, int]]) -> None:
    edited = bytearray(data)
    for position, value in edits:
        # Squared, so that half of the edits fall into the first quarter, where the headers are.
        edited[(position % len(data)) ** 2 // len(data)] = value
    with contextlib.suppress(InputError):
        decoded = decode_bgr(bytes(edited), "frame", max_pixels=10**6)
        assert decoded.bgr.ndim == 3
        assert decoded.bgr.dtype == np.uint8


# -- row 2: bytes after the end ------------------------------------------------------------------------------------


@pytest.mark.parametrize("extra", [b"\0" * 40, b"vendor data", b"\xff\xd9 twice \xff\xd9"[:-2]])
def test_bytes_after_the_end_are_accepted_and_the_source_is_untouched(tmp_path: Path, extra: bytes) -> None:
    path = tmp_path / "frame.jpg"
    path.write_bytes(JPEG + extra)
    before = path.stat().st_mtime_ns
    decoded = read_bgr(path)
    np.testing.assert_array_equal(decoded.bgr, DECODED)
    assert decoded.notes == ("trailing bytes",)
    assert path.read_bytes() == JPEG + extra
    assert path.stat().st_mtime_ns == before


def test_zero_padding_before_the_end_marker_is_accepted_other_left_overs_are_not() -> None:
    padded = JPEG[:-2] + b"\0\0\0\xff\xd9"
    np.testing.assert_array_equal(decode_bgr(padded, "frame.jpg").bgr, DECODED)
    assert decode_bgr(padded, "frame.jpg").notes == ("trailing bytes",)
    for left_over in (b"\x12\x34\x56\x78", bytes(images.MAX_JPEG_PADDING + 9)):
        with pytest.raises(UnreadableImage, match="extraneous"):
            decode_bgr(JPEG[:-2] + left_over + b"\xff\xd9", "frame.jpg")


# -- row 42: what decoders warn of, and read whole -----------------------------------------------------------------


@pytest.mark.parametrize("odd", WARNED_OF)
def test_what_decoders_warn_of_and_read_whole_is_read(odd: str, capfd: pytest.CaptureFixture[str]) -> None:
    data, plain = WARNED_OF[odd]
    expected = cv2.imdecode(np.frombuffer(plain, np.uint8), cv2.IMREAD_COLOR)
    by_pil = [np.asarray(Image.open(io.BytesIO(each)).convert("RGB")) for each in (data, plain)]
    np.testing.assert_array_equal(*by_pil)
    decoded = decode_bgr(data, "frame.jpg")
    np.testing.assert_array_equal(decoded.bgr, expected)
    assert images.WARNED in decoded.notes
    assert capfd.readouterr().err == ""
    stripped, _ = strip_metadata(data, "frame.jpg")
    np.testing.assert_array_equal(decode_bgr(stripped, "frame.jpg").bgr, expected)


@pytest.mark.parametrize("odd", WARNED_OF)
def test_an_odd_header_hides_no_damage(odd: str) -> None:
    data, _ = WARNED_OF[odd]
    scan = jpeg_block(WARNED_OF["JFIF 0.02"][0], 0xDA) + 40
    middle = (scan + len(data)) // 2
    cut, stray = data[:middle], [put(data, middle, marker) for marker in (b"\xff\xd9", b"\xff\xc0")]
    for damaged in (cut, cut + b"\xff\xd9", *stray):
        with pytest.raises(UnreadableImage):
            decode_bgr(damaged, "frame.jpg")


def test_a_thumbnail_is_never_taken_for_the_picture() -> None:
    thumbnail = encode_image(textured(40, 60), ".jpg", 90)
    for lead in (b"", b"\0\0", bytes(MAX_STRAY + 1)):
        with pytest.raises(UnreadableImage):
            decode_bgr(JPEG[:2] + b"\xff\xe1\0\x08Exif\0\0" + lead + thumbnail + JPEG[2:], "frame.jpg")
