"""Measure what labels chosen by a strategy are worth: `dvc repro -s simulation@ENCODER-DATASET`.

Reads data/embeddings/ENCODER-DATASET of a data set whose training images all have labels. The labels are hidden; a strategy, which sees
only those that it has asked for, chooses images until there are k times as many as classes; a linear probe with a fixed C learns from
them. "random" is the baseline; with 0 labels, zero-shot answers. Writes data/simulation/ENCODER-DATASET.parquet, one row for each strategy,
seed and number of labels, and plots/simulation/ENCODER-DATASET.csv, their means.
"""

import json
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from clipstore.core.outputs import write_plot
from clipstore.core.params import Names, Section, section
from clipstore.core.rows import UNLABELLED
from clipstore.core.stage import run
from clipstore.labelling.simulation import Pool
from clipstore.labelling.strategies import Strategy
from clipstore.measure import metrics
from clipstore.probes import ensemble
from clipstore.probes.logistic import LARGEST_C
from clipstore.probes.zero_shot import ZeroShotClassifier
from clipstore.store import embeddings

LEAST = 3  # labels of each class
RUNS = pa.schema(
    [
        ("labels", pa.int64()),
        ("strategy", pa.string()),
        ("seed", pa.int64()),
        ("images", pa.int64()),
        ("classes", pa.int64()),
        ("top1", pa.float64()),
        ("mean_per_class", pa.float64()),
    ]
)
MEANS = ["labels", "strategy", "mean_per_class", "std", "seeds"]


class Simulation(Section):
    """Which strategies are compared, with how many labels, and the probe that learns from them."""

    labels: tuple[Annotated[int, Field(ge=0)], ...] = Field(
        min_length=1, description="Labels for each class, on average: so many times the number of classes. 0 is zero-shot."
    )
    strategies: tuple[Strategy, ...] = Field(description="Strategies to compare with random; see label_next.strategy.")
    seeds: int = Field(ge=1, description="Number of seeds of each strategy.")
    draws: int = Field(ge=2, description="Number of random draws.")
    candidates: int = Field(ge=1, description="Largest number of images that probcover and maxherding consider, drawn with the seed.")
    C: float = Field(gt=0, le=LARGEST_C, description="Inverse strength of the probe's penalty.")
    max_iter: int = Field(ge=1, description="Largest number of Newton steps.")


def unfit(rows: pd.DataFrame, classes: int) -> str:
    """Return why a data set cannot be used, or "": its training labels are too few, or there is nothing to measure on.

    Args:
        rows: split and label of the usable images.
        classes: number of classes.
    """
    counts = np.bincount(rows["label"][rows["split"] == "train"], minlength=classes)
    if unlabelled := int((rows["split"] == UNLABELLED).sum()):
        return f"{unlabelled} images have no label"
    if classes < 2:
        return f"{classes} class, expected at least 2"
    if scarce := int((counts < LEAST).sum()):
        return f"{scarce} of {classes} classes have fewer than {LEAST} labels in train"
    return "" if (rows["split"] == "test").any() else "no test images"


def measurements(pool: Pool, test: embeddings.Matrix, labels: Any, settings: Simulation, cell: str) -> list[dict[str, Any]]:
    """Return one line per strategy, seed and number of labels, and one for zero-shot; see RUNS.

    Args:
        pool: the training images.
        test: vectors of the test images, float32 (n, d), unit rows.
        labels: of the test images, int64 (n,).
        settings: what to compare.
        cell: shown with the progress.
    """
    lines = []
    if 0 in settings.labels and pool.zero_shot is not None:
        answers = pool.zero_shot.scores(test).argmax(axis=1)
        lines.append({"labels": 0, "strategy": "zero_shot", "seed": 0, "images": 0, "classes": 0} | metrics.accuracies(answers, labels))
    numbers = sorted({number for number in settings.labels if 0 < number * pool.classes <= len(pool.labels)})
    runs: list[tuple[Strategy, int]] = [("random", seed) for seed in range(settings.draws)]
    runs += [(name, seed) for name in dict.fromkeys(settings.strategies) if name != "random" for seed in range(settings.seeds)]
    for strategy, seed in tqdm(runs if numbers else [], f"simulation {cell}", unit="run", mininterval=1):
        for number, revealed in zip(numbers, pool.reveal(strategy, [number * pool.classes for number in numbers], seed), strict=True):
            answers = pool.scores(revealed, test).argmax(axis=1)
            line: dict[str, Any] = {"labels": number, "strategy": strategy, "seed": seed, "images": len(revealed)}
            lines.append(line | {"classes": len(np.unique(pool.labels[revealed]))} | metrics.accuracies(answers, labels))
    return lines


def means(lines: list[dict[str, Any]]) -> pd.DataFrame:
    """Return the mean and standard deviation (n - 1) of mean_per_class on test over the seeds, and their number; see MEANS."""
    table = pd.DataFrame(lines, columns=RUNS.names)
    groups = table.groupby(["labels", "strategy"], sort=False)["mean_per_class"]
    return groups.agg(mean_per_class="mean", std="std", seeds="count").reset_index()[MEANS]


def main(encoder: str, dataset: str) -> None:
    """Write the runs and their means of one cell; without rows, if the data set cannot be used."""
    settings = section(Simulation, "simulation")
    images = embeddings.read_images(encoder, dataset)
    cell, classes, lines = f"{encoder}-{dataset}", len(images.provenance["classes"]), []
    reason = unfit(images.rows, classes)
    if reason:
        print(f"simulation {cell}: left out: {reason}")
    else:
        zero_shot = None
        if encoder in section(Names, "axes.zero_shot"):
            texts, unit, contract = embeddings.read_texts(encoder, dataset)
            zero_shot = ZeroShotClassifier(ensemble.class_embeddings(unit, texts["label"].to_numpy(np.int64)), contract["logit_scale"])
        vectors, train, test = np.asarray(images.embedding), images.of("train"), images.of("test")
        pool = Pool(vectors[train], images.labels[train], classes, zero_shot, settings.C, settings.max_iter, settings.candidates)
        with threadpool_limits(1):
            lines = measurements(pool, vectors[test], images.labels[test], settings, cell)
        skipped = [number for number in settings.labels if number * classes > len(train)]
        if skipped:
            print(f"simulation {cell}: {len(skipped)} of simulation.labels skipped: train has {len(train)} images of {classes} classes")
    path = Path("data/simulation") / f"{cell}.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    facts = json.dumps({"not_yet": reason, "index": images.provenance["index"], "contract": images.provenance["contract"]})
    pq.write_table(pa.Table.from_pylist(lines, RUNS).replace_schema_metadata({"simulation": facts}), path)
    write_plot(Path("plots/simulation") / f"{cell}.csv", means(lines))


if __name__ == "__main__":
    run(main)
