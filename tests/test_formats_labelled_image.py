"""Names of label files: one for each image, or a refusal."""

from __future__ import annotations

import pytest

from data_utils.errors import InputError
from data_utils.formats.labels import LabelledImage, label_paths
from data_utils.records import Annotation


def frames(*inner: str) -> list[LabelledImage]:
    return [LabelledImage(name, 4, 4, Annotation.empty()) for name in inner]


def test_the_suffix_is_exchanged() -> None:
    assert label_paths(frames("a b.jpg", "ä/seq.1/x.y.PNG"), ".json") == ["a b.json", "ä/seq.1/x.y.json"]
    assert label_paths([], ".json") == []


@pytest.mark.parametrize("second", ["s/a.png", "s/A.jpg", "s/a.jpg"])
def test_two_images_with_one_label_file_are_refused(second: str) -> None:
    with pytest.raises(InputError, match=rf"{second}: its label file would be 's/[aA]\.xml', like that of s/a\.jpg"):
        label_paths(frames("s/a.jpg", "b.jpg", second), ".xml")
