"""Measure every approach on a data set: python -m stages.score DATASET.

Reads the predictions of every approach that the axes name, and the index; writes metrics/DATASET.json, nested stage, name, measure, and
plots/score/DATASET: confusion matrices, per-class accuracy on test, and the curves of every network that was trained.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from stages.lib import approaches, index, metrics, predictions
from stages.lib.errors import InputError
from stages.lib.params import section
from stages.lib.run import run
from stages.lib.tables import Axes


def on_test(made: predictions.Predictions) -> tuple[npt.NDArray[np.integer[Any]], npt.NDArray[np.float32]]:
    """Return label (n,) and probabilities float32 (n, classes) of the test images."""
    test = (made.rows["split"] == "test").to_numpy()
    return made.rows["label"].to_numpy()[test], made.probabilities[test]


def measures(made: predictions.Predictions) -> dict[str, Any]:
    """Return the measures on test, fractions of [0, 1], and beside them what was chosen and noted.

    top5 is left out where there are at most 5 classes. Only numbers, strings and booleans: `dvc metrics` drops anything else.
    """
    labels, probabilities = on_test(made)
    found = metrics.accuracies(probabilities.argmax(axis=1), labels)
    if len(made.classes) > 5:
        found["top5"] = metrics.top_k(probabilities, labels, 5)
    return {**found, "n": len(labels), "failed": made.failed, "chosen": made.chosen, **made.notes}


def rounded(value: Any) -> Any:
    """Return ``value`` with every float in it rounded to 6 digits, more than any test set resolves."""
    if isinstance(value, dict):
        return {key: rounded(item) for key, item in value.items()}
    return round(value, 6) if isinstance(value, float) else value


def outcomes(made: predictions.Predictions) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return what became of the test images: columns actual and predicted, a row an image; class_name and accuracy, a row a class."""
    labels, probabilities = on_test(made)
    predicted = probabilities.argmax(axis=1)
    names = np.array(made.classes)
    accuracy = metrics.per_class(predicted, labels)
    by_class = pd.DataFrame({"class_name": names[list(accuracy)], "accuracy": list(accuracy.values())})
    return pd.DataFrame({"actual": names[labels], "predicted": names[predicted]}), by_class


def main(dataset: str) -> None:
    """Write metrics and plots of one data set."""
    axes = section(Axes, "axes")
    digest = index.read(dataset).digest
    folder = Path("plots/score") / dataset
    (folder / "confusion").mkdir(parents=True, exist_ok=True)
    results: dict[str, dict[str, Any]] = {}
    per_class, curves = [], []
    for made in approaches.read(dataset, axes, digest):
        stage, name = made.stage, made.name
        results.setdefault(stage, {})[name] = rounded(measures(made))
        by_image, by_class = outcomes(made)
        by_image.to_csv(folder / "confusion" / f"{stage}-{name}.csv", index=False)
        per_class.append(by_class.assign(approach=f"{stage} {name}"))
        curves += [{"approach": f"{stage} {name}", **point} for point in made.curve]
    if not results:
        raise InputError("params.yaml: axes.encoders, zero_shot, finetune and scratch are empty: no approach to score")
    pd.concat(per_class).round(6).to_csv(folder / "per_class.csv", index=False)
    pd.DataFrame(curves, columns=["epoch", "approach", "split", "accuracy", "loss"]).round(6).to_csv(folder / "curves.csv", index=False)
    path = Path("metrics") / f"{dataset}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    run(main)
