"""Splits never cut a group, keep their ratios, are the same everywhere, and say what they cannot do."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import random
from collections import Counter
from fractions import Fraction

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from data_utils.config.sections import SplitSection
from data_utils.errors import InputError
from data_utils.splits.search import (
    PARTS,
    Split,
    SplitItem,
    check_split,
    hashed_id,
    hold_outs,
    lesions_suffice,
    shared_patients,
)


def patient_frames(patient: str, lesions: int, healthy: int, source: str = "S") -> list[SplitItem]:
    """`lesions` frames with one box, then `healthy` frames without."""
    return [
        SplitItem(f"{patient}_{i}", f"{patient}/{i}.jpg", patient, patient, source, "WL", i < lesions, int(i < lesions))
        for i in range(lesions + healthy)
    ]


def within_two_points(items: list[SplitItem], parts: dict[str, str], section: SplitSection) -> bool:
    """Whether {group: part} is allowed and meets the ratios, told slowly and in another way than the search does."""
    lesions = [item for item in items if item.has_lesion]
    needed = {item.group for item in lesions}
    if {parts[group] for group in (needed if len(needed) >= 3 else parts)} != set(PARTS):
        return False
    train, val, test = (Fraction(ratio) / sum(section.ratios) for ratio in section.ratios)
    share = (val + test) * len(items) / ((val + test) * len(items) + train * len(lesions))
    most = max(Fraction(1, 2), val + test + Fraction(4, 100))
    lesion_only = section.lesion_only_eval and share <= most
    held_out = [item for item in items if parts[item.group] != "train"]
    held_out_lesions = [item for item in held_out if item.has_lesion]
    if lesion_only and (len(held_out) > most * len(items) or len(held_out_lesions) > most * len(lesions)):
        return False
    counted = [item for item in items if item.has_lesion or not lesion_only or parts[item.group] == "train"]
    counts = Counter(parts[item.group] for item in counted)
    return all(
        abs(Fraction(counts[part], len(counted)) - ratio) <= Fraction(2, 100)
        for part, ratio in zip(PARTS, (train, val, test), strict=True)
    )


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
    sizes = draw(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=3, max_size=11))
    items = [item for p, (a, b) in enumerate(sizes) for item in patient_frames(f"p{p}", a, b + (a + b == 0))]
    return draw(st.permutations(items))


@settings(max_examples=25, deadline=None)
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


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 9), st.sampled_from([0, 0, 1, 2, 5, 20])), min_size=3, max_size=6),
    st.sampled_from([(89, 7, 4), (60, 20, 20), (80, 10, 10), (50, 30, 20)]),
    st.booleans(),
    st.integers(0, 9),
)
def test_every_split_is_within_two_points_where_any_is(
    sizes: list[tuple[int, int]], ratios: tuple[int, int, int], lesion_only: bool, seed: int
) -> None:
    items = [item for p, (a, b) in enumerate(sizes) for item in patient_frames(f"p{p}", a, b + (a + b == 0))]
    assume(sum(a > 0 for a, _ in sizes) >= 3 or not lesion_only)
    section = SplitSection(ratios=ratios, lesion_only_eval=lesion_only, seed=seed)
    groups = sorted({item.group for item in items})
    possible = any(
        within_two_points(items, dict(zip(groups, parts, strict=True)), section)
        for parts in itertools.product(PARTS, repeat=len(groups))
    )
    for split in hold_outs(items, section):
        parts = {item.group: part.removesuffix("_healthy") for part, listed in split.items() for item in listed}
        assert within_two_points(items, parts, section) == possible


def test_the_patients_held_out_have_as_many_frames_as_the_others() -> None:
    """Small parts must not be filled with patients of one frame, though those fit best."""
    rng = random.Random(5)
    items = [item for p in range(600) for item in patient_frames(f"p{p:03}", min(40, int(rng.paretovariate(1.2))), 0)]
    groups = [len({item.group for item in split["test"]}) for split in hold_outs(items, SplitSection(n_splits=4))]
    assert sum(groups) / 4 == pytest.approx(0.04 * 600, rel=0.4)


def test_the_size_of_lesions_is_balanced_too() -> None:
    rng = random.Random(3)
    items = [
        dataclasses.replace(item, n_small=int(rng.random() < 0.2), n_large=1)
        for item in many_patients(300)
        if item.has_lesion
    ]
    share = sum(item.n_small for item in items) / len(items)
    for split in hold_outs(items, SplitSection(ratios=(60, 20, 20))):
        for part in PARTS:
            assert sum(item.n_small for item in split[part]) / len(split[part]) == pytest.approx(share, abs=0.02)


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


@pytest.mark.parametrize(
    ("n_patients", "lesion_only", "expected"),
    [
        (8, False, "6228a873d7f59cb4"),
        (40, False, "012b95eff76dec35"),
        (40, True, "0cf0e8d5ed4fadf3"),
        (400, True, "b287bd0812672ea4"),
    ],
)
def test_the_same_split_on_any_machine(n_patients: int, lesion_only: bool, expected: str) -> None:
    section = SplitSection(ratios=(60, 20, 20), n_splits=1, seed=7, lesion_only_eval=lesion_only)
    (split,) = hold_outs(many_patients(n_patients), section)
    digest = hashlib.sha256("\n".join(f"{p} {i.stem}" for p in split for i in split[p]).encode()).hexdigest()
    assert digest[:16] == expected


def test_a_split_written_out() -> None:
    sizes = [(9, 9), (3, 1), (0, 4), (2, 2), (5, 0), (1, 3), (4, 4), (2, 0), (1, 1), (6, 2), (3, 3), (2, 5)]
    items = [item for p, (a, b) in enumerate(sizes) for item in patient_frames(f"p{p:02}", a, b)]
    (split,) = hold_outs(items, SplitSection(ratios=(60, 20, 20), n_splits=1))
    groups = {part: sorted({item.group for item in split[part]}) for part in PARTS}
    assert groups == {
        "train": ["p00", "p02", "p03", "p04", "p06", "p07", "p08"],  # 43 of 72 frames, 23 of 38 with lesions
        "val": ["p09", "p11"],  # 15 and 8
        "test": ["p01", "p05", "p10"],  # 14 and 7
    }


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
    section = SplitSection(ratios=(60, 20, 20), lesion_only_eval=True)
    for split in hold_outs(items, section):
        check_split(split, "patient")
        assert any(not item.has_lesion for item in split["train"])
        everything = [item for part in split.values() for item in part]
        assert sorted(item.stem for item in everything) == sorted(item.stem for item in items)
        for part in ("val", "test"):
            assert all(item.has_lesion for item in split[part])
            assert split[f"{part}_healthy"]
            assert not any(item.has_lesion for item in split[f"{part}_healthy"])


def test_lesion_only_ratios_are_those_of_the_paper() -> None:
    """3452 frames that train, healthy ones among them, to 269 and 171 with lesions: 88.7 : 6.9 : 4.4."""
    items = [item for p in range(900) for item in patient_frames(f"p{p:03}", p % 5, (p * 7) % 5 + (p % 5 == 0))]
    for split in hold_outs(items, SplitSection(lesion_only_eval=True)):
        n_frames = sum(len(split[part]) for part in PARTS)
        shares = [100 * len(split[part]) / n_frames for part in PARTS]
        assert shares == pytest.approx([89, 7, 4], abs=0.1)
        for part in ("val", "test"):  # a part's healthy frames are as frequent as everywhere
            whole = len(split[part]) + len(split[f"{part}_healthy"])
            healthy = sum(item.has_lesion is False for item in items) / len(items)
            assert len(split[f"{part}_healthy"]) / whole == pytest.approx(healthy, abs=0.01)


def test_lesions_are_not_all_held_out_where_they_are_few() -> None:
    items = [item for p in range(200) for item in patient_frames(f"p{p:03}", p % 10 == 0, 10)]
    section = SplitSection(lesion_only_eval=True)
    assert not lesions_suffice(len(items), 20, section)
    assert lesions_suffice(1000, 130, section)
    assert not lesions_suffice(1000, 120, section)
    for split in hold_outs(items, section):
        assert len(split["train"]) == pytest.approx(0.89 * len(items), rel=0.02)
        assert [sum(bool(item.has_lesion) for item in split[part]) for part in PARTS] == [18, 1, 1]


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
