"""Paired comparisons of approaches on the same test images."""

from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from clipstore.measure.intervals import Interval, by_class, percentiles

Right = npt.NDArray[np.bool_]
Labels = npt.NDArray[np.integer[Any]]

COLUMNS = ["a", "b", "difference", "low", "high", "only_a_right", "only_b_right", "p", "p_corrected"]
SIGNIFICANCE = 0.05  # a difference is significant if its corrected p is below this level


def difference(only_a: Right, only_b: Right, labels: Labels, resamples: int, seed: int) -> tuple[float, Interval]:
    """Return mean_per_class of a minus that of b, with the 95 % percentile interval of a paired, stratified bootstrap.

    When the images of a class are resampled, the numbers that only a, only b, and both or neither got right follow a multinomial
    distribution, so the code draws these numbers directly.

    Args:
        only_a: whether a got each image right and b got it wrong, (n,).
        only_b: the reverse, (n,).
        labels: class of each image, (n,).
        resamples: number of draws.
        seed: of the draws; it is the same for every pair, so that an interval does not depend on the other approaches.
    """
    a, sizes = by_class(only_a, labels)
    b, _ = by_class(only_b, labels)
    shares = np.stack([a, b, sizes - a - b], axis=1) / sizes[:, None]
    drawn = np.random.default_rng(seed).multinomial(sizes, shares, size=(resamples, len(sizes)))
    return float(((a - b) / sizes).mean()), percentiles(((drawn[..., 0] - drawn[..., 1]) / sizes).mean(axis=1))


def mcnemar(only_a: int, only_b: int) -> float:
    """Return the p-value of McNemar's exact test, two-sided, for only a and only b being right equally often.

    Images on which both are right or both wrong do not count; without any others, p is 1. Computed by statsmodels.
    """
    from statsmodels.stats.contingency_tables import mcnemar as exact

    return float(exact([[0, only_a], [only_b, 0]], exact=True).pvalue)


def compare(right: dict[str, Right], labels: Labels, resamples: int, seed: int) -> pd.DataFrame:
    """Return one row per pair of approaches, a before b in the order of ``right``; columns COLUMNS.

    ``difference`` refers to mean_per_class and ``p`` to top1; ``p_corrected`` is Holm's correction (1979) over all pairs. The intervals
    are not corrected.

    Args:
        right: for each approach whether it got each image right, (n,), in the same order of images.
        labels: class of each image, (n,).
        resamples: number of bootstrap draws.
        seed: of the bootstrap.
    """
    from statsmodels.stats.multitest import multipletests

    rows: list[dict[str, Any]] = []
    for a, b in combinations(right, 2):
        only_a, only_b = right[a] & ~right[b], right[b] & ~right[a]
        gap, interval = difference(only_a, only_b, labels, resamples, seed)
        counts = {"only_a_right": int(only_a.sum()), "only_b_right": int(only_b.sum())}
        rows.append({"a": a, "b": b, "difference": gap, **interval._asdict(), **counts, "p": mcnemar(*counts.values())})
    corrected = multipletests([row["p"] for row in rows], method="holm")[1] if rows else []
    return pd.DataFrame(rows, columns=COLUMNS[:-1]).assign(p_corrected=corrected)


def gap_to_best(pairs: pd.DataFrame, name: str, best: str) -> dict[str, float | bool]:
    """Return how ``name`` compares with ``best``: mean_per_class of ``name`` minus that of ``best``, its interval, and significance.

    "significant" states whether the corrected p-value of top1 is below SIGNIFICANCE. If ``name`` is the best itself, all gaps are 0.
    """
    if name == best:
        return {"gap_to_best": 0.0, "gap_to_best_low": 0.0, "gap_to_best_high": 0.0, "significant": False}
    row = pairs[pairs["a"].isin([name, best]) & pairs["b"].isin([name, best])].iloc[0]
    ends = [row["low"], row["high"]] if row["a"] == name else [-row["high"], -row["low"]]
    gap = row["difference"] if row["a"] == name else -row["difference"]
    significant = bool(row["p_corrected"] < SIGNIFICANCE)
    return {"gap_to_best": gap, "gap_to_best_low": ends[0], "gap_to_best_high": ends[1], "significant": significant}
