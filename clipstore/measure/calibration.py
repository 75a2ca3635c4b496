"""Calibration: proper scores, calibration error, temperature scaling, and accuracy of confident answers.

Logits and probabilities are float64 (n, classes) and labels are (n,), n >= 1 unless stated otherwise. Probabilities are the softmax of the
logits; a logit of -inf is a class that cannot be predicted. The confidence of an answer is the probability of the predicted class. The
scores are computed here because scikit-learn's functions reject a single class.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from clipstore.measure import selection
from clipstore.measure.intervals import LEVEL

Matrix = npt.NDArray[np.float64]
Labels = npt.NDArray[np.integer[Any]]

FLOOR = float(np.finfo(float).eps)  # 2.2e-16, counted for a probability of 0, as in scikit-learn's log_loss
PRIOR_SCALE, PRIOR_FREEDOM = 0.5, 3  # Student's t of log temperature: 95 % of the mass between 0.2 and 5
EVIDENCE = float(-np.log(1 - LEVEL))  # in nats: a likelihood ratio of 20
RESAMPLES, SEED = 1000, 0  # of `ece_noise`
DIGITS = 6  # of confidence: smaller differences count as ties, so that bins are the same on every machine


def losses(logits: Matrix, labels: Labels, temperature: float = 1.0) -> npt.NDArray[np.float64]:
    """Return the negative log-likelihood of each image in nats, (n,), >= 0; n may be 0.

    It is unbounded for finite logits. A logit of -inf counts as a probability of FLOOR, 36 nats.
    """
    own = selection.losses(logits / temperature, labels)
    return np.where(np.isinf(own), -np.log(FLOOR), own)


def brier(probabilities: Matrix, labels: Labels) -> float:
    """Return the Brier score in its original form (1950), from 0 to 2: squared errors summed over classes and averaged over images."""
    truth = np.eye(probabilities.shape[1])[labels]
    return float(((probabilities - truth) ** 2).sum(axis=1).mean())


def bin_numbers(confidence: npt.NDArray[np.float64], bins: int) -> npt.NDArray[np.int64]:
    """Return the equal-mass bin of each image, from 0, (n,).

    Images are assigned to bins by their rank in confidence. Images of equal confidence share the bin of their mean rank: kNN produces so
    few distinct confidences that the result would otherwise depend on the order of the rows.
    """
    from scipy.stats import rankdata

    mean_rank = rankdata(confidence.round(DIGITS)) - 0.5  # in (0, n)
    numbers: npt.NDArray[np.int64] = (mean_rank * bins / len(confidence)).astype(np.int64)
    return numbers


def reliability(probabilities: Matrix, labels: Labels, bins: int) -> pd.DataFrame:
    """Return mean confidence and accuracy in equal-mass bins; columns bin (from 1), confidence, accuracy, count; no empty bins."""
    confidence = probabilities.max(axis=1)
    table = pd.DataFrame(
        {
            "bin": bin_numbers(confidence, bins) + 1,
            "confidence": confidence,
            "accuracy": (probabilities.argmax(axis=1) == labels).astype(float),
        }
    )
    groups = table.groupby("bin")
    return groups.mean().assign(count=groups.size()).reset_index()


def ece(table: pd.DataFrame) -> float:
    """Return the expected calibration error (Naeini et al. 2015): |accuracy - confidence| of `reliability`'s bins, weighted by count.

    Noise in the bins' accuracies raises it: see `ece_debiased` and `ece_noise`.
    """
    return float(np.average((table["accuracy"] - table["confidence"]).abs(), weights=table["count"]))


def ece_debiased(table: pd.DataFrame) -> float:
    """Return the root mean square of accuracy - confidence over `reliability`'s bins without the part that noise contributes.

    The variance of each bin's accuracy is subtracted from its squared difference (Kumar, Liang and Ma 2019, "Verified uncertainty
    calibration"). A negative sum gives 0. A bin of one image has no estimate of its variance, so that of a calibrated answer is used.
    """
    accuracy, confidence, count = table["accuracy"], table["confidence"], table["count"]
    variance = np.where(count > 1, accuracy * (1 - accuracy) / (count - 1).clip(lower=1), confidence * (1 - confidence))
    return float(np.sqrt(max(0.0, np.average((accuracy - confidence) ** 2 - variance, weights=count))))


def ece_noise(probabilities: Matrix, bins: int) -> float:
    """Return the 95th percentile of the ece that these confidences have if every one is exactly right.

    The right answers are drawn from the confidences (consistency resampling: Bröcker and Smith 2007, "Increasing the reliability of
    reliability diagrams"). An ece up to this value is no evidence of a calibration error.
    """
    random, confidence = np.random.default_rng(SEED), probabilities.max(axis=1)
    numbers = bin_numbers(confidence, bins)
    draws = [
        np.abs(np.bincount(numbers, weights=(random.random(len(confidence)) < confidence) - confidence)).sum() / len(confidence)
        for _ in range(RESAMPLES)
    ]
    return float(np.quantile(draws, LEVEL))


def scaled(logits: Matrix, temperature: float) -> Matrix:
    """Return softmax(logits / temperature): same ranking, sharper below 1, softer above (Guo et al. 2017); n may be 0."""
    from scipy.special import softmax

    result: Matrix = softmax(logits / temperature, axis=1)
    return result


def fit_temperature(logits: Matrix, labels: Labels) -> float:
    """Return the most probable temperature, given a prior around 1; exactly 1 if there are no images.

    The prior of log temperature is Student's t, a weakly informative family (Gelman et al. 2008). If few images say little about the
    temperature, for example because every answer is right, it stays near 1; the prior's long tails hardly move a temperature that many
    images determine. docs/decisions/0009 compares it with alternatives.

    The search has no bounds: the best of a grid is refined by Brent's method, which goes beyond the grid if that is better.
    """
    from scipy.optimize import minimize_scalar

    if not len(labels):
        return 1.0

    def cost(logarithm: float) -> float:
        prior = (PRIOR_FREEDOM + 1) / 2 * np.log1p((logarithm / PRIOR_SCALE) ** 2 / PRIOR_FREEDOM)
        return float(losses(logits, labels, float(np.exp(logarithm))).sum() + prior)

    grid = np.linspace(-7, 7, 57)  # the cost may have a second minimum, at 0
    start = grid[np.argmin([cost(logarithm) for logarithm in grid])]
    return float(np.exp(minimize_scalar(cost, bracket=(start, start + 0.1)).x))


def change(before: npt.NDArray[np.float64], after: npt.NDArray[np.float64]) -> dict[str, float | str]:
    """Return how scaling changes the NLL of the test images, given their `losses` before and after it, (n,).

    Returns:
        nll_change, the mean difference, negative if scaling helps; with two images or more, nll_change_low and nll_change_high, the ends of
        its interval by Student's t; and scaling: "improves" or "worsens" if the interval excludes 0 and the likelihood of all images
        changes at least 20-fold, else "no measurable change". The interval alone is too narrow as long as few images contain no confident
        wrong answer. The ratio is valid for any number of images: if the probabilities before scaling are right, those after it have a
        20 times higher likelihood with a probability of at most 1 / 20 (Markov's inequality), and the other way round.
    """
    from scipy.stats import t

    differences = after - before
    n, mean = len(differences), float(differences.mean())
    if n < 2:
        return {"nll_change": mean, "scaling": "no measurable change"}
    margin = float(t.ppf((1 + LEVEL) / 2, n - 1) * differences.std(ddof=1) / np.sqrt(n))
    measurable = abs(mean) > margin and abs(mean) * n >= EVIDENCE
    verdict = ("improves" if mean < 0 else "worsens") if measurable else "no measurable change"
    return {"nll_change": mean, "nll_change_low": mean - margin, "nll_change_high": mean + margin, "scaling": verdict}


def confident(probabilities: Matrix, labels: Labels, threshold: float) -> dict[str, float]:
    """Return coverage, the share of images with at least this confidence, and covered_top1, their accuracy (absent if there are none)."""
    covered = probabilities.max(axis=1) >= threshold
    right = probabilities.argmax(axis=1) == labels
    accuracy = {"covered_top1": float(right[covered].mean())} if covered.any() else {}
    return {"coverage": float(covered.mean()), **accuracy}


def measures(logits: Matrix, labels: Labels, temperature: float, bins: int, threshold: float) -> dict[str, float | str]:
    """Return the calibration of the test images.

    Returns:
        nll, brier, ece, ece_debiased and ece_noise before and, with suffix _scaled, after temperature scaling; the `change` of nll;
        nll_floored, the number of images whose class cannot be predicted; coverage and covered_top1 after scaling.
    """
    scores: dict[str, float | str] = {}
    for suffix, divisor in (("", 1.0), ("_scaled", temperature)):
        predicted = scaled(logits, divisor)
        table = reliability(predicted, labels, bins)
        scores |= {
            f"nll{suffix}": float(losses(logits, labels, divisor).mean()),
            f"brier{suffix}": brier(predicted, labels),
            f"ece{suffix}": ece(table),
            f"ece_debiased{suffix}": ece_debiased(table),
            f"ece_noise{suffix}": ece_noise(predicted, bins),
        }
    scores |= change(losses(logits, labels), losses(logits, labels, temperature))
    scores["nll_floored"] = int(np.isinf(logits[np.arange(len(labels)), labels]).sum())
    return scores | confident(scaled(logits, temperature), labels, threshold)
