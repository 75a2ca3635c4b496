"""Calibration of probabilities: proper scores, calibration error, temperature scaling, and accuracy of confident answers.

Probabilities are float64 (n, classes) with rows that sum to 1, and labels are (n,), n >= 1 unless stated otherwise. The confidence of an
answer is the probability of the predicted class. The scores are computed here because scikit-learn's functions reject a single class.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

Probabilities = npt.NDArray[np.float64]
Labels = npt.NDArray[np.integer[Any]]

FLOOR = float(np.finfo(float).eps)  # probabilities are clipped to at least 2.2e-16 before the logarithm, as in scikit-learn's log_loss
TEMPERATURES = (0.05, 20.0)  # range of the search
DIGITS = 6  # of confidence: smaller differences count as ties, so that bins are the same on every machine


def nll(probabilities: Probabilities, labels: Labels) -> float:
    """Return the mean negative log-likelihood in nats, from 0 to -log(FLOOR) = 36; equals scikit-learn's log_loss."""
    own = probabilities[np.arange(len(labels)), labels]
    return float(-np.log(np.maximum(own, FLOOR)).mean())


def brier(probabilities: Probabilities, labels: Labels) -> float:
    """Return the Brier score in its original form (1950), from 0 to 2: squared errors summed over classes and averaged over images."""
    truth = np.eye(probabilities.shape[1])[labels]
    return float(((probabilities - truth) ** 2).sum(axis=1).mean())


def reliability(probabilities: Probabilities, labels: Labels, bins: int) -> pd.DataFrame:
    """Return mean confidence and accuracy in equal-mass bins; columns bin (from 1), confidence, accuracy, count; no empty bins.

    Images are assigned to bins by their rank in confidence. Images of equal confidence share the bin of their mean rank: kNN produces so
    few distinct confidences that the result would otherwise depend on the order of the rows.
    """
    from scipy.stats import rankdata

    confidence = probabilities.max(axis=1)
    mean_rank = rankdata(confidence.round(DIGITS)) - 0.5  # in (0, n)
    table = pd.DataFrame(
        {
            "bin": (mean_rank * bins / len(labels)).astype(int) + 1,
            "confidence": confidence,
            "accuracy": (probabilities.argmax(axis=1) == labels).astype(float),
        }
    )
    groups = table.groupby("bin")
    return groups.mean().assign(count=groups.size()).reset_index()


def ece(table: pd.DataFrame) -> float:
    """Return the expected calibration error (Naeini et al. 2015): |accuracy - confidence| of `reliability`'s bins, weighted by count."""
    return float(np.average((table["accuracy"] - table["confidence"]).abs(), weights=table["count"]))


def scaled(probabilities: Probabilities, temperature: float) -> Probabilities:
    """Return softmax(log p / temperature): same ranking, sharper below 1, softer above (Guo et al. 2017); n may be 0."""
    from scipy.special import softmax

    result: Probabilities = softmax(np.log(np.maximum(probabilities, FLOOR)) / temperature, axis=1)
    return result


def fit_temperature(probabilities: Probabilities, labels: Labels) -> float:
    """Return the temperature within TEMPERATURES that minimises the NLL; 1 if none is better or there are no images.

    The NLL is convex in 1 / temperature, so the minimum is unique. If every answer is right, it is at the lower end of the range.
    """
    from scipy.optimize import minimize_scalar

    if not len(labels):
        return 1.0

    def loss(logarithm: float) -> float:
        return nll(scaled(probabilities, float(np.exp(logarithm))), labels)

    minimum = minimize_scalar(loss, bounds=np.log(TEMPERATURES), method="bounded")
    return float(np.exp(minimum.x)) if minimum.fun < loss(0) - 1e-9 else 1.0


def confident(probabilities: Probabilities, labels: Labels, threshold: float) -> dict[str, float]:
    """Return coverage, the share of images with at least this confidence, and covered_top1, their accuracy (absent if there are none)."""
    covered = probabilities.max(axis=1) >= threshold
    right = probabilities.argmax(axis=1) == labels
    accuracy = {"covered_top1": float(right[covered].mean())} if covered.any() else {}
    return {"coverage": float(covered.mean()), **accuracy}


def measures(probabilities: Probabilities, labels: Labels, temperature: float, bins: int, threshold: float) -> dict[str, float]:
    """Return nll, brier and ece before and, with suffix _scaled, after temperature scaling; coverage and covered_top1 after it."""
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
