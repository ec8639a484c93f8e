"""Video in and out: timing, damage, sizes, and files that play."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.video.reformatter import Interpolation

from data_utils.errors import InputError
from data_utils.frames.stills import StillReader
from deployment.video import DEFAULT_FPS, VideoFrame, VideoReader, VideoWriter

N_FRAMES = 20
FILM_RATE = Fraction(24000, 1001)
GREY_LEVELS = [30 + 10 * index for index in range(N_FRAMES)]  # by which a frame can be told from its neighbours


def to_bgr(frame: Any) -> np.ndarray:
    """Convert with FFmpeg's exact rounding, by the matrix and range the frame states."""
    return frame.to_ndarray(format="bgr24", interpolation=Interpolation.BILINEAR | Interpolation.ACCURATE_RND)


def make_video(
    path: Path,
    codec: str = "libx264",
    size: tuple[int, int] = (64, 48),
    rate: Fraction = FILM_RATE,
    pts: Sequence[int] = range(N_FRAMES),
    time_base: Fraction | None = None,
    rotation: int = 0,
    pixel_aspect: Fraction = Fraction(1),
) -> Path:
    """Write even grey frames, brighter by 10 each, with a white corner at the top left."""
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream(codec, rate=rate)
        stream.width, stream.height = size
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        if time_base is not None:
            stream.codec_context.time_base = time_base
        stream.codec_context.sample_aspect_ratio = pixel_aspect
        if rotation:
            stream.set_display_rotation(rotation)
        for index, at in enumerate(pts):
            picture = np.full((size[1], size[0], 3), GREY_LEVELS[index % N_FRAMES], np.uint8)
            picture[:12, :12] = 255
            frame = av.VideoFrame.from_ndarray(picture, format="bgr24").reformat(
                format=stream.pix_fmt, interpolation=Interpolation.BILINEAR | Interpolation.ACCURATE_RND
            )
            frame.pts, frame.time_base = at, time_base or 1 / rate
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def read_all(path: Path, fps: float | None = None) -> tuple[list[VideoFrame], VideoReader]:
    with VideoReader(path, fps) as reader:
        return list(reader), reader


def probe(path: Path) -> dict[str, Any]:
    """What a player sees: codec, layout, size, rate, seconds, frames' brightness and times."""
    with av.open(str(path)) as container:
        stream: Any = container.streams.video[0]
        context = stream.codec_context
        frames = [(float(frame.time), to_bgr(frame)[-4, -4].mean()) for frame in container.decode(stream)]
        return {"codec": context.name, "pix_fmt": context.pix_fmt, "size": (context.width, context.height),
                "rate": stream.average_rate, "seconds": float(stream.duration * stream.time_base),
                "times": [time for time, _ in frames], "levels": [level for _, level in frames]}  # fmt: skip


def mjpeg_chunks(content: bytes) -> list[tuple[int, int]]:
    """Positions and lengths of the compressed frames in an AVI file (before its index)."""
    chunks, position = [], content.find(b"movi")
    while (position := content.find(b"00dc", position)) >= 0 and len(chunks) < N_FRAMES:
        length = int.from_bytes(content[position + 4 : position + 8], "little")
        chunks.append((position + 8, length))
        position += 8 + length
    return chunks


def test_reading_keeps_order_index_and_time(tmp_path: Path):
    frames, reader = read_all(make_video(tmp_path / "a.mp4"))
    assert [frame.index for frame in frames] == list(range(N_FRAMES))
    assert reader.frame_rate == FILM_RATE
    assert reader.n_frames == N_FRAMES
    assert [frame.pts * reader.time_base * FILM_RATE for frame in frames] == list(range(N_FRAMES))
    assert [frame.bgr[-4, -4].mean() for frame in frames] == pytest.approx(GREY_LEVELS, abs=2)
    assert not reader.counts


