"""Compare approaches on the same test images, two at a time."""

from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from clipstore.measure.intervals import Interval, by_class, percentiles

Right = npt.NDArray[np.bool_]
Labels = npt.NDArray[np.integer[Any]]

COLUMNS = ["a", "b", "difference", "low", "high", "only_a_right", "only_b_right", "p", "p_corrected"]
SIGNIFICANCE = 0.05  # a difference is significant where the corrected p is below it


def difference(only_a: Right, only_b: Right, labels: Labels, resamples: int, seed: int) -> tuple[float, Interval]:
    """Return by how much mean_per_class of a exceeds that of b, and the paired, stratified bootstrap's 95 % percentile interval.

    Drawing the images of a class anew makes the numbers that only a, only b, and both or neither got right multinomial: those are drawn.

    Args:
        only_a: images that a got right and b wrong, (n,).
        only_b: the other way round, (n,).
        labels: (n,).
        resamples: number of draws.
        seed: of the draws, the same for every pair, so that an interval does not depend on which other approaches there are.
    """
    a, sizes = by_class(only_a, labels)
    b, _ = by_class(only_b, labels)
    shares = np.stack([a, b, sizes - a - b], axis=1) / sizes[:, None]
    drawn = np.random.default_rng(seed).multinomial(sizes, shares, size=(resamples, len(sizes)))
    return float(((a - b) / sizes).mean()), percentiles(((drawn[..., 0] - drawn[..., 1]) / sizes).mean(axis=1))


def mcnemar(only_a: int, only_b: int) -> float:
    """Return the p-value of McNemar's exact test, two-sided: of the images that one alone got right, does either have more than half?

    1 where there are none. By statsmodels; the images on which both agree do not count.
    """
    from statsmodels.stats.contingency_tables import mcnemar as exact

    return float(exact([[0, only_a], [only_b, 0]], exact=True).pvalue)


def compare(right: dict[str, Right], labels: Labels, resamples: int, seed: int) -> pd.DataFrame:
    """Return a row for each pair of approaches, a before b in the order of ``right``; columns COLUMNS.

    difference is of mean_per_class, p of top1; p_corrected is by Holm (1979) over all pairs. The intervals are not corrected.

    Args:
        right: whether each approach got each image right, (n,), the images in the same order.
        labels: (n,).
        resamples: of the bootstrap.
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
    """Return how ``name`` stands to ``best``: by how much its mean_per_class is higher, with the interval, and a verdict on top1.

    "significant" is the verdict: whether the corrected p is below SIGNIFICANCE. The best does not differ from itself.
    """
    if name == best:
        return {"gap_to_best": 0.0, "gap_to_best_low": 0.0, "gap_to_best_high": 0.0, "significant": False}
    row = pairs[pairs["a"].isin([name, best]) & pairs["b"].isin([name, best])].iloc[0]
    ends = [row["low"], row["high"]] if row["a"] == name else [-row["high"], -row["low"]]
    gap = row["difference"] if row["a"] == name else -row["difference"]
    significant = bool(row["p_corrected"] < SIGNIFICANCE)
    return {"gap_to_best": gap, "gap_to_best_low": ends[0], "gap_to_best_high": ends[1], "significant": significant}
