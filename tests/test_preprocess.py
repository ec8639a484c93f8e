"""The three preparing functions, run in an empty working folder on frames drawn here."""

from __future__ import annotations

import csv
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from data_utils.errors import InputError
from data_utils.imaging.images import read_bgr
from data_utils.preprocess import check_pairs, create_dual_resolution, filter_frames, make_splits

LABEL = b"0 0.5 0.25 0.1 0.2\r\n"


def noise(side: int = 96, seed: int = 0) -> np.ndarray:
    """Sharp frame uint8 [side, side, 3]; its PNG is larger than 5 KB."""
    return np.random.default_rng(seed).integers(0, 200, (side, side, 3), dtype=np.uint8)


def save(path: Path, bgr: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), bgr)
    return path


@pytest.fixture(autouse=True)
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Run every test in an empty folder: the fixed output paths are relative to it."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def source() -> Path:
    """A folder with a good frame and one for each reason to exclude."""
    folder = Path("src")
    save(folder / "images/good.png", noise())
    save(folder / "images/sub dir/grün.png", noise(seed=1))
    save(folder / "images/blurred.png", cv2.GaussianBlur(noise(128), (31, 31), 9))
    save(folder / "images/dark.png", noise() // 10)
    save(folder / "images/blown.png", 255 - noise() // 12)
    save(folder / "images/tiny.png", noise(8))
    whole = (folder / "images/good.png").read_bytes()
    (folder / "images/broken.png").write_bytes(whole[: len(whole) // 2])
    for name in ("good", "dark", "sub dir/grün"):
        path = folder / "labels" / f"{name}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(LABEL)
    return folder


def snapshot(folder: Path) -> dict[str, tuple[bytes, int]]:
    return {str(p): (p.read_bytes(), p.stat().st_mtime_ns) for p in sorted(folder.rglob("*")) if p.is_file()}


def filter_log() -> dict[str, str]:
    with Path("results/filter_log.csv").open(newline="", encoding="utf-8") as stream:
        reader = csv.DictReader(stream)
        assert reader.fieldnames == ["filename", "reason"]
        return {row["filename"]: row["reason"] for row in reader}


def test_filter_keeps_good_frames_with_labels_and_logs_the_rest(source: Path) -> None:
    before = snapshot(source)
    assert filter_frames(source, "kept") == (2, 5)
    assert snapshot(source) == before
    assert sorted(str(p.relative_to("kept")) for p in Path("kept").rglob("*") if p.is_file()) == [
        "images/good.png", "images/sub dir/grün.png", "labels/good.txt", "labels/sub dir/grün.txt",
    ]  # fmt: skip
    assert Path("kept/images/good.png").read_bytes() == (source / "images/good.png").read_bytes()
    assert Path("kept/labels/good.txt").read_bytes() == LABEL
    log = filter_log()
    assert {name: reason.split(":")[0] for name, reason in log.items()} == {
        "images/blurred.png": "blurred", "images/dark.png": "dark", "images/blown.png": "blown out",
        "images/tiny.png": "tiny", "images/broken.png": "unreadable",
    }  # fmt: skip
    assert log["images/tiny.png"].startswith("tiny: file bytes ")


def test_thresholds_are_the_arguments_and_a_second_call_follows_them(source: Path) -> None:
    assert filter_frames(source, "kept", blur_thresh=0, bright_min=0, bright_max=255) == (5, 2)
    assert set(filter_log()) == {"images/tiny.png", "images/broken.png"}
    assert filter_frames(source, "kept", blur_thresh=1e9) == (0, 7)
    assert not [path for path in Path("kept").rglob("*") if path.is_file()]


def test_a_flat_folder_stays_flat() -> None:
    save(Path("src/a.png"), noise())
    Path("src/a.txt").write_bytes(b"")
    assert filter_frames("src", "kept") == (1, 0)
    assert sorted(path.name for path in Path("kept").iterdir()) == ["a.png", "a.txt"]
    assert filter_log() == {}


def test_copies_say_nothing_about_the_patient_and_look_the_same() -> None:
    exif = Image.Exif()
    exif[0x010E], exif[0x0112] = "Jane Doe", 6
    Path("src").mkdir()
    picture = Image.fromarray(np.hstack([noise(160), noise(160, 1)]))
    picture.save("src/a.jpg", exif=exif, comment=b"Jane Doe")
    picture.save("src/b.webp", exif=exif, lossless=True)
    before = snapshot(Path("src"))
    for _ in range(2):
        assert filter_frames("src", "kept") == (2, 0)
        assert sorted(path.name for path in Path("kept").iterdir()) == ["a.jpg", "b.png"]
    assert snapshot(Path("src")) == before
    for name, copy in (("a.jpg", "a.jpg"), ("b.webp", "b.png")):
        np.testing.assert_array_equal(read_bgr(f"kept/{copy}").bgr, read_bgr(f"src/{name}").bgr)
        assert b"Jane Doe" in Path("src", name).read_bytes()
        assert b"Jane Doe" not in Path("kept", copy).read_bytes()
    assert filter_frames("src", "kept", blur_thresh=1e9) == (0, 2)
    assert list(Path("kept").iterdir()) == []


def test_two_frames_never_become_one_copy() -> None:
    picture = Image.fromarray(noise())
    Path("src").mkdir()
    picture.save("src/a.png")
    picture.save("src/a.bmp")
    with pytest.raises(InputError, match=r"src/a\.png and src/a\.bmp would both be written as a\.png"):
        filter_frames("src", "kept")
    (Path("src") / "a.bmp").write_bytes(b"")
    assert filter_frames("src", "kept") == (1, 1)
    assert [path.name for path in Path("kept").iterdir()] == ["a.png"]


def test_the_source_is_never_a_target(source: Path) -> None:
    for target in (source, source / "kept", Path()):
        with pytest.raises(InputError, match="never written"):
            filter_frames(source, target)
        with pytest.raises(InputError, match="never written"):
            create_dual_resolution(source, target, "hr")
    with pytest.raises(InputError, match="no images in this folder"):
        filter_frames("nowhere", "kept")


def test_dual_resolution_resizes_plainly_and_copies_labels() -> None:
    frame = cv2.resize(noise(40), (320, 160), interpolation=cv2.INTER_CUBIC)
    save(Path("src/images/p1/wide.png"), frame)
    save(Path("src/images/healthy.png"), noise())
    Path("src/labels/p1").mkdir(parents=True)
    Path("src/labels/p1/wide.txt").write_bytes(LABEL)
    Path("src/labels/healthy.txt").write_bytes(b"")
    assert create_dual_resolution("src", "out/lr", "out/hr", image_format="png") == 2
    lr_image, hr_image = cv2.imread("out/lr/images/p1_wide.png"), cv2.imread("out/hr/images/p1_wide.png")
    np.testing.assert_array_equal(lr_image, cv2.resize(frame, (640, 640), interpolation=cv2.INTER_LINEAR))
    np.testing.assert_array_equal(hr_image, cv2.resize(frame, (1280, 1280), interpolation=cv2.INTER_CUBIC))
    assert Path("out/lr/labels/p1_wide.txt").read_bytes() == LABEL
    assert Path("out/lr/labels/healthy.txt").read_bytes() == b""
    assert check_pairs("out/lr/images", "out/hr/images") == []


def test_dual_resolution_writes_jpeg_95_by_default() -> None:
    frame = save(Path("src/a.png"), noise())
    assert create_dual_resolution("src", "lr", "hr") == 1
    expected = cv2.resize(cv2.imread(str(frame)), (640, 640), interpolation=cv2.INTER_LINEAR)
    _, encoded = cv2.imencode(".jpg", expected, [cv2.IMWRITE_JPEG_QUALITY, 95])
    assert Path("lr/images/a.jpg").read_bytes() == encoded.tobytes()
    assert not Path("lr/labels").exists()


def test_dual_resolution_names_collisions_and_unreadable_frames() -> None:
    save(Path("src/a.png"), noise())
    Path("src/broken.jpg").write_bytes(b"\xff\xd8\xff")
    with pytest.raises(InputError, match=r"1 of 2 frames have no pair: .*broken\.jpg"):
        create_dual_resolution("src", "lr", "hr")
    assert Path("hr/images/a.jpg").is_file()
    save(Path("src/A.jpg"), noise())
    with pytest.raises(InputError, match=r"src/a\.png and src/A\.jpg would both be written"):
        create_dual_resolution("src", "lr", "hr")


def test_pairs_without_partner_or_of_the_wrong_scale_are_listed() -> None:
    for name in ("good", "alone", "wrong"):
        save(Path(f"lr/{name}.png"), noise(32))
    save(Path("hr/good.jpg"), noise(64))
    save(Path("hr/wrong.png"), noise(63))
    save(Path("hr/extra.png"), noise(64))
    assert check_pairs("lr", "hr") == [
        "lr/alone.png: no HR partner in hr",
        "hr/extra.png: no LR partner in lr",
        "hr/wrong.png: 63x63, not twice the LR frame's 32x32",
    ]


def write_metadata(path: Path, n_patients: int = 40, extra: str = "") -> Path:
    lines = ["filename,patient_id,dataset_source,modality,has_lesion"]
    lines += [f"P{p}_{i}.png,P{p},S{p % 2},WL,{i % 2}" for p in range(n_patients) for i in range(5)]
    path.write_text("\n".join(lines) + "\n" + extra, encoding="utf-8")
    return path


def test_make_splits_lists_absolute_lr_paths_and_counts_them(workplace: Path) -> None:
    counts = make_splits(write_metadata(Path("meta.csv")))
    assert list(counts) == ["split1", "split2", "split3"]
    owners: dict[tuple[str, str], set[str]] = {}
    for name, parts in counts.items():
        assert list(parts) == ["train", "val", "test"]
        assert sum(parts.values()) == 200
        for part, number in parts.items():
            lines = Path(f"data/splits/{name}/{part}.txt").read_text().splitlines()
            assert len(lines) == number > 0
            assert all(Path(line).parent == workplace / "data/processed/lr/images" for line in lines)
            for line in lines:
                owners.setdefault((name, Path(line).stem.split("_")[0]), set()).add(part)
    assert len(owners) == 3 * 40
    assert all(len(parts) == 1 for parts in owners.values())
    assert counts["split1"]["train"] == pytest.approx(178, abs=5)


def test_make_splits_depends_on_the_seed_alone() -> None:
    def lists() -> list[str]:
        return [path.read_text() for path in sorted(Path("data/splits").rglob("*.txt"))]

    path = write_metadata(Path("meta.csv"))
    make_splits(path)
    first = lists()
    header, *lines = path.read_text().splitlines()
    path.write_text("\n".join([header, *reversed(lines)]))
    make_splits(path)
    assert lists() == first
    make_splits(path, seed=1)
    assert lists() != first


def test_make_splits_with_the_required_columns_alone() -> None:
    lines = ["filename,patient_id,dataset_source", *(f"images/p{i}/x.jpg,p{i},S" for i in range(3))]
    Path("meta.csv").write_text("\ufeff" + "\r\n".join(lines), encoding="utf-8")
    assert make_splits("meta.csv", n_splits=1) == {"split1": {"train": 1, "val": 1, "test": 1}}
    stems = {Path(Path(f"data/splits/split1/{part}.txt").read_text().strip()).name for part in ("train", "val", "test")}
    assert stems == {"p0_x.jpg", "p1_x.jpg", "p2_x.jpg"}


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ("x.png,,S,WL,1\n", r"meta\.csv:202: patient_id is blank"),
        (",P1,S,WL,1\n", r"meta\.csv:202: filename is blank"),
        ("x.png,P1,S,WL,maybe\n", r"meta\.csv:202: has_lesion = 'maybe'"),
        ("p0_0.jpg,P1,S,WL,1\n", r"p0_0\.jpg and P0_0\.png would both be written"),
        ("P0_0.png,P0,S,WL,1\n", r"meta\.csv:202: 'P0_0\.png' stands in meta\.csv:2 already"),
        ("x.png,Smith, John,S,WL,1\n", r"meta\.csv:202: more fields than columns"),
        ("x.png,p0,S,WL,1\n", r"meta\.csv:202: .*meta\.csv:2 .*upper and lower case"),
        ("/data/raw/images/x.png,P1,S,WL,1\n", r"meta\.csv:202: '/data/.*x\.png' is no path below the raw folder"),
        ("../x.png,P1,S,WL,1\n", r"meta\.csv:202: '\.\./x\.png' is no path below"),
        (".,P1,S,WL,1\n", r"meta\.csv:202: '\.' is no path below"),
    ],
)
def test_bad_metadata_is_named_with_its_line(extra: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        make_splits(write_metadata(Path("meta.csv"), extra=extra))
    assert not Path("data").exists()


def test_make_splits_needs_three_patients_and_its_columns() -> None:
    with pytest.raises(InputError, match="over 2 groups"):
        make_splits(write_metadata(Path("meta.csv"), n_patients=2))
    Path("meta.csv").write_text("filename,patient\nx,y\n")
    with pytest.raises(InputError, match=r"meta\.csv:1: column patient_id, dataset_source is missing"):
        make_splits("meta.csv")
    with pytest.raises(InputError, match="not a readable UTF-8 text file"):
        make_splits("gone.csv")
    Path("meta.csv").write_text("filename,patient_id,patient_id,dataset_source\nx,1,2,y\n")
    with pytest.raises(InputError, match=r"meta\.csv:1: column patient_id stands twice"):
        make_splits("meta.csv")


def test_make_splits_reads_what_spreadsheets_and_exports_write() -> None:
    names = ("train/images/v1.0_a.jpg", "train\\images\\b.jpg", "./valid/images/c.PNG", "frame 1.5", "e.jpg", "f.jpg")
    patients = ("001", "2", "M\u00fcller", "Mu\u0308ller", "4", "5")
    lines = ["filename; patient_id; dataset_source; has_lesion"]
    lines += [f'{name}; "{patient}"; "S"; 1.0' for name, patient in zip(names, patients, strict=True)]
    Path("meta.csv").write_text("\n".join([*lines, ";;;"]), encoding="utf-8-sig")
    assert sum(make_splits("meta.csv", n_splits=1)["split1"].values()) == 6
    parts = [Path(f"data/splits/split1/{part}.txt").read_text().splitlines() for part in ("train", "val", "test")]
    stems = {Path(line).name for part in parts for line in part}
    assert stems == {"train_v1.0_a.jpg", "train_b.jpg", "valid_c.jpg", "frame 1.5.jpg", "e.jpg", "f.jpg"}
    holders = [part for part in parts if any("valid_c" in line or "frame 1.5" in line for line in part)]
    assert len(holders) == 1, "one patient, written in two ways"


def test_exports_with_a_folder_for_each_part_keep_their_labels() -> None:
    for part in ("train", "valid"):
        save(Path(f"src/{part}/images/a.png"), noise())
        Path(f"src/{part}/labels").mkdir()
        Path(f"src/{part}/labels/a.TXT").write_bytes(LABEL)
    assert filter_frames("src", "kept") == (2, 0)
    assert create_dual_resolution("kept", "lr", "hr") == 2
    assert sorted(path.name for path in Path("lr").rglob("*.*")) == [
        "train_a.jpg", "train_a.txt", "valid_a.jpg", "valid_a.txt",
    ]  # fmt: skip


def test_dual_resolution_in_another_format_leaves_no_second_copy() -> None:
    save(Path("src/a.png"), noise())
    create_dual_resolution("src", "lr", "hr")
    create_dual_resolution("src", "lr", "hr", image_format="png")
    assert [path.name for folder in ("lr", "hr") for path in Path(folder, "images").iterdir()] == ["a.png", "a.png"]
    with pytest.raises(InputError, match=r"image_format = '\.png': allowed: 'jpg' or 'png'"):
        create_dual_resolution("src", "lr", "hr", image_format=".png")
    with pytest.raises(InputError, match="each needs a folder of its own"):
        create_dual_resolution("src", "both", "./both")


def test_impossible_arguments_are_refused_in_one_line(source: Path) -> None:
    with pytest.raises(InputError, match=r"^filter_frames: blur_thresh = -1: allowed: greater than or equal to 0$"):
        filter_frames(source, "kept", blur_thresh=-1)
    with pytest.raises(InputError, match=r"^make_splits: n_splits = 0: allowed: greater than or equal to 1$"):
        make_splits(write_metadata(Path("meta.csv")), n_splits=0)