def test_fps_overrides_the_stated_rate(tmp_path: Path):
    frames, reader = read_all(make_video(tmp_path / "a.mp4"), fps=10)
    assert (reader.frame_rate, reader.time_base) == (10, Fraction(1, 10))
    assert [frame.pts for frame in frames] == list(range(N_FRAMES))


def test_an_absurd_rate_gives_the_stated_default(tmp_path: Path):
    content = bytearray(make_video(tmp_path / "a.avi", "mjpeg", rate=Fraction(25)).read_bytes())
    position = content.find(b"strh") + 28  # dwScale, then dwRate, of the stream header
    assert content[position : position + 8] == (1).to_bytes(4, "little") + (25).to_bytes(4, "little")
    content[position + 4 : position + 8] = (4_000_000_000).to_bytes(4, "little")
    (tmp_path / "a.avi").write_bytes(content)
    frames, reader = read_all(tmp_path / "a.avi")
    assert reader.frame_rate == DEFAULT_FPS
    assert dict(reader.counts) == {"no usable frame rate stated, took 25": 1}
    assert [frame.pts * reader.time_base for frame in frames[:3]] == [0, 1 / DEFAULT_FPS, 2 / DEFAULT_FPS]


def test_a_stream_without_times_is_spaced_by_its_rate(tmp_path: Path):
    frames, reader = read_all(make_video(tmp_path / "a.h264", rate=Fraction(25)))
    assert [frame.pts * reader.time_base for frame in frames] == [Fraction(k, 25) for k in range(N_FRAMES)]


def test_a_frame_that_does_not_decode_is_counted_and_keeps_its_place(tmp_path: Path):
    content = bytearray(make_video(tmp_path / "a.avi", "mjpeg").read_bytes())
    start, length = mjpeg_chunks(content)[7]
    content[start : start + length] = bytes(length)
    (tmp_path / "a.avi").write_bytes(content)
    frames, reader = read_all(tmp_path / "a.avi")
    expected = [k for k in range(N_FRAMES) if k != 7]
    assert [frame.index for frame in frames] == expected
    assert [frame.pts * reader.time_base * FILM_RATE for frame in frames] == expected
    assert dict(reader.counts) == {"frames that did not decode": 1}


