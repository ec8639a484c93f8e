"""Whose each frame is: metadata.csv, group_pattern, and their faults."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from raw_samples import raw_folder, read

from data_utils.errors import InputError

METADATA = "filename,patient_id,dataset_source,modality,extra\n"


def with_metadata(root: Path, *lines: str, header: str = METADATA, encoding: str = "utf-8") -> Path:
    raw_folder(root, {"a.png": "", "b.png": "0 0.5 0.5 0.1 0.1"})
    (root / "metadata.csv").write_text(header + "".join(line + "\n" for line in lines), encoding=encoding)
    return root


def test_metadata_says_whose_each_frame_is(tmp_path: Path) -> None:
    root = with_metadata(tmp_path, "a.png, P1 ,clinic,NBI,x", "images/b.png,P2,,,", encoding="utf-8-sig")
    first, second = read(root).frames
    assert (first.patient_id, first.group, first.source, first.modality) == ("P1", "P1", "clinic", "NBI")
    assert (second.patient_id, second.group, second.source, second.modality) == ("P2", "P2", "unknown", "unknown")


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["a.png,P1,s,,", "b.png,,s,,"], r"metadata\.csv:3: patient_id is blank"),
        (["a.png,P1,s,,", ",P1,s,,"], r"metadata\.csv:3: filename is blank"),
        (["a.png,P1,s,,", "b.png,P2,s,,", "a.png,P1,s,,"], r"metadata\.csv:4: 'a\.png' stands in .*metadata\.csv:2"),
        (["a.png,P1,s,,"], r"images/b\.png: its patient is unknown: .*metadata\.csv names it in no line"),
        (["a.png,Px7,s,,", "b.png,pX7,s,,"], r"metadata\.csv:3: a patient .*metadata\.csv:2 .*upper and lower case"),
        (["a.png,P1,s,,,,"], r"metadata\.csv:2: more fields than columns"),
        ([",,,,", "a.png,P1,s,,"], r"images/b\.png: its patient is unknown"),
        (['a.png,"P1'], r"metadata\.csv:2: not a line of CSV"),
    ],
)
def test_faults_in_metadata_are_named_with_file_and_line(tmp_path: Path, lines: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message) as error:
        read(with_metadata(tmp_path, *lines))
    assert "Px7" not in str(error.value), "a patient id in a message"


UNSEEN = {
    "zero-width space": "P01\u200b", "soft hyphen": "P\u00ad01", "byte-order mark": "\ufeffP01", "NUL": "P01\0",
    "full width": "\uff3001", "word joiner": "P\u206001", "right-to-left mark": "P01\u200f", "Cyrillic": "\u042001",
    "variation selector": "P\ufe0f01", "combining grapheme joiner": "P\u034f01", "Hangul filler": "P\u316401",
}  # fmt: skip


@pytest.mark.parametrize("other", UNSEEN.values(), ids=UNSEEN)
def test_ids_that_differ_by_what_no_reader_sees_are_one_error(tmp_path: Path, other: str) -> None:
    with pytest.raises(InputError, match=r"metadata\.csv:3: .*metadata\.csv:2 .*U\+") as error:
        read(with_metadata(tmp_path, "a.png,P01,s,,", f"b.png,{other},s,,"))
    assert "P01" not in str(error.value)


@pytest.mark.parametrize("pair", [
    ("A-1", "A\u20111"), ("A-1", "A\u20131"), ("A-1", "A\u22121"), ("A 1", "A\u00a01"), ("A 1", "A\u20091"),
    ("A 1", "A  1"), ("\u00c5", "A\u030a\u200d"),
])  # fmt: skip
def test_kinds_of_dash_and_space_are_one(tmp_path: Path, pair: tuple[str, str]) -> None:
    with pytest.raises(InputError, match=r"metadata\.csv:3: .*U\+|order|upper|nothing"):
        read(with_metadata(tmp_path, f"a.png,{pair[0]},s,,", f"b.png,{pair[1]},s,,"))


def test_the_same_for_ids_out_of_paths(tmp_path: Path) -> None:
    raw_folder(tmp_path, {"P01/a.png": "", "P01\u200b/b.png": ""})
    with pytest.raises(InputError, match=r"b\.png: .*a\.png .*U\+200B"):
        read(tmp_path, group_pattern="^images/(?P<patient>[^/]+)/")
    with pytest.raises(InputError, match=r"b\.png: .*a\.png .*U\+200B"):
        read(tmp_path, group="sequence", group_pattern="^images/(?P<sequence>[^/]+)/")


@pytest.mark.parametrize("pair", [("12", "12.0"), ("012", "12"), ("P1", "P01"), ("+7", "7"), ("12", "1.2E+01"),
                                  ("120000", "1,20e5"), ("12", "\u0661\u0662")])
def test_numbers_written_in_two_ways_block_until_it_is_said(tmp_path: Path, pair: tuple[str, str]) -> None:
    root = with_metadata(tmp_path, f'a.png,"{pair[0]}",s,,', f'b.png,"{pair[1]}",s,,')
    with pytest.raises(InputError, match=r"metadata\.csv:2 and .*metadata\.csv:3.*same_patient.*distinct_patients"):
        read(root)
    assert {frame.group for frame in read(root, same_patient=pair).frames} == {pair[0]}
    assert {frame.group for frame in read(root, same_patient=[pair]).frames} == {pair[0]}
    assert {frame.group for frame in read(root, distinct_patients=True).frames} == set(pair)


def test_same_patient_joins_any_ids(tmp_path: Path) -> None:
    root = with_metadata(tmp_path, "a.png,old name,s,,", "b.png,new name,s,,")
    assert {frame.group for frame in read(root, same_patient=["new name", "old name"]).frames} == {"new name"}


@pytest.mark.parametrize(("same", "message"), [
    ([["old name", "nwe name"]], "1 of its 2 ids are of no patient"),
    ([["old name", "new name"], ["new name", "third"]], "one id stands in two of its lists"),
])  # fmt: skip
def test_same_patient_that_would_leave_two_of_one(tmp_path: Path, same: list[list[str]], message: str) -> None:
    root = with_metadata(tmp_path, "a.png,old name,s,,", "b.png,new name,s,,")
    with pytest.raises(InputError, match=message) as error:
        read(root, same_patient=same)
    assert "name," not in str(error.value)


def test_same_patient_holds_between_metadata_and_paths(tmp_path: Path) -> None:
    raw_folder(tmp_path, {"012/a.png": "", "12/b.png": ""})
    (tmp_path / "metadata.csv").write_text("filename,patient_id,dataset_source\na.png,12,s\nb.png,12,s\n")
    settings = {"group_pattern": "^images/(?P<patient>[^/]+)/", "same_patient": ["12", "012"]}
    assert {frame.group for frame in read(tmp_path, **settings).frames} == {"12"}


def test_metadata_without_its_columns(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"metadata\.csv:1: column patient_id, dataset_source is missing"):
        read(with_metadata(tmp_path, "a.png,1", header="filename,patient\n"))


def test_metadata_that_is_no_text(tmp_path: Path) -> None:
    root = with_metadata(tmp_path)
    (root / "metadata.csv").write_bytes(b"\xff\xfe\x00binary")
    with pytest.raises(InputError, match=r"metadata\.csv: not a readable UTF-8"):
        read(root)
    with pytest.raises(InputError, match=r"people\.csv: not a readable"):
        read(root, metadata="people.csv")


def test_semicolons_and_lines_without_an_image(tmp_path: Path) -> None:
    header = "filename;patient_id;dataset_source\n"
    raw_set = read(with_metadata(tmp_path, "a.png;1;s", "b.png;2;s", "gone.png;3;s", header=header))
    assert raw_set.counts["metadata lines without an image"] == 1
    assert any("metadata.csv:4 gone.png" in note for note in raw_set.notes)


def test_a_file_name_that_fits_two_frames(tmp_path: Path) -> None:
    root = raw_folder(tmp_path, {"x/a.png": "", "y/a.png": ""})
    (root / "metadata.csv").write_text("filename,patient_id,dataset_source\na.png,P1,s\n")
    with pytest.raises(InputError, match=r"metadata\.csv:2: 'a\.png' fits both images/x/a\.png and images/y/a\.png"):
        read(root)


def test_without_any_identity_the_ways_on_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError) as error:
        read(raw_folder(tmp_path, {"a.png": ""}))
    for way in ("metadata.csv", "dataset.group_pattern", "sequence | image"):
        assert way in str(error.value)
    assert "\n" not in str(error.value)


def test_group_pattern_gives_patient_and_sequence(tmp_path: Path) -> None:
    root = raw_folder(tmp_path, {"p1/s1/a.png": "", "p1/s2/a.png": "", "p2/s1/a.png": ""})
    pattern = r"(?P<patient>p\d)/(?P<sequence>s\d)"
    assert [f.group for f in read(root, group_pattern=pattern).frames] == ["p1", "p1", "p2"]
    frames = read(root, group="sequence", group_pattern=pattern).frames
    assert [(f.patient_id, f.group) for f in frames] == [("p1", "p1/s1"), ("p1", "p1/s2"), ("p2", "p2/s1")]
    frames = read(root, group="sequence", group_pattern=r"images/(?P<sequence>.*)/").frames
    assert [(f.patient_id, f.group) for f in frames] == [(s, s) for s in ("p1/s1", "p1/s2", "p2/s1")]
    frames = read(root, group="image").frames
    assert [(f.patient_id, f.group) for f in frames] == [(f.stem, f.stem) for f in frames]


@pytest.mark.parametrize(
    ("settings_", "message"),
    [
        ({"group_pattern": r"(?P<patient>q\d)"}, "a.png: dataset.group_pattern does not match 'images/a.png'"),
        ({"group_pattern": r"(?P<patient>q*)"}, "a.png: its patient is unknown"),
        ({"group_pattern": r"(?P<sequence>a)"}, "dataset.group = patient, but nothing says"),
        ({"group": "sequence"}, "dataset.group = sequence: set dataset.group_pattern"),
    ],
)
def test_group_settings_that_cannot_answer(tmp_path: Path, settings_: dict[str, str], message: str) -> None:
    with pytest.raises(InputError) as error:
        read(raw_folder(tmp_path, {"a.png": ""}), **settings_)
    assert message in str(error.value)


def test_metadata_and_pattern_must_agree(tmp_path: Path) -> None:
    root = raw_folder(tmp_path, {"p1/a.png": ""})
    (root / "metadata.csv").write_text("filename,patient_id,dataset_source\np1/a.png,p2,s\n")
    with pytest.raises(InputError, match=r"metadata\.csv:2: not the patient dataset\.group_pattern finds"):
        read(root, group_pattern=r"(?P<patient>p\d)/")


@given(st.binary(max_size=200))
@settings(max_examples=150, deadline=None)
def test_random_metadata_raises_input_errors_only(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    root = tmp_path_factory.getbasetemp() / "random metadata"
    if not root.exists():
        raw_folder(root, {"a.png": ""})
    (root / "metadata.csv").write_bytes(b"filename,patient_id,dataset_source\n" + data)
    with pytest.raises(InputError) as error:
        read(root)
    assert "\n" not in str(error.value)


def test_one_patient_spelled_in_two_ways_of_unicode_is_one(tmp_path: Path) -> None:
    frames = read(with_metadata(tmp_path, "a.png,M\u00fc,s,,", 'b.png, "Mu\u0308",s,,', ",,,,")).frames
    assert [frame.group for frame in frames] == ["M\u00fc", "M\u00fc"]
    root = raw_folder(tmp_path / "folders", {"M\u00fc/a.png": "", "Mu\u0308/b.png": ""})
    assert len({frame.group for frame in read(root, group_pattern="images/(?P<patient>[^/]+)").frames}) == 1


def test_patients_in_folders_that_differ_by_case_alone(tmp_path: Path) -> None:
    root = raw_folder(tmp_path, {"Px7/a.png": "", "pX7/b.png": ""})
    with pytest.raises(InputError, match=r"pX7/b\.png: .*Px7/a.png.*upper and lower case"):
        read(root, group_pattern="(?P<patient>[^/]+)/[^/]*$")


def test_a_column_that_stands_twice(tmp_path: Path) -> None:
    header = "filename,patient_id,patient_id,dataset_source\n"
    with pytest.raises(InputError, match=r"metadata\.csv:1: column patient_id stands twice"):
        read(with_metadata(tmp_path, "a.png,1,2,s", header=header))
