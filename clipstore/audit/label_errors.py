"""Find likely label errors by confident learning, on probabilities from probes trained without the image and its duplicates."""

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
    """How the probes that judge the labels are trained."""

    folds: int = Field(ge=2, description="Number of cross-validation folds; the probes trained on them judge the labels.")
    max_iter: int = Field(ge=1, description="Largest number of Newton steps.")
    seed: int = Field(ge=0, description="Seed of the folds.")


def out_of_sample(
    vectors: Matrix, labels: Labels, groups: npt.NDArray[np.integer[Any]], settings: Folds, C: float, classes: int
) -> tuple[Matrix, Mask]:
    """Return float32 (n, classes) probabilities from probes trained without the image and its group, and which labels were judged, (n,).

    A label is not judged if the probe's training set has no image of its class, for example a class with one image or one group.

    Args:
        vectors: float32 (n, d).
        labels: int64 (n,).
        groups: (n,), equal for images that must be in the same fold.
        settings: number of folds, their seed, and the iteration limit.
        C: inverse of the regularisation strength.
        classes: number of classes.
    """
    probabilities, judged = np.zeros((len(labels), classes), np.float32), np.zeros(len(labels), bool)
    largest = pd.Series(groups).groupby(labels).nunique().max()
    folds = min(settings.folds, int(largest))
    if folds < 2:
        return probabilities, judged
    splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=settings.seed)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The least populated class", UserWarning)  # such small classes are counted as not judged
        for train, held_out in splitter.split(vectors, labels, groups):
            known = np.isin(labels[held_out], labels[train])
            if len(np.unique(labels[train])) < 2:
                continue
            probe = logistic.fit(vectors[train], labels[train], C, settings.max_iter, classes)
            probabilities[held_out] = probe.probabilities(vectors[held_out])
            judged[held_out] = known
    return probabilities, judged


def find(labels: Labels, probabilities: Matrix, judged: Mask) -> pd.DataFrame:
    """Return the likely label errors by confident learning: columns position, suggested (label), score; most likely errors first.

    A label is a likely error if the probability of another class is at least as high as that class's own images have on average
    (Northcutt, Jiang and Chuang 2021, Journal of Artificial Intelligence Research; cleanlab). ``score`` is the given label's probability.

    Args:
        labels: int64 (n,).
        probabilities: float32 (n, classes), out of sample.
        judged: (n,), whether to examine each label.
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
