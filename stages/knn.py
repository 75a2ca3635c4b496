"""Classify images by their nearest labelled images: `dvc repro -s knn@ENCODER-DATASET`.

Reads data/embeddings/ENCODER-DATASET; writes data/predictions/DATASET/knn-ENCODER.parquet and plots/knn/ENCODER-DATASET.csv, the accuracies
for every number of neighbours and kind of vote. The search is exact and uses the cosine.
"""

from pathlib import Path
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from pydantic import Field

from clipstore.core.errors import InputError
from clipstore.core.outputs import write_plot
from clipstore.core.params import Section, section
from clipstore.core.rows import UNLABELLED
from clipstore.core.stage import run
from clipstore.measure import metrics
from clipstore.measure.selection import best, nll, tied, warn_if_saturated
from clipstore.probes.knn import KnnClassifier, Vote, Voters, log_shares, vote_shares, voters
from clipstore.probes.neighbours import NearestNeighbours
from clipstore.store import embeddings, predictions

Labels = npt.NDArray[np.int64]

COLUMNS = ["k", "votes", "top1", "mean_per_class", "nll", "split", "series"]  # of the plot


class Knn(Section):
    """The values that are tried; one is selected on val."""

    few_labels_k: int = Field(default=1, ge=1, description="k where there are too few labels for a val split; the vote is uniform.")
    neighbors: tuple[Annotated[int, Field(ge=1)], ...] = Field(min_length=1, description="Numbers of neighbours (k) to try.")
    votes: tuple[Vote, ...] = Field(
        min_length=1, description="Kinds of vote to try: one vote per neighbour (uniform), or weights by a softmax of the cosines."
    )
    temperature: float = Field(gt=0, description="Temperature of the softmax over the neighbours' cosines.")


def sweep(nearest: Voters, labels: Labels, settings: Knn, classes: int) -> pd.DataFrame:
    """Return the measures for every number of neighbours and kind of vote: columns k, votes, top1, mean_per_class, nll."""
    lines = []
    for k in settings.neighbors if len(labels) else ():
        for vote in settings.votes:
            shares = vote_shares(nearest, k, vote, settings.temperature, classes)
            measures = metrics.accuracies(shares.argmax(axis=1), labels) | {"nll": nll(np.log(shares), labels)}
            lines.append({"k": k, "votes": vote} | measures)
    return pd.DataFrame(lines, columns=["k", "votes", "top1", "mean_per_class", "nll"])


def main(encoder: str, dataset: str) -> None:
    """Write the predictions and the sweep of one cell."""
    settings = section(Knn, "knn")
    images = embeddings.read_images(encoder, dataset)
    labels, classes = images.labels, len(images.provenance["classes"])
    train, val, test, final = images.of("train"), images.of("val"), images.of("test"), images.of("train", "val")
    target = Path("plots/knn") / f"{encoder}-{dataset}.csv"
    reason = predictions.too_few_labels(labels[train])
    if reason:
        predictions.write(dataset, embeddings.not_yet(images, "knn", encoder, reason))
        write_plot(target, pd.DataFrame(columns=COLUMNS))
        print(f"knn {encoder}-{dataset}: not yet: {reason}")
        return
    fixed = min(settings.few_labels_k, len(train))
    usable = [k for k in settings.neighbors if k <= len(train)] if len(val) else [fixed]
    if not usable:
        problem = f"expected a value of at most {len(train)}, the number of training images in {dataset}"
        raise InputError(f"params.yaml: knn.neighbors = {list(settings.neighbors)}: {problem}")
    if len(val) and len(usable) < len(settings.neighbors):
        print(f"warning: knn {encoder}-{dataset}: only {len(train)} training images; larger values of knn.neighbors are skipped")
    settings = settings.model_copy(update={"neighbors": tuple(usable)})
    k, most = fixed, max(usable)
    vote: Vote = "uniform"

    by_train, by_final = (NearestNeighbours(images.embedding[known]) for known in (train, final))
    on_val = voters(by_train, labels[train], images.embedding[val], most)
    on_test = voters(by_final, labels[final], images.embedding[test], most)
    tables = {"val": sweep(on_val, labels[val], settings, classes), "test": sweep(on_test, labels[test], settings, classes)}
    notes: dict[str, Any] = {}
    if len(val):
        selected = tables["val"].iloc[best(tables["val"]["mean_per_class"], tables["val"]["nll"])]
        warn_if_saturated(f"knn {encoder}-{dataset}", "knn.neighbors and votes", tables["val"]["mean_per_class"])
        k, vote = int(selected["k"]), selected["votes"]
        notes = {
            "val_mean_per_class": float(selected["mean_per_class"]),
            "val_nll": float(selected["nll"]),
            "tied_on_val": tied(tables["val"]["mean_per_class"]),
        }

    classifier = KnnClassifier(by_final.vectors, labels[final], most, k, vote, settings.temperature, classes)
    if len(test):
        on_test_by_train = voters(by_train, labels[train], images.embedding[test], most)
        best_on_test = tables["test"].iloc[best(tables["test"]["mean_per_class"], tables["test"]["nll"])]
        notes |= {
            "train_only": metrics.accuracies(classifier.votes(on_test_by_train).argmax(axis=1), labels[test]),
            "best_on_test": {
                "mean_per_class": float(best_on_test["mean_per_class"]),
                "k": int(best_on_test["k"]),
                "votes": best_on_test["votes"],
                "trained_on": "train + val",
            },
        }
    nearest = {"val": on_val, "test": on_test, UNLABELLED: voters(by_final, labels[final], images.embedding[images.of(UNLABELLED)], most)}
    logits = {split: log_shares(classifier.votes(found)) for split, found in nearest.items()}
    predictions.write(dataset, embeddings.to_predictions(images, "knn", encoder, logits, {"k": k, "votes": vote}, notes))

    table = pd.concat([table.assign(split=split, series=split + ", " + table["votes"]) for split, table in tables.items()])
    write_plot(target, table[COLUMNS])


if __name__ == "__main__":
    run(main)
