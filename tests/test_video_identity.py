"""Whose each video is, and metadata.csv."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from data_utils.errors import InputError
from data_utils.frames.stills import VideoIdentity, identify_videos, write_metadata

JANE = VideoIdentity("Jane", "videos", "unknown")


@pytest.fixture
def videos(tmp_path: Path) -> list[Path]:
    """Three files in folders of two patients; identifying reads none of them."""
    paths = [tmp_path / "src" / name for name in ("P1/a.mp4", "P1/b b.mp4", "P2/ü.mov")]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return paths


def patients(videos: list[Path], *, source: Path | None = None, **ways: object) -> list[str]:
    ways = {"pattern": None, "table": None, "patient_is_video": False, **ways}
    found = identify_videos(videos, source or videos[0].parents[1], **ways)  # type: ignore[arg-type]
    return [found[video].patient_id for video in videos]


def test_the_pattern_sees_the_path_below_the_source(videos: list[Path]) -> None:
    assert patients(videos, pattern=r"^(?P<patient>P\d)/") == ["P1", "P1", "P2"]
    assert patients(videos[:1], source=videos[0], pattern=r"src/(?P<patient>P\d)/") == ["P1"]
    assert patients(videos, patient_is_video=True) == ["a", "b b", "ü"]


def test_the_table_names_videos_by_path_name_or_stem(videos: list[Path], tmp_path: Path) -> None:
    table = tmp_path / "t.csv"
    table.write_text("video;patient_id;modality\n./P1/a.mp4;X;NBI\nb b;Y;\n;;\nP2\\u\u0308.mov;Z;WL\n", "utf-8-sig")
    found = identify_videos(videos, videos[0].parents[1], None, table, False, dataset_source="S", modality="m")
    assert [found[video] for video in videos] == [
        VideoIdentity("X", "S", "NBI"), VideoIdentity("Y", "S", "m"), VideoIdentity("Z", "S", "WL"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("video,patient\n", r"t\.csv:1: column patient_id is missing"),
        ("video,patient_id,video\n", r"t\.csv:1: column video stands twice"),
        ("video,patient_id\na,Secret\n", r"t\.csv has no line for 2 of 3 videos: .*b b\.mp4, .*mov"),
        ("video,patient_id\n\na,\n", r"t\.csv:3: video or patient_id is blank"),
        ("video,patient_id\na,Secret\na,Secret\n", r"t\.csv:3: 'a' stands in line 2 already"),
        ("video,patient_id\na,Sec,ret\n", r"t\.csv:2: more fields than columns"),
        ('video,patient_id\n"a\n', r"t\.csv:2: not a line of CSV"),
        ("video,patient_id\na,1\x00\n", r"t\.csv"),
        ("", r"t\.csv:1: column video, patient_id is missing"),
    ],
)
def test_bad_tables_are_named_with_their_line(videos: list[Path], tmp_path: Path, text: str, message: str) -> None:
    table = tmp_path / "t.csv"
    table.write_text(text)
    with pytest.raises(InputError, match=message) as caught:
        patients(videos, table=table)
    assert "Secret" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_row_that_fits_two_videos(videos: list[Path], tmp_path: Path) -> None:
    other = videos[2].with_name("a.mp4")
    other.touch()
    (tmp_path / "t.csv").write_text("video,patient_id\na,X\n")
    with pytest.raises(InputError, match=r"t\.csv:2: fits both .*P1.a\.mp4 and .*P2.a\.mp4; write the folder too"):
        patients([videos[0], other], table=tmp_path / "t.csv")


def test_identity_must_be_told_by_hand_and_in_one_way(videos: list[Path], tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"--patient-pattern with \(\?P<patient>.* or --metadata .* or --patient"):
        patients(videos)
    with pytest.raises(InputError, match="in three ways; give one"):
        patients(videos, pattern="(?P<patient>x)", patient_is_video=True)
    with pytest.raises(InputError, match="not a regular expression"):
        patients(videos, pattern="(?P<patient>")
    with pytest.raises(InputError, match="must hold a named group"):
        patients(videos, pattern="P1")
    with pytest.raises(InputError, match=r"finds no patient for 1 of 3 videos: .*mov"):
        patients(videos, pattern=r"(?P<patient>P1)")
    with pytest.raises(InputError, match=r"gone\.csv: not a readable UTF-8 text file"):
        patients(videos, table=tmp_path / "gone.csv")


def test_metadata_keeps_what_others_wrote(tmp_path: Path) -> None:
    path = tmp_path / "metadata.csv"
    path.write_text("filename;patient_id;dataset_source;has_lesion\nold/1.jpg;P;S;1\nimages\\v\\v_000000.jpg;Q;S;1\n"
                    "v/v_000009.jpg;Q;S;0\n;;;\n", "utf-8-sig")  # fmt: skip
    frames = {"v": [Path(f"v_{index:06d}.jpg") for index in (0, 5)]}
    for _ in range(2):
        write_metadata(tmp_path, {"v": JANE}, frames)
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.reader(file))
        assert rows == [
            ["filename", "patient_id", "dataset_source", "modality", "sequence", "has_lesion"],
            ["old/1.jpg", "P", "S", "", "", "1"],
            ["v/v_000000.jpg", "Jane", "videos", "unknown", "v", "1"],
            ["v/v_000005.jpg", "Jane", "videos", "unknown", "v", ""],
        ]
    path.write_text("name\n")
    with pytest.raises(InputError, match=r"metadata\.csv:1: column .*patient_id.* is missing"):
        write_metadata(tmp_path, {"v": JANE}, frames)
    assert path.read_text() == "name\n"
