"""Whole images: pixel layouts, rotations, sizes, listing, writing. Damaged ones: test_image_damage.py."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from image_samples import DECODED, JPEG, by_pillow, textured
from numpy.typing import NDArray
from PIL import Image, ImageOps

from data_utils.errors import InputError
from data_utils.imaging import images
from data_utils.imaging.images import (
    UnreadableImage,
    decode_bgr,
    file_hash,
    image_size,
    list_images,
    read_bgr,
    write_image,
)

# -- whole files ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".bmp", ".tif", ".webp"])
def test_a_whole_file_equals_a_bare_imread_and_has_no_notes(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"frame{suffix}"
    cv2.imwrite(str(path), textured())
    decoded = read_bgr(path)
    assert decoded.bgr.dtype == np.uint8
    assert decoded.notes == ()
    np.testing.assert_array_equal(decoded.bgr, cv2.imread(str(path)))
    assert image_size(path) == (160, 120, 1)


def test_spaces_and_unicode_in_paths(tmp_path: Path) -> None:
    path = tmp_path / "Kehlkopf links" / "Lésion 喉 №1.jpg"
    write_image(path, textured())
    assert read_bgr(path).bgr.shape == (120, 160, 3)
    assert list_images(tmp_path) == [path]


def test_a_file_is_known_by_its_bytes_not_its_name(tmp_path: Path) -> None:
    path = tmp_path / "really_a_jpeg.png"
    path.write_bytes(JPEG)
    np.testing.assert_array_equal(read_bgr(path).bgr, DECODED)


# -- row 3: pixel layouts ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "BMP", "TIFF"])
def test_grey_becomes_three_equal_channels(kind: str) -> None:
    decoded = decode_bgr(by_pillow(textured()[:, :, 0], kind), "frame")
    assert decoded.notes == ("grey",)
    assert (decoded.bgr == decoded.bgr[:, :, :1]).all()
    tolerance = 12 if kind == "JPEG" else 0
    np.testing.assert_allclose(decoded.bgr[:, :, 0].astype(int), textured()[:, :, 0], atol=tolerance)


def test_alpha_is_laid_over_black() -> None:
    rgba = np.full((8, 8, 4), 200, np.uint8)
    rgba[:, :, 3] = 255
    rgba[:4, :, 3] = 0
    rgba[4:, :4, 3] = 51  # one fifth
    decoded = decode_bgr(by_pillow(rgba, "PNG"), "frame.png")
    assert decoded.notes == ("alpha",)
    assert [decoded.bgr[row, column].tolist() for row, column in ((0, 0), (7, 0), (7, 7))] == [
        [0, 0, 0], [40, 40, 40], [200, 200, 200]
    ]  # fmt: skip


def test_palette_with_a_transparent_entry_counts_as_alpha() -> None:
    palette = Image.fromarray(np.repeat([[0, 1]], 4, axis=0).astype(np.uint8), "P")
    palette.putpalette([255, 255, 255, 10, 20, 30])
    decoded = decode_bgr(by_pillow(palette, "PNG", transparency=0), "frame.png")
    assert decoded.notes == ("alpha",)
    assert decoded.bgr[0].tolist() == [[0, 0, 0], [30, 20, 10]]


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("channels", [1, 3])
def test_sixteen_bit_is_divided_by_257(suffix: str, channels: int) -> None:
    values = np.array([[0, 128, 129, 257], [32768, 65278, 65406, 65535]], np.uint16)
    stored = values if channels == 1 else np.repeat(values[:, :, None], 3, axis=2)
    decoded = decode_bgr(cv2.imencode(suffix, stored)[1].tobytes(), "frame")
    assert decoded.notes == (("16-bit", "grey") if channels == 1 else ("16-bit",))
    assert decoded.bgr[:, :, 0].tolist() == [[0, 0, 1, 1], [128, 254, 254, 255]]


def test_cmyk_jpeg_is_converted_and_noted() -> None:
    ink = np.zeros((16, 16, 4), np.uint8)
    ink[:, :, 0] = 255  # full cyan: no red
    cmyk = Image.fromarray(ink, "CMYK")
    decoded = decode_bgr(by_pillow(cmyk, "JPEG", quality=100), "frame.jpg")
    assert decoded.notes == ("cmyk",)
    # Against the decoder's own convention for stored values, with Pillow as oracle.
    np.testing.assert_allclose(
        decoded.bgr[:, :, ::-1].astype(int),
        np.asarray(Image.open(io.BytesIO(by_pillow(cmyk, "JPEG", quality=100))).convert("RGB"), dtype=int),
        atol=3,
    )


def test_layouts_that_are_refused_say_so() -> None:
    floats = by_pillow(np.zeros((8, 8), np.float32), "TIFF")
    with pytest.raises(UnreadableImage, match="float32 pixels are not read"):
        decode_bgr(floats, "frame.tif")
    with pytest.raises(UnreadableImage, match="CMYK TIFF"):
        decode_bgr(by_pillow(Image.new("CMYK", (8, 8)), "TIFF"), "frame.tif")


def test_several_pages_give_the_first_and_are_noted() -> None:
    pages = [Image.new("RGB", (8, 6), colour) for colour in ("red", "blue")]
    decoded = decode_bgr(by_pillow(pages[0], "TIFF", save_all=True, append_images=pages[1:]), "stack.tif")
    assert decoded.notes == ("multi-frame",)
    assert decoded.bgr[0, 0].tolist() == [0, 0, 255]


# -- row 4: EXIF ---------------------------------------------------------------------------------------------------


def marked() -> NDArray[np.uint8]:
    """A frame 48 wide and 32 high, red in its stored top left corner and green along the stored left edge."""
    frame = np.zeros((32, 48, 3), np.uint8)
    frame[:, :8] = (0, 200, 0)
    frame[:8, :16] = (250, 0, 0)
    return frame


def rotated_file(kind: str, orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {
        "JPEG": {"exif": exif, "quality": 98, "subsampling": 0},
        "PNG": {"exif": exif},
        "WEBP": {"exif": exif, "lossless": True},
        "TIFF": {"tiffinfo": exif},
    }
    return by_pillow(marked(), kind, **options[kind])


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied_exactly_once(tmp_path: Path, kind: str, orientation: int) -> None:
    path = tmp_path / f"frame.{kind.lower()}"
    path.write_bytes(rotated_file(kind, orientation))
    decoded = read_bgr(path)
    stored = Image.fromarray(marked())
    stored.getexif()[0x0112] = orientation
    expected = np.asarray(ImageOps.exif_transpose(stored))[:, :, ::-1]
    np.testing.assert_allclose(decoded.bgr.astype(int), expected, atol=8 if kind == "JPEG" else 0)
    assert decoded.notes == (("exif rotation",) if orientation != 1 else ())
    assert image_size(path) == ((48, 32, orientation) if orientation < 5 else (32, 48, orientation))
    assert decoded.bgr.flags["C_CONTIGUOUS"]


@pytest.mark.parametrize(
    ("orientation", "red_corner"),
    [(1, "top left"), (2, "top right"), (3, "bottom right"), (4, "bottom left"),
     (5, "top left"), (6, "top right"), (7, "bottom right"), (8, "bottom left")],
)  # fmt: skip
def test_where_the_stored_top_left_corner_is_displayed(orientation: int, red_corner: str) -> None:
    bgr = decode_bgr(rotated_file("PNG", orientation), "frame.png").bgr
    row, column = (-1 if "bottom" in red_corner else 0), (-1 if "right" in red_corner else 0)
    assert bgr[row, column].tolist() == [0, 0, 250]


# -- row 5: sizes --------------------------------------------------------------------------------------------------


def png_header_only(width: int, height: int) -> bytes:
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    ends = [b"IDAT" + zlib.compress(b""), b"IEND"]
    chunks = [struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body)) for body in (header, *ends)]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def jpeg_of_claimed_size(width: int, height: int) -> bytes:
    at = JPEG.index(b"\xff\xc0") + 5
    return JPEG[:at] + struct.pack(">HH", height, width) + JPEG[at + 4 :]


@pytest.mark.parametrize("bomb", [png_header_only(60000, 50000), jpeg_of_claimed_size(60000, 50000)])
def test_pixel_bombs_are_refused_before_decoding(tmp_path: Path, bomb: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images.cv2, "imdecode", lambda *_: pytest.fail("decoded a pixel bomb"))
    path = tmp_path / "bomb"
    path.write_bytes(bomb)
    for read in (read_bgr, image_size):
        with pytest.raises(UnreadableImage, match="60000x50000"):
            read(path)


def test_max_pixels_is_the_largest_size_allowed() -> None:
    assert decode_bgr(JPEG, "frame.jpg", max_pixels=160 * 120).bgr.shape == (120, 160, 3)
    with pytest.raises(UnreadableImage, match="160x120"):
        decode_bgr(JPEG, "frame.jpg", max_pixels=160 * 120 - 1)


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 1)])
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "BMP"])
def test_one_pixel_images_are_refused_with_their_size(kind: str, size: tuple[int, int]) -> None:
    with pytest.raises(UnreadableImage, match=f"{size[0]}x{size[1]} pixels: too small"):
        decode_bgr(by_pillow(Image.new("RGB", size), kind), "frame")


# -- listing, writing, hashing -------------------------------------------------------------------------------------


def test_listing_is_sorted_recursive_and_survives_link_loops(tmp_path: Path) -> None:
    names = ["b/2.PNG", "a.jpg", "b/10.jpeg", "c d/é.webp"]
    for name in [*names, "notes.txt", "b/._2.png", ".hidden.jpg"]:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "b" / "loop").symlink_to(tmp_path)
    assert list_images(tmp_path) == sorted(tmp_path / name for name in names)
    assert list_images(tmp_path / "c d") == [tmp_path / "c d" / "é.webp"]


def test_a_missing_folder_cannot_be_listed(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="absent"):
        list_images(tmp_path / "absent")


def test_written_images_come_back_and_carry_no_exif(tmp_path: Path) -> None:
    frame = textured()
    write_image(tmp_path / "deep" / "a.png", frame)
    np.testing.assert_array_equal(read_bgr(tmp_path / "deep" / "a.png").bgr, frame)
    sizes = {}
    for quality in (50, 95):
        write_image(tmp_path / "a.jpg", frame, quality)
        sizes[quality] = (tmp_path / "a.jpg").stat().st_size
        assert np.abs(read_bgr(tmp_path / "a.jpg").bgr.astype(int) - frame).mean() < 12
    assert sizes[50] < sizes[95] / 2
    assert b"Exif" not in (tmp_path / "a.jpg").read_bytes()
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a.jpg", "a.png", "deep"]
    with pytest.raises(ValueError, match=r"\.gif"):
        write_image(tmp_path / "a.gif", frame)


def test_a_failed_write_leaves_the_older_file_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.png"
    write_image(path, textured())
    before = path.read_bytes()

    def full_disk(self: Path, data: bytes) -> int:
        self.touch()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full_disk)
    with pytest.raises(OSError, match="No space"):
        write_image(path, textured(seed=1))
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_file_hash_follows_the_bytes_alone(tmp_path: Path) -> None:
    for name, content in (("a", b"one"), ("b", b"one"), ("c", b"two"), ("empty", b"")):
        (tmp_path / name).write_bytes(content)
    assert file_hash(tmp_path / "a") == file_hash(tmp_path / "b") != file_hash(tmp_path / "c")
    assert len(file_hash(tmp_path / "empty")) == 32


def test_every_real_frame_reads_as_imread_does(shared_data: Path) -> None:
    paths = [*list_images(shared_data / "bccd")[::8], *list_images(shared_data / "vocalfolds" / "img")[::12]]
    assert len(paths) > 60
    for path in paths:
        decoded = read_bgr(path)
        assert decoded.notes == ()
        np.testing.assert_array_equal(decoded.bgr, cv2.imread(str(path)))
