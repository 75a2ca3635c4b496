"""The comparison of approaches as sentences."""

from typing import Any

import pandas as pd

from clipstore.measure.comparisons import SIGNIFICANCE
from clipstore.store.approaches import readable


def points(fraction: float) -> str:
    """Return a difference of accuracies in points: "4.1 points"."""
    count = f"{100 * fraction:.1f}"
    return f"{count} point" if count == "1.0" else f"{count} points"


def of_pair(row: pd.Series) -> str:
    """Return the reading of one row of plots/score/DATASET/pairs.csv.

    The difference is of mean per class, the verdict of top-1 (McNemar's exact test, corrected for all pairs).
    """
    a, b = (row["a"], row["b"]) if row["difference"] >= 0 else (row["b"], row["a"])
    difference, surplus = abs(row["difference"]), row["only_a_right"] - row["only_b_right"]
    if row["difference"] < 0:
        surplus = -surplus
    if not row["only_a_right"] and not row["only_b_right"]:
        return f"{readable(a)} and {readable(b)} are right on exactly the same test images."
    if row["p_corrected"] >= SIGNIFICANCE:
        return f"{readable(a)} and {readable(b)} do not differ significantly ({points(difference)} between them)."
    if surplus < 0:
        return f"{readable(b)} is right on significantly more of the test images, while {readable(a)} has the higher mean per class."
    return f"{readable(a)} beats {readable(b)} by {points(difference)}; the difference is significant."


def of_pairs(table: pd.DataFrame, order: list[str]) -> list[str]:
    """Return a sentence for each pair, those of the best approaches first.

    Args:
        table: plots/score/DATASET/pairs.csv.
        order: titles of the approaches, the best first.
    """
    rank = {title: at for at, title in enumerate(order)}
    rows = sorted((row for _, row in table.iterrows()), key=lambda row: sorted((rank[row["a"]], rank[row["b"]])))
    return [of_pair(row) for row in rows]


def headline(results: list[dict[str, Any]]) -> str:
    """Return which approach is the best on a data set, and which do not differ from it significantly.

    Args:
        results: of each approach, the best first: title, mean_per_class with its ends, significant.
    """
    best, *others = results
    measure = f"{100 * best['mean_per_class']:.1f} % mean per class"
    interval = f"95 % interval {100 * best['mean_per_class_low']:.1f} to {100 * best['mean_per_class_high']:.1f}"
    close = [readable(other["title"]) for other in others if not other["significant"]]
    if close:
        comparison = f"; not significantly different from it: {', '.join(close)}"
    else:
        comparison = "; every other approach is significantly worse" if others else ""
    return f"{readable(best['title'])} is best with {measure} ({interval}){comparison}."
