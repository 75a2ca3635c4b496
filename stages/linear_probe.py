"""Fit a linear probe to cached embeddings: `dvc repro -s linear_probe@ENCODER-DATASET`.

Reads data/embeddings/ENCODER-DATASET; writes data/predictions/DATASET/linear_probe-ENCODER.parquet and the sweep's curves,
plots/linear_probe/ENCODER-DATASET.csv. The probe is scikit-learn's multinomial logistic regression (Radford et al. 2021, appendix A.3).
Without val images nothing can be selected: C is ``few_labels_C``, and the vectors are normalised embeddings.
"""

from pathlib import Path
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from pydantic import Field
from tqdm import tqdm

from clipstore.core.outputs import write_plot
from clipstore.core.params import Section, section
from clipstore.core.rows import UNLABELLED
from clipstore.core.stage import run
from clipstore.measure import metrics
from clipstore.measure.selection import best, nll, tied, warn_if_saturated
from clipstore.probes.logistic import LARGEST_C, fit, fit_path, inputs
from clipstore.store import embeddings, predictions

Matrix = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]
Positions = npt.NDArray[np.intp]

COLUMNS = ["C", "vectors", "mean_per_class", "nll", "converged"]  # of the sweep


class LinearProbe(Section):
    """The values that are tried; one is selected on val."""

    C: tuple[Annotated[float, Field(gt=0, le=LARGEST_C)], ...] = Field(
        min_length=1, description="Inverse strengths of the L2 penalty to try."
    )
    few_labels_C: float = Field(default=1000.0, gt=0, le=LARGEST_C, description="C where there are too few labels for a val split.")
    max_iter: int = Field(ge=1, description="Largest number of Newton steps.")


def sweep(kinds: dict[str, Matrix], labels: Labels, train: Positions, val: Positions, settings: LinearProbe, classes: int) -> pd.DataFrame:
    """Return the measures on val of probes fitted on train: columns C, vectors, mean_per_class, nll, converged.

    Args:
        kinds: vectors by kind, each float32 (n, width).
        labels: int64 (n,).
        train: positions of the training rows.
        val: positions of the validation rows.
        settings: the values of C and the iteration limit.
        classes: number of classes.
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
            scores = probe.scores(vectors[val])
            measures = {"mean_per_class": metrics.mean_per_class(scores.argmax(axis=1), labels[val]), "nll": nll(scores, labels[val])}
            lines.append({"C": probe.C, "vectors": kind, **measures, "converged": probe.converged})
    return pd.DataFrame(lines, columns=COLUMNS)


def at_edge(curve: pd.DataFrame, C: float) -> bool:
    """Return whether the best C is the first or last of the grid and better than its neighbour, by `best`.

    Args:
        curve: columns C (ascending), mean_per_class and nll.
        C: the best C.
    """
    ends = [curve.iloc[[1, 0]], curve.iloc[[-2, -1]]] if len(curve) > 1 else []  # the neighbour, then the end
    return any(end["C"].iloc[1] == C and best(end["mean_per_class"], end["nll"]) == 1 for end in ends)


def main(encoder: str, dataset: str) -> None:
    """Write the predictions and the sweep of one cell."""
    settings = section(LinearProbe, "linear_probe")
    images = embeddings.read_images(encoder, dataset, features=True)
    labels, classes = images.labels, len(images.provenance["classes"])
    train, val, test, final = images.of("train"), images.of("val"), images.of("test"), images.of("train", "val")
    target = Path("plots/linear_probe") / f"{encoder}-{dataset}.csv"
    reason = predictions.too_few_labels(labels[train])
    if reason:
        predictions.write(dataset, embeddings.not_yet(images, "linear_probe", encoder, reason))
        write_plot(target, pd.DataFrame(columns=COLUMNS).rename(columns={"vectors": "series"}))
        print(f"linear_probe {encoder}-{dataset}: not yet: {reason}")
        return

    kinds = inputs(images)
    notes: dict[str, Any] = {}
    table = sweep(kinds, labels, train, val, settings, classes) if len(val) else pd.DataFrame(columns=COLUMNS)
    kind, C = "embedding_normalised", settings.few_labels_C
    if len(val):
        selected = table.iloc[best(table["mean_per_class"], table["nll"])]
        kind, C = selected["vectors"], float(selected["C"])
        warn_if_saturated(f"linear_probe {encoder}-{dataset}", "linear_probe.C", table["mean_per_class"])
        edge = at_edge(table[table["vectors"] == kind], C)
        if edge:
            print(
                f"warning: linear_probe {encoder}-{dataset}: the best C on val, {C:g}, is at the edge of linear_probe.C: "
                "consider a wider range"
            )
        notes = {
            "val_mean_per_class": float(selected["mean_per_class"]),
            "val_nll": float(selected["nll"]),
            "tied_on_val": tied(table["mean_per_class"]),
            "sweep_not_converged": int((~table["converged"]).sum()),
            "grid_edge": edge,
        }

    vectors = kinds[kind]
    probe = fit(vectors[train], labels[train], C, settings.max_iter, classes)
    refitted = fit(vectors[final], labels[final], C, settings.max_iter, classes)
    notes |= {"converged": refitted.converged}
    if len(test):
        notes |= {"train_only": metrics.accuracies(probe.probabilities(vectors[test]).argmax(axis=1), labels[test])}
    logits = {"val": probe.logits(vectors[val])} | {split: refitted.logits(vectors[images.of(split)]) for split in ("test", UNLABELLED)}
    values = {"C": C, "vectors": kind}
    predictions.write(dataset, embeddings.to_predictions(images, "linear_probe", encoder, logits, values, notes))
    write_plot(target, table.rename(columns={"vectors": "series"}), exact=["C"])


if __name__ == "__main__":
    run(main)
