"""Listed names: where images are sought, which names are refused, what is found by base name alone."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest
from format_samples import touch_images

from data_utils.formats.labels import Findings
from data_utils.formats.sources import ListedImages


def test_the_first_folder_that_holds_the_name_counts(tmp_path: Path) -> None:
    touch_images(tmp_path, "images/a.jpg", "train/a.jpg", "images/sub/b.jpg", "c.jpg")
    images, findings = ListedImages(tmp_path), Findings()
    folders = ("train", "images", ".")
    for name, expected in {
        "a.jpg": "train/a.jpg", "sub/b.jpg": "images/sub/b.jpg", "sub\\b.jpg": "images/sub/b.jpg", "c.jpg": "c.jpg",
        "images/a.jpg": "images/a.jpg", "./c.jpg": "c.jpg",
    }.items():  # fmt: skip
        assert images.find(name, folders, findings) == tmp_path / expected
    assert +findings.counts == {}


def test_a_base_name_found_once_is_taken_and_counted(tmp_path: Path) -> None:
    touch_images(tmp_path, "deep/er/a.jpg", "deep/er/b.jpg", "x/c.jpg", "y/c.jpg")
    images, findings = ListedImages(tmp_path), Findings()
    for name in ("a.jpg", "old folder/b.jpg"):
        assert images.find(name, ["."], findings) == tmp_path / "deep/er" / name[-5:]
    assert findings.counts == {"images found by their base name alone": 2}
    assert len(findings.notes) == 1
    with pytest.raises(ValueError, match=r"2 images below .* are called 'c\.jpg'"):
        images.find("c.jpg", ["."], findings)
    with pytest.raises(ValueError, match=r"no image 'd\.jpg' below"):
        images.find("d.jpg", ["."], findings)


@pytest.mark.parametrize(
    "name", ["/etc/passwd.jpg", "../a.jpg", "sub/../../a.jpg", "..\\a.jpg", "C:\\a.jpg", "c:a.jpg", "", "a\n.jpg", "\0"]
)
def test_names_that_lead_out_of_raw_are_refused(tmp_path: Path, name: str) -> None:
    touch_images(tmp_path, "a.jpg", "raw/images/b.jpg")
    with pytest.raises(ValueError, match=r"leads out of the raw folder|is no path"):
        ListedImages(tmp_path / "raw").find(name, ["images", "."], Findings())


def test_composed_and_decomposed_letters_are_equal(tmp_path: Path) -> None:
    touch_images(tmp_path, unicodedata.normalize("NFD", "ä.jpg"))
    assert ListedImages(tmp_path).find(unicodedata.normalize("NFC", "ä.jpg"), ["."], Findings()).parent == tmp_path


def test_a_source_leaves_the_image_folder_out(tmp_path: Path) -> None:
    touch_images(tmp_path, "train/images/s/a.jpg")
    images = ListedImages(tmp_path)
    source = images.source(images.paths[0], None, 7)
    assert (source.below_raw, source.inner, source.entry) == ("train/images/s/a.jpg", "train/s/a.jpg", 7)
