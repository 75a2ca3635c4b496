"""Fit a linear probe on cached embeddings: `dvc repro -s linear_probe@ENCODER-DATASET`.

Reads data/embeddings/ENCODER-DATASET; writes data/predictions/DATASET/linear_probe-ENCODER.parquet and the sweep's curves,
plots/linear_probe/ENCODER-DATASET.csv. The probe is scikit-learn's multinomial logistic regression (Radford et al. 2021, appendix A.3).
"""

from pathlib import Path
from typing import Annotated

import numpy as np
import numpy.typing as npt
import pandas as pd
from pydantic import Field
from tqdm import tqdm

from clipstore.core.errors import InputError
from clipstore.core.outputs import write_plot
from clipstore.core.params import Section, section
from clipstore.core.stage import run
from clipstore.measure import metrics
from clipstore.measure.selection import best
from clipstore.probes.logistic import fit, fit_path, inputs
from clipstore.store import embeddings, predictions

Matrix = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]
Positions = npt.NDArray[np.intp]


class LinearProbe(Section):
    """The values that are tried, of which val selects one."""

    C: tuple[Annotated[float, Field(gt=0)], ...] = Field(min_length=1, description="Inverse strengths of the L2 penalty to try.")
    max_iter: int = Field(ge=1, description="Largest number of L-BFGS iterations.")


def sweep(kinds: dict[str, Matrix], labels: Labels, train: Positions, val: Positions, settings: LinearProbe, classes: int) -> pd.DataFrame:
    """Return what probes fitted on train reach on val: columns C, vectors, mean_per_class, converged.

    Args:
        kinds: float32 (n, width) each.
        labels: int64 (n,).
        train: positions of the training rows.
        val: positions of the validation rows.
        settings: the values of C and the limit of iterations.
        classes: how many there are.
    """
    lines = []
    for kind, vectors in kinds.items():
        probes = tqdm(
            fit_path(vectors[train], labels[train], settings.C, settings.max_iter, classes),
            f"linear_probe {kind}",
            len(settings.C),
            unit="fit",
            mininterval=1,
        )
        for probe in probes:
            measure = metrics.mean_per_class(probe.probabilities(vectors[val]).argmax(axis=1), labels[val])
            lines.append({"C": probe.C, "vectors": kind, "mean_per_class": measure, "converged": probe.converged})
    return pd.DataFrame(lines)


def at_edge(curve: pd.DataFrame, C: float) -> bool:
    """Return whether the best C is the grid's first or last and better than its neighbour: on a plateau a wider grid would not help.

    Args:
        curve: columns C (ascending) and mean_per_class.
        C: the best.
    """
    measures = curve["mean_per_class"].tolist()
    position = curve["C"].tolist().index(C)
    beside = {0: 1, len(measures) - 1: len(measures) - 2}
    return len(measures) > 1 and position in beside and measures[position] > measures[beside[position]]


def main(encoder: str, dataset: str) -> None:
    """Write the predictions of one cell and the sweep."""
    settings = section(LinearProbe, "linear_probe")
    images = embeddings.read_images(encoder, dataset, features=True)
    labels, classes = images.labels, len(images.provenance["classes"])
    train, val, test, final = images.of("train"), images.of("val"), images.of("test"), images.of("train", "val")
    known = len(np.unique(labels[train]))
    if known < 2:
        raise InputError(f"{dataset}: a linear probe needs usable training images of at least 2 classes, found {known}")

    kinds = inputs(images)
    table = sweep(kinds, labels, train, val, settings, classes)
    selected = table.iloc[best(table["mean_per_class"])]  # of equal ones the first kind of vectors, then the strongest penalty
    kind, C = selected["vectors"], float(selected["C"])
    edge = at_edge(table[table["vectors"] == kind], C)
    if edge:
        print(f"warning: linear_probe {encoder}-{dataset}: the best C on val, {C:g}, is at the edge of linear_probe.C: widen it")

    vectors = kinds[kind]
    probe = fit(vectors[train], labels[train], C, settings.max_iter, classes)
    refitted = fit(vectors[final], labels[final], C, settings.max_iter, classes)
    notes = {
        "train_only": metrics.accuracies(probe.probabilities(vectors[test]).argmax(axis=1), labels[test]),
        "val_mean_per_class": float(selected["mean_per_class"]),
        "converged": refitted.converged,
        "sweep_not_converged": int((~table["converged"]).sum()),
        "grid_edge": edge,
    }
    probabilities = {"val": probe.probabilities(vectors[val]), "test": refitted.probabilities(vectors[test])}
    values = {"C": C, "vectors": kind}
    predictions.write(dataset, embeddings.to_predictions(images, "linear_probe", encoder, probabilities, values, notes))

    write_plot(Path("plots/linear_probe") / f"{encoder}-{dataset}.csv", table.rename(columns={"vectors": "series"}), exact=["C"])


if __name__ == "__main__":
    run(main)
