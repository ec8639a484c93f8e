"""Which frames of a video are taken, and what happens to damaged ones."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from test_video import FILM_RATE, GREY_LEVELS, N_FRAMES, make_video, mjpeg_chunks

from data_utils.errors import InputError
from data_utils.frames.stills import StillFrame, StillReader


def take(path: Path, every_s: float, fps: float | None = None) -> tuple[list[StillFrame], StillReader]:
    with StillReader(path, every_s, fps) as reader:
        return list(reader), reader


def indices(path: Path, every_s: float, fps: float | None = None) -> list[int]:
    return [still.index for still in take(path, every_s, fps)[0]]


def with_rate(path: Path, numerator: int) -> Path:
    """An MJPEG AVI whose header states numerator / 1 frames a second."""
    content = bytearray(make_video(path, "mjpeg", rate=Fraction(25)).read_bytes())
    position = content.find(b"strh") + 28  # dwScale, then dwRate, of the stream header
    content[position : position + 8] = (1).to_bytes(4, "little") + numerator.to_bytes(4, "little")
    path.write_bytes(content)
    return path


def test_every_n_seconds_by_hand(tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mp4", rate=Fraction(10))  # 20 frames at 0, 0.1 ... 1.9 s
    assert indices(path, 0.5) == [0, 5, 10, 15]
    assert indices(path, 0.25) == [0, 3, 5, 8, 10, 13, 15, 18]
    assert indices(path, 100) == [0]
    assert indices(path, 0.001) == list(range(N_FRAMES))
    assert indices(path, 1, fps=4) == [0, 4, 8, 12, 16]
    stills, reader = take(path, 1)
    assert [still.bgr[-4, -4].mean() for still in stills] == pytest.approx([GREY_LEVELS[0], GREY_LEVELS[10]], abs=2)
    assert (reader.n_decoded, reader.n_frames, +reader.counts) == (N_FRAMES, N_FRAMES, {})


def test_containers_that_round_times_to_milliseconds(tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mkv", rate=FILM_RATE)  # a frame lasts 41.7 ms
    assert indices(path, 10 / float(FILM_RATE)) == [0, 10]
    assert indices(path, 5 / float(FILM_RATE)) == [0, 5, 10, 15]


def test_uneven_times(tmp_path: Path) -> None:
    pts = [0, 1, 2, 10, 11, 30]  # hundredths of a second
    path = make_video(tmp_path / "a.mp4", rate=Fraction(25), pts=pts, time_base=Fraction(1, 100))
    assert indices(path, 0.1) == [0, 3, 5]


def test_rotation_is_applied(tmp_path: Path) -> None:
    picture = take(make_video(tmp_path / "a.mp4", rotation=90), 1)[0][0].bgr
    assert picture.shape == (64, 48, 3)
    assert picture[-3, 2].mean() > 200  # the white top left corner went to the bottom left
    assert picture[2, 2].mean() < 100


def test_a_frame_that_does_not_decode_is_counted_and_keeps_its_number(tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.avi", "mjpeg", rate=Fraction(10))
    content = bytearray(path.read_bytes())
    start, length = mjpeg_chunks(bytes(content))[5]
    content[start : start + length] = bytes(length)
    path.write_bytes(content)
    stills, reader = take(path, 0.5)
    assert [still.index for still in stills] == [0, 6, 10, 15]  # the next good one stands in
    assert +reader.counts == {"frames that did not decode": 1}


def test_sizes_that_change_are_kept_and_counted_and_time_goes_on(tmp_path: Path) -> None:
    sizes = [(64, 48), (96, 64)]
    parts = [make_video(tmp_path / f"{k}.ts", size=size, rate=Fraction(10)) for k, size in enumerate(sizes)]
    (tmp_path / "both.ts").write_bytes(b"".join(part.read_bytes() for part in parts))
    stills, reader = take(tmp_path / "both.ts", 0.5)
    assert [still.index for still in stills] == [0, 5, 10, 15, 20, 25, 30, 35]
    assert [still.bgr.shape for still in stills] == [(48, 64, 3)] * 4 + [(64, 96, 3)] * 4
    assert reader.counts["frames of another size than the first"] == 4
    assert reader.counts["timestamps that ran backwards, taken to go on"] == 1


@pytest.mark.parametrize("numerator", [4_000_000_000, 0])
def test_an_impossible_rate_needs_fps_where_times_come_from_it(tmp_path: Path, numerator: int) -> None:
    path = with_rate(tmp_path / "a.avi", numerator)
    if numerator:
        with pytest.raises(InputError, match=r"a\.avi: states no usable frame rate and no usable times.*give --fps"):
            take(path, 0.2)
    assert indices(path, 0.2, fps=25) == [0, 5, 10, 15]


def test_times_stand_in_for_a_rate_that_is_not_stated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make_video(tmp_path / "a.mkv", rate=Fraction(10))
    answers = iter([None, None])  # for --fps and for the stated rate
    monkeypatch.setattr("data_utils.frames.stills.usable_rate", lambda stated: next(answers, stated))
    stills, reader = take(path, 0.5)
    assert [still.index for still in stills] == [0, 5, 10, 15]
    assert +reader.counts == {"no usable frame rate stated, went by the timestamps": 1}


def test_a_stream_without_times_goes_by_its_rate(tmp_path: Path) -> None:
    stills, reader = take(make_video(tmp_path / "a.h264", rate=Fraction(25)), 0.2)
    assert [still.index for still in stills] == [0, 5, 10, 15]
    ((what, count),) = (+reader.counts).items()
    assert count == N_FRAMES
    assert "at the stated 25 a second (--fps" in what


def test_a_file_cut_short_gives_what_it_holds(tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.avi", "mjpeg", rate=Fraction(10))
    content = path.read_bytes()
    start, length = mjpeg_chunks(content)[12]
    path.write_bytes(content[: start + length])
    stills, reader = take(path, 0.5)
    assert [still.index for still in stills] == [0, 5, 10]
    assert reader.counts["frames the header promised, but the file does not hold"] == N_FRAMES - 13


@pytest.mark.parametrize("content", [b"", b"a text file named .mp4\n" * 50], ids=["empty", "text"])
def test_files_that_are_no_video(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.mp4").write_bytes(content)
    with pytest.raises(InputError, match=r"^[^\n]*a\.mp4: not a readable video[^\n]*$"):
        StillReader(tmp_path / "a.mp4", 1)


def test_a_video_of_which_no_frame_decodes(tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.avi", "mjpeg")
    content = bytearray(path.read_bytes())
    for start, length in mjpeg_chunks(bytes(content)):
        content[start : start + length] = bytes(length)
    path.write_bytes(content)
    with pytest.raises(InputError, match=f"no frame could be decoded; frames that did not decode: {N_FRAMES}"):
        take(path, 1)


def test_frames_equal_those_of_ffmpegs_exact_conversion(tmp_path: Path) -> None:
    for still in take(make_video(tmp_path / "a.mp4"), 0.1)[0]:
        assert still.bgr.dtype == np.uint8
        assert still.bgr[-4, -4].mean() == pytest.approx(GREY_LEVELS[still.index], abs=2)
