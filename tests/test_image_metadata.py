"""Metadata is gone from the copies, and every displayed pixel is as it was."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from image_samples import JPEG, by_pillow, textured
from PIL import Image, PngImagePlugin

from data_utils.imaging.header import exif_orientation, parse_header
from data_utils.imaging.images import UnreadableImage, decode_bgr
from data_utils.imaging.metadata import orientation_block, strip_metadata

SECRET = b"Jane Doe 1970-01-01"
FRAME = textured(24, 40)


def exif(orientation: int) -> bytes:
    """An EXIF block with a name, a camera and an orientation."""
    block = Image.Exif()
    block[0x010E], block[0x010F], block[0x0112] = SECRET.decode(), "ScopeMaker", orientation
    return block.tobytes()


def segment(marker: int, content: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def with_secrets(jpeg: bytes) -> bytes:
    """`jpeg` with metadata wherever a JPEG can hold it: before the picture, between scans, after the end."""
    blocks = b"".join([
        segment(0xE0, b"JFXX\0\x10" + SECRET), segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + SECRET),
        segment(0xE2, b"MPF\0" + SECRET), *(segment(0xE0 + n, SECRET) for n in [*range(3, 14), 14, 15]),
        segment(0xED, b"Photoshop 3.0\0" + SECRET), b"\xff\xff" + segment(0xFE, SECRET),
    ])  # fmt: skip
    scan = jpeg.rindex(b"\xff\xda")  # of a progressive file: the last of several
    end = jpeg.rindex(b"\xff\xd9")
    return jpeg[:2] + blocks + jpeg[2:scan] + segment(0xFE, SECRET) + jpeg[scan:end] + jpeg[end:] + SECRET


def check(data: bytes, name: str) -> bytes:
    """Strip `data`; assert that nothing secret and no pixel changed hands; return the copy."""
    copy, suffix = strip_metadata(data, name)
    before, after = decode_bgr(data, name), decode_bgr(copy, name)
    np.testing.assert_array_equal(after.bgr, before.bgr)
    assert not {"trailing bytes"} & set(after.notes)
    for secret in (SECRET, b"ScopeMaker", b"http:"):
        assert secret not in copy
    assert parse_header(copy, name).kind == {".png": "PNG"}.get(suffix.lower(), "JPEG")
    assert strip_metadata(copy, f"a{suffix}") == (copy, suffix)  # nothing is left to strip
    return copy


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(("kind", "options"), [("JPEG", {}), ("JPEG", {"progressive": True}), ("PNG", {})])
def test_the_orientation_stays_and_nothing_else(kind: str, options: dict[str, object], orientation: int) -> None:
    data = by_pillow(FRAME, kind, exif=exif(orientation), **options)
    assert decode_bgr(data, "a").bgr.shape == ((24, 40, 3) if orientation < 5 else (40, 24, 3))
    copy = check(with_secrets(data) if kind == "JPEG" else data, f"a.{kind.lower()}")
    assert parse_header(copy, "a").orientation == orientation
    assert (b"Exif" in copy or b"eXIf" in copy) == (orientation != 1)
    with Image.open(io.BytesIO(copy)) as image:
        assert dict(image.getexif()) == ({} if orientation == 1 else {0x0112: orientation})
        assert set(image.info) <= {"jfif", "jfif_version", "jfif_unit", "jfif_density", "exif", "dpi", "progressive",
                                   "progression"}  # fmt: skip


def test_the_orientation_block_says_what_it_is_told() -> None:
    assert [exif_orientation(orientation_block(value)) for value in range(1, 9)] == list(range(1, 9))
    assert len(orientation_block(6)) == 26


@pytest.mark.parametrize(
    "jpeg",
    [
        JPEG,
        by_pillow(FRAME[:, :, 0], "JPEG"),
        by_pillow(Image.fromarray(FRAME).convert("CMYK"), "JPEG"),
        by_pillow(FRAME, "JPEG", subsampling=0, quality=100),
        by_pillow(FRAME, "JPEG", restart_marker_rows=1),
        by_pillow(FRAME, "JPEG", keep_rgb=True),
        by_pillow(FRAME[:, :, 0], "JPEG", progressive=True),
    ],
    ids=["plain", "grey", "cmyk", "quality 100", "restarts", "rgb", "grey progressive"],
)
def test_jpegs_of_every_layout_keep_their_compressed_bytes(jpeg: bytes) -> None:
    copy = check(with_secrets(jpeg), "a.jpg")
    assert copy == strip_metadata(jpeg, "a.jpg")[0]
    scan = jpeg.rindex(b"\xff\xda")
    assert copy.endswith(jpeg[scan:])


def test_a_jpeg_without_metadata_stays_as_it_is() -> None:
    assert strip_metadata(JPEG, "x/a.JPEG") == (JPEG, ".JPEG")
    assert strip_metadata(JPEG + b"\0" * 9, "a.jpg") == (JPEG, ".jpg")


def test_the_colour_profile_stays_and_the_thumbnail_goes() -> None:
    data = by_pillow(FRAME, "JPEG", icc_profile=b"profile" * 20)
    with Image.open(io.BytesIO(check(with_secrets(data), "a.jpg"))) as image:
        assert image.info["icc_profile"] == b"profile" * 20
    start = data.index(b"JFIF\0")
    thumbnail = b"JFIF\0\x01\x02\0\0\x01\0\x01" + bytes([2, 1]) + SECRET[:6]  # 2 x 1 pixels of three bytes
    old_end = start - 2 + int.from_bytes(data[start - 2 : start], "big")
    copy = check(data[: start - 4] + segment(0xE0, thumbnail) + data[old_end:], "a.jpg")
    assert copy.startswith(b"\xff\xd8\xff\xe0\0\x10JFIF\0\x01\x02\0\0\x01\0\x01\0\0\xff")


def pngs() -> dict[str, bytes]:
    text = PngImagePlugin.PngInfo()
    text.add_text("Patient", SECRET.decode())
    text.add_text("Comment", SECRET.decode(), zip=True)
    text.add_itxt("XML:com.adobe.xmp", SECRET.decode())
    deep = (textured(24, 40)[:, :, 0].astype(np.uint16) * 257) ^ 0x55
    grey = Image.fromarray(FRAME[:, :, 0])
    alpha = np.dstack([FRAME, FRAME[:, :, :1]])
    palette = Image.fromarray(FRAME).quantize(64)
    plain = {
        "colour": by_pillow(FRAME, "PNG", pnginfo=text), "16-bit": by_pillow(deep, "PNG", pnginfo=text),
        "grey": by_pillow(grey, "PNG", pnginfo=text), "alpha": by_pillow(alpha, "PNG", pnginfo=text),
        "palette": by_pillow(palette, "PNG", pnginfo=text),
        "see-through palette": by_pillow(palette, "PNG", pnginfo=text, transparency=3),
        "one bit": by_pillow(grey.convert("1"), "PNG", pnginfo=text),
    }  # fmt: skip
    return plain | {"interlaced": interlaced(), "private": with_private_chunks(plain["colour"])}


def interlaced() -> bytes:
    """A grey 8x8 PNG whose pixels come in Adam7's seven passes, with a text chunk."""
    pixels = np.arange(64, dtype=np.uint8).reshape(8, 8) * 3
    starts = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))
    rows = [b"\0" + row.tobytes() for y, x, down, right in starts for row in pixels[y::down, x::right]]
    header = struct.pack(">IIBBBBB", 8, 8, 8, 0, 0, 0, 1)
    return b"\x89PNG\r\n\x1a\n" + b"".join([
        chunk(b"IHDR", header), chunk(b"tEXt", b"Name\0" + SECRET), chunk(b"tIME", b"\x07\xb2\1\1\0\0\0"),
        chunk(b"IDAT", zlib.compress(b"".join(rows))), chunk(b"IEND", b""),
    ])  # fmt: skip


