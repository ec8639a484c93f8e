"""Splits never cut a group, keep their ratios, are the same everywhere, and say what they cannot do."""

from __future__ import annotations

import hashlib
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_utils.config_sections import SplitSection
from data_utils.errors import InputError
from data_utils.splits import PARTS, Split, SplitItem, check_split, hashed_id, hold_outs, shared_patients


def patient_frames(patient: str, lesions: int, healthy: int, source: str = "S") -> list[SplitItem]:
    """`lesions` frames with one box, then `healthy` frames without."""
    return [
        SplitItem(f"{patient}_{i}", f"{patient}/{i}.jpg", patient, patient, source, "WL", i < lesions, int(i < lesions))
        for i in range(lesions + healthy)
    ]


def many_patients(n: int, seed: int = 0) -> list[SplitItem]:
    rng = random.Random(seed)
    sources = ["S1", "S2", "S2", "S2"]
    counts = [(rng.randint(0, 5), rng.randint(0, 5)) for _ in range(n)]
    return [
        item
        for p, (lesions, healthy) in enumerate(counts)
        for item in patient_frames(f"p{p:03}", lesions, healthy, rng.choice(sources))
    ]


@st.composite
def data_sets(draw: st.DrawFn) -> list[SplitItem]:
    sizes = draw(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=3, max_size=12))
    items = [item for p, (a, b) in enumerate(sizes) for item in patient_frames(f"p{p}", a, b + (a + b == 0))]
    return draw(st.permutations(items))


@settings(max_examples=40)
@given(data_sets(), st.integers(0, 2**33), st.tuples(*[st.floats(0.1, 100)] * 3))
def test_every_frame_once_no_group_cut_no_part_empty(items: list[SplitItem], seed: int, ratios: tuple) -> None:
    section = SplitSection(seed=seed, ratios=ratios, n_splits=2)
    splits = hold_outs(items, section)
    assert len(splits) == 2
    for split in splits:
        check_split(split, "patient")
        assert sorted(item.stem for part in split.values() for item in part) == sorted(item.stem for item in items)
        owners: dict[str, set[str]] = {}
        for part, frames in split.items():
            assert frames
            for item in frames:
                owners.setdefault(item.group, set()).add(part)
        assert all(len(parts) == 1 for parts in owners.values())
    shuffled = random.Random(seed).sample(items, len(items))
    assert hold_outs(shuffled, section) == splits


def test_ratios_and_strata_hold_on_many_patients() -> None:
    items = many_patients(200)
    for split in hold_outs(items, SplitSection(ratios=(60, 20, 20))):
        for part, share in zip(PARTS, (0.6, 0.2, 0.2), strict=True):
            frames = split[part]
            assert len(frames) == pytest.approx(share * len(items), rel=0.05)
            for source in ("S1", "S2"):
                for lesion in (True, False):
                    whole = sum(i.source == source and i.has_lesion is lesion for i in items)
                    here = sum(i.source == source and i.has_lesion is lesion for i in frames)
                    assert here == pytest.approx(share * whole, rel=0.15)


def test_published_ratios_count_frames_not_patients() -> None:
    items = many_patients(300)
    (split,) = hold_outs(items, SplitSection(n_splits=1))
    for part, percent in zip(PARTS, (89, 7, 4), strict=True):
        assert len(split[part]) == pytest.approx(percent / 100 * len(items), abs=4)


def test_the_same_split_on_any_machine() -> None:
    (split,) = hold_outs(many_patients(40), SplitSection(ratios=(60, 20, 20), n_splits=1, seed=7))
    digest = hashlib.sha256("\n".join(f"{p} {i.stem}" for p in PARTS for i in split[p]).encode()).hexdigest()
    assert digest[:16] == "6395584466f47b2b"


def test_splits_and_seeds_differ() -> None:
    items = many_patients(40)
    one, two, three = hold_outs(items, SplitSection(ratios=(60, 20, 20)))
    other, *_ = hold_outs(items, SplitSection(ratios=(60, 20, 20), seed=1))
    tests = [tuple(item.stem for item in split["test"]) for split in (one, two, three, other)]
    assert len(set(tests)) == 4


def test_few_patients_still_fill_every_part_with_lesions() -> None:
    items = [i for p in "abc" for i in patient_frames(p, 1, 0)] + patient_frames("huge", 0, 300)
    for split in hold_outs(items, SplitSection()):
        assert all(any(item.has_lesion for item in split[part]) for part in PARTS)


def test_too_few_groups_names_ratios_and_counts() -> None:
    items = patient_frames("a", 5, 5) + patient_frames("b", 5, 5)
    with pytest.raises(InputError, match=r"ratios = 89:7:4 over 2 groups: train, val and test need at least one"):
        hold_outs(items, SplitSection())
    healthy = [item for p in "abcd" for item in patient_frames(p, 0, 3)] + patient_frames("e", 2, 0)
    with pytest.raises(InputError, match=r"over 5 groups, 1 of them with lesions"):
        hold_outs(healthy, SplitSection(lesion_only_eval=True))
    with pytest.raises(InputError, match="over 0 groups"):
        hold_outs([], SplitSection())


def test_lesion_only_eval_sets_held_out_healthy_frames_aside() -> None:
    items = many_patients(60)
    plain = hold_outs(items, SplitSection(ratios=(60, 20, 20)))
    for split, whole in zip(
        hold_outs(items, SplitSection(ratios=(60, 20, 20), lesion_only_eval=True)), plain, strict=True
    ):
        check_split(split, "patient")
        assert split["train"] == whole["train"]
        assert any(not item.has_lesion for item in split["train"])
        for part in ("val", "test"):
            assert split[part] == [item for item in whole[part] if item.has_lesion]
            assert split[f"{part}_healthy"] == [item for item in whole[part] if not item.has_lesion]
            assert split[f"{part}_healthy"]


def test_a_patient_in_two_parts_is_refused_by_hash() -> None:
    split: Split = {"train": patient_frames("anna", 1, 0), "val": patient_frames("ben", 1, 0)}
    split["test"] = [SplitItem("x", "x.jpg", "anna", "anna")]
    with pytest.raises(InputError, match=f"patient #{hashed_id('anna')} is in train and in test") as caught:
        check_split(split, "patient")
    assert "anna" not in str(caught.value)
    by_sequence = {part: [SplitItem(part, f"{part}.jpg", "anna", f"anna/{part}")] for part in PARTS}
    check_split(by_sequence, "sequence")
    with pytest.raises(InputError, match="patient #"):
        check_split(by_sequence, "patient")
    assert shared_patients(by_sequence) == 1


def test_empty_parts_and_repeated_frames_are_refused() -> None:
    a, b, c = (patient_frames(p, 1, 0) for p in "abc")
    with pytest.raises(InputError, match="part 'val' is empty"):
        check_split({"train": a, "val": [], "test": b}, "patient")
    with pytest.raises(InputError, match="frame 'a_0' is in train and in val"):
        check_split({"train": a, "val": [SplitItem("a_0", "other.jpg", "b", "b")], "test": c}, "patient")


def test_a_patient_who_outweighs_all_others_stays_in_training() -> None:
    items = [*patient_frames("big", 60, 0), *patient_frames("a", 1, 0), *patient_frames("b", 1, 0)]
    splits = hold_outs(items, SplitSection(n_splits=4))
    assert [[len(split[part]) for part in PARTS] for split in splits] == [[60, 1, 1]] * 4
