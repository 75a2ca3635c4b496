"""Measure every approach on a data set: `dvc repro -s score@DATASET`.

Reads the predictions of all approaches named by the axes, the index, and the test images that the audit found in train or val. Writes
metrics/DATASET.json, nested by stage, name and measure, and plots/score/DATASET: confusion matrices, the most confused classes, accuracy
per class, reliability, comparisons of all pairs of approaches, and the curves of every trained network. docs/decisions/0009 explains the
statistics. Of an approach that could not be fitted, and of all of them without test images, the metrics contain ``not_yet``, the reason.
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
from clipstore.store.approaches import APPROACHES, calibration_images, cells, read_all
from clipstore.store.predictions import Predictions

NO_TEST = "no labelled test images"
COLUMNS = {  # of the plots' files
    "per_class": ["class_name", "accuracy"],
    "reliability": ["bin", "confidence", "accuracy", "count", "temperature"],
    "confused": ["actual", "predicted", "count", "share"],
}


class Score(Section):
    """How results are measured and plotted."""

    threshold: float = Field(ge=0, le=1, description="Least confidence of an answer that counts as covered.")
    bins: int = Field(ge=1, description="Bins of equal mass in the calibration error and its plot.")
    worst: int = Field(ge=1, description="Classes in each approach's confusion matrix, and most confused pairs of classes in its list.")


def measures(approach: Predictions, temperature: float, calibrated_on: int, settings: Score) -> dict[str, Any]:
    """Return the measures on test, as fractions in [0, 1] with their intervals, with the selected values and the notes.

    top5 is omitted if there are at most 5 classes. Values are numbers, strings or booleans, since `dvc metrics` drops everything else.

    Args:
        approach: the approach's predictions.
        temperature: the temperature fitted on val.
        calibrated_on: number of val images that it was fitted on.
        settings: bins, threshold.
    """
    logits, labels, answers = approach.test_logits, approach.test_labels, approach.test_answers
    hits, sizes = intervals.by_class(answers == labels, labels)
    accuracies: dict[str, Any] = dict(metrics.accuracies(answers, labels))
    accuracies |= ends("top1", intervals.exact(int(hits.sum()), len(labels)))
    accuracies |= ends("mean_per_class", intervals.mean_per_class(hits, sizes))
    if len(approach.classes) > 5:
        accuracies["top5"] = metrics.top_k(logits, labels, 5)
        accuracies |= ends("top5", intervals.exact(round(accuracies["top5"] * len(labels)), len(labels)))
    counts = {"n": len(labels), "smallest_class": int(sizes.min()), "classes_not_in_test": len(approach.classes) - len(sizes)}
    fitted = {"temperature": temperature, "calibrated": calibrated_on > 0, "calibrated_on": calibrated_on}
    calibrated = calibration.measures(logits, labels, temperature, settings.bins, settings.threshold)
    return {**accuracies, **counts, "failed": approach.failed, **fitted, **calibrated, "selected": approach.selected, **approach.notes}


def without_leaked(approach: Predictions, leaked: set[str]) -> dict[str, float]:
    """Return top1 and mean_per_class, suffixed _without_leaked, on the test images not in ``leaked``; {} if there are none."""
    clean = ~np.isin(approach.test_ids, list(leaked))
    if not clean.any():
        return {}
    accuracies = metrics.accuracies(approach.test_answers[clean], approach.test_labels[clean])
    return {f"{name}_without_leaked": value for name, value in accuracies.items()}


def ends(measure: str, interval: intervals.Interval) -> dict[str, float]:
    """Return the interval's ends by their names in the metrics."""
    return {f"{measure}_low": interval.low, f"{measure}_high": interval.high}


