"""Classify by the nearest labelled images: python -m stages.knn ENCODER DATASET.

Reads data/embeddings/ENCODER-DATASET; writes data/predictions/DATASET/knn-ENCODER.parquet and plots/knn/ENCODER-DATASET.csv, every number
of neighbours with every kind of vote. The search is exact: FAISS IndexFlatIP on unit rows, that is, by cosine.
"""

from pathlib import Path
from typing import Annotated, Literal, NamedTuple

import faiss
import numpy as np
import numpy.typing as npt
import pandas as pd
from pydantic import Field
from scipy.special import softmax

from clipstore.core.errors import InputError
from clipstore.core.params import Section, section
from clipstore.core.stage import run
from clipstore.measure import metrics
from clipstore.store import embeddings, predictions

Matrix = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]
Vote = Literal["uniform", "softmax"]


class Knn(Section):
    """What is tried on val."""

    neighbors: Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(min_length=1)]
    votes: Annotated[tuple[Vote, ...], Field(min_length=1)]
    temperature: float = Field(gt=0)  # of the softmax over the neighbours' cosines


class Neighbours(NamedTuple):
    """The nearest labelled images of n queries, nearest first: cosines float32 (n, k) and labels int64 (n, k)."""

    cosines: Matrix
    labels: Labels


def search(gallery: Matrix, labels: Labels, queries: Matrix, k: int) -> Neighbours:
    """Return the ``k`` nearest rows of the gallery for every query.

    Args:
        gallery: float32 (m, d), unit rows, m >= k: FAISS fills up with -1 otherwise, which numpy takes for the last row.
        labels: int64 (m,).
        queries: float32 (n, d), unit rows, none of them in the gallery.
        k: neighbours.
    """
    assert k <= len(gallery), (k, len(gallery))
    flat = faiss.IndexFlatIP(gallery.shape[1])
    flat.add(np.ascontiguousarray(gallery, np.float32))
    cosines, positions = flat.search(np.ascontiguousarray(queries, np.float32), k)
    return Neighbours(cosines, labels[positions])


def probabilities(found: Neighbours, k: int, vote: Vote, temperature: float, classes: int) -> Matrix:
    """Return the smoothed share of votes of every class, float32 (n, classes), rows that sum to 1.

    Every neighbour has one vote, or the ``k`` votes are shared out by a softmax of cosine / temperature (Wu et al. 2018, section 3.4; as in
    DINOv2's evaluation). Smoothing, (votes + 1 / classes) / (k + 1), keeps a log-loss finite. Of classes with equal votes the one with the
    nearest neighbour wins.

    Args:
        found: at least ``k`` neighbours a query.
        k: neighbours that vote.
        vote: how.
        temperature: of the softmax, > 0.
        classes: in all.
    """
    labels = found.labels[:, :k]
    rows = np.arange(len(labels))[:, None]
    weights = np.ones(labels.shape) if vote == "uniform" else k * softmax(found.cosines[:, :k].astype(float) / temperature, axis=1)
    votes = np.zeros((len(labels), classes))
    np.add.at(votes, (rows, labels), weights)
    shares: Matrix = ((votes + 1 / classes) / (k + 1)).astype(np.float32)
    most = shares.max(axis=1, keepdims=True)
    nearest = (shares == most)[rows, labels].argmax(axis=1)  # of the neighbours whose class has the most votes
    winner = labels[rows[:, 0], nearest]
    shares[rows[:, 0], winner] = np.nextafter(most[:, 0], np.float32(np.inf))  # the least that lets argmax find it
    return shares


def sweep(found: Neighbours, labels: Labels, settings: Knn, classes: int) -> pd.DataFrame:
    """Return top1 and mean_per_class of every number of neighbours and kind of vote; columns k, votes, top1, mean_per_class."""
    lines = []
    for k in settings.neighbors:
        for vote in settings.votes:
            predicted = probabilities(found, k, vote, settings.temperature, classes).argmax(axis=1)
            lines.append({"k": k, "votes": vote} | metrics.accuracies(predicted, labels))
    return pd.DataFrame(lines)


def main(encoder: str, dataset: str) -> None:
    """Write the predictions of one cell and the table of k."""
    settings = section(Knn, "knn")
    images = embeddings.read_images(encoder, dataset)
    classes = len(images.provenance["classes"])
    labels = images.labels
    train, val, test, final = images.of("train"), images.of("val"), images.of("test"), images.of("train", "val")
    usable = [k for k in settings.neighbors if k <= len(train)]
    if not usable:
        raise InputError(f"params.yaml: knn.neighbors = {list(settings.neighbors)}: {dataset} has {len(train)} training image(s)")
    if len(usable) < len(settings.neighbors):
        print(f"warning: knn {encoder}-{dataset}: only {len(train)} training images; larger knn.neighbors are left out")
    settings = settings.model_copy(update={"neighbors": tuple(usable)})

    def neighbours(gallery: npt.NDArray[np.intp], queries: npt.NDArray[np.intp]) -> Neighbours:
        return search(images.embedding[gallery], labels[gallery], images.embedding[queries], max(usable))

    on_val, on_test, on_test_by_train = neighbours(train, val), neighbours(final, test), neighbours(train, test)
    tables = {"val": sweep(on_val, labels[val], settings, classes), "test": sweep(on_test, labels[test], settings, classes)}
    best = tables["val"].iloc[tables["val"]["mean_per_class"].round(9).argmax()]  # of equals, whatever their last bits, the first
    k, vote = int(best["k"]), best["votes"]
    lucky = tables["test"].iloc[tables["test"]["top1"].argmax()]

    def selected(found: Neighbours) -> Matrix:
        return probabilities(found, k, vote, settings.temperature, classes)

    notes = {
        "train_only": metrics.accuracies(selected(on_test_by_train).argmax(axis=1), labels[test]),
        "best_on_test": {"top1": float(lucky["top1"]), "k": int(lucky["k"]), "votes": lucky["votes"]},
        "val_mean_per_class": float(best["mean_per_class"]),
    }
    made = {"val": selected(on_val), "test": selected(on_test)}
    predictions.write(dataset, predictions.of_embeddings("knn", encoder, images, made, {"k": k, "votes": vote}, notes))

    table = pd.concat([table.assign(split=split, series=split + ", " + table["votes"]) for split, table in tables.items()])
    path = Path("plots/knn") / f"{encoder}-{dataset}.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    table.round({"top1": 6, "mean_per_class": 6}).to_csv(path, index=False)


if __name__ == "__main__":
    run(main)
