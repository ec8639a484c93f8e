"""The search for look-alike frames in different parts."""

from __future__ import annotations

import numpy as np
import pytest
from audit_samples import cropped, halved, texture
from test_auditing_likeness import COPY, seen

from data_utils.audit import leaks
from data_utils.audit.leaks import CANDIDATES, alike_across, alike_pairs


def found(frames: list[np.ndarray], sides: list[str]) -> set[tuple[int, int]]:
    matches = alike_across([seen(frame) for frame in frames], sides, COPY, workers=1)
    return {(min(m.first, m.second), max(m.first, m.second)) for m in matches}


def test_copies_in_other_parts_are_found_and_nothing_else() -> None:
    frames = [texture(seed) for seed in range(30)]
    copies = [frames[3][:, ::-1], cropped(frames[5]), halved(frames[7])[::-1], frames[9]]
    sides = ["train"] * 20 + ["val"] * 10 + ["test", "test", "val", "train"]
    assert found([*frames, *copies], sides) == {(3, 30), (5, 31), (7, 32)}  # frame 9's copy trains, as frame 9 does


def test_the_flip_is_told() -> None:
    frame = texture(0)
    (match,) = alike_across([seen(frame), seen(frame[::-1]), seen(texture(1))], ["a", "b", "b"], COPY)
    assert (match.first, match.second, match.flip) == (0, 1, 2)
    assert match.likeness > 0.99


@pytest.mark.parametrize("n", [0, 1, 2])
def test_few_frames_are_no_trouble(n: int) -> None:
    views = [seen(texture(seed)) for seed in range(n)]
    assert alike_across(views, ["train", "val"][:n], COPY) == []


def test_blank_frames_match_nothing() -> None:
    blank = np.zeros((64, 64, 3), np.uint8)
    assert found([blank, blank, texture(0)], ["train", "val", "val"]) == set()


def test_a_cluster_costs_no_more_than_its_share(monkeypatch: pytest.MonkeyPatch) -> None:
    compared = []
    monkeypatch.setattr(leaks, "likeness", lambda a, b: compared.append(1) or 1.0)
    view = seen(texture(0))
    alike_across([view] * 300, ["train"] * 200 + ["val"] * 60 + ["test"] * 40, COPY, workers=1)
    # val asks train; test asks val and train
    assert len(compared) <= CANDIDATES * (60 + 2 * 40)


def test_given_pairs_are_compared_as_they_stand() -> None:
    views = [seen(texture(0)), seen(texture(0)), seen(texture(1)), seen(texture(0)[:, ::-1])]
    matches = alike_pairs(views, [(0, 1), (0, 2), (0, 3)], 0.4)
    assert [(m.first, m.second) for m in matches] == [(0, 1)]
