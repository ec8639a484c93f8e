"""From every format to every other and back, on made and real sets, and the command itself."""

from __future__ import annotations

import csv
import itertools
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from image_samples import textured
from PIL import Image

from data_utils.config.loading import load_config
from data_utils.convert import convert
from data_utils.convert.__main__ import FORMATS, main
from data_utils.convert.steps import read_section
from data_utils.errors import InputError
from data_utils.formats import read_raw_set
from data_utils.formats.labels import Findings
from data_utils.formats.registry import READERS
from data_utils.imaging.images import read_bgr
from data_utils.records import Annotation, cxcywhn_to_xyxy

NAMES = ("polyp b", "Ärt", "a", "never drawn")  # neither sorted nor all used
Boxes = list[tuple[int, float, float, float, float]]  # class, x1, y1, x2, y2 in pixels
FRAMES: dict[str, tuple[tuple[int, int], Boxes]] = {
    "p 1/ü 01.png": ((64, 48), [(0, 3, 4, 20.5, 30), (2, 30.25, 10, 64, 48)]),
    "p 1/healthy.png": ((50, 40), []),
    "p2/b.png": ((33, 77), [(1, 0, 0, 33, 77), (1, 1, 1, 3, 70.75), (0, 5.5, 6.5, 7.5, 8.5)]),
    "top.png": ((40, 40), [(2, 0.5, 0.5, 39.5, 39.5)]),
}


def make_yolo(folder: Path, frames: dict[str, tuple[tuple[int, int], Boxes]], names: tuple[str, ...] = NAMES) -> Path:
    """A YOLO folder with data.yaml; written here by hand, so that a fault of the writers shows."""
    for inner, ((width, height), boxes) in frames.items():
        image, label = folder / "images" / inner, (folder / "labels" / inner).with_suffix(".txt")
        for path in (image, label):
            path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imencode(".png", textured(height, width))[1].tofile(image)
        rows = [(k, (a + c) / 2 / width, (b + d) / 2 / height, (c - a) / width, (d - b) / height)
                for k, a, b, c, d in boxes]  # fmt: skip
        label.write_text("".join(" ".join(map(str, row)) + "\n" for row in rows))
    (folder / "data.yaml").write_text(yaml.safe_dump({"names": list(names)}, allow_unicode=True), encoding="utf-8")
    return folder


def contents(folder: Path, names: tuple[str, ...] = (), **reading: object) -> dict[str, tuple[tuple[int, int], Boxes]]:
    """What a set holds: {inner path: size, boxes}, as its reader sees it, and as `make_yolo` takes it."""
    section = read_section(folder, names, reading)
    inner = {s.image: s.inner for s in READERS[section.format].find_sources(section, Findings())}
    found = {}
    for frame in read_raw_set(section).frames:
        height, width = read_bgr(frame.image_path).bgr.shape[:2]
        found[inner[frame.image_path]] = ((width, height), pixel_boxes(frame.annotation, width, height))
    return found


def pixel_boxes(annotation: Annotation, width: int, height: int) -> Boxes:
    corners = cxcywhn_to_xyxy(annotation.boxes_cxcywhn, width, height).tolist()
    return sorted((int(k), a, b, c, d) for k, (a, b, c, d) in zip(annotation.class_ids, corners, strict=True))


def assert_same(before: dict[str, tuple[tuple[int, int], Boxes]], after: dict[str, tuple[tuple[int, int], Boxes]],
                tolerance: float = 0.01) -> None:  # fmt: skip
    assert before.keys() == after.keys()
    for inner, (size, boxes) in before.items():
        assert after[inner][0] == size
        found, wanted = (sorted(each, key=lambda box: np.round(box, 1).tolist()) for each in (after[inner][1], boxes))
        np.testing.assert_allclose(np.reshape(found, (-1, 5)), np.reshape(wanted, (-1, 5)), atol=tolerance)


def files(folder: Path) -> dict[str, tuple[bytes, int]]:
    return {path.relative_to(folder).as_posix(): (path.read_bytes(), path.stat().st_mtime_ns)
            for path in folder.rglob("*") if path.is_file()}  # fmt: skip


BOX_FORMATS = ("yolo", "coco", "voc", "cvat", "labelme", "hyperkvasir")