def with_private_chunks(png: bytes) -> bytes:
    end = png.rindex(b"IEND") - 4
    return png[:end] + chunk(b"pxNt", SECRET) + chunk(b"tEXt", b"Name\0" + SECRET) + png[end:] + SECRET


@pytest.mark.parametrize("name", pngs())
def test_pngs_of_every_layout(name: str) -> None:
    data = pngs()[name]
    copy = check(data, "a.png")
    assert parse_header(copy, "a").mode == parse_header(data, "a").mode
    pixels = data[data.index(b"IDAT") :]
    assert copy[copy.index(b"IDAT") :].startswith(pixels[: int.from_bytes(data[data.index(b"IDAT") - 4 :][:4], "big")])
    for kind in (b"tEXt", b"zTXt", b"iTXt", b"tIME", b"pxNt"):
        assert kind not in copy


def test_the_interlaced_sample_is_what_it_claims() -> None:
    np.testing.assert_array_equal(decode_bgr(interlaced(), "a").bgr[:, :, 0], np.arange(64).reshape(8, 8) * 3)


@pytest.mark.parametrize("kind", ["WEBP", "TIFF", "BMP"])
@pytest.mark.parametrize("orientation", [1, 6])
def test_other_kinds_become_upright_png(kind: str, orientation: int) -> None:
    options = {} if kind == "BMP" else {"exif": exif(orientation)}
    data = by_pillow(FRAME, kind, **options, **({"lossless": True} if kind == "WEBP" else {}))
    copy = check(data, f"a.{kind.lower()}")
    assert strip_metadata(data, f"a.{kind.lower()}")[1] == ".png"
    assert parse_header(copy, "a").orientation == 1


