"""Paired comparisons of approaches on the same test images."""

from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.special import betainc
from scipy.stats import norm

from clipstore.measure.intervals import LEVEL, Counts, Interval, effective_images

Right = npt.NDArray[np.bool_]
Labels = npt.NDArray[np.integer[Any]]

COLUMNS = [
    *("a", "b", "difference", "low", "high", "p", "p_corrected"),  # of mean_per_class
    *("difference_top1", "only_a_right", "only_b_right", "p_top1", "p_top1_corrected"),
]
SIGNIFICANCE = 0.05  # a difference is significant if its corrected p is below this level
QUANTILE = float(norm.ppf((1 + LEVEL) / 2))


class Difference(NamedTuple):
    """The difference of two approaches in an accuracy, its 95 % interval and the p-value of no difference."""

    value: float
    interval: Interval
    p: float


def mcnemar(only_a: float, only_b: float) -> float:
    """Return the p-value of McNemar's exact test (1947), two-sided, for only a and only b being right equally often.

    Images on which both are right or both wrong do not count; without any others, p is 1. The binomial tail is written as an incomplete
    beta function, which takes fractional numbers of images too.
    """
    more, fewer = max(only_a, only_b), min(only_a, only_b)
    return min(1.0, 2 * float(betainc(more, fewer + 1, 0.5))) if more else 1.0


def mean_per_class(only_a: Counts, only_b: Counts, sizes: Counts) -> Difference:
    """Return the difference in mean_per_class, a minus b.

    Interval and test are those of a difference in top1, the adjusted Wald interval of Bonett and Price (2012) and McNemar's exact test,
    at the effective number of images n. If all classes have the same size, n is the number of images. Otherwise n gives the mean the
    variance that it has because of the images that only one approach got right, estimated as the sum of their squared weights, but at
    least the variance if such images were equally frequent in all classes: small classes may have none by chance.

    Args:
        only_a: images of each class that only a got right, int64 (c,).
        only_b: the reverse, int64 (c,).
        sizes: images in each class, int64 (c,), >= 1.
    """
    share_a, share_b = float((only_a / sizes).mean()), float((only_b / sizes).mean())
    n, discordant = effective_images(sizes), share_a + share_b
    if discordant:
        n = min(n, discordant / float(((only_a + only_b) / sizes**2).sum() / len(sizes) ** 2))
    middle = (share_a - share_b) * n / (n + 2)
    half = QUANTILE * float(np.sqrt(((discordant * n + 2) / (n + 2) - middle**2) / (n + 2)))
    interval = Interval(max(-1.0, middle - half), min(1.0, middle + half))
    return Difference(share_a - share_b, interval, mcnemar(share_a * n, share_b * n))


def compare(right: dict[str, Right], labels: Labels) -> pd.DataFrame:
    """Return one row per pair of approaches, a before b in the order of ``right``; columns COLUMNS.

    ``difference`` (a minus b), ``low``, ``high`` and ``p`` refer to mean_per_class; ``p_top1`` is that of McNemar's test. Each p-value is
    corrected by Holm's method (1979) over all pairs, the intervals are not.

    Args:
        right: for each approach whether it got each image right, (n,), in the same order of images.
        labels: class of each image, (n,).
    """
    from statsmodels.stats.multitest import multipletests

    _, positions, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    rows: list[dict[str, Any]] = []
    for a, b in combinations(right, 2):
        only_a, only_b = (np.bincount(positions[right[this] & ~right[other]], minlength=len(sizes)) for this, other in ((a, b), (b, a)))
        value, interval, p = mean_per_class(only_a, only_b, sizes)
        alone_a, alone_b = int(only_a.sum()), int(only_b.sum())
        top1 = {"difference_top1": (alone_a - alone_b) / len(labels), "only_a_right": alone_a, "only_b_right": alone_b}
        rows.append({"a": a, "b": b, "difference": value, **interval._asdict(), "p": p, **top1, "p_top1": mcnemar(alone_a, alone_b)})
    table = pd.DataFrame(rows, columns=[column for column in COLUMNS if not column.endswith("_corrected")])
    corrected = {f"{p}_corrected": multipletests(table[p], method="holm")[1] if rows else [] for p in ("p", "p_top1")}
    return table.assign(**corrected)[COLUMNS]


def gap_to_best(pairs: pd.DataFrame, name: str, best: str) -> dict[str, float | bool]:
    """Return how ``name`` compares with ``best``: mean_per_class of ``name`` minus that of ``best``, its interval, and significance.

    "significant" states whether the corrected p-value of mean_per_class is below SIGNIFICANCE, "significant_top1" that of top1, in
    whichever direction. If ``name`` is the best itself, all gaps are 0.
    """
    if name == best:
        return {"gap_to_best": 0.0, "gap_to_best_low": 0.0, "gap_to_best_high": 0.0, "significant": False, "significant_top1": False}
    row = pairs[pairs["a"].isin([name, best]) & pairs["b"].isin([name, best])].iloc[0]
    ends = [row["low"], row["high"]] if row["a"] == name else [-row["high"], -row["low"]]
    gap = row["difference"] if row["a"] == name else -row["difference"]
    significant, significant_top1 = (bool(row[p] < SIGNIFICANCE) for p in ("p_corrected", "p_top1_corrected"))
    return {
        "gap_to_best": gap,
        "gap_to_best_low": ends[0],
        "gap_to_best_high": ends[1],
        "significant": significant,
        "significant_top1": significant_top1,
    }
