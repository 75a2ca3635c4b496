"""The methods of few_shot: each yields the classifiers that it fits to few labelled images, and val selects the best.

All methods use unit embeddings; those with text embeddings start from the zero-shot classifier.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Annotated, Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
from pydantic import Field

from clipstore.core.params import Section
from clipstore.measure import metrics
from clipstore.measure.selection import best, nll, saturated
from clipstore.probes import adapters, logistic
from clipstore.probes.zero_shot import ZeroShotClassifier

Matrix = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]
Positive = Annotated[tuple[Annotated[float, Field(gt=0)], ...], Field(min_length=1)]


class Grid(Section):
    """The hyperparameter values that the methods try."""

    C: Annotated[tuple[Annotated[float, Field(gt=0, le=logistic.LARGEST_C)], ...], Field(min_length=1)] = Field(
        description="Inverse strengths of the probes' penalty to try."
    )
    alpha: tuple[Annotated[float, Field(ge=0)], ...] = Field(
        min_length=1, description="Weights of Tip-Adapter's cache to try; 0 is zero-shot."
    )
    beta: Positive = Field(description="Sharpness values of Tip-Adapter's cache to try.")
    max_iter: int = Field(ge=1, description="Largest number of Newton steps.")


class Task(NamedTuple):
    """The input of a method: unit vectors of train and val, float32 (n, d), training labels, int64 (n,), and the zero-shot classifier.

    ``texts``, the zero-shot classifier, is the logit scale times the unit class embeddings, float32 (classes, d), or (0, d) for an encoder
    without a text tower.
    """

    train: Matrix
    labels: Labels
    val: Matrix
    classes: int
    texts: Matrix


class Classifier(Protocol):
    """A fitted classifier."""

    def scores(self, vectors: Matrix) -> adapters.Scores:
        """Return logits, float (n, classes), for unit vectors float32 (n, d); the largest gives the predicted class."""


class Candidate(NamedTuple):
    """A classifier, the grid values it was fitted with, and its scores on val, float (n, classes)."""

    classifier: Classifier
    values: dict[str, Any]
    val: adapters.Scores


class Choice(NamedTuple):
    """The selected classifier, the grid values it was fitted with, its mean_per_class on val, and whether the grid is `saturated`."""

    classifier: Classifier
    values: dict[str, Any]
    val_mean_per_class: float
    saturated: bool


def zero_shot(task: Task, grid: Grid) -> Iterator[Candidate]:
    """Yield the zero-shot classifier, the baseline."""
    classifier = ZeroShotClassifier(task.texts, logit_scale=1.0)  # the texts already include the scale
    yield Candidate(classifier, {}, classifier.scores(task.val))


def nearest_mean(task: Task, grid: Grid) -> Iterator[Candidate]:
    """Yield the nearest-mean classifier, which has no hyperparameters."""
    classifier = adapters.nearest_mean(task.train, task.labels, task.classes)
    yield Candidate(classifier, {}, classifier.scores(task.val))


def linear_probe(task: Task, grid: Grid) -> Iterator[Candidate]:
    """Yield logistic regressions, the strongest penalty first."""
    for probe in logistic.fit_path(task.train, task.labels, grid.C, grid.max_iter, task.classes):
        yield Candidate(probe, {"C": probe.C, "converged": probe.converged}, probe.scores(task.val))


def text_probe(task: Task, grid: Grid) -> Iterator[Candidate]:
    """Yield logistic regressions with a penalty on the distance from the zero-shot classifier, the strongest penalty first."""
    for probe in adapters.fit_text_probes(task.train, task.labels, task.texts, grid.C, grid.max_iter):
        yield Candidate(probe, {"C": probe.C, "converged": probe.converged}, probe.scores(task.val))


def tip_adapter(task: Task, grid: Grid) -> Iterator[Candidate]:
    """Yield zero-shot logits plus alpha times the cache, the smallest alpha first.

    The terms of the scores on val are computed only once for the whole grid.
    """
    betas = sorted(grid.beta)
    zero = task.val @ task.texts.T
    caches = [adapters.cache_logits(task.val @ task.train.T, task.labels, beta, task.classes) for beta in betas]
    for alpha in sorted(grid.alpha):
        for beta, cache in zip(betas, caches, strict=True):
            classifier = adapters.TipAdapter(task.texts, task.train, task.labels, alpha, beta)
            yield Candidate(classifier, {"alpha": alpha, "beta": beta}, zero + alpha * cache)


Method = Callable[[Task, Grid], Iterator[Candidate]]
OF_IMAGES: tuple[Method, ...] = (nearest_mean, linear_probe)
OF_TEXTS: tuple[Method, ...] = (zero_shot, tip_adapter, text_probe)


def choose(candidates: Iterable[Candidate], labels: Labels) -> Choice:
    """Return the candidate with the best mean_per_class on val, given val's labels int64 (n,); see `best`.

    Equal accuracies are common with few val images. If the losses are equal too, the first candidate is closest to zero-shot or has the
    strongest penalty.
    """
    tried = list(candidates)
    accuracies = [metrics.mean_per_class(scores.argmax(axis=1), labels) for _, _, scores in tried]
    position = best(accuracies, [nll(scores, labels) for _, _, scores in tried])
    return Choice(tried[position].classifier, tried[position].values, accuracies[position], saturated(accuracies))