def test_a_damaged_h264_frame_is_left_out(tmp_path: Path):
    content = bytearray(make_video(tmp_path / "a.mp4").read_bytes())
    start = content.find(b"mdat") + 4
    end = content.find(b"moov")
    for position in range(start + (end - start) * 3 // 4, end - 8, 40):  # past the encoder's settings and first frame
        content[position] ^= 0xFF
    (tmp_path / "a.mp4").write_bytes(content)
    frames, reader = read_all(tmp_path / "a.mp4")
    assert 0 < len(frames) < N_FRAMES
    assert sum(reader.counts.values()) >= N_FRAMES - len(frames)


def test_a_file_cut_short_gives_what_it_holds(tmp_path: Path):
    content = make_video(tmp_path / "a.avi", "mjpeg").read_bytes()
    start, length = mjpeg_chunks(content)[12]
    (tmp_path / "a.avi").write_bytes(content[: start + length])
    frames, reader = read_all(tmp_path / "a.avi")
    assert len(frames) == 13
    assert reader.counts["frames the header promised, but the file does not hold"] == N_FRAMES - 13


def test_a_changing_frame_size_is_counted(tmp_path: Path):
    parts = [make_video(tmp_path / f"{k}.ts", size=size) for k, size in enumerate([(64, 48), (96, 64)])]
    (tmp_path / "both.ts").write_bytes(b"".join(part.read_bytes() for part in parts))
    frames, reader = read_all(tmp_path / "both.ts")
    assert {frame.bgr.shape for frame in frames} == {(48, 64, 3)}
    assert len(frames) == 2 * N_FRAMES
    assert reader.counts["frames resized to the first one's size"] == N_FRAMES
    assert all(a.pts < b.pts for a, b in itertools.pairwise(frames))


def test_joined_recordings_go_on_one_after_the_other(tmp_path: Path):
    part = make_video(tmp_path / "a.ts", rate=Fraction(10)).read_bytes()
    (tmp_path / "joined.ts").write_bytes(part + part)
    frames, reader = read_all(tmp_path / "joined.ts")
    times = [float(frame.pts * reader.time_base) for frame in frames]
    assert times == pytest.approx([index / 10 for index in range(2 * N_FRAMES)], abs=1e-3)
    assert reader.counts == {"times that ran backwards, taken to go on": 1}


def test_rotation_is_applied(tmp_path: Path):
    frames, _ = read_all(make_video(tmp_path / "a.mp4", rotation=90))  # counter-clockwise
    picture = frames[0].bgr
    assert picture.shape == (64, 48, 3)
    corners = {(y, x): picture[y, x].mean() > 200 for y in (2, -3) for x in (2, -3)}
    assert [corner for corner, white in corners.items() if white] == [(-3, 2)]  # top left went to bottom left


@pytest.mark.parametrize("content", [b"", b"a text file named .mp4\n" * 50], ids=["empty", "text"])
def test_files_that_are_no_video(tmp_path: Path, content: bytes):
    (tmp_path / "a.mp4").write_bytes(content)
    with pytest.raises(InputError, match=r"a\.mp4: not a readable video"):
        VideoReader(tmp_path / "a.mp4")


def test_a_video_of_which_no_frame_decodes(tmp_path: Path):
    content = bytearray(make_video(tmp_path / "a.avi", "mjpeg").read_bytes())
    for start, length in mjpeg_chunks(content):
        content[start : start + length] = bytes(length)
    (tmp_path / "a.avi").write_bytes(content)
    with pytest.raises(InputError, match=f"no frame could be decoded; frames that did not decode: {N_FRAMES}"):
        read_all(tmp_path / "a.avi")


def copy_video(source: Path, target: Path, stop_after: int | None = None) -> None:
    """Read and write as infer.py does; raises KeyboardInterrupt after `stop_after` frames."""
    with VideoReader(source) as reader:
        frames = iter(reader)
        first = next(frames)
        size = (first.bgr.shape[1], first.bgr.shape[0])
        with VideoWriter(target, size, reader.frame_rate, reader.time_base) as writer:
            writer.write(first.bgr, first.pts)
            for frame in frames:
                writer.write(frame.bgr, frame.pts)
                if frame.index + 1 == stop_after:
                    raise KeyboardInterrupt


def test_what_is_written_plays_everywhere(tmp_path: Path):
    copy_video(make_video(tmp_path / "a.mp4", size=(64, 48)), tmp_path / "b.mp4")
    found = probe(tmp_path / "b.mp4")
    assert (found["codec"], found["pix_fmt"], found["size"]) == ("h264", "yuv420p", (64, 48))
    assert found["rate"] == FILM_RATE
    assert found["seconds"] == pytest.approx(N_FRAMES / FILM_RATE, abs=1e-3)
    assert found["levels"] == pytest.approx(GREY_LEVELS, abs=2)
    content = (tmp_path / "b.mp4").read_bytes()
    assert content.find(b"moov") < content.find(b"mdat")  # index first: plays while it loads


@pytest.mark.parametrize(("width", "height"), [(64, 48), (46, 34), (321, 241)])
def test_colours_survive(tmp_path: Path, width: int, height: int):
    with VideoWriter(tmp_path / "a.mp4", (width, height), Fraction(25), Fraction(1, 25)) as writer:
        writer.write(np.full((height, width, 3), (0, 255, 0), np.uint8), 0)
    with av.open(str(tmp_path / "a.mp4")) as container:
        frame: Any = next(container.decode(video=0))
        assert (frame.colorspace, frame.color_range) == (6, 1)  # BT.601, limited: said, not left to the player's guess
        assert np.abs(to_bgr(frame).astype(int) - (0, 255, 0)).max() <= 3


def test_odd_sides_are_padded_not_resized(tmp_path: Path):
    picture = np.random.default_rng(0).integers(0, 2, (33, 47), dtype=np.uint8)[:, :, None] * np.uint8([200, 200, 200])
    with VideoWriter(tmp_path / "a.mp4", (47, 33), Fraction(25), Fraction(1, 25)) as writer:
        writer.write(picture, 0)
    with av.open(str(tmp_path / "a.mp4")) as container:
        written = to_bgr(next(container.decode(video=0)))
    assert written.shape == (34, 48, 3)
    assert np.abs(written[:33, :47].astype(int) - picture).mean() < 20


@pytest.mark.parametrize(("rotation", "expected"), [(0, Fraction(16, 15)), (90, Fraction(15, 16))])
def test_pixels_that_are_not_square_stay_so(tmp_path: Path, rotation: int, expected: Fraction):
    source = make_video(tmp_path / "a.mp4", rotation=rotation, pixel_aspect=Fraction(16, 15))
    with VideoReader(source) as reader:
        frames = list(reader)
        height, width = frames[0].bgr.shape[:2]
        with VideoWriter(
            tmp_path / "b.mp4", (width, height), reader.frame_rate, reader.time_base, reader.pixel_aspect
        ) as writer:
            for frame in frames:
                writer.write(frame.bgr, frame.pts)
    with av.open(str(tmp_path / "b.mp4")) as container:
        assert container.streams.video[0].sample_aspect_ratio == expected


@pytest.mark.parametrize(("suffix", "time_base"), [(".mp4", Fraction(1, 25)), (".mkv", Fraction(1, 1000))])
def test_uneven_times_are_kept(tmp_path: Path, suffix: str, time_base: Fraction):
    seconds = [0, 0.04, 0.08, 0.4, 0.44, 1.2]
    pts = [round(second / time_base) for second in seconds]
    source = make_video(tmp_path / f"a{suffix}", rate=Fraction(25), pts=pts, time_base=time_base)
    copy_video(source, tmp_path / "b.mp4")
    assert probe(tmp_path / "b.mp4")["times"] == pytest.approx(seconds, abs=1e-3)


def test_an_interrupted_file_is_finished(tmp_path: Path):
    with pytest.raises(KeyboardInterrupt):
        copy_video(make_video(tmp_path / "a.mp4"), tmp_path / "b.mp4", stop_after=9)
    assert len(probe(tmp_path / "b.mp4")["levels"]) == 9
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.mp4", "b.mp4"]


def test_a_file_without_a_frame_is_not_left_behind(tmp_path: Path):
    with VideoWriter(tmp_path / "a.mp4", (64, 48), Fraction(25), Fraction(1, 25)) as writer:
        pass
    assert not writer.finished
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("b_frames", [0, 3])
@pytest.mark.parametrize("name", ["clip.avi", "clip.h264"])
def test_frames_without_times_of_their_own_take_the_stated_rate(tmp_path: Path, name: str, b_frames: int):
    n_frames = 40
    with av.open(str(tmp_path / name), "w") as container:
        stream: Any = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.max_b_frames = b_frames
        for index in range(n_frames):
            picture = np.full((48, 64, 3), 5 * index, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="bgr24")))
        container.mux(stream.encode(None))
    with VideoReader(tmp_path / name) as reader:
        frames = list(reader)
    assert [round(float(frame.pts * reader.time_base) * 25, 6) for frame in frames] == list(range(n_frames))
    levels = [int(frame.bgr.mean()) for frame in frames]
    assert levels == sorted(levels)
    assert [count for what, count in reader.counts.items() if "--fps" in what and "25" in what] == [n_frames]
    with StillReader(tmp_path / name, 0.04) as stills:
        assert [still.index for still in stills] == list(range(n_frames))
    with VideoReader(tmp_path / name, fps=10) as reader:
        assert [round(float(frame.pts * reader.time_base) * 10, 6) for frame in reader] == list(range(n_frames))
        assert not reader.counts
