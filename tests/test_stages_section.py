"""What a source of weights is."""

from __future__ import annotations

import pytest

from data_utils.config.sections import chain_of, is_file


@pytest.mark.parametrize(
    ("source", "file", "chain"),
    [
        (None, False, ()),
        ("coco", False, ("coco",)),
        ("coco+hyperkvasir", False, ("coco", "hyperkvasir")),
        ("best.pt", True, ()),
        ("BEST.PT", True, ()),
        ("runs/a+b/best.pt", True, ()),
        ("folder/weights", True, ()),
        ("C:\\weights", True, ()),
    ],
)
def test_a_file_and_a_chain_are_told_apart(source: str | None, file: bool, chain: tuple[str, ...]) -> None:
    assert chain_of(source) == chain
    assert source is None or is_file(source) == file
