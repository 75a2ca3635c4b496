"""Classifiers made of few labelled vectors: nearest class mean, Tip-Adapter's cache, a probe that starts from the texts.

Each gives scores, whose largest names the class; they are no probabilities.
"""

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize
from scipy.special import log_softmax

Matrix = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]
Scores = npt.NDArray[np.floating[Any]]

TOLERANCE = 1e-8  # of the gradient of the mean loss, in float64 (docs/decisions/0013)


def nearest_mean(vectors: Matrix, labels: Labels, queries: Matrix, classes: int) -> Scores:
    """Return the scores of the nearest class mean by Euclidean distance, as scikit-learn's NearestCentroid, float (n, classes).

    The score is q m - |m|^2 / 2 for query q and mean m: half the negative squared distance without |q|^2, the same for every class.

    Args:
        vectors: float32 (m, d).
        labels: int64 (m,); a class that has none gets -inf.
        queries: float32 (n, d).
        classes: in all.
    """
    scores = np.full((len(queries), classes), -np.inf)
    for label in np.unique(labels):
        mean = vectors[labels == label].mean(axis=0)
        scores[:, label] = queries @ mean - mean @ mean / 2
    return scores


def cached(affinity: Matrix, labels: Labels, beta: float, classes: int) -> Scores:
    """Return what Tip-Adapter's cache adds to the zero-shot logits, before it is weighted by alpha, float32 (n, classes).

    For each class the sum of exp(-beta (1 - affinity)) over its labelled images (Zhang et al. 2022).

    Args:
        affinity: cosines of n queries and m labelled images, float32 (n, m).
        labels: int64 (m,).
        beta: sharpness, > 0.
        classes: in all.
    """
    added: Scores = np.exp(-beta * (1 - affinity)) @ np.eye(classes, dtype=np.float32)[labels]
    return added


class TextFit(NamedTuple):
    """Weights float (classes, d) of a probe without intercept, its C, and whether L-BFGS converged."""

    weights: Scores
    C: float
    converged: bool

    def scores(self, vectors: Matrix) -> Scores:
        """Return the logits, float (n, classes), of vectors float32 (n, d)."""
        logits: Scores = vectors @ self.weights.T
        return logits


def fits_from_texts(vectors: Matrix, labels: Labels, texts: Matrix, Cs: Iterable[float], max_iter: int) -> Iterator[TextFit]:
    """Yield logistic regressions penalised by the squared distance from the zero-shot classifier, the strongest penalty first.

    Each minimises, over the weights W, C times the summed cross-entropy plus |W - texts|^2 / 2: scikit-learn's objective with the penalty's
    origin moved from 0 to the texts (L2-SP: Li, Grandvalet and Davoine 2018). With C to 0 this is zero-shot, with C to infinity plain
    logistic regression. Without an intercept, which zero-shot has none of. The first fit starts at the texts, each other where the one
    before ended.

    Args:
        vectors: float32 (m, d), unit rows.
        labels: int64 (m,).
        texts: the zero-shot classifier, logit scale times unit class embeddings, float32 (classes, d).
        Cs: inverse strengths of the penalty, > 0.
        max_iter: of L-BFGS; that it did not converge is recorded, not raised.
    """
    x, rows = vectors.astype(float), np.arange(len(vectors))
    start = x @ texts.T.astype(float)

    def loss(flat: npt.NDArray[np.float64], strength: float) -> tuple[float, npt.NDArray[np.float64]]:
        moved = flat.reshape(texts.shape)  # W - texts
        logs = log_softmax(start + x @ moved.T, axis=1)
        errors = np.exp(logs)
        errors[rows, labels] -= 1
        value = -logs[rows, labels].mean() + strength * (flat @ flat) / 2
        return float(value), (errors.T @ x / len(x) + strength * moved).ravel()

    flat = np.zeros(texts.size)
    options = {"maxiter": max_iter, "gtol": TOLERANCE, "ftol": 64 * np.finfo(float).eps}
    for C in sorted(Cs):
        strength = 1 / (C * len(x))  # of the penalty against the mean cross-entropy
        found = minimize(loss, flat, (strength,), jac=True, method="L-BFGS-B", options=options)
        flat = found.x
        yield TextFit(texts + flat.reshape(texts.shape), C, bool(found.success))
