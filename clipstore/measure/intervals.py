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


def exact(hits: float, n: float) -> Interval:
    """Return the interval of Clopper and Pearson (1934) for ``hits`` of ``n`` > 0 independent images, computed by statsmodels.

    Both may be fractional, as effective numbers of images are (Korn and Graubard 1998).
    """
    from statsmodels.stats.proportion import proportion_confint

    low, high = proportion_confint(hits, n, alpha=1 - LEVEL, method="beta")
    return Interval(float(low), float(high))


def by_class(selected: npt.NDArray[np.bool_], labels: npt.NDArray[np.integer[Any]]) -> tuple[Counts, Counts]:
    """Return the number of ``selected`` images of each class and the size of each class, int64 (c,) each.

    Args:
        selected: whether to count each image, (n,).
        labels: class of each image, (n,); only the c classes that occur are counted.
    """
    _, positions = np.unique(labels, return_inverse=True)
    return np.bincount(positions, weights=selected).astype(np.int64), np.bincount(positions)


def effective_images(sizes: Counts) -> float:
    """Return how many independent images give a share the variance of a mean over classes of ``sizes`` (c,) that are equally accurate."""
    return float(len(sizes) ** 2 / (1 / sizes).sum())


def mean_per_class(hits: Counts, sizes: Counts) -> Interval:
    """Return the exact interval at the effective number of images of the mean over classes of hits / sizes.

    The variance of the mean is the sum of p (1 - p) / size / c^2 over the c classes, p being the accuracy of a class. By Jensen's
    inequality it is at most that of `effective_images` images of accuracy q, the mean of p weighted by 1 / size. Where q has a larger
    variance than the mean itself, because small classes are harder, the effective number is reduced in proportion. With few images in
    the small classes, q is drawn towards the mean by two more images. If all classes have the same size, this is the interval of top1.

    Args:
        hits: right answers in each class, int64 (c,).
        sizes: images in each class, int64 (c,), >= 1.
    """
    accuracies, weights = hits / sizes, 1 / sizes
    mean, n = accuracies.mean(), effective_images(sizes)
    if 0 < mean < 1:
        images = weights.sum() ** 2 / (weights**3).sum()  # on which q effectively rests
        q = (images * np.average(accuracies, weights=weights) + 2 * mean) / (images + 2)
        n *= min(1.0, mean * (1 - mean) / (q * (1 - q)))
    return exact(mean * n, n)
