"""K-means over box sizes: IoU by hand, the best there is on tiny sets, and what must not matter."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_utils.box_stats.sizes import MAX_POINTS, cluster_sizes, iou_of_sizes
from data_utils.records import iou_xyxy


def test_iou_of_sizes_by_hand():
    a = np.array([[2, 4], [1, 1]], float)
    b = np.array([[4, 2], [2, 4], [10, 10]], float)
    expected = [[4 / 12, 1, 8 / 100], [1 / 8, 1 / 8, 1 / 100]]
    np.testing.assert_allclose(iou_of_sizes(a, b), expected)


@given(st.lists(st.tuples(st.floats(0.1, 500), st.floats(0.1, 500)), min_size=1, max_size=6))
def test_iou_of_sizes_is_that_of_boxes_with_a_shared_corner(sizes):
    sizes = np.array(sizes)
    boxes = np.concatenate([np.zeros_like(sizes), sizes], axis=1)
    np.testing.assert_allclose(iou_of_sizes(sizes, sizes), iou_xyxy(boxes, boxes), rtol=1e-9)


def best_mean_iou(sizes: np.ndarray, n_clusters: int) -> float:
    """The best average IoU of one or two centres on a grid of half pixels, by trying every one and every pair."""
    steps = np.arange(1, 13, 0.5)
    iou = iou_of_sizes(sizes, np.stack(np.meshgrid(steps, steps), axis=-1).reshape(-1, 2))
    if n_clusters == 1:
        return iou.mean(axis=0).max()
    return max(np.maximum(iou, iou[:, [j]]).mean(axis=0).max() for j in range(iou.shape[1]))


@pytest.mark.parametrize("n_clusters", [1, 2])
def test_tiny_sets_reach_the_best_there_is(n_clusters: int):
    gaps = []
    for seed in range(25):
        sizes = np.random.default_rng(seed).integers(1, 13, (6, 2)).astype(float)
        gaps.append(best_mean_iou(sizes, n_clusters) - cluster_sizes(sizes, n_clusters, 0).mean_iou)
    assert max(gaps) < 0.01  # of an average IoU
    assert sum(gap > 1e-9 for gap in gaps) <= 1


def test_well_separated_sizes_are_found_in_order_of_area():
    rng = np.random.default_rng(3)
    truth = np.array([[10, 12], [60, 20], [40, 90], [200, 150]], float)
    sizes = np.repeat(truth, 50, axis=0) * rng.uniform(0.97, 1.03, (200, 2))
    found = cluster_sizes(rng.permutation(sizes), 4, seed=0)
    np.testing.assert_allclose(found.centres, truth, rtol=0.03)
    assert np.bincount(found.members).tolist() == [50, 50, 50, 50]
    assert found.mean_iou > 0.96


def test_members_have_the_nearest_centre_and_the_mean_is_theirs():
    sizes = np.random.default_rng(0).uniform(5, 200, (300, 2))
    found = cluster_sizes(sizes, 9, seed=1)
    iou = iou_of_sizes(sizes, found.centres)
    assert found.centres.shape == (9, 2)
    assert (found.members == iou.argmax(axis=1)).all()
    assert found.mean_iou == pytest.approx(iou.max(axis=1).mean())
    assert (np.diff(found.centres.prod(axis=1)) >= 0).all()
    assert len(np.unique(found.members)) == 9


def test_same_seed_same_centres_whatever_the_order_of_the_boxes():
    sizes = np.random.default_rng(0).uniform(5, 200, (120, 2)).round(1)
    first, again = cluster_sizes(sizes, 5, seed=7), cluster_sizes(sizes[::-1], 5, seed=7)
    assert np.array_equal(first.centres, again.centres)
    assert np.array_equal(first.members, again.members[::-1])


def test_scaling_and_turning_the_boxes_scales_and_turns_the_centres():
    sizes = np.random.default_rng(2).uniform(5, 200, (60, 2))
    plain = cluster_sizes(sizes, 3, seed=0)
    np.testing.assert_allclose(cluster_sizes(sizes * 4, 3, seed=0).centres, plain.centres * 4)
    assert cluster_sizes(sizes[:, ::-1], 3, seed=0).mean_iou == pytest.approx(plain.mean_iou, abs=0.005)


def test_more_clusters_fit_better_and_repeating_all_boxes_changes_nothing():
    sizes = np.random.default_rng(5).uniform(5, 200, (80, 2))
    fits = [cluster_sizes(sizes, k, seed=0).mean_iou for k in (1, 2, 4, 8, 80)]
    assert fits == sorted(fits)
    assert fits[-1] == 1
    doubled = cluster_sizes(np.concatenate([sizes, sizes]), 4, seed=0)
    np.testing.assert_allclose(doubled.centres, cluster_sizes(sizes, 4, seed=0).centres)


@pytest.mark.parametrize("sizes", [[[5, 7]], [[5, 7]] * 4, [[5, 7], [8, 3], [5, 7]]])
def test_fewer_sizes_than_clusters_are_their_own_centres(sizes):
    found = cluster_sizes(np.array(sizes, float), 9, seed=0)
    assert len(found.centres) == len({tuple(size) for size in sizes})
    assert found.mean_iou == 1
    assert np.array_equal(found.centres[found.members], np.array(sizes, float))


@pytest.mark.parametrize("sizes", [np.zeros((0, 2)), [[0, 3]], [[np.nan, 3]], [[np.inf, 3]], [[-1, 3]]])
def test_no_boxes_and_impossible_sizes_are_refused(sizes):
    with pytest.raises(ValueError, match="sizes above 0"):
        cluster_sizes(np.array(sizes, float), 2, seed=0)


def test_a_large_set_is_clustered_by_a_sample_of_it():
    sizes = np.exp(np.random.default_rng(0).normal(3.5, 0.6, (4 * MAX_POINTS, 2)))
    found = cluster_sizes(sizes, 3, seed=0, restarts=2)
    assert len(found.members) == len(sizes)
    small = cluster_sizes(sizes[:MAX_POINTS], 3, seed=0, restarts=2)
    assert found.mean_iou == pytest.approx(small.mean_iou, abs=0.01)
