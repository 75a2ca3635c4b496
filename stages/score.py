"""Measure every approach on a data set: `dvc repro -s score@DATASET`.

Reads the predictions of every approach that the axes name, the index, and which test images the audit found in train or val; writes
metrics/DATASET.json, nested stage, name, measure, and plots/score/DATASET: confusion matrices, the most confused classes, accuracy per
class, reliability, all pairs of approaches compared, and the curves of every network that was trained. docs/decisions/0009 explains the
statistics.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pydantic import Field

from clipstore.core.errors import InputError
from clipstore.core.outputs import write_metrics, write_plot
from clipstore.core.params import Section, section
from clipstore.core.schema import Axes
from clipstore.core.stage import run
from clipstore.data import index
from clipstore.measure import calibration, comparisons, confusion, intervals, metrics
from clipstore.measure.selection import best
from clipstore.store import audits
from clipstore.store.approaches import APPROACHES, cells, read_all
from clipstore.store.predictions import Predictions


class Score(Section):
    """How results are measured and shown."""

    threshold: float = Field(ge=0, le=1, description="Least confidence of an answer that counts as covered.")
    bins: int = Field(ge=1, description="Bins of equal mass in the calibration error and its plot.")
    resamples: int = Field(ge=100, description="Bootstrap resamples.")
    seed: int = Field(ge=0, description="Seed of the bootstrap.")
    worst: int = Field(ge=1, description="Classes in each approach's confusion matrix, and most confused pairs of classes in its list.")


def measures(approach: Predictions, temperature: float, settings: Score) -> dict[str, Any]:
    """Return the measures on test, fractions of [0, 1] with their intervals, and beside them what was selected and noted.

    top5 is left out where there are at most 5 classes. Only numbers, strings and booleans: `dvc metrics` drops anything else.

    Args:
        approach: its predictions.
        temperature: fitted on val.
        settings: bins, threshold, resamples, seed.
    """
    probabilities, labels, answers = approach.test_probabilities, approach.test_labels, approach.test_answers
    hits, sizes = intervals.by_class(answers == labels, labels)
    accuracies: dict[str, Any] = dict(metrics.accuracies(answers, labels))
    accuracies |= ends("top1", intervals.wilson(int(hits.sum()), len(labels)))
    accuracies |= ends("mean_per_class", intervals.mean_per_class(hits, sizes, settings.resamples, settings.seed))
    if len(approach.classes) > 5:
        accuracies["top5"] = metrics.top_k(probabilities, labels, 5)
        accuracies |= ends("top5", intervals.wilson(round(accuracies["top5"] * len(labels)), len(labels)))
    counts = {"n": len(labels), "smallest_class": int(sizes.min()), "classes_not_in_test": len(approach.classes) - len(sizes)}
    fitted = {"temperature": temperature, "calibrated_on": len(approach.of("val")[1])}
    calibrated = calibration.measures(probabilities, labels, temperature, settings.bins, settings.threshold)
    return {**accuracies, **counts, "failed": approach.failed, **fitted, **calibrated, "selected": approach.selected, **approach.notes}


def without_leaked(approach: Predictions, leaked: set[str]) -> dict[str, float]:
    """Return top1 and mean_per_class on the test images that are not ``leaked``, with that suffix; {} where none is left."""
    kept = ~np.isin(approach.test_ids, list(leaked))
    if not kept.any():
        return {}
    accuracies = metrics.accuracies(approach.test_answers[kept], approach.test_labels[kept])
    return {f"{name}_without_leaked": value for name, value in accuracies.items()}


def ends(measure: str, interval: intervals.Interval) -> dict[str, float]:
    """Return the interval's ends under their names in the metrics."""
    return {f"{measure}_low": interval.low, f"{measure}_high": interval.high}


def compare(approaches: list[Predictions], settings: Score) -> tuple[pd.DataFrame, list[dict[str, float | bool]]]:
    """Return every pair of approaches compared (see `comparisons.compare`), and how each approach stands to the best.

    The best has the highest mean_per_class on test, of equals the first. The correction counts all pairs, so that picking the best
    afterwards costs nothing.
    """
    labels = approaches[0].test_labels
    right = {approach.title: approach.test_answers == labels for approach in approaches}
    table = comparisons.compare(right, labels, settings.resamples, settings.seed)
    leader = approaches[best([metrics.mean_per_class(approach.test_answers, labels) for approach in approaches])]
    return table, [comparisons.gap_to_best(table, approach.title, leader.title) for approach in approaches]


def per_class(approach: Predictions) -> pd.DataFrame:
    """Return the share of right answers of every class that occurs in test; columns class_name and accuracy."""
    accuracy = metrics.per_class(approach.test_answers, approach.test_labels)
    return pd.DataFrame({"class_name": np.array(approach.classes)[list(accuracy)], "accuracy": list(accuracy.values())})


def reliability(approach: Predictions, temperature: float, bins: int) -> pd.DataFrame:
    """Return `calibration.reliability` on test before and after the temperature; column temperature says which."""
    both = {"before": approach.test_probabilities, "after": calibration.scaled(approach.test_probabilities, temperature)}
    diagrams = {when: calibration.reliability(probabilities, approach.test_labels, bins) for when, probabilities in both.items()}
    return pd.concat([diagram.assign(temperature=when) for when, diagram in diagrams.items()])


def main(dataset: str) -> None:
    """Write metrics and plots of one data set."""
    axes, settings = section(Axes, "axes"), section(Score, "score")
    named = cells(axes)
    if not named:
        names = dict.fromkeys(approach.axis for approach in APPROACHES)
        raise InputError(f"params.yaml: axes.{', '.join(names)} are all empty: expected an approach to score")
    approaches = read_all(dataset, named, index.read(dataset).digest)
    leaked = audits.leaked(dataset, axes.encoders)
    folder = Path("plots/score") / dataset
    results: dict[str, dict[str, Any]] = {}
    tables: dict[str, list[pd.DataFrame]] = {"per_class": [], "reliability": [], "confused": []}
    compared, gaps = compare(approaches, settings)
    for approach, gap in zip(approaches, gaps, strict=True):
        temperature = calibration.fit_temperature(*approach.of("val"))
        audited = {} if leaked is None else {"leaked": len(leaked), **without_leaked(approach, leaked)}
        results.setdefault(approach.stage, {})[approach.name] = measures(approach, temperature, settings) | gap | audited
        matrix = confusion.matrix(approach.test_labels, approach.test_answers, len(approach.classes))
        worst = confusion.cells(matrix, approach.classes, settings.worst)
        write_plot(folder / "confusion" / f"{approach.stage}-{approach.name}.csv", worst)
        parts = {
            "per_class": per_class(approach),
            "reliability": reliability(approach, temperature, settings.bins),
            "confused": confusion.most_confused(matrix, approach.classes, settings.worst),
        }
        for name, part in parts.items():
            tables[name].append(part.assign(approach=approach.title))
    for name, rows in tables.items():
        write_plot(folder / f"{name}.csv", pd.concat(rows))
    compared.to_csv(folder / "pairs.csv", index=False, float_format="%.6g")  # a small p would be 0 in 6 decimals
    curves = [{"approach": approach.title, **point} for approach in approaches for point in approach.curve]
    write_plot(folder / "curves.csv", pd.DataFrame(curves, columns=["epoch", "approach", "split", "accuracy", "loss"]))
    write_metrics(Path("metrics") / f"{dataset}.json", results)


if __name__ == "__main__":
    run(main)
