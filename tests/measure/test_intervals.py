"""Intervals: agreement with scipy, and intervals of width 0."""

from typing import Any

import numpy as np
import pytest
from scipy.stats import binomtest, bootstrap

from clipstore.measure import intervals


@pytest.mark.parametrize(("hits", "n"), [(0, 10), (3, 10), (790, 840), (840, 840)])
def test_wilson_equals_scipys(hits: int, n: int) -> None:
    expected = binomtest(hits, n).proportion_ci(0.95, method="wilson")
    assert intervals.wilson(hits, n) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_wilson_of_one_image_by_hand() -> None:
    squared = 1.959963984540054**2
    assert intervals.wilson(1, 1) == pytest.approx((1 / (1 + squared), 1), abs=1e-9)


def test_by_class_counts_only_classes_that_occur() -> None:
    labels = np.array([5, 0, 0, 2, 0])
    hits, sizes = intervals.by_class(np.array([True, True, False, False, True]), labels)
    assert (hits.tolist(), sizes.tolist()) == ([2, 0, 1], [3, 1, 1])


def test_mean_per_class_matches_scipys_bootstrap_within_classes() -> None:
    hits, sizes = np.array([45, 12, 6]), np.array([50, 20, 7])
    images = [np.arange(size) < hit for hit, size in zip(hits, sizes, strict=True)]

    def mean_per_class(*classes: np.ndarray, axis: int = -1) -> Any:
        return np.mean([hits.mean(axis=axis) for hits in classes], axis=0)

    resampled = bootstrap(images, mean_per_class, n_resamples=20_000, method="percentile", rng=np.random.default_rng(1))
    expected = resampled.confidence_interval
    assert intervals.mean_per_class(hits, sizes, 20_000, 0) == pytest.approx((expected.low, expected.high), abs=0.005)


@pytest.mark.parametrize(("hits", "sizes"), [([1], [1]), ([0], [1]), ([0, 8], [8, 8])])
def test_classes_all_right_or_all_wrong_have_no_width(hits: list[int], sizes: list[int]) -> None:
    expected = np.mean(np.array(hits) / np.array(sizes))
    assert intervals.mean_per_class(np.array(hits), np.array(sizes), 100, 0) == (expected, expected)


def test_the_seed_determines_the_draws() -> None:
    drawn = [intervals.mean_per_class(np.array([5, 7]), np.array([9, 31]), 100, seed) for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2]
