"""Classifiers for few labelled vectors: nearest class mean, Tip-Adapter, and a probe that starts from the text embeddings.

The predicted class is the one with the largest score; the softmax of the scores are probabilities.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize
from scipy.special import log_softmax

from clipstore.probes.logistic import tolerance

Matrix = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]
Scores = npt.NDArray[np.floating[Any]]
Weights = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class NearestMean:
    """Nearest-mean classifier: the mean vectors of the classes that have labelled images.

    Attributes:
        means: float32 (seen, d).
        labels: classes of the means, int64 (seen,).
        classes: number of classes, including those without labelled images.
    """

    means: Matrix
    labels: Labels
    classes: int

    def scores(self, vectors: Matrix) -> Scores:
        """Return scores, float64 (n, classes), for vectors float32 (n, d), by Euclidean distance as in scikit-learn's NearestCentroid.

        The score is v m - |m|^2 / 2 for vector v and mean m: minus half the squared distance, without the term |v|^2 that is the same for
        all classes. Classes without labelled images get -inf.
        """
        scores = np.full((len(vectors), self.classes), -np.inf)
        for label, mean in zip(self.labels, self.means, strict=True):
            scores[:, label] = vectors @ mean - mean @ mean / 2
        return scores


def nearest_mean(vectors: Matrix, labels: Labels, classes: int) -> NearestMean:
    """Fit the classifier to labelled vectors float32 (m, d) with labels int64 (m,)."""
    seen = np.unique(labels)
    return NearestMean(np.stack([vectors[labels == label].mean(axis=0) for label in seen]), seen, classes)


def cache_logits(affinity: Matrix, labels: Labels, beta: float, classes: int) -> Scores:
    """Return the logits of Tip-Adapter's cache, float32 (n, classes), which are multiplied by alpha and added to the zero-shot logits.

    The logit of a class is the sum of exp(-beta (1 - affinity)) over its labelled images (Zhang et al. 2022).

    Args:
        affinity: cosines between n vectors and m labelled images, float32 (n, m).
        labels: of the labelled images, int64 (m,).
        beta: sharpness, > 0.
        classes: number of classes.
    """
    logits: Scores = np.exp(-beta * (1 - affinity)) @ np.eye(classes, dtype=np.float32)[labels]
    return logits


@dataclass(frozen=True, eq=False)
class TipAdapter:
    """Training-free Tip-Adapter: zero-shot logits plus ``alpha`` times the logits of a cache of labelled images.

    Attributes:
        texts: the zero-shot classifier, logit scale times unit class embeddings, float32 (classes, d).
        images: the cache, float32 (m, d), unit rows.
        labels: classes of the cache's images, int64 (m,).
        alpha: weight of the cache, >= 0.
        beta: see `cache_logits`.
    """

    texts: Matrix
    images: Matrix
    labels: Labels
    alpha: float
    beta: float

    def scores(self, vectors: Matrix) -> Scores:
        """Return the logits, float32 (n, classes), for vectors float32 (n, d), unit rows."""
        cache = cache_logits(vectors @ self.images.T, self.labels, self.beta, len(self.texts))
        logits: Scores = vectors @ self.texts.T + self.alpha * cache
        return logits


@dataclass(frozen=True, eq=False)
class TextProbe:
    """Logistic regression without intercept: its weights float64 (classes, d), its C, and whether the fit converged."""

    weights: Weights
    C: float
    converged: bool

    def scores(self, vectors: Matrix) -> Scores:
        """Return the logits, float64 (n, classes), for vectors float32 (n, d)."""
        logits: Scores = vectors @ self.weights.T
        return logits


def fit_text_probes(vectors: Matrix, labels: Labels, texts: Matrix, Cs: Iterable[float], max_iter: int) -> Iterator[TextProbe]:
    """Yield logistic regressions with a penalty on the squared distance from the zero-shot classifier, the strongest penalty first.

    Each fit minimises C times the summed cross-entropy plus |W - texts|^2 / 2 over the weights W. This is scikit-learn's objective with the
    penalty centred on the texts instead of 0 (L2-SP: Li, Grandvalet and Davoine 2018). It approaches zero-shot as C goes to 0, and plain
    logistic regression as C goes to infinity. There is no intercept because zero-shot has none. The first fit starts at the texts, each
    later fit at the previous optimum.

    Args:
        vectors: float32 (m, d), unit rows.
        labels: classes of the vectors, int64 (m,).
        texts: the zero-shot classifier, logit scale times unit class embeddings, float32 (classes, d).
        Cs: inverse penalty strengths, > 0.
        max_iter: Newton steps; a fit that does not converge has ``converged`` False and raises nothing.
    """
    x, rows = vectors.astype(float), np.arange(len(vectors))
    start = x @ texts.T.astype(float)

    @lru_cache(maxsize=1)  # the Newton steps multiply the Hessian at one point with many directions
    def logarithms(offset: bytes) -> Weights:
        logs: Weights = log_softmax(start + x @ np.frombuffer(offset).reshape(texts.shape).T, axis=1)
        return logs

    def loss(flat: Weights, strength: float) -> tuple[float, Weights]:  # flat: W - texts
        logs = logarithms(flat.tobytes())
        errors = np.exp(logs)
        errors[rows, labels] -= 1
        value = -logs[rows, labels].mean() + strength * (flat @ flat) / 2
        return float(value), (errors.T @ x / len(x)).ravel() + strength * flat

    def curvature(flat: Weights, direction: Weights, strength: float) -> Weights:  # the Hessian times the direction
        shares = np.exp(logarithms(flat.tobytes()))
        change = shares * (x @ direction.reshape(texts.shape).T)
        change -= shares * change.sum(axis=1, keepdims=True)
        product: Weights = (change.T @ x / len(x)).ravel() + strength * direction
        return product

    flat = np.zeros(texts.size)
    for C in sorted(Cs):
        strength = 1 / (C * len(x))  # of the penalty, relative to the mean cross-entropy
        options = {"maxiter": max_iter, "gtol": tolerance(C, len(x))}
        optimum = minimize(loss, flat, (strength,), "trust-ncg", jac=True, hessp=curvature, options=options)
        flat = optimum.x
        yield TextProbe(texts + flat.reshape(texts.shape), C, bool(optimum.success))
