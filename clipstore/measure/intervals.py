"""95 % confidence intervals of accuracies, as fractions in [0, 1]."""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

LEVEL = 0.95

Counts = npt.NDArray[np.int64]


class Interval(NamedTuple):
    """The ends of an interval, low <= high."""

    low: float
    high: float


def wilson(hits: int, n: int) -> Interval:
    """Return Wilson's score interval (1927) for ``hits`` of ``n`` >= 1 independent images, computed by statsmodels."""
    from statsmodels.stats.proportion import proportion_confint

    low, high = proportion_confint(hits, n, alpha=1 - LEVEL, method="wilson")
    return Interval(float(low), float(high))


def by_class(selected: npt.NDArray[np.bool_], labels: npt.NDArray[np.integer[Any]]) -> tuple[Counts, Counts]:
    """Return the number of ``selected`` images of each class and the size of each class, int64 (c,) each.

    Args:
        selected: whether to count each image, (n,).
        labels: class of each image, (n,); only the c classes that occur are counted.
    """
    _, positions = np.unique(labels, return_inverse=True)
    return np.bincount(positions, weights=selected).astype(np.int64), np.bincount(positions)


def mean_per_class(hits: Counts, sizes: Counts, resamples: int, seed: int) -> Interval:
    """Return the percentile interval (Efron and Tibshirani 1993, chapter 13) of the mean over classes of hits / sizes.

    The bootstrap is stratified: images are resampled within their class. The number of hits in a class of n images then follows a binomial
    distribution with n and the class's accuracy, so the code draws hits instead of images. Classes whose answers are all right or all
    wrong do not widen the interval.

    Args:
        hits: right answers in each class, int64 (c,).
        sizes: images in each class, int64 (c,), >= 1.
        resamples: number of draws.
        seed: of the draws.
    """
    drawn = np.random.default_rng(seed).binomial(sizes, hits / sizes, size=(resamples, len(sizes)))
    return percentiles((drawn / sizes).mean(axis=1))


def percentiles(draws: npt.NDArray[np.floating[Any]]) -> Interval:
    """Return the ends of the central 95 % of the draws (n,)."""
    low, high = np.quantile(draws, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(float(low), float(high))
