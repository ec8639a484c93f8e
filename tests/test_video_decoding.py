"""What is taken for a frame rate, a video file, a reason; the decoding itself is tested by its two users."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest
from test_video import N_FRAMES, make_video

from data_utils.errors import InputError
from data_utils.imaging.video import failure_reason, open_video, usable_rate

FILM_RATE = Fraction(24000, 1001)


@pytest.mark.parametrize(
    ("stated", "usable"),
    [(25, Fraction(25)), (FILM_RATE, FILM_RATE), (29.97, Fraction(2997, 100)), (1000, Fraction(1000)), (None, None),
     (0, None), (-5, None), (float("nan"), None), (float("inf"), None), (1e9, None), (Fraction(1001), None)],
)  # fmt: skip
def test_usable_rate(stated: float | Fraction | None, usable: Fraction | None):
    assert usable_rate(stated) == usable


def test_a_text_file_named_mp4_is_no_video(tmp_path: Path) -> None:
    path = tmp_path / "notes.mp4"
    path.write_text("not a video")
    with pytest.raises(InputError, match=r"notes\.mp4: not a readable video"):
        open_video(path)


def test_a_text_that_lists_other_files_is_no_video(tmp_path: Path) -> None:
    make_video(tmp_path / "other.mp4")
    path = tmp_path / "listed.mp4"
    path.write_text("ffconcat version 1.0\nfile other.mp4\n")
    with pytest.raises(InputError, match=r"listed\.mp4: not a video but a list of other files"):
        open_video(path)


def test_a_colon_in_a_relative_name_is_no_protocol(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    make_video(tmp_path / "12:30.mp4")
    container, stream = open_video(Path("12:30.mp4"))
    assert stream.frames == N_FRAMES
    container.close()


def test_a_failure_without_words_is_named_by_its_kind() -> None:
    assert failure_reason(ValueError("torn")) == "torn"
    assert failure_reason(ValueError()) == "ValueError"
