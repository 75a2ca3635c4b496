"""How to learn from few labelled images: each method yields what it can do with them, val names the best.

All methods work on unit embeddings; those of texts start from the zero-shot classifier.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Annotated, Any, NamedTuple

import numpy as np
import numpy.typing as npt
from pydantic import Field

from clipstore.core.params import Section
from clipstore.measure import metrics
from clipstore.probes import adapters
from clipstore.probes.logistic import fits

Matrix = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]
Positive = Annotated[tuple[Annotated[float, Field(gt=0)], ...], Field(min_length=1)]


class Grid(Section):
    """What the methods try."""

    C: Positive  # inverse strength of the probes' penalty
    alpha: Annotated[tuple[Annotated[float, Field(ge=0)], ...], Field(min_length=1)]  # weight of Tip-Adapter's cache; 0 is zero-shot
    beta: Positive  # its sharpness
    max_iter: int = Field(ge=1)  # of L-BFGS


class Task(NamedTuple):
    """What a method is given: float32 (n, d) unit vectors of each split, the training labels int64 (n,), and the zero-shot classifier.

    The classifier is the logit scale times the unit class embeddings, float32 (classes, d), or (0, d) for an encoder without texts.
    """

    train: Matrix
    labels: Labels
    val: Matrix
    test: Matrix
    classes: int
    texts: Matrix


class Candidate(NamedTuple):
    """A method with certain values: its scores on val, float (n, classes), and a call that gives those on test."""

    values: dict[str, Any]
    val: adapters.Scores
    test: Callable[[], adapters.Scores]


def zero_shot(task: Task, grid: Grid) -> Iterator[Candidate]:
    """Yield the zero-shot classifier, the line to beat."""
    yield Candidate({}, task.val @ task.texts.T, partial(np.matmul, task.test, task.texts.T))


def nearest_mean(task: Task, grid: Grid) -> Iterator[Candidate]:
    """Yield the nearest class mean, which has nothing to choose."""
    scores = partial(adapters.nearest_mean, task.train, task.labels, classes=task.classes)
    yield Candidate({}, scores(task.val), partial(scores, task.test))


def linear_probe(task: Task, grid: Grid) -> Iterator[Candidate]:
    """Yield logistic regressions from the strongest penalty on."""
    for probe in fits(task.train, task.labels, grid.C, grid.max_iter, task.classes):
        values = {"C": probe.model.C, "converged": probe.converged}
        yield Candidate(values, probe.probabilities(task.val), partial(probe.probabilities, task.test))


def text_probe(task: Task, grid: Grid) -> Iterator[Candidate]:
    """Yield logistic regressions that are held to the zero-shot classifier, from the strongest penalty on."""
    for probe in adapters.fits_from_texts(task.train, task.labels, task.texts, grid.C, grid.max_iter):
        yield Candidate({"C": probe.C, "converged": probe.converged}, probe.scores(task.val), partial(probe.scores, task.test))


def tip_adapter(task: Task, grid: Grid) -> Iterator[Candidate]:
    """Yield zero-shot logits plus alpha times the cache, from the least alpha on."""
    betas = sorted(grid.beta)
    zero = task.val @ task.texts.T
    caches = [adapters.cached(task.val @ task.train.T, task.labels, beta, task.classes) for beta in betas]

    def on_test(alpha: float, beta: float) -> adapters.Scores:
        return task.test @ task.texts.T + alpha * adapters.cached(task.test @ task.train.T, task.labels, beta, task.classes)

    for alpha in sorted(grid.alpha):
        for beta, cache in zip(betas, caches, strict=True):
            yield Candidate({"alpha": alpha, "beta": beta}, zero + alpha * cache, partial(on_test, alpha, beta))


Method = Callable[[Task, Grid], Iterator[Candidate]]
OF_IMAGES: tuple[Method, ...] = (nearest_mean, linear_probe)
OF_TEXTS: tuple[Method, ...] = (zero_shot, tip_adapter, text_probe)


def choose(candidates: Iterator[Candidate], labels: Labels) -> tuple[Candidate, float]:
    """Return the candidate with the best mean_per_class on val, and this; of equals, whatever their last bits, the first.

    The first is the one nearest to zero-shot, or with the strongest penalty: with few val images many are equal.
    """
    measured = ((candidate, metrics.mean_per_class(candidate.val.argmax(axis=1), labels)) for candidate in candidates)
    return max(measured, key=lambda found: round(found[1], 9))