@pytest.fixture(scope="module")
def all_formats(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """FRAMES in each format: folder/yolo, folder/coco..."""
    folder = tmp_path_factory.mktemp("ällé formats")
    made = make_yolo(folder / "made", FRAMES)
    for name in BOX_FORMATS:
        convert(made, folder / name, name)
    return folder


@pytest.mark.parametrize(("first", "second"), list(itertools.product(BOX_FORMATS, repeat=2)))
def test_there_and_back_for_every_pair(all_formats: Path, tmp_path: Path, first: str, second: str) -> None:
    before = files(all_formats / first)
    there = convert(all_formats / first, tmp_path / "there", second)
    back = convert(tmp_path / "there", tmp_path / "back", first)
    assert (there.source_format, back.source_format) == (first, second), "found by the files alone"
    assert files(all_formats / first) == before
    assert_same(FRAMES, contents(tmp_path / "there"))
    assert_same(FRAMES, contents(tmp_path / "back"))
    for report in (there, back):
        assert report.per_class == {"polyp b": 2, "Ärt": 2, "a": 2, "never drawn": 0}
        assert list(report.per_class) == list(NAMES)
        assert (report.counts["frames"], report.counts["boxes"], report.counts["negative frames"]) == (4, 6, 1)
        assert report.shift < 0.01


@given(st.data())
@settings(max_examples=12)
def test_random_sets_survive(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    folder = tmp_path_factory.mktemp("random")
    quarter = st.integers(0, 4 * 30)  # quarters of a pixel
    sides = st.lists(quarter, min_size=2, max_size=2, unique=True).map(sorted)
    quartered = st.tuples(sides, sides).map(lambda q: (q[0][0] / 4, q[1][0] / 4, q[0][1] / 4, q[1][1] / 4))
    box = st.tuples(st.integers(0, 1), quartered).map(lambda b: (b[0], *b[1]))
    words = st.text("aäß 1.x", min_size=1, max_size=8).map(lambda t: t.strip(". ")).filter(bool)
    inner = st.lists(words, min_size=1, max_size=2).map(lambda parts: "/".join(parts) + ".png")
    paths = data.draw(st.lists(inner, min_size=1, max_size=4, unique_by=lambda p: p.replace("/", "_").casefold()))
    paths = [f"f{k} {path}" for k, path in enumerate(paths)]
    frames = {path: ((30, 32), data.draw(st.lists(box, max_size=4, unique=True))) for path in paths}
    made = make_yolo(folder / "made", frames, ("x", "y"))
    hops = data.draw(st.lists(st.sampled_from(BOX_FORMATS), min_size=1, max_size=3))
    for number, name in enumerate(hops):
        convert(made, folder / str(number), name)
        made = folder / str(number)
    assert_same(frames, contents(made), tolerance=0.05)


@pytest.mark.parametrize("mask_format", ["labelmap", "mask"])
def test_masks_there_and_back(tmp_path: Path, mask_format: str) -> None:
    frames: dict[str, tuple[tuple[int, int], Boxes]] = {
        "a/1.png": ((64, 48), [(0, 3, 4, 20, 30), (0, 30, 10, 64, 48)]), "a/2.png": ((64, 48), []),
    }  # fmt: skip
    if mask_format == "labelmap":
        frames["b.png"] = ((40, 40), [(1, 2, 2, 9, 9), (0, 20, 20, 30, 30)])
    names = ("x", "y") if mask_format == "labelmap" else ("x",)
    made = make_yolo(tmp_path / "made", frames, names)
    report = convert(made, tmp_path / "masks", mask_format)
    assert (tmp_path / "masks/img/a/1.png").is_file()
    assert (tmp_path / "masks/annot/a/1.png").is_file()
    values = yaml.safe_load(report.dataset_yaml()).get("labelmap", {}).get("values", {})
    assert values == ({1: "x", 2: "y"} if mask_format == "labelmap" else {})
    back = convert(tmp_path / "masks", tmp_path / "back", "coco", names=() if values else names,
                   format=mask_format, labelmap={"values": values})  # fmt: skip
    assert list(back.per_class) == list(names)
    assert_same(frames, contents(tmp_path / "back"))


def test_boxes_that_masks_cannot_hold_are_refused(tmp_path: Path) -> None:
    made = make_yolo(tmp_path / "made", FRAMES)
    with pytest.raises(InputError, match="write another format"):
        convert(made, tmp_path / "out", "labelmap")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["made"]


def rotated_set(folder: Path, orientation: int, box: str) -> Path:
    """One JPEG, 60 x 30 as stored, with an EXIF orientation and a name in it; and one box."""
    for name in ("images", "labels"):
        (folder / name).mkdir(parents=True)
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = orientation, "Jane Doe"
    Image.fromarray(textured(30, 60)).save(folder / "images/a.jpg", exif=exif)
    (folder / "labels/a.txt").write_text(box)
    (folder / "data.yaml").write_text("names: [x]")
    return folder


@pytest.mark.parametrize("name", BOX_FORMATS)
def test_labels_are_those_of_the_displayed_frame_and_metadata_is_gone(tmp_path: Path, name: str) -> None:
    # 60 x 30 stored, turned clockwise by 90 degrees: (x, y) goes to (30 - y, x).
    made = rotated_set(tmp_path / "made", 6, "0 0.25 0.2 0.1 0.2\n")  # stored: x 12..18, y 3..9
    convert(made, tmp_path / "out", name, labels_frame="stored")
    assert_same({"a.jpg": ((30, 60), [(0, 21, 12, 27, 18)])}, contents(tmp_path / "out"))
    copy = next((tmp_path / "out").rglob("a.jpg"))
    np.testing.assert_array_equal(read_bgr(copy).bgr, read_bgr(made / "images/a.jpg").bgr)
    assert not any(b"Jane" in data for data, _ in files(tmp_path / "out").values())
    back = convert(tmp_path / "out", tmp_path / "back", "yolo")
    assert back.shift < 0.01
    assert_same({"a.jpg": ((30, 60), [(0, 21, 12, 27, 18)])}, contents(tmp_path / "back"))


def test_other_image_kinds_become_png_and_metadata_follows(tmp_path: Path) -> None:
    made = make_yolo(tmp_path / "made", FRAMES)
    image = made / "images/p2/b.png"
    Image.fromarray(read_bgr(image).bgr[:, :, ::-1]).save(image.with_suffix(".tif"))
    image.unlink()
    rows = ["filename,patient_id,dataset_source,note", "p2\\b.tif,P2,S,hello", "images/p 1/ü 01.png,P1,S,",
            "healthy,P1,S,", "gone.png,P9,S,"]  # fmt: skip
    (made / "metadata.csv").write_text("\n".join(rows), encoding="utf-8-sig")
    report = convert(made, tmp_path / "out", "voc")
    assert_same(FRAMES, contents(tmp_path / "out"))
    with (tmp_path / "out/metadata.csv").open(newline="", encoding="utf-8") as file:
        assert list(csv.reader(file)) == [
            ["filename", "patient_id", "dataset_source", "note"], ["p2/b.png", "P2", "S", "hello"],
            ["p 1/ü 01.png", "P1", "S", ""], ["p 1/healthy.png", "P1", "S", ""], ["gone.png", "P9", "S", ""],
        ]  # fmt: skip
    assert "1 lines of metadata.csv name no image; they are copied as they are" in report.notes
    (made / "metadata.csv").write_text("filename\nb\n")
    shutil.copytree(made / "images/p2", made / "images/p3")
    shutil.copytree(made / "labels/p2", made / "labels/p3")
    with pytest.raises(InputError, match=r"metadata\.csv:2: fits both images/p2/b\.tif and images/p3/b\.tif"):
        convert(made, tmp_path / "again", "voc")


def test_names_may_be_given_in_another_order(tmp_path: Path) -> None:
    made = make_yolo(tmp_path / "made", FRAMES)
    convert(made, tmp_path / "coco", "coco")
    order = ("a", "Ärt", "never drawn", "polyp b")
    report = convert(tmp_path / "coco", tmp_path / "out", "yolo", names=order)
    assert report.per_class == {"a": 2, "Ärt": 2, "never drawn": 0, "polyp b": 2}
    assert (tmp_path / "out/labels/top.txt").read_text().startswith("0 ")
    (made / "data.yaml").unlink()
    with pytest.raises(InputError, match=r"no class names found.*give --names"):
        convert(made, tmp_path / "no", "coco")
    assert list(convert(made, tmp_path / "named", "coco", names=NAMES).per_class) == list(NAMES)


def test_a_class_beyond_the_names_is_told_in_the_words_of_the_command(tmp_path: Path) -> None:
    made = make_yolo(tmp_path / "made", FRAMES)
    (made / "labels" / "top.txt").write_text("4 0.5 0.5 0.1 0.1\n")
    with pytest.raises(InputError, match=r"the number of class names = 4 allows 0\.\.3; mend the label, or --names"):
        convert(made, tmp_path / "out", "coco")


def test_unreadable_images_are_listed_or_counted(tmp_path: Path) -> None:
    made = make_yolo(tmp_path / "made", FRAMES)
    for name in ("top.png", "p2/b.png"):
        path = made / "images" / name
        path.write_bytes(path.read_bytes()[:-30])
    (made / "metadata.csv").write_text("filename,patient_id\ntop.png,Secret\np2/b.png,Secret\nhealthy,Secret\n")
    with pytest.raises(InputError, match=r"2 of 4 images cannot be read: .*b\.png.*top\.png.*--skip-unreadable"):
        convert(made, tmp_path / "out", "coco")
    assert not (tmp_path / "out").exists()
    report = convert(made, tmp_path / "out", "coco", skip_unreadable=True)
    assert (report.counts["frames"], report.counts["unreadable images left out"], len(report.unreadable)) == (2, 2, 2)
    assert "left out: " in report.text()
    assert report.counts["boxes"] == 2
    assert set(contents(tmp_path / "out")) == {"p 1/ü 01.png", "p 1/healthy.png"}
    assert (tmp_path / "out/metadata.csv").read_text() == "filename,patient_id\np 1/healthy.png,Secret\n"
    assert "Secret" not in report.text()


def test_bad_labels_speak_of_the_commands_flags(tmp_path: Path) -> None:
    made = make_yolo(tmp_path / "made", FRAMES)
    (made / "labels/top.txt").write_text("0 0.5 0.5 0 0\n")
    with pytest.raises(InputError, match=r"labels/top\.txt:1: .*--bad-boxes drop"):
        convert(made, tmp_path / "out", "coco")
    assert convert(made, tmp_path / "out", "coco", bad_boxes="drop").counts["boxes dropped: without area"] == 1
    (made / "labels/top.txt").unlink()
    with pytest.raises(InputError, match="--allow-background"):
        convert(made, tmp_path / "no", "coco")
    assert convert(made, tmp_path / "yes", "coco", allow_background=True).counts["negative frames"] == 2


def test_a_zip_with_a_top_folder_and_a_read_only_source(tmp_path: Path) -> None:
    made = make_yolo(tmp_path / "made", FRAMES)
    with zipfile.ZipFile(tmp_path / "räw set.zip", "w") as archive:
        for path in sorted(made.rglob("*")):
            archive.write(path, f"top folder/{path.relative_to(made).as_posix()}")
    for path in [made, *made.rglob("*")]:
        path.chmod(0o500 if path.is_dir() else 0o400)
    before = files(made)
    convert(made, tmp_path / "from folder", "cvat")
    convert(tmp_path / "räw set.zip", tmp_path / "from zip", "cvat")
    assert files(made) == before
    for name in ("from folder", "from zip"):
        assert_same(FRAMES, contents(tmp_path / name))
        assert os.access(next((tmp_path / name / "images").rglob("*.png")), os.W_OK)
    for path in [made, *made.rglob("*")]:
        path.chmod(0o700)
    (tmp_path / "bad.zip").write_bytes(b"PK\x03\x04")
    with pytest.raises(InputError, match=r"bad\.zip: not a readable zip archive"):
        convert(tmp_path / "bad.zip", tmp_path / "out", "coco")
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


@pytest.mark.parametrize("to", ["yolo", "coco"])
def test_the_offered_config_is_read_by_prepare(tmp_path: Path, repo_root: Path, to: str) -> None:
    report = convert(make_yolo(tmp_path / "made", FRAMES), tmp_path / "größe 1", to)
    shutil.copytree(repo_root / "configs", tmp_path / "configs")
    path = tmp_path / "configs/mine.yaml"
    path.write_text(report.dataset_yaml(), encoding="utf-8")
    dataset = load_config(path).dataset
    assert (dataset.name, dataset.raw, dataset.format) == ("gr_e_1", str(tmp_path / "größe 1"), to)
    assert dataset.names == NAMES


def test_real_voc_to_coco_and_back(shared_data: Path, tmp_path: Path) -> None:
    subset = tmp_path / "bccd"
    stems = [path.stem for path in sorted((shared_data / "bccd/Annotations").glob("*.xml"))]
    chosen = [*stems[:18], "BloodImage_00338", "BloodImage_00343"]  # the last two hold boxes without area
    for stem in chosen:
        for folder, suffix in (("Annotations", ".xml"), ("JPEGImages", ".jpg")):
            (subset / folder).mkdir(parents=True, exist_ok=True)
            shutil.copy(shared_data / "bccd" / folder / (stem + suffix), subset / folder)
    names = ("RBC", "WBC", "Platelets")
    there = convert(subset, tmp_path / "coco", "coco", names=names, bad_boxes="drop")
    assert there.counts["frames"] == 20
    assert there.counts["boxes dropped: without area"] == 2
    back = convert(tmp_path / "coco", tmp_path / "voc", "voc")
    assert back.per_class == there.per_class
    assert list(back.per_class) == list(names)
    assert_same(contents(subset, names, bad_boxes="drop"), contents(tmp_path / "voc"))


def test_real_label_maps_to_yolo_coco_yolo(shared_data: Path, tmp_path: Path) -> None:
    source = tmp_path / "vocalfolds"
    for folder in ("img", "annot"):
        for path in sorted((shared_data / "vocalfolds" / folder / "patient1/seq1").iterdir())[:25]:
            (source / folder / "seq1").mkdir(parents=True, exist_ok=True)
            shutil.copy(path, source / folder / "seq1")
    labelmap = {"values": {4: "lesion", 2: "cord"}}
    first = convert(source, tmp_path / "yolo", "yolo", labelmap=labelmap)
    assert list(first.per_class) == ["cord", "lesion"]
    assert first.per_class["cord"] > 0
    convert(tmp_path / "yolo", tmp_path / "coco", "coco")
    last = convert(tmp_path / "coco", tmp_path / "back", "yolo")
    assert last.per_class == first.per_class
    assert_same(contents(source, labelmap=labelmap), contents(tmp_path / "back"), tolerance=1e-3)


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert set(READERS) == set(FORMATS)
    made = make_yolo(tmp_path / "made", FRAMES)
    assert main([str(made), str(tmp_path / "out"), "--to", "coco"]) == 0
    text = capsys.readouterr().out
    assert "  4 frames, 6 boxes, 1 negative frames\n" in text
    assert "  boxes by class: polyp b 2, Ärt 2, a 2, never drawn 0\n" in text
    assert "next: python -m data_utils.prepare --config configs/out.yaml" in text
    offered = yaml.safe_load(text.partition("save as configs/out.yaml:")[2].partition("next:")[0])
    assert (offered["format"], offered["nc"], offered["names"]) == ("coco", 4, list(NAMES))
    for options in (["--values", "x=1"], ["--values", "4"], ["--to", "pdf"], ["--bad-boxes", "keep"]):
        with pytest.raises(SystemExit) as stop:
            main([str(made), str(tmp_path / "no"), "--to", "coco", *options])
        assert stop.value.code == 2


@pytest.mark.integration
def test_from_a_shell(tmp_path: Path, repo_root: Path) -> None:
    made = make_yolo(tmp_path / "made", FRAMES)
    command = [sys.executable, "-m", "data_utils.convert", str(made), str(tmp_path / "out ü"), "--to", "labelme"]
    (tmp_path / "out ü").mkdir()
    (tmp_path / "out ü/mine.txt").touch()
    result = subprocess.run(command, cwd=repo_root, capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert result.stderr.startswith(f"error: {tmp_path}/out ü: is there already; choose another folder, or --overwrite")
    assert result.stderr.count("\n") == 1
