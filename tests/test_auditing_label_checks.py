"""Labels, HR partners and sizes of prepared frames."""

from __future__ import annotations

from pathlib import Path

import pytest
from audit_samples import BOX, LR, config_of, make_set, texture

from data_utils.audit.frames import CUT, HUGE, REPEATED, TINY, check_labels, check_pairs, read_split
from data_utils.imaging.images import write_image


def labels_found(folder: Path, *overrides: str) -> dict[str, tuple[str, list[str]]]:
    dataset = config_of(folder, *overrides).dataset
    findings = check_labels(read_split(dataset, 1).frames, dataset)
    return {f.check: (f.verdict, list(f.messages)) for f in findings if f.messages}


def pairs_found(folder: Path, *overrides: str) -> dict[str, tuple[str, list[str]]]:
    config = config_of(folder, *overrides)
    findings = check_pairs(read_split(config.dataset, 1).frames, config)
    return {f.check: (f.verdict, list(f.messages)) for f in findings if f.messages}


def write_label(folder: Path, text: str) -> Path:
    path = folder / "out" / "lr" / "labels" / "f3.txt"
    path.write_text(text)
    return path


def test_a_sound_set_has_no_findings(tmp_path: Path) -> None:
    make_set(tmp_path)
    write_label(tmp_path, "")
    assert labels_found(tmp_path) == pairs_found(tmp_path) == {}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("1 0.5 0.5 0.2 0.2", "class id 1"),
        ("0 1.5 0.5 0.2 0.2", "a box outside the frame"),
        ("0 0.5 0.5 0 0.2", "a box without area"),
        ("0 0.5 nan 0.2 0.2", "NaN or infinity"),
        ("0 0.5 0.5 0.2", "4 columns"),
    ],
)
def test_what_training_refuses_is_an_error_with_its_line(tmp_path: Path, line: str, message: str) -> None:
    make_set(tmp_path)
    path = write_label(tmp_path, BOX + line + "\n")
    for bad_boxes in ("error", "drop"):
        verdict, (found,) = labels_found(tmp_path, f"dataset.bad_boxes={bad_boxes}")["unusable labels"]
        assert verdict == "ERROR"
        assert found.startswith(f"{path}:2: ")
        assert message in found


def test_many_bad_lines_are_all_counted(tmp_path: Path) -> None:
    make_set(tmp_path)
    write_label(tmp_path, "7 0.5 0.5 0.2 0.2\n" * 9)
    _, [found] = labels_found(tmp_path)["unusable labels"]
    assert "9 such" in found
    one_of_each = [" ".join(["0", *["0.5"] * (3 + n)]) for n in (0, 2)]
    others = ["x 0.5 0.5 0.2 0.2", "0 a b c d", "0 nan 0.5 0.2 0.2", "0 0.5 0.5 0 0.2", "0 7 0.5 0.1 0.1"]
    write_label(tmp_path, "\n".join([*one_of_each, *others]))
    _, found = labels_found(tmp_path)["unusable labels"]
    assert found[-1].endswith("2 more lines that cannot be used")


@pytest.mark.parametrize(
    ("check", "line"),
    [
        (REPEATED, BOX.strip()),
        (TINY, "0 0.5 0.5 0.002 0.002"),
        (HUGE, "0 0.5 0.5 0.99 0.99"),
        (CUT, "0 0.95 0.5 0.2 0.2"),
    ],
)
def test_what_looks_wrong_is_a_warning_with_its_line(tmp_path: Path, check: str, line: str) -> None:
    make_set(tmp_path)
    path = write_label(tmp_path, f"{BOX}\n{line}\n")
    verdict, (found,) = labels_found(tmp_path)[check]
    assert verdict == "warning"
    assert found.startswith(f"{path}:3: ")


def test_thresholds_are_the_data_sets(tmp_path: Path) -> None:
    make_set(tmp_path)
    write_label(tmp_path, "0 0.5 0.5 0.002 0.002\n0 0.5 0.5 0.99 0.99\n")
    assert labels_found(tmp_path, "dataset.audit.box_min=0", "dataset.audit.box_max=1") == {}


def test_a_missing_label_file_is_an_error_unless_background_is_allowed(tmp_path: Path) -> None:
    make_set(tmp_path)
    write_label(tmp_path, "").unlink()
    assert labels_found(tmp_path)["missing label files"][0] == "ERROR"
    assert labels_found(tmp_path, "dataset.allow_background=true")["missing label files"][0] == "note"


def test_missing_and_mis_sized_partners_are_listed(tmp_path: Path) -> None:
    make_set(tmp_path)
    hr = tmp_path / "out" / "hr" / "images"
    (hr / "f0.jpg").unlink()
    write_image(hr / "f1.jpg", texture(1, LR))
    write_image(tmp_path / "out" / "lr" / "images" / "f2.jpg", texture(1, LR + 2))
    (hr / "f4.jpg").write_bytes(b"no picture")
    found = pairs_found(tmp_path)
    assert found["missing HR partners"] == ("ERROR", [f"{tmp_path}/out/lr/images/f0.jpg: no HR partner in {hr}"])
    verdict, messages = found["mis-sized LR/HR pairs"]
    assert verdict == "ERROR"
    assert [Path(message.split(":")[0]).name for message in messages] == ["f1.jpg", "f2.jpg", "f4.jpg"]
    assert f"{LR}x{LR} pixels, expected {2 * LR}x{2 * LR}" in messages[0]
    assert pairs_found(tmp_path, "sr_decoder=none")["missing HR partners"][0] == "warning"


def test_external_sets_need_no_hr_copies(tmp_path: Path) -> None:
    make_set(tmp_path)
    make_set(tmp_path / "other", {"train": range(60, 62)})
    for path in (tmp_path / "other" / "out" / "hr" / "images").iterdir():
        path.unlink()
    assert pairs_found(tmp_path, f"dataset.external={{o: {{processed: '{tmp_path / 'other' / 'out'}'}}}}") == {}
