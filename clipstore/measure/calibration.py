"""How well probabilities are calibrated: proper scores, calibration error, one temperature, accuracy of the confident answers.

Probabilities are float64 (n, classes), rows that sum to 1; labels (n,), n >= 1 unless said otherwise. The confidence in an answer is the
probability of the predicted class. The scores are one line each because scikit-learn's refuse a single class.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

Probabilities = npt.NDArray[np.float64]
Labels = npt.NDArray[np.integer[Any]]

FLOOR = float(np.finfo(float).eps)  # the least probability that a logarithm is taken of, 2.2e-16, as in scikit-learn's log_loss
TEMPERATURES = (0.05, 20.0)  # that are searched
DIGITS = 6  # of confidence: what differs less is a tie, also between machines


def nll(probabilities: Probabilities, labels: Labels) -> float:
    """Return the mean negative log-likelihood in nats, from 0 to -log(FLOOR) = 36; scikit-learn's log_loss."""
    own = probabilities[np.arange(len(labels)), labels]
    return float(-np.log(np.maximum(own, FLOOR)).mean())


def brier(probabilities: Probabilities, labels: Labels) -> float:
    """Return Brier's score in its original form (1950), from 0 to 2: squared errors summed over the classes, averaged over the images."""
    truth = np.eye(probabilities.shape[1])[labels]
    return float(((probabilities - truth) ** 2).sum(axis=1).mean())


def reliability(probabilities: Probabilities, labels: Labels, bins: int) -> pd.DataFrame:
    """Return mean confidence and accuracy in bins of equal mass; columns bin (from 1), confidence, accuracy, count; empty bins left out.

    An image's bin follows from its rank by confidence. Images of equal confidence share a bin, that of their middle rank: kNN has so few
    different ones that cutting through them would measure the order of the rows.
    """
    from scipy.stats import rankdata

    confidence = probabilities.max(axis=1)
    middle = rankdata(confidence.round(DIGITS)) - 0.5  # in (0, n)
    table = pd.DataFrame(
        {
            "bin": (middle * bins / len(labels)).astype(int) + 1,
            "confidence": confidence,
            "accuracy": (probabilities.argmax(axis=1) == labels).astype(float),
        }
    )
    groups = table.groupby("bin")
    return groups.mean().assign(count=groups.size()).reset_index()


def ece(table: pd.DataFrame) -> float:
    """Return the expected calibration error (Naeini et al. 2015): the bins' |accuracy - confidence| of `reliability`, weighed by count."""
    return float(np.average((table["accuracy"] - table["confidence"]).abs(), weights=table["count"]))


def scaled(probabilities: Probabilities, temperature: float) -> Probabilities:
    """Return softmax(log p / temperature): the same ranking, more certain below 1, less above (Guo et al. 2017); ``n`` may be 0."""
    from scipy.special import softmax

    softened: Probabilities = softmax(np.log(np.maximum(probabilities, FLOOR)) / temperature, axis=1)
    return softened


def fit_temperature(probabilities: Probabilities, labels: Labels) -> float:
    """Return the temperature of the least NLL, within TEMPERATURES; 1 where no other is better, as without an image.

    The NLL is convex in 1 / temperature, so that the minimum is the only one. Where every answer is right it lies at the lower end.
    """
    from scipy.optimize import minimize_scalar

    if not len(labels):
        return 1.0

    def loss(logarithm: float) -> float:
        return nll(scaled(probabilities, float(np.exp(logarithm))), labels)

    minimum = minimize_scalar(loss, bounds=np.log(TEMPERATURES), method="bounded")
    return float(np.exp(minimum.x)) if minimum.fun < loss(0) - 1e-9 else 1.0


def confident(probabilities: Probabilities, labels: Labels, threshold: float) -> dict[str, float]:
    """Return coverage, the share of images of at least this confidence, and covered_top1, their accuracy: absent where there are none."""
    covered = probabilities.max(axis=1) >= threshold
    right = probabilities.argmax(axis=1) == labels
    accuracy = {"covered_top1": float(right[covered].mean())} if covered.any() else {}
    return {"coverage": float(covered.mean()), **accuracy}


def measures(probabilities: Probabilities, labels: Labels, temperature: float, bins: int, threshold: float) -> dict[str, float]:
    """Return nll, brier and ece before and, with the suffix _scaled, after the temperature; coverage and covered_top1 after it."""
    after = scaled(probabilities, temperature)
    scores = {
        f"{name}{suffix}": value
        for suffix, predicted in (("", probabilities), ("_scaled", after))
        for name, value in {
            "nll": nll(predicted, labels),
            "brier": brier(predicted, labels),
            "ece": ece(reliability(predicted, labels, bins)),
        }.items()
    }
    return scores | confident(after, labels, threshold)
