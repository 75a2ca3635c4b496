"""What labels are worth on real photographs: REAL_DATA=FOLDER python -m benchmarks.labelling TARGET.

FOLDER contains pets/ and weights/ (see benchmarks/photographs.py). All labels of the pets are hidden but 0, 1, 2 and 4 for each breed,
chosen by each strategy and at random; a linear probe on MobileNetV2's embeddings learns from them. Prints its accuracy on the test images;
then how often the interval of the accuracy on 50 images holds the accuracy on all others, for images drawn at random and for the
images that the probe is least sure of. TARGET is a copy of the project with the embeddings, created if it is missing.
"""

import os
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.special import softmax
from threadpoolctl import threadpool_limits

from clipstore.core.errors import InputError
from clipstore.labelling.simulation import Pool
from clipstore.labelling.strategies import Strategy, by_margin, margins
from clipstore.measure import intervals, metrics
from clipstore.store import embeddings
from tests import photographs

CELL = ("mobilenetv2", "pets")
STRATEGIES: tuple[Strategy, ...] = ("random", "auto", "typiclust", "probcover", "maxherding", "margin")
LABELS = (1, 2, 4)  # for each breed
SEEDS, DRAWS = 3, 10  # of a strategy, at random
SAMPLE, REPEATS = 50, 100
C, MAX_ITER, CANDIDATES = 1000.0, 1000, 5000


def curve(pool: Pool, test: embeddings.Matrix, labels: npt.NDArray[np.int64]) -> pd.DataFrame:
    """Return the accuracies on test: columns strategy, labels, classes (that a label shows), top1, mean_per_class."""
    lines = []
    for strategy in STRATEGIES:
        for seed in range(DRAWS if strategy == "random" else SEEDS):
            budgets = [number * pool.classes for number in LABELS]
            for number, revealed in zip(LABELS, pool.reveal(strategy, budgets, seed), strict=True):
                answers = pool.scores(revealed, test).argmax(axis=1)
                seen = len(np.unique(pool.labels[revealed]))
                lines.append({"strategy": strategy, "labels": number, "classes": seen} | metrics.accuracies(answers, labels))
    return pd.DataFrame(lines)


def held(right: npt.NDArray[np.bool_], sample: npt.NDArray[np.intp]) -> tuple[bool, float]:
    """Return whether the interval of the sample's accuracy holds that of all other images, and its width.

    Args:
        right: whether each image was classified rightly, (n,).
        sample: positions of the images that were labelled.
    """
    low, high = intervals.exact(right[sample].sum(), len(sample))
    return bool(low <= np.delete(right, sample).mean() <= high), high - low


def main(arguments: list[str]) -> None:
    """Print both tables."""
    if "REAL_DATA" not in os.environ:
        raise InputError("REAL_DATA is not set: expected a folder with pets/ and weights/")
    if len(arguments) != 1:
        raise InputError("python -m benchmarks.labelling TARGET: expected one folder, which is created if it is missing")
    target = Path(arguments[0])
    if not target.exists():
        copy = photographs.workspace(target, target / "data/cache", Path(os.environ["REAL_DATA"]).resolve(), ["pets"], {})
        copy.dvc("repro", f"embed_images@{'-'.join(CELL)}")
    os.chdir(target)
    images = embeddings.read_images(*CELL)
    vectors, labels, classes = np.asarray(images.embedding), images.labels, len(images.provenance["classes"])
    pooled, test = images.of("train", "val"), images.of("test")
    pool = Pool(vectors[pooled], labels[pooled], classes, None, C, MAX_ITER, CANDIDATES)
    with threadpool_limits(1):
        print(f"{len(pooled)} images without a label, {len(test)} test images, {classes} breeds; with 0 labels there is no answer")
        table = curve(pool, vectors[test], labels[test])
        groups = table.groupby(["strategy", "labels"], sort=False)
        means = groups.agg(mean_per_class=("mean_per_class", "mean"), std=("mean_per_class", "std"), classes=("classes", "mean"))
        print((means * [100, 100, 1]).round(1).unstack().to_string())

        revealed = pool.reveal("auto", [2 * classes], 0)[0]
        rest = np.setdiff1d(np.arange(len(labels)), pooled[revealed])
        scores = pool.scores(revealed, vectors[rest])
    right = scores.argmax(axis=1) == labels[rest]
    rng = np.random.default_rng(0)
    cases = [held(right, rng.choice(len(rest), SAMPLE, replace=False)) for _ in range(REPEATS)]
    print(f"2 labels for each breed: {right.mean():.1%} of the other {len(rest)} images are right")
    hits, width = sum(case for case, _ in cases), np.mean([width for _, width in cases])
    print(f"{SAMPLE} at random: {hits} of {REPEATS} intervals hold the accuracy of all others, mean width {width:.1%}")
    unsure = by_margin(margins(softmax(scores, axis=1)), np.arange(len(rest)), SAMPLE)
    low, high = intervals.exact(right[unsure].sum(), SAMPLE)
    print(f"the {SAMPLE} with the smallest margin: {right[unsure].mean():.1%} right, interval {low:.1%} to {high:.1%}")


if __name__ == "__main__":
    main(sys.argv[1:])
