"""95 % confidence intervals of accuracies, which are fractions of [0, 1]."""

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
    """Return Wilson's score interval (1927) of a share of ``hits`` in ``n`` >= 1 independent images, by statsmodels."""
    from statsmodels.stats.proportion import proportion_confint

    low, high = proportion_confint(hits, n, alpha=1 - LEVEL, method="wilson")
    return Interval(float(low), float(high))


def by_class(selected: npt.NDArray[np.bool_], labels: npt.NDArray[np.integer[Any]]) -> tuple[Counts, Counts]:
    """Return how many images of each class are ``selected``, and how many there are, int64 (c,) each.

    Args:
        selected: (n,).
        labels: (n,); c classes occur in them, the only ones that are counted.
    """
    _, at = np.unique(labels, return_inverse=True)
    return np.bincount(at, weights=selected).astype(np.int64), np.bincount(at)


def mean_per_class(hits: Counts, sizes: Counts, resamples: int, seed: int) -> Interval:
    """Return the percentile interval (Efron and Tibshirani 1993, chapter 13) of the mean over classes of hits / sizes.

    The bootstrap is stratified: images are drawn anew within their class. The hits of a class of n images are then exactly binomial, with
    n and its accuracy, so that those are drawn and no image is. A class without a miss, or of one image, adds no width.

    Args:
        hits: right answers of each class, int64 (c,).
        sizes: its images, int64 (c,), >= 1.
        resamples: number of draws.
        seed: of the draws.
    """
    drawn = np.random.default_rng(seed).binomial(sizes, hits / sizes, size=(resamples, len(sizes)))
    return percentiles((drawn / sizes).mean(axis=1))


def percentiles(draws: npt.NDArray[np.floating[Any]]) -> Interval:
    """Return the middle 95 % of the draws (n,)."""
    low, high = np.quantile(draws, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(float(low), float(high))
