"""Likely label errors, by confident learning on the probabilities of probes that were trained on neither the image nor a duplicate."""

import warnings
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from pydantic import Field
from sklearn.model_selection import StratifiedGroupKFold

from clipstore.core.params import Section
from clipstore.probes import logistic

Matrix = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]


class Folds(Section):
    """How the probes are trained that judge the labels."""

    folds: int = Field(ge=2, description="Number of cross-validation folds; the probes trained on them judge the labels.")
    max_iter: int = Field(ge=1, description="Largest number of L-BFGS iterations.")
    seed: int = Field(ge=0, description="Seed of the folds.")


def out_of_sample(
    vectors: Matrix, labels: Labels, groups: npt.NDArray[np.integer[Any]], settings: Folds, C: float, classes: int
) -> tuple[Matrix, Mask]:
    """Return probabilities float32 (n, classes) by probes trained without the image and its group, and whether its label was judged, (n,).

    A label is not judged if the probe was trained on no image of its class, as with a class of one image or one group.

    Args:
        vectors: float32 (n, d).
        labels: int64 (n,).
        groups: (n,), the same for images that must be in the same fold.
        settings: number of folds, their seed, and the limit of iterations.
        C: inverse strength of the penalty.
        classes: how many there are.
    """
    probabilities, judged = np.zeros((len(labels), classes), np.float32), np.zeros(len(labels), bool)
    largest = pd.Series(groups).groupby(labels).nunique().max()
    folds = min(settings.folds, int(largest))
    if folds < 2:
        return probabilities, judged
    splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=settings.seed)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The least populated class", UserWarning)  # classes that are too small are counted
        for train, held_out in splitter.split(vectors, labels, groups):
            known = np.isin(labels[held_out], labels[train])
            if len(np.unique(labels[train])) < 2:
                continue
            probe = logistic.fit(vectors[train], labels[train], C, settings.max_iter, classes)
            probabilities[held_out] = probe.probabilities(vectors[held_out])
            judged[held_out] = known
    return probabilities, judged


def find(labels: Labels, probabilities: Matrix, judged: Mask) -> pd.DataFrame:
    """Return the likely label errors by confident learning: columns position, suggested (label), score; the likeliest first.

    A label is a likely error if the image has another class's probability as high as that class's own images have on average (Northcutt,
    Jiang and Chuang 2021, Journal of Artificial Intelligence Research; cleanlab). ``score`` is the probability of the given label.

    Args:
        labels: int64 (n,).
        probabilities: float32 (n, classes), out of sample.
        judged: (n,), the images to look at.
    """
    positions = np.flatnonzero(judged)
    classes, given = np.unique(labels[judged], return_inverse=True)
    images = pd.DataFrame({"position": positions, "suggested": 0, "score": 0.0})
    if len(classes) < 2:
        return images[:0]
    from cleanlab.filter import find_label_issues
    from cleanlab.rank import get_label_quality_scores

    shares = probabilities[np.ix_(positions, classes)].astype(float)
    shares /= shares.sum(axis=1, keepdims=True)
    wrong: Mask = find_label_issues(given, shares, filter_by="confident_learning", n_jobs=1)
    score = get_label_quality_scores(given, shares, method="self_confidence")
    images = images.assign(suggested=classes[shares.argmax(axis=1)], score=score)
    return images.loc[wrong].sort_values(["score", "position"], ignore_index=True)
