"""Which images to label next: strategies of scikit-activeml, and the smallest margin (docs/decisions/0023).

- typiclust: the most typical image of each of the largest clusters without a label (Hacohen et al. 2022).
- probcover: the image with the most uncovered images within a radius, again and again (Yehuda et al. 2022).
- maxherding: the same with a kernel in place of the radius (Bae et al. 2024).
- margin: the images for which an approach's two most probable classes are closest (Scheffer et al. 2001).
- random: drawn with equal chances.
"""

import warnings
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits

from clipstore.core.rows import NO_LABEL

Matrix = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]
Positions = npt.NDArray[np.intp]
Coverage = Literal["typiclust", "probcover", "maxherding"]
Strategy = Literal["auto", "random", "typiclust", "probcover", "maxherding", "margin"]

RADII = np.arange(0.05, 2.05, 0.05)  # of probcover, between unit vectors, which are at most 2 apart
MOST_COVERED = 500  # images with a label, of which typiclust makes as many clusters: more would take minutes
QUADRATIC = ("probcover", "maxherding")  # in memory: they compare each candidate with each other


class Choice(NamedTuple):
    """The chosen images in the order in which to label them, and the strategy that chose them (never "auto")."""

    positions: Positions
    strategy: Strategy


def unseen(labels: Labels, classes: int) -> int:
    """Return how many of the classes have no image among ``labels``, int64 (n,)."""
    return classes - len(np.unique(labels[(labels != NO_LABEL) & (labels < classes)]))


def choose(
    strategy: Strategy,
    vectors: Matrix,
    labels: Labels,
    candidates: Positions,
    probabilities: Matrix | None,
    count: int,
    classes: int,
    limit: int,
    seed: int,
) -> Choice:
    """Return ``count`` of the candidates, all of them if there are fewer.

    "auto" is typiclust as long as a class has no label, and margin afterwards. Without probabilities, margin is typiclust as well.

    Args:
        strategy: how to choose.
        vectors: float32 (n, d), unit rows.
        labels: int64 (n,); `NO_LABEL` for images without one, ``classes`` for images that show none of the classes.
        candidates: positions of images without a label.
        probabilities: of the candidates' classes, (candidates, classes), or None if no approach has been fitted.
        count: at least 1.
        classes: number of classes.
        limit: see `by_coverage`.
        seed: see `by_coverage`.
    """
    if strategy == "auto":
        strategy = "typiclust" if unseen(labels, classes) else "margin"
    if strategy == "margin" and (probabilities is None or classes < 2):
        strategy = "typiclust"
    if strategy == "random":
        return Choice(at_random(candidates, count, seed), strategy)
    if strategy == "margin":
        assert probabilities is not None
        return Choice(by_margin(margins(probabilities), candidates, count), strategy)
    return Choice(by_coverage(strategy, vectors, labels, candidates, count, classes, limit, seed), strategy)


def at_random(candidates: Positions, count: int, seed: int) -> Positions:
    """Return ``count`` of the candidates in random order, without repetition; all of them if there are fewer."""
    return np.random.default_rng(seed).permutation(candidates)[:count]


def by_margin(margins: npt.NDArray[np.floating[Any]], candidates: Positions, count: int) -> Positions:
    """Return the ``count`` candidates with the smallest margins, (candidates,), the smallest first; ties in the candidates' order."""
    return candidates[np.argsort(margins, kind="stable")[:count]]


def margins(probabilities: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.float64]:
    """Return the difference of the two largest of the ``probabilities``, (n, classes) with at least 2 classes, float64 (n,)."""
    ordered = np.sort(probabilities.astype(float), axis=1)
    return np.asarray(ordered[:, -1] - ordered[:, -2])


def by_coverage(
    strategy: Coverage, vectors: Matrix, labels: Labels, candidates: Positions, count: int, classes: int, limit: int, seed: int
) -> Positions:
    """Return the positions of ``count`` candidates in the order in which the strategy chose them; all of them if there are fewer.

    Args:
        strategy: of scikit-activeml.
        vectors: float32 (n, d), unit rows.
        labels: int64 (n,), `NO_LABEL` for images without one. Images with a label count as covered.
        candidates: positions of images without a label, which may be chosen.
        count: at least 1.
        classes: number of classes, from which probcover derives its radius.
        limit: a strategy in `QUADRATIC` considers at most so many candidates, drawn with the seed.
        seed: of clusters, of draws and of ties.
    """
    if strategy in QUADRATIC and len(candidates) > limit:
        candidates = np.sort(at_random(candidates, limit, seed))
    covered = np.flatnonzero(labels != NO_LABEL)
    if strategy == "typiclust" and len(covered) > MOST_COVERED:
        covered = np.sort(at_random(covered, MOST_COVERED, seed))
    among = np.concatenate([covered, candidates])
    among = among[np.sort(np.unique(vectors[among], axis=0, return_index=True)[1])]  # of equal vectors, one with a label or the first
    known = np.where(labels[among] == NO_LABEL, NO_LABEL, 0)  # only whether there is a label counts
    waiting = among[known == NO_LABEL]
    if len(waiting) > 1:
        vectors = vectors[among] - vectors[among].mean(axis=0)  # what all images share would hide their differences
        vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), np.finfo(np.float32).tiny)
        with threadpool_limits(1):  # the same sums, and so the same choice, for any number of cores
            asked = _query(strategy, vectors, known, min(count, len(waiting)), classes, seed)
        waiting = among[list(dict.fromkeys(asked.tolist()))]
    others = np.setdiff1d(candidates, waiting)  # copies, if there are not enough others
    return np.concatenate([waiting, at_random(others, count - len(waiting), seed)])


def _query(strategy: Coverage, vectors: Matrix, labels: Labels, count: int, classes: int, seed: int) -> Positions:
    from skactiveml import pool  # takes seconds

    options: dict[str, Any] = {"missing_label": NO_LABEL, "random_state": seed}
    if strategy == "typiclust":
        chooser = pool.TypiClust(**options)
    elif strategy == "probcover":
        chooser = pool.ProbCover(n_classes=min(max(2, classes), len(vectors)), deltas=RADII, **options)
    else:
        chooser = pool.MaxHerding(**options)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The maximum purity")  # probcover then uses the smallest radius
        return np.asarray(chooser.query(vectors, labels, batch_size=count), np.intp)
