"""Accuracy measures, as fractions in [0, 1]."""

import numpy as np
import numpy.typing as npt

Labels = npt.NDArray[np.integer]
Scores = npt.NDArray[np.floating]


def top1(predicted: Labels, labels: Labels) -> float:
    """Return the share of right predictions; both arrays (n,)."""
    return float(np.mean(predicted == labels))


def mean_per_class(predicted: Labels, labels: Labels) -> float:
    """Return the accuracy averaged over the classes that occur in ``labels``; both arrays (n,).

    Results on Flowers 102 and Oxford-IIIT Pet are reported in this measure; scikit-learn calls it balanced accuracy.
    """
    return float(np.mean(list(per_class(predicted, labels).values())))


def accuracies(predicted: Labels, labels: Labels) -> dict[str, float]:
    """Return top1 and mean_per_class; both arrays (n,)."""
    return {"top1": top1(predicted, labels), "mean_per_class": mean_per_class(predicted, labels)}


def per_class(predicted: Labels, labels: Labels) -> dict[int, float]:
    """Return the accuracy of each class that occurs in ``labels``; both arrays (n,)."""
    return {int(label): float(np.mean(predicted[labels == label] == label)) for label in np.unique(labels)}


def top_k(scores: Scores, labels: Labels, k: int) -> float:
    """Return the share of rows whose label is among the ``k`` classes with the highest scores.

    A label that shares its score with others counts only if there is room for all of them, or if it is the row's answer (argmax). So the
    result does not depend on how classes are numbered where the answers do not, and is never below `top1` of the answers.

    Args:
        scores: (n, classes).
        labels: (n,).
        k: at most the number of classes.
    """
    own = scores[np.arange(len(labels)), labels]
    certain = (scores >= own[:, None]).sum(axis=1) <= k
    return float(np.mean(certain | (scores.argmax(axis=1) == labels)))
