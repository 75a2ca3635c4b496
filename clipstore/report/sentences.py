"""What the comparison of approaches says, in sentences."""

from typing import Any

import pandas as pd

from clipstore.measure.comparisons import CHANCE

NAMES = {
    "zero_shot": "zero-shot",
    "linear_probe": "linear probe",
    "knn": "kNN",
    "finetune": "fine-tuning",
    "scratch": "training from scratch",
}


def called(title: str) -> str:
    """Return what sentences call the approach of this title, "knn enc": "kNN (enc)"."""
    stage, _, name = title.partition(" ")
    return f"{NAMES.get(stage, stage)} ({name})" if name else NAMES.get(stage, stage)


def points(fraction: float) -> str:
    """Return a difference of accuracies in points: "4.1 points"."""
    count = f"{100 * fraction:.1f}"
    return f"{count} point" if count == "1.0" else f"{count} points"


def of_pair(row: pd.Series) -> str:
    """Return the reading of one row of plots/score/DATASET/pairs.csv.

    The difference is of mean per class, the verdict of top-1 (McNemar's exact test, corrected for all pairs).
    """
    a, b = (row["a"], row["b"]) if row["difference"] >= 0 else (row["b"], row["a"])
    difference, more = abs(row["difference"]), row["only_a_right"] - row["only_b_right"]
    if row["difference"] < 0:
        more = -more
    if not row["only_a_right"] and not row["only_b_right"]:
        return f"{called(a)} and {called(b)} are right on exactly the same test images."
    if row["p_corrected"] >= CHANCE:
        return f"{called(a)} and {called(b)} can't be told apart ({points(difference)} between them)."
    if more < 0:
        return f"{called(b)} is right on more of the test images, beyond chance, while {called(a)} has the higher mean per class."
    return f"{called(a)} beats {called(b)} by {points(difference)}, beyond chance."


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
    """Return which approach is the best on a data set, and which cannot be told from it.

    Args:
        results: of each approach, the best first: title, mean_per_class with its ends, significant.
    """
    best, *others = results
    measure = f"{100 * best['mean_per_class']:.1f} % mean per class"
    between = f"95 % interval {100 * best['mean_per_class_low']:.1f} to {100 * best['mean_per_class_high']:.1f}"
    close = [called(other["title"]) for other in others if not other["significant"]]
    told = (
        f"; not to be told from it: {', '.join(close)}" if close else "; every other approach is behind it beyond chance" if others else ""
    )
    return f"{called(best['title'])} is best with {measure} ({between}){told}."
