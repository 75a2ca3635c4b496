"""Measure every approach on a data set: python -m stages.score DATASET.

Reads the predictions of every approach that the axes name, and the index; writes metrics/DATASET.json, nested stage, name, measure, and
plots/score/DATASET: confusion matrices, the most confused classes, accuracy per class, reliability, all pairs of approaches compared, and
the curves of every network that was trained. docs/decisions/0009 says what was selected in its statistics.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pydantic import Field

from clipstore.core.errors import InputError
from clipstore.core.params import Section, section
from clipstore.core.schema import Axes
from clipstore.core.stage import run
from clipstore.data import index
from clipstore.measure import calibration, comparisons, confusion, intervals, metrics
from clipstore.store.approaches import Outcome, approaches, read_all


class Score(Section):
    """How results are measured and shown."""

    threshold: float = Field(ge=0, le=1)  # of confidence, from which on an answer counts as covered
    bins: int = Field(ge=1)  # of equal mass, in the calibration error and its plot
    resamples: int = Field(ge=100)  # of the bootstrap
    seed: int = Field(ge=0)  # of the bootstrap
    worst: int = Field(ge=1)  # classes in a confusion matrix, and most confused pairs of classes, of each approach


def measures(outcome: Outcome, temperature: float, settings: Score) -> dict[str, Any]:
    """Return the measures on test, fractions of [0, 1] with their intervals, and beside them what was selected and noted.

    top5 is left out where there are at most 5 classes. Only numbers, strings and booleans: `dvc metrics` drops anything else.

    Args:
        outcome: of one approach.
        temperature: fitted on val.
        settings: bins, threshold, resamples, seed.
    """
    made, probabilities, labels = outcome.made, outcome.probabilities, outcome.labels
    hits, sizes = intervals.by_class(outcome.predicted == labels, labels)
    found: dict[str, Any] = dict(metrics.accuracies(outcome.predicted, labels))
    found |= ends("top1", intervals.wilson(int(hits.sum()), len(labels)))
    found |= ends("mean_per_class", intervals.mean_per_class(hits, sizes, settings.resamples, settings.seed))
    if len(made.classes) > 5:
        found["top5"] = metrics.top_k(probabilities, labels, 5)
        found |= ends("top5", intervals.wilson(round(found["top5"] * len(labels)), len(labels)))
    counts = {"n": len(labels), "smallest_class": int(sizes.min()), "classes_not_in_test": len(made.classes) - len(sizes)}
    fitted = {"temperature": temperature, "calibrated_on": len(outcome.of("val")[1])}
    believed = calibration.measures(probabilities, labels, temperature, settings.bins, settings.threshold)
    return {**found, **counts, "failed": made.failed, **fitted, **believed, "selected": made.selected, **made.notes}


def ends(measure: str, interval: intervals.Interval) -> dict[str, float]:
    """Return the interval's ends under their names in the metrics."""
    return {f"{measure}_low": interval.low, f"{measure}_high": interval.high}


def rounded(value: Any) -> Any:
    """Return ``value`` with every float in it rounded to 6 digits, more than any test set resolves; -0.0 becomes 0.0."""
    if isinstance(value, dict):
        return {key: rounded(item) for key, item in value.items()}
    return round(value, 6) + 0.0 if isinstance(value, float) else value


def compare(outcomes: list[Outcome], settings: Score) -> tuple[pd.DataFrame, list[dict[str, float | bool]]]:
    """Return every pair of approaches compared (see `pairs.compare`), and how each approach stands to the best.

    The best has the highest mean_per_class on test, of equals the first. Nothing follows from it but where the comparison starts: the
    correction counts all pairs, so that picking this one afterwards costs nothing.
    """
    labels = outcomes[0].labels
    right = {outcome.title: outcome.predicted == labels for outcome in outcomes}
    table = comparisons.compare(right, labels, settings.resamples, settings.seed)
    best = max(outcomes, key=lambda outcome: round(metrics.mean_per_class(outcome.predicted, labels), 6))
    return table, [comparisons.gap_to_best(table, outcome.title, best.title) for outcome in outcomes]


def per_class(outcome: Outcome) -> pd.DataFrame:
    """Return the share of right answers of every class that occurs in test; columns class_name and accuracy."""
    accuracy = metrics.per_class(outcome.predicted, outcome.labels)
    return pd.DataFrame({"class_name": np.array(outcome.made.classes)[list(accuracy)], "accuracy": list(accuracy.values())})


def reliability(outcome: Outcome, temperature: float, bins: int) -> pd.DataFrame:
    """Return `calibration.reliability` on test before and after the temperature; column temperature says which."""
    both = {"before": outcome.probabilities, "after": calibration.scaled(outcome.probabilities, temperature)}
    return pd.concat([calibration.reliability(some, outcome.labels, bins).assign(temperature=name) for name, some in both.items()])


def main(dataset: str) -> None:
    """Write metrics and plots of one data set."""
    wanted, settings = approaches(section(Axes, "axes")), section(Score, "score")
    if not wanted:
        raise InputError("params.yaml: axes.encoders, zero_shot, finetune and scratch are empty: no approach to score")
    outcomes = read_all(dataset, wanted, index.read(dataset).digest)
    folder = Path("plots/score") / dataset
    (folder / "confusion").mkdir(parents=True, exist_ok=True)
    results: dict[str, dict[str, Any]] = {}
    tables: dict[str, list[pd.DataFrame]] = {"per_class": [], "reliability": [], "confused": []}
    compared, standings = compare(outcomes, settings)
    for outcome, standing in zip(outcomes, standings, strict=True):
        made, temperature = outcome.made, calibration.fit_temperature(*outcome.of("val"))
        results.setdefault(made.stage, {})[made.name] = rounded(measures(outcome, temperature, settings) | standing)
        matrix = confusion.matrix(outcome.labels, outcome.predicted, len(made.classes))
        cells = confusion.cells(matrix, made.classes, settings.worst)
        cells.round(6).to_csv(folder / "confusion" / f"{made.stage}-{made.name}.csv", index=False)
        parts = {
            "per_class": per_class(outcome),
            "reliability": reliability(outcome, temperature, settings.bins),
            "confused": confusion.most_confused(matrix, made.classes, settings.worst),
        }
        for name, part in parts.items():
            tables[name].append(part.assign(approach=outcome.title))
    for name, some in tables.items():
        pd.concat(some).round(6).to_csv(folder / f"{name}.csv", index=False)
    compared.to_csv(folder / "pairs.csv", index=False, float_format="%.6g")  # a small p would be 0 in 6 decimals
    curves = [{"approach": outcome.title, **point} for outcome in outcomes for point in outcome.made.curve]
    pd.DataFrame(curves, columns=["epoch", "approach", "split", "accuracy", "loss"]).round(6).to_csv(folder / "curves.csv", index=False)
    path = Path("metrics") / f"{dataset}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    run(main)
