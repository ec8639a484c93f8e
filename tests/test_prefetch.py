"""Batches on their way to the device."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch

from training.loop import on_device


def batches(n: int = 3) -> list[dict[str, Any]]:
    """Batches as the loader makes them: channels-last uint8 frames, labels - of the last batch none -, file names."""
    return [
        {
            "lr_image": torch.full((2, 4, 4, 3), number, dtype=torch.uint8).permute(0, 3, 1, 2),
            "labels": torch.full((n - 1 - number, 6), float(number)),
            "img_path": [f"{number}.jpg"],
        }
        for number in range(n)
    ]


def test_on_a_cpu_batches_stay_as_they_are_and_are_asked_for_one_by_one() -> None:
    asked, made = [], batches()

    def loader() -> Iterator[dict[str, Any]]:
        for number, batch in enumerate(made):
            asked.append(number)
            yield batch

    for number, batch in enumerate(on_device(loader(), torch.device("cpu"))):
        assert batch is made[number]
        assert asked == list(range(number + 1))


@pytest.mark.gpu
def test_on_cuda_every_tensor_is_there_as_it_was() -> None:
    device = torch.device("cuda", 0)
    moved = list(on_device(batches(), device))
    assert len(moved) == 3
    for got, expected in zip(moved, batches(), strict=True):
        assert got["img_path"] == expected["img_path"]
        for name in ("lr_image", "labels"):
            assert got[name].device == device
            assert got[name].stride() == expected[name].stride()
            assert torch.equal(got[name].cpu(), expected[name])
