"""Classifiers fitted on few labelled vectors: nearest class mean, Tip-Adapter, a probe that starts from the texts.

The largest of a classifier's scores names the class; the scores are not probabilities.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize
from scipy.special import log_softmax

Matrix = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]
Scores = npt.NDArray[np.floating[Any]]

TOLERANCE = 1e-8  # of the gradient of the mean loss, in float64 (docs/decisions/0013)


@dataclass(frozen=True, eq=False)
class NearestMean:
    """The means of the classes that have labelled images.

    Attributes:
        means: float32 (seen, d).
        labels: of the means, int64 (seen,).
        classes: how many there are, with those that have no labelled image.
    """

    means: Matrix
    labels: Labels
    classes: int

    def scores(self, vectors: Matrix) -> Scores:
        """Return scores by Euclidean distance, as scikit-learn's NearestCentroid, float64 (n, classes), of vectors float32 (n, d).

        The score is v m - |m|^2 / 2 for vector v and mean m: half the negative squared distance without |v|^2, which is the same for every
        class. A class without labelled images gets -inf.
        """
        scores = np.full((len(vectors), self.classes), -np.inf)
        for label, mean in zip(self.labels, self.means, strict=True):
            scores[:, label] = vectors @ mean - mean @ mean / 2
        return scores


def nearest_mean(vectors: Matrix, labels: Labels, classes: int) -> NearestMean:
    """Return the classifier of labelled vectors float32 (m, d) with labels int64 (m,)."""
    seen = np.unique(labels)
    return NearestMean(np.stack([vectors[labels == label].mean(axis=0) for label in seen]), seen, classes)


def cache_logits(affinity: Matrix, labels: Labels, beta: float, classes: int) -> Scores:
    """Return what Tip-Adapter's cache adds to the zero-shot logits, before it is multiplied by alpha, float32 (n, classes).

    For each class this is the sum of exp(-beta (1 - affinity)) over its labelled images (Zhang et al. 2022).

    Args:
        affinity: cosines of n vectors and m labelled images, float32 (n, m).
        labels: int64 (m,).
        beta: sharpness, > 0.
        classes: how many there are.
    """
    logits: Scores = np.exp(-beta * (1 - affinity)) @ np.eye(classes, dtype=np.float32)[labels]
    return logits


@dataclass(frozen=True, eq=False)
class TipAdapter:
    """Training-free Tip-Adapter: zero-shot logits plus ``alpha`` times those of a cache of labelled images.

    Attributes:
        texts: the zero-shot classifier, logit scale times unit class embeddings, float32 (classes, d).
        images: the cache, float32 (m, d), unit rows.
        labels: of the cache, int64 (m,).
        alpha: weight of the cache, >= 0.
        beta: see `cache_logits`.
    """

    texts: Matrix
    images: Matrix
    labels: Labels
    alpha: float
    beta: float

    def scores(self, vectors: Matrix) -> Scores:
        """Return the logits, float32 (n, classes), of vectors float32 (n, d), unit rows."""
        cache = cache_logits(vectors @ self.images.T, self.labels, self.beta, len(self.texts))
        logits: Scores = vectors @ self.texts.T + self.alpha * cache
        return logits


@dataclass(frozen=True, eq=False)
class TextProbe:
    """Weights float64 (classes, d) of a logistic regression without intercept, its C, and whether L-BFGS converged."""

    weights: npt.NDArray[np.float64]
    C: float
    converged: bool

    def scores(self, vectors: Matrix) -> Scores:
        """Return the logits, float64 (n, classes), of vectors float32 (n, d)."""
        logits: Scores = vectors @ self.weights.T
        return logits


def fit_text_probes(vectors: Matrix, labels: Labels, texts: Matrix, Cs: Iterable[float], max_iter: int) -> Iterator[TextProbe]:
    """Yield logistic regressions penalised by the squared distance from the zero-shot classifier, the strongest penalty first.

    Each minimises, over the weights W, C times the summed cross-entropy plus |W - texts|^2 / 2: scikit-learn's objective with the penalty's
    origin moved from 0 to the texts (L2-SP: Li, Grandvalet and Davoine 2018). As C goes to 0 this becomes zero-shot, as C goes to infinity
    plain logistic regression. There is no intercept, since zero-shot has none. The first fit starts at the texts, each later one where the
    previous one ended.

    Args:
        vectors: float32 (m, d), unit rows.
        labels: int64 (m,).
        texts: the zero-shot classifier, logit scale times unit class embeddings, float32 (classes, d).
        Cs: inverse strengths of the penalty, > 0.
        max_iter: of L-BFGS; a fit that does not converge is recorded, not raised.
    """
    x, rows = vectors.astype(float), np.arange(len(vectors))
    start = x @ texts.T.astype(float)

    def loss(flat: npt.NDArray[np.float64], strength: float) -> tuple[float, npt.NDArray[np.float64]]:
        offset = flat.reshape(texts.shape)  # W - texts
        logs = log_softmax(start + x @ offset.T, axis=1)
        errors = np.exp(logs)
        errors[rows, labels] -= 1
        value = -logs[rows, labels].mean() + strength * (flat @ flat) / 2
        return float(value), (errors.T @ x / len(x) + strength * offset).ravel()

    flat = np.zeros(texts.size)
    options = {"maxiter": max_iter, "gtol": TOLERANCE, "ftol": 64 * np.finfo(float).eps}
    for C in sorted(Cs):
        strength = 1 / (C * len(x))  # of the penalty against the mean cross-entropy
        optimum = minimize(loss, flat, (strength,), jac=True, method="L-BFGS-B", options=options)
        flat = optimum.x
        yield TextProbe(texts + flat.reshape(texts.shape), C, bool(optimum.success))
