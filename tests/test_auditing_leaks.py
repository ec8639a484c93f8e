"""Leaks between the parts of a split."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from audit_samples import PARTS, add_frame, config_of, cropped, make_set, recompressed, texture, write_list

from data_utils.audit.frames import read_split
from data_utils.audit.leaks import COPIES, IDENTICAL, NEIGHBOURS, SplitLeaks, find_leaks
from data_utils.audit.likeness import FILE_NAME, fingerprints, view
from data_utils.splits.search import hashed_id

TEST = [f"f{seed}" for seed in PARTS["test"]]


def leaks_of(folder: Path, *overrides: str) -> SplitLeaks:
    dataset = config_of(folder, *overrides).dataset
    split = read_split(dataset, 1)
    assert not split.problems
    prints = fingerprints([frame.path for frame in split.frames], folder / FILE_NAME)
    views = {path: view(print_.thumbnail) for path, print_ in prints.items() if print_.thumbnail is not None}
    return find_leaks(split, dataset, prints, views)


def found(folder: Path, *overrides: str) -> dict[str, tuple[str, list[str]]]:
    return {f.check: (f.verdict, list(f.messages)) for f in leaks_of(folder, *overrides).findings
            if f.messages and f.check != "patients in val and test"}  # these sets are small


def plant(
    folder: Path, stem: str, bgr, part: str = "test", others: list[str] = TEST, patient: str = "", **more: object
) -> None:
    add_frame(folder / "out", stem, bgr, patient, **more)
    write_list(folder, part, [*others, stem])


def test_distinct_frames_of_distinct_patients_leak_nothing(tmp_path: Path) -> None:
    make_set(tmp_path)
    assert found(tmp_path) == {}


def test_a_shared_patient_is_a_leak_and_shown_as_a_hash(tmp_path: Path) -> None:
    make_set(tmp_path)
    plant(tmp_path, "x", texture(40), patient="patient of f0")
    leaks = found(tmp_path)
    line = f"#{hashed_id('patient of f0')} in test, train"
    assert leaks["shared patients"] == ("LEAK", [f"patient {line}"])
    assert leaks["shared groups"] == ("LEAK", [f"group {line}"])
    assert "patient of" not in str(leaks)


def test_with_another_group_shared_patients_are_a_note_and_shared_groups_a_leak(tmp_path: Path) -> None:
    make_set(tmp_path)
    plant(tmp_path, "x", texture(40), patient="patient of f0", group="video 9")
    leaks = found(tmp_path, "dataset.group=sequence")
    assert leaks["shared patients"][0] == "note"
    assert "NOT patient-independent" in leaks["split not by patient"][1][0]
    assert "shared groups" not in leaks
    plant(tmp_path, "y", texture(41), group="video 9", part="val", others=["f6", "f7"])
    assert found(tmp_path, "dataset.group=sequence")["shared groups"][0] == "LEAK"


def test_a_renamed_copy_is_one_identical_pair(tmp_path: Path) -> None:
    make_set(tmp_path)
    plant(tmp_path, "x", texture(2))
    leaks = leaks_of(tmp_path)
    (pair,) = leaks.pairs
    assert (pair.kind, Path(pair.file_a).stem, pair.part_a, Path(pair.file_b).stem) == (IDENTICAL, "f2", "train", "x")
    assert pair.likeness == 1.0
    checks = {f.check: f for f in leaks.findings}
    first, second = sorted((hashed_id("patient of f2"), hashed_id("patient of x")))
    assert checks["one patient under two ids"].messages == [f"#{first} and #{second} share 1 look-alike pairs"]


def test_the_raw_files_bytes_count_as_well(tmp_path: Path) -> None:
    make_set(tmp_path)
    plant(tmp_path, "x", texture(41), content_hash="ab" * 16)
    plant(tmp_path, "y", texture(42), part="val", others=["f6", "f7"], content_hash="ab" * 16)
    assert [pair.kind for pair in leaks_of(tmp_path).pairs] == [IDENTICAL]


@pytest.mark.parametrize("change", [recompressed, cropped, lambda bgr: bgr[:, ::-1]])
def test_a_changed_copy_is_a_near_duplicate(tmp_path: Path, change) -> None:
    make_set(tmp_path)
    plant(tmp_path, "x", change(texture(2)))
    (pair,) = leaks_of(tmp_path).pairs
    assert (pair.kind, {Path(pair.file_a).stem, Path(pair.file_b).stem}) == (COPIES, {"f2", "x"})


def test_an_accepted_pair_is_listed_with_its_reason_and_is_no_leak(tmp_path: Path) -> None:
    make_set(tmp_path)
    plant(tmp_path, "x", recompressed(texture(2)))
    known = "dataset.audit.known_pairs=[{frames: [x, f2], reason: looked at on Monday}]"
    leaks = found(tmp_path, known)
    assert leaks.keys() == {"accepted pairs"}
    assert "looked at on Monday" in leaks["accepted pairs"][1][0]
    plant(tmp_path, "x", texture(2))
    assert found(tmp_path, known)[IDENTICAL][0] == "LEAK"  # equal bytes are nothing to look at


def test_copies_within_one_part_are_a_note(tmp_path: Path) -> None:
    make_set(tmp_path)
    plant(tmp_path, "x", texture(8))
    assert found(tmp_path) == {"equal files within a part": ("note", ["test/x.jpg = test/f8.jpg"])}


def test_healthy_frames_belong_to_their_part(tmp_path: Path) -> None:
    make_set(tmp_path)
    plant(tmp_path, "x", recompressed(texture(8)), part="test_healthy", others=[], patient="patient of f8")
    assert found(tmp_path) == {}


@pytest.mark.parametrize(
    ("names", "leaks"),
    [
        (("clip 007", "clip 012"), True),
        (("clip 007_l", "clip 012_l"), True),
        (("clip 007", "clip 038"), False),  # too far apart
        (("clip 007", "film 008"), False),  # another video
    ],
)
def test_video_neighbours_are_frames_near_in_number_that_look_alike(tmp_path: Path, names, leaks: bool) -> None:
    make_set(tmp_path)
    moved = texture(70)[10:-2, :]
    plant(tmp_path, names[0], texture(70), "val", ["f6", "f7"], patient=names[0])  # nobody knows whose they are
    plant(tmp_path, names[1], moved, patient=names[1])
    expected = {NEIGHBOURS} if leaks else set()
    strict = "dataset.audit.near_duplicate=0.999"  # so that these are no copies
    assert {pair.kind for pair in leaks_of(tmp_path, strict).pairs} == expected
    if leaks:
        assert leaks_of(tmp_path, strict, "dataset.audit.neighbour_gap=4").pairs == []


def test_frames_numbered_through_across_patients_are_no_video(tmp_path: Path) -> None:
    """As in CVC-ClinicDB: 25.png of one patient, 27.png of another, in like scenes."""
    make_set(tmp_path)
    moved = texture(70)[10:-2, :]
    strict = "dataset.audit.near_duplicate=0.999"
    for more in ({"patient": "p1"}, {"patient": "p1", "sequence": "a"}):
        other = {**more, "patient": "p2"} if "sequence" not in more else {"patient": "p2", "sequence": "b"}
        plant(tmp_path, "025", texture(70), "val", ["f6", "f7"], **more)
        plant(tmp_path, "027", moved, **other)
        assert leaks_of(tmp_path, strict).pairs == []
        assert NEIGHBOURS not in found(tmp_path, strict)


def test_without_any_column_likeness_must_be_far_above_chance(tmp_path: Path) -> None:
    make_set(tmp_path)
    for number in range(30):  # one scene in all frames, as in a phantom: likeness says nothing there
        bgr = np.clip(0.75 * texture(500) + 0.25 * texture(300 + number), 0, 255).astype(np.uint8)
        add_frame(tmp_path / "out", f"{number:03}", bgr, f"{number:03}")
    names = [f"{number:03}" for number in range(30)]
    write_list(tmp_path, "train", ["f0", "f1", *names[::2]])
    write_list(tmp_path, "test", ["f8", "f9", *names[1::2]])
    calm = leaks_of(tmp_path, "dataset.group=image", "dataset.audit.near_duplicate=0.999")
    assert [pair for pair in calm.pairs if pair.kind == NEIGHBOURS] == []


def test_a_few_videos_cut_frame_by_frame_leak_without_any_column(tmp_path: Path) -> None:
    """Most frames of such a set are of one video with many others: that makes their likeness no chance."""
    make_set(tmp_path)
    names = [f"v{video}_{number:02}" for video in range(3) for number in range(8)]
    for name in names:
        scene, shift = np.concatenate([texture(900 + int(name[1])), texture(950)]), 3 * int(name[3:])
        add_frame(tmp_path / "out", name, scene[shift : shift + len(texture(0))], name)
    write_list(tmp_path, "train", ["f0", *names[::2]])
    write_list(tmp_path, "test", ["f8", *names[1::2]])
    leaks = leaks_of(tmp_path, "dataset.group=image", "dataset.audit.near_duplicate=0.9999")
    pairs = [pair for pair in leaks.pairs if pair.kind == NEIGHBOURS]
    assert len(pairs) > len(names) / 2
    assert all(Path(pair.file_a).stem[:2] == Path(pair.file_b).stem[:2] for pair in pairs)


def test_a_patients_own_frames_are_neighbours_where_the_split_is_by_image(tmp_path: Path) -> None:
    make_set(tmp_path)
    plant(tmp_path, "clip 007", texture(70), "val", ["f6", "f7"], patient="p1", group="clip 007")
    plant(tmp_path, "clip 008", texture(70)[10:-2, :], patient="p1", group="clip 008")
    plant(tmp_path, "clip 009", texture(70)[8:-4, :], "train", [f"f{seed}" for seed in PARTS["train"]], patient="p2")
    leaks = leaks_of(tmp_path, "dataset.group=image", "dataset.audit.near_duplicate=0.999")
    assert [Path(pair.file_b).stem for pair in leaks.pairs if pair.kind == NEIGHBOURS] == ["clip 008"]


@pytest.mark.parametrize(("source", "leaks"), [("unknown", False), ("clinic", True)])
def test_sequence_1_of_another_set_is_another_video(tmp_path: Path, source: str, leaks: bool) -> None:
    make_set(tmp_path)
    whose = {"patient": "1", "sequence": "1"}
    plant(tmp_path, "007", texture(70), others=["f8", "f9"], **whose)
    add_frame(tmp_path / "ext", "008", texture(70)[10:-2, :], dataset_source=source, **whose)
    external = f"dataset.external={{far: {{processed: '{tmp_path / 'ext'}'}}}}"
    assert (NEIGHBOURS in found(tmp_path, external, "dataset.audit.near_duplicate=0.999")) == leaks


def test_a_check_that_is_switched_off_reads_not_checked(tmp_path: Path) -> None:
    make_set(tmp_path)
    off = ("dataset.audit.neighbour_gap=0", "dataset.audit.near_duplicate=1")
    verdicts = {f.check: (f.verdict, f.not_checked) for f in leaks_of(tmp_path, *off).findings}
    assert verdicts[NEIGHBOURS] == ("not checked", "dataset.audit.neighbour_gap = 0")
    assert verdicts[COPIES] == ("not checked", "dataset.audit.near_duplicate = 1")
    plant(tmp_path, "s 1", texture(70), "val", ["f6", "f7"], patient="v", sequence="s")
    plant(tmp_path, "s 2", texture(70)[10:-2, :], patient="v", sequence="s")
    findings = leaks_of(tmp_path, "dataset.audit.near_duplicate=0.999").findings
    finding = next(f for f in findings if f.check == NEIGHBOURS)
    assert (finding.verdict, "dataset.audit.neighbour_gap" in finding.mend) == ("LEAK", True)


def test_few_held_out_patients_are_a_warning(tmp_path: Path) -> None:
    make_set(tmp_path)
    few = next(f for f in leaks_of(tmp_path).findings if f.check == "patients in val and test")
    assert few.verdict == "warning"
    assert [message.partition(":")[0] for message in few.messages] == ["test", "val"]
    assert "2 patients" in few.messages[0]


def test_numbers_alone_are_no_evidence(tmp_path: Path) -> None:
    make_set(tmp_path)  # f0..f9 are consecutive
    assert leaks_of(tmp_path).pairs == []


def test_external_sets_are_held_out_parts(tmp_path: Path) -> None:
    make_set(tmp_path)
    add_frame(tmp_path / "ext", "e0", recompressed(texture(2)), "patient of f0", dataset_source="unknown")
    add_frame(tmp_path / "ext", "e1", texture(80), "patient of f1")
    leaks = found(tmp_path, f"dataset.external={{far: {{processed: '{tmp_path / 'ext'}'}}}}")
    assert [COPIES in leaks, len(leaks[COPIES][1])] == [True, 1]
    assert leaks["shared patients"][1] == [f"patient #{hashed_id('patient of f1')} in external:far, train"]
    verdict, lines = leaks["patient ids also used by another set"]  # another source: perhaps another person
    assert (verdict, len(lines)) == ("warning", 1)
    assert hashed_id("patient of f0") in lines[0]