def compare(approaches: list[Predictions]) -> tuple[pd.DataFrame, list[dict[str, float | bool]]]:
    """Return a comparison of every pair of approaches with test images (see `comparisons.compare`), and each one's gap to the best.

    The best approach has the highest mean_per_class on test; ties go to the first. It may be picked afterwards because the correction
    covers all pairs.
    """
    if not approaches:
        return comparisons.compare({}, np.empty(0, np.int64)), []
    labels = approaches[0].test_labels
    right = {approach.title: approach.test_answers == labels for approach in approaches}
    table = comparisons.compare(right, labels)
    leader = approaches[best([metrics.mean_per_class(approach.test_answers, labels) for approach in approaches])]
    return table, [comparisons.gap_to_best(table, approach.title, leader.title) for approach in approaches]


def per_class(approach: Predictions) -> pd.DataFrame:
    """Return the accuracy on every class that occurs in test; columns class_name and accuracy."""
    accuracy = metrics.per_class(approach.test_answers, approach.test_labels)
    return pd.DataFrame({"class_name": np.array(approach.classes)[list(accuracy)], "accuracy": list(accuracy.values())})


def reliability(approach: Predictions, temperature: float, bins: int) -> pd.DataFrame:
    """Return `calibration.reliability` on test before and after temperature scaling, as given in the column temperature."""
    both = {"before": approach.test_probabilities, "after": calibration.scaled(approach.test_logits, temperature)}
    diagrams = {when: calibration.reliability(probabilities, approach.test_labels, bins) for when, probabilities in both.items()}
    return pd.concat([diagram.assign(temperature=when) for when, diagram in diagrams.items()])


def main(dataset: str) -> None:
    """Write the metrics and plots of one data set."""
    axes, settings = section(Axes, "axes"), section(Score, "score")
    named = cells(axes)
    if not named:
        names = dict.fromkeys(approach.axis for approach in APPROACHES)
        raise InputError(f"params.yaml: axes.{', '.join(names)} are all empty: expected an approach to score")
    listed = index.read(dataset)
    trained = listed.usable.loc[listed.usable["split"] == "train", "label"].to_numpy()
    approaches = read_all(dataset, named, listed.digest)
    leaked = audits.leaked(dataset, axes.encoders)
    folder = Path("plots/score") / dataset
    (folder / "confusion").mkdir(parents=True, exist_ok=True)
    results: dict[str, dict[str, Any]] = {}
    tables = {name: [pd.DataFrame(columns=[*columns, "approach"])] for name, columns in COLUMNS.items()}
    measured = [approach for approach in approaches if approach.test_ids]
    for approach in approaches:
        if not approach.test_ids:
            results.setdefault(approach.stage, {})[approach.name] = {"not_yet": approach.not_yet or NO_TEST} | approach.notes
    compared, gaps = compare(measured)
    for approach, gap in zip(measured, gaps, strict=True):
        logits, labels = calibration_images(approach, trained)
        temperature = calibration.fit_temperature(logits, labels)
        audited = {} if leaked is None else {"leaked": len(leaked), **without_leaked(approach, leaked)}
        results.setdefault(approach.stage, {})[approach.name] = measures(approach, temperature, len(labels), settings) | gap | audited
        matrix = confusion.matrix(approach.test_labels, approach.test_answers, len(approach.classes))
        worst = confusion.cells(matrix, approach.classes, settings.worst)
        write_plot(folder / "confusion" / f"{approach.stage}-{approach.name}.csv", worst)
        drawn = {
            "per_class": per_class(approach),
            "reliability": reliability(approach, temperature, settings.bins),
            "confused": confusion.most_confused(matrix, approach.classes, settings.worst),
        }
        for name, part in drawn.items():
            tables[name].append(part.assign(approach=approach.title))
    for name, parts in tables.items():
        write_plot(folder / f"{name}.csv", pd.concat([part for part in parts if len(part)] or parts))
    compared.to_csv(folder / "pairs.csv", index=False, float_format="%.6g")  # 6 decimals would round a small p to 0
    curves = [{"approach": approach.title, **point} for approach in approaches for point in approach.curve]
    write_plot(folder / "curves.csv", pd.DataFrame(curves, columns=["epoch", "approach", "split", "accuracy", "loss"]))
    write_metrics(Path("metrics") / f"{dataset}.json", results)


if __name__ == "__main__":
    run(main)