@pytest.mark.parametrize("default_image", [True, False])
def test_an_animated_png_becomes_its_first_frame(default_image: bool) -> None:
    frames = [Image.fromarray(textured(seed=seed)) for seed in range(3)]
    data = by_pillow(frames[0], "PNG", save_all=True, append_images=frames[1:], default_image=default_image)
    assert b"acTL" in data
    assert b"fdAT" not in check(data, "a.png")


def test_the_suffix_follows_the_bytes_where_the_name_lies() -> None:
    assert strip_metadata(JPEG, "a.png")[1] == ".jpg"
    assert strip_metadata(by_pillow(FRAME, "PNG"), "a.jpg")[1] == ".png"
    assert strip_metadata(by_pillow(FRAME, "PNG"), "a.PNG")[1] == ".PNG"
    assert strip_metadata(JPEG, "no suffix")[1] == ".jpg"


@pytest.mark.parametrize(
    "data",
    [b"", b"text", JPEG[: len(JPEG) // 2], JPEG[:-2], by_pillow(FRAME, "PNG")[:-13], by_pillow(FRAME, "BMP")[:99]],
    ids=["empty", "text", "half", "no end", "no PNG end", "half a BMP"],
)
def test_damaged_files_are_refused_in_one_line(data: bytes) -> None:
    with pytest.raises(UnreadableImage, match=r"^dir/x\.jpg: [^\n]+$"):
        strip_metadata(data, "dir/x.jpg")


@given(st.data())
def test_random_edits_never_end_in_a_traceback(data: st.DataObject) -> None:
    sample = data.draw(st.sampled_from([with_secrets(JPEG), pngs()["palette"], interlaced()]))
    edited = bytearray(sample)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(edited) - 1))
        edited[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    try:
        copy, _ = strip_metadata(bytes(edited), "x.jpg")
    except UnreadableImage:
        return
    np.testing.assert_array_equal(decode_bgr(copy, "x").bgr, decode_bgr(bytes(edited), "x").bgr)


def test_real_frames(shared_data: Path) -> None:
    paths = [path for folder, kind in (("bccd", "*.jpg"), ("vocalfolds", "*.png"))
             for path in sorted((shared_data / folder).rglob(kind))[:5]]  # fmt: skip
    assert len(paths) == 10
    for path in paths:
        check(path.read_bytes(), str(path))
