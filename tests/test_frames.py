"""The command that takes frames from videos, on small real videos."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from test_video import make_video

import data_utils.frames as frames_command
from data_utils.config.sections import DatasetSection
from data_utils.errors import InputError
from data_utils.formats import read_raw_set
from data_utils.frames import extract_frames, find_videos
from data_utils.frames.__main__ import main
from data_utils.imaging.images import read_bgr

PATTERN = ("--patient-pattern", r"(?P<patient>P \d)")


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    """Two videos of 2 s at 10 frames a second, of two patients."""
    source = tmp_path / "my vidéos"
    for name in ("P 1/exam ä.mp4", "P 2/second.avi"):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        make_video(source / name, "mjpeg" if name.endswith("avi") else "libx264", rate=Fraction(10))
    return source


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def run(videos: Path, out: Path, *options: str) -> None:
    assert main(["--source", str(videos), "--out", str(out), "--every", "0.5", *PATTERN, *options]) == 0


def test_frames_metadata_and_summary(videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, before = tmp_path / "räw", contents(videos)
    run(videos, out, "--modality", "NBI", "--dataset-source", "Clinic")
    assert contents(videos) == before
    names = [f"{stem}/{stem}_{index:06d}.jpg" for stem in ("exam ä", "second") for index in (0, 5, 10, 15)]
    assert sorted(contents(out)) == sorted([*(f"images/{name}" for name in names), ".frames.json", "metadata.csv"])
    with (out / "metadata.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["filename"] for row in rows] == names
    assert [tuple(row.values())[1:] for row in rows[::4]] == [
        ("P 1", "Clinic", "NBI", "exam ä"), ("P 2", "Clinic", "NBI", "second"),
    ]  # fmt: skip
    assert b"Exif" not in (out / "images" / names[0]).read_bytes()
    levels = [read_bgr(out / "images" / name).bgr[-4:, -4:].mean() for name in names[:4]]
    assert levels == pytest.approx([30, 80, 130, 180], abs=3)
    text = capsys.readouterr().out
    assert text.startswith(f"2 videos of 2 patients: 8 frames in {out}/images, one every 0.5 s, of 40 in the videos\n")
    assert "next: label them" in text
    assert f"python -m data_utils.prepare 'dataset.raw={out}'" in text or f"dataset.raw={out}" in text
    assert "P 1" not in text


def test_the_result_is_a_raw_set(videos: Path, tmp_path: Path) -> None:
    run(videos, tmp_path / "raw")
    section = {"raw": str(tmp_path / "raw"), "nc": 1, "names": ("lesion",), "allow_background": True, "format": "yolo"}
    frames = read_raw_set(DatasetSection.model_validate(section)).frames
    assert [frame.patient_id for frame in frames] == ["P 1"] * 4 + ["P 2"] * 4
    sequences = read_raw_set(DatasetSection.model_validate({**section, "group": "sequence"})).frames
    assert {frame.group for frame in sequences} == {"P 1/exam ä", "P 2/second"}


def test_a_second_run_reads_nothing_and_other_settings_leave_nothing_behind(
    videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    run(videos, out)
    first = contents(out)
    with monkeypatch.context() as patch:
        patch.setattr("data_utils.frames.stills.StillReader", None)
        run(videos, out)
    assert contents(out) == first
    assert "2 videos were done already" in capsys.readouterr().out
    (out / "images/second/second_000010.jpg").unlink()
    run(videos, out)
    assert contents(out) == first
    run(videos, out, "--every", "1", "--format", "png")
    assert sorted(path.name for path in (out / "images/second").iterdir()) == ["second_000000.png", "second_000010.png"]
    assert len((out / "metadata.csv").read_text().splitlines()) == 5
    assert "8 frames of an earlier run with other settings removed" in capsys.readouterr().out
    run(videos, out)
    assert contents(out) == first


def test_an_interrupted_run_goes_on(videos: Path, tmp_path: Path) -> None:
    def stop(n_decoded: int, n_frames: int | None) -> None:
        if n_decoded > 5:
            raise KeyboardInterrupt

    video, out = videos / "P 1/exam ä.mp4", tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        extract_frames(video, out, 0.1, progress=stop)
    assert (out / "images/exam ä/exam ä_000005.jpg").is_file()
    result = extract_frames(video, out, 1)
    assert [path.name for path in result.files] == ["exam ä_000000.jpg", "exam ä_000010.jpg"]
    assert sorted((out / "images/exam ä").iterdir()) == list(result.files)
    assert (result.n_removed, result.n_decoded, result.reused) == (5, 20, False)  # 1 to 5


def test_frames_of_another_video_are_never_overwritten(videos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    extract_frames(videos / "P 2/second.avi", out, 1)
    before = contents(out)
    other = make_video(tmp_path / "second.avi", "mjpeg", size=(96, 64))
    with pytest.raises(InputError, match=r"holds frames of another video of that name; rename second\.avi, or"):
        extract_frames(other, out, 1)
    assert contents(out) == before
    (out / "images/mine").mkdir()
    (out / "images/mine/drawing.jpg").touch()
    with pytest.raises(InputError, match=r"holds files this command did not write; rename mine\.avi"):
        extract_frames(other.rename(tmp_path / "mine.avi"), out, 1)


def test_bad_videos_are_named_and_the_others_done(videos: Path, tmp_path: Path) -> None:
    (videos / "P 1/text.mp4").write_text("no video")
    (videos / "P 1/empty.mov").touch()
    with pytest.raises(InputError, match=r"2 of 4 videos gave no frames: .*empty\.mov: not a .*2 such.*text\.mp4"):
        run(videos, tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out/images").iterdir()) == ["exam ä", "second"]
    assert len((tmp_path / "out/metadata.csv").read_text().splitlines()) == 9


def test_what_is_found_as_a_video(videos: Path, tmp_path: Path) -> None:
    assert [path.name for path in find_videos(videos)] == ["exam ä.mp4", "second.avi"]
    assert find_videos(videos / "P 2/second.avi") == [videos / "P 2/second.avi"]
    (videos / "P 2/.hidden.mp4").touch()
    (videos / "notes.txt").touch()
    assert len(find_videos(videos)) == 2
    (videos / "P 1/SECOND.mov").touch()
    with pytest.raises(InputError, match=r"second\.avi and .*SECOND\.mov have one name"):
        find_videos(videos)
    with pytest.raises(InputError, match="no such file or folder"):
        find_videos(tmp_path / "gone")
    (tmp_path / "nothing").mkdir()
    with pytest.raises(InputError, match="no video there"):
        find_videos(tmp_path / "nothing")


@pytest.mark.parametrize("text", ["[]", '{"a": 1}', "{", "\xff"])
def test_a_record_of_another_kind_is_refused(videos: Path, tmp_path: Path, text: str) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/.frames.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(InputError, match=r"^[^\n]*frames\.json: not a[^\n]*$"):
        extract_frames(videos / "P 2/second.avi", tmp_path / "out", 1)


def test_impossible_arguments(videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wrong = ("--every 0", "--every 1e-9", "--every nan", "--fps 0", "--fps 1e9", "--format gif")
    for options in map(str.split, wrong):
        with pytest.raises(SystemExit) as stop:
            run(videos, tmp_path / "out", *options)
        assert stop.value.code == 2
    with pytest.raises(InputError, match="at least 1e-6 s"):
        extract_frames(videos / "P 2/second.avi", tmp_path / "out", 0)
    long = (videos / "P 2/second.avi").rename(videos / ("x" * 130 + ".avi"))
    with pytest.raises(InputError, match="longer than 120 bytes"):
        extract_frames(long, tmp_path / "out", 1)
    assert not (tmp_path / "out").exists()


@pytest.mark.integration
def test_from_a_shell(videos: Path, tmp_path: Path, repo_root: Path) -> None:
    command = [sys.executable, "-m", "data_utils.frames", "--source", str(videos), "--out", str(tmp_path / "out")]
    result = subprocess.run(command, cwd=repo_root, capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert result.stderr.startswith("error: nothing says which patient each video shows: give --patient-pattern")
    assert result.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()
    command.append("--patient-is-video")
    result = subprocess.run(command, cwd=repo_root, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert json.loads((tmp_path / "out/.frames.json").read_bytes()).keys() == {"exam ä", "second"}


def test_png_frames_are_lossless(videos: Path, tmp_path: Path) -> None:
    from data_utils.frames.stills import StillReader

    files = extract_frames(videos / "P 2/second.avi", tmp_path, 1, image_format="png").files
    with StillReader(videos / "P 2/second.avi", 1) as reader:
        for path, still in zip(files, reader, strict=True):
            np.testing.assert_array_equal(read_bgr(path).bgr, still.bgr)
    assert frames_command.JPEG_QUALITY == 95


def test_the_folder_of_the_videos_is_never_written(videos: Path) -> None:
    with pytest.raises(InputError, match="which is never written"):
        run(videos, videos / "out")
    assert not (videos / "out").exists()
