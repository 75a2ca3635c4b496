"""Intervals: agreement with scipy, width, and coverage in simulations."""

from collections.abc import Callable

import numpy as np
import pytest
from scipy.stats import binomtest

from clipstore.measure import intervals


@pytest.mark.parametrize(("hits", "n"), [(0, 10), (3, 10), (790, 840), (840, 840), (1, 1)])
def test_exact_equals_scipys(hits: int, n: int) -> None:
    expected = binomtest(hits, n).proportion_ci(0.95, method="exact")
    assert intervals.exact(hits, n) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_exact_of_one_image_by_hand() -> None:
    assert intervals.exact(1, 1) == pytest.approx((0.025, 1), abs=1e-9)


def test_by_class_counts_only_classes_that_occur() -> None:
    labels = np.array([5, 0, 0, 2, 0])
    hits, sizes = intervals.by_class(np.array([True, True, False, False, True]), labels)
    assert (hits.tolist(), sizes.tolist()) == ([2, 0, 1], [3, 1, 1])


@pytest.mark.parametrize("hits", [[0, 0, 0], [7, 2, 0], [7, 7, 7], [3, 4, 5]])
def test_equal_classes_have_the_interval_of_top1(hits: list[int]) -> None:
    assert intervals.mean_per_class(np.array(hits), np.array([7, 7, 7])) == pytest.approx(intervals.exact(sum(hits), 21), abs=1e-12)


def test_effective_images_by_hand() -> None:
    assert intervals.effective_images(np.array([1, 2])) == pytest.approx(4 / 1.5)


def test_hard_small_classes_widen_the_interval() -> None:
    sizes = np.repeat([2, 200], 5)
    easy = intervals.mean_per_class(np.array([2, 2, 2, 2, 2, 160, 160, 160, 160, 160]), sizes)
    hard = intervals.mean_per_class(np.array([1, 1, 2, 2, 2, 200, 200, 200, 200, 200]), sizes)  # the same mean, 0.9
    assert hard.high - hard.low > 1.2 * (easy.high - easy.low)


@pytest.mark.parametrize(("hits", "sizes"), [([1], [1]), ([0], [1]), ([1, 0], [1, 900]), ([1, 899], [1, 900]), ([0, 1], [1, 900])])
def test_the_interval_contains_the_mean_and_is_within_0_and_1(hits: list[int], sizes: list[int]) -> None:
    low, high = intervals.mean_per_class(np.array(hits), np.array(sizes))
    assert 0 <= low <= np.mean(np.array(hits) / np.array(sizes)) <= high <= 1 and low < high


@pytest.mark.parametrize("classes", [10, 102])
@pytest.mark.parametrize("size", [1, 2, 3, 5, 8, 20])
def test_classes_of_one_size_are_covered(size: int, classes: int) -> None:
    random, sizes = np.random.default_rng(0), np.full(classes, size)
    known: dict[int, intervals.Interval] = {}  # by the number of hits, on which alone the interval depends
    for mean in (0.5, 0.9, 0.99):
        for accuracies in (sizes * 0 + mean, random.beta(10 * mean, 10 * (1 - mean), classes), random.beta(mean, 1 - mean, classes)):
            draws = random.binomial(sizes, accuracies, (1000, classes))
            covered = 0
            for hits in draws:
                if (total := int(hits.sum())) not in known:
                    known[total] = intervals.mean_per_class(hits, sizes)
                covered += known[total].low <= accuracies.mean() <= known[total].high
            assert covered / len(draws) >= 0.925, (mean, accuracies)


RANK = np.linspace(0, 1, 37)
MIXED = {
    "as in Flowers 102": np.geomspace(20, 238, 37).round().astype(int),
    "from 1 to 200": np.geomspace(1, 200, 37).round().astype(int),
    "half with 3, half with 200": np.where(RANK < 0.5, 3, 200),
}


@pytest.mark.parametrize("sizes", MIXED.values(), ids=MIXED)
@pytest.mark.parametrize(
    "accuracy",
    [
        lambda random: np.full(37, 0.9),
        lambda random: random.beta(9, 1, 37),
        lambda random: random.beta(1.8, 0.2, 37),
        lambda random: 0.9 + 0.1 * RANK,
        lambda random: 1 - 0.1 * RANK,
        lambda random: np.where(RANK < 0.3, 0.5, 1.0),
    ],
    ids=["equal", "similar", "different", "small harder", "small easier", "small a coin toss"],
)
def test_classes_of_different_sizes_are_covered(sizes: np.ndarray, accuracy: Callable[[np.random.Generator], np.ndarray]) -> None:
    random = np.random.default_rng(0)
    accuracies = accuracy(random)
    ends = [intervals.mean_per_class(hits, sizes) for hits in random.binomial(sizes, accuracies, (300, 37))]
    assert np.mean([low <= accuracies.mean() <= high for low, high in ends]) >= 0.925
