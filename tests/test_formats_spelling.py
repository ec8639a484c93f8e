"""Names and ids that are one to a person: labels find their images, and nothing turns healthy for a letter's form."""

from __future__ import annotations

import json
import unicodedata
import urllib.parse
from pathlib import Path

import cv2
import numpy as np
import pytest
from raw_samples import read

from data_utils.errors import InputError
from data_utils.formats.spelling import NameIndex, as_number, code_points, folded_id, folded_name, set_apart

NAME = "Läsion é 1"
SPELLINGS = {
    "composed": unicodedata.normalize("NFC", NAME),
    "decomposed": unicodedata.normalize("NFD", NAME),
    "escaped": urllib.parse.quote(unicodedata.normalize("NFC", NAME)),
    "escaped decomposed": urllib.parse.quote(unicodedata.normalize("NFD", NAME)),
    "upper case": unicodedata.normalize("NFC", NAME).upper(),
}
BOX = (4, 2, 12, 10)


def image(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imencode(".png", np.zeros((20, 40, 3), np.uint8))[1].tofile(path)


def label(root: Path, kind: str, name: str) -> None:
    """Write one lesion for `name`.png in one label format."""
    x1, y1, x2, y2 = BOX
    path = root / "labels" / f"{name}.txt"
    text = f"0 {(x1 + x2) / 80} {(y1 + y2) / 40} {(x2 - x1) / 40} {(y2 - y1) / 20}"
    if kind == "voc":
        path = root / "annotations" / f"{name}.xml"
        text = (f"<annotation><filename>{name}.png</filename><size><width>40</width><height>20</height></size><object>"
                f"<name>lesion</name><bndbox><xmin>{x1 + 1}</xmin><ymin>{y1 + 1}</ymin><xmax>{x2}</xmax><ymax>{y2}"
                "</ymax></bndbox></object></annotation>")  # fmt: skip
    elif kind == "labelme":
        path = root / "annotations" / f"{name}.json"
        shape = {"label": "lesion", "points": [[x1, y1], [x2, y2]], "shape_type": "rectangle"}
        text = json.dumps({"version": "5", "shapes": [shape], "imagePath": f"{name}.png", "imageData": None,
                           "imageHeight": 20, "imageWidth": 40})  # fmt: skip
    elif kind == "coco":
        path = root / "annotations" / "instances.json"
        text = json.dumps({
            "images": [{"id": 1, "file_name": f"{name}.png", "width": 40, "height": 20}],
            "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [x1, y1, x2 - x1, y2 - y1]}],
            "categories": [{"id": 1, "name": "lesion"}],
        })  # fmt: skip
    elif kind == "cvat":
        path = root / "annotations.xml"
        text = ('<annotations><version>1.1</version><meta><task><labels><label><name>lesion</name></label></labels>'
                f'</task></meta><image id="0" name="{name}.png" width="40" height="20"><box label="lesion" '
                f'xtl="{x1}" ytl="{y1}" xbr="{x2}" ybr="{y2}"/></image></annotations>')  # fmt: skip
    elif kind == "hyperkvasir":
        path = root / "bounding-boxes.json"
        box = {"label": "lesion", "xmin": x1, "ymin": y1, "xmax": x2, "ymax": y2}
        text = json.dumps({name: {"height": 20, "width": 40, "bbox": [box]}})
    elif kind == "mask":
        path = root / "annot" / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        mask = np.zeros((20, 40), np.uint8)
        mask[y1:y2, x1:x2] = 255
        cv2.imencode(".png", mask)[1].tofile(path)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


@pytest.mark.parametrize("kind", ["yolo", "voc", "labelme", "coco", "cvat", "hyperkvasir", "mask"])
@pytest.mark.parametrize("theirs", SPELLINGS.values(), ids=SPELLINGS)
@pytest.mark.parametrize("ours", ["composed", "decomposed", "escaped"])
def test_a_label_finds_its_image_in_every_format(tmp_path: Path, kind: str, ours: str, theirs: str) -> None:
    image(tmp_path / ("img" if kind == "mask" else "images") / f"{SPELLINGS[ours]}.png")
    label(tmp_path, kind, theirs)
    raw_set = read(tmp_path, format=kind, group="image", metadata=None, allow_background=True)
    (frame,) = raw_set.frames
    assert len(frame.annotation) == 1, "a lesion frame turned healthy"


def test_metadata_finds_its_image(tmp_path: Path) -> None:
    image(tmp_path / "images" / f"{SPELLINGS['decomposed']}.png")
    label(tmp_path, "yolo", SPELLINGS["composed"])
    (tmp_path / "metadata.csv").write_text(f"filename,patient_id,dataset_source\n{SPELLINGS['escaped']}.png,P1,s\n")
    assert read(tmp_path).frames[0].patient_id == "P1"


def test_two_images_of_one_name_are_never_guessed(tmp_path: Path) -> None:
    for name in (SPELLINGS["composed"], SPELLINGS["escaped"]):
        image(tmp_path / "images" / f"{name}.png")
    label(tmp_path, "yolo", SPELLINGS["decomposed"])
    with pytest.raises(InputError, match="one name to a person"):
        read(tmp_path, group="image", metadata=None, allow_background=True)


def test_what_has_no_partner_is_listed_with_code_points(tmp_path: Path) -> None:
    image(tmp_path / "images" / "a.png")
    label(tmp_path, "yolo", "a")
    label(tmp_path, "yolo", "a\u200b")
    notes = read(tmp_path, group="image", metadata=None).notes
    assert any("U+200B" in note for note in notes)


def test_the_line_that_differs_by_its_suffix_alone_is_named(tmp_path: Path) -> None:
    image(tmp_path / "images" / "a.png")
    label(tmp_path, "yolo", "a")
    (tmp_path / "metadata.csv").write_text("filename,patient_id,dataset_source\nb.jpg,P2,s\na.jpg,P1,s\n")
    with pytest.raises(InputError, match=r"a\.png: its patient is unknown: .*metadata\.csv:3 has 'a\.jpg'.*suffix"):
        read(tmp_path)


def test_folding() -> None:
    assert folded_id(" P\u00ad\uff101\u200b ") == "p01"
    assert (as_number("012.0"), as_number("P007-01"), as_number("1.5"), as_number("000")) == ("12", "p7-1", "1.5", "0")
    assert folded_name("A%C3%A9.PNG") == folded_name("ae\u0301.png")
    assert folded_name("100%.png") == "100%.png"
    assert (code_points("a\u00e9"), code_points("a")) == ("U+00E9", "plain ASCII")
    assert (set_apart("P1", "p1"), set_apart("P1", "P1\u200b")) == ("upper and lower case", "nothing against U+200B")
    assert NameIndex(["a/B.png"]).find("A/b.PNG") == "a/B.png"
    with pytest.raises(ValueError, match="one name to a person"):
        NameIndex(["a.png", "A.png"]).find("a.PNG")
