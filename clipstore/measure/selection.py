"""The rule for selecting the best of several measured values, and when the values leave the choice open."""

import numpy as np
import numpy.typing as npt
from scipy.special import log_softmax
from scipy.stats import norm

DIGITS = 9  # values that agree to this many decimals count as equal: the last bits differ between machines


def best(values: npt.ArrayLike, losses: npt.ArrayLike | None = None) -> int:
    """Return the position of the largest value; among equal values, of the one with the smallest loss; then the first.

    Values and losses are equal if they agree to 9 decimals.

    Args:
        values: (n,), n >= 1, usually accuracies.
        losses: (n,), usually `nll` on the same images; NaN counts as infinite. Without them, ties go to the first: only for naming
            a leader, not for choosing a setting.

    Raises:
        ValueError: a value is NaN, for example a measure over no images.
    """
    rounded = np.round(np.asarray(values, float), DIGITS)
    if np.isnan(rounded).any():
        raise ValueError("cannot select the best value: one of them is NaN")
    if losses is None:
        return int(rounded.argmax())
    finer = np.round(np.nan_to_num(np.asarray(losses, float), nan=np.inf, posinf=np.inf), DIGITS)
    return int(np.lexsort((finer, -rounded))[0])


def losses(logits: npt.NDArray[np.floating], labels: npt.NDArray[np.integer]) -> npt.NDArray[np.float64]:
    """Return the negative log-likelihood of each image in nats, (n,), in float64; infinite where the label's logit is -inf."""
    own: npt.NDArray[np.float64] = -log_softmax(logits.astype(float), axis=1)[np.arange(len(labels)), labels]
    return own


def nll(logits: npt.NDArray[np.floating], labels: npt.NDArray[np.integer]) -> float:
    """Return the mean negative log-likelihood in nats of softmax(logits), in float64 and without a floor.

    Images whose class has the logit -inf, because no training image has it, are left out: they would make every candidate's loss infinite.
    If no image remains, the loss is 0.

    Args:
        logits: (n, classes); logarithms of probabilities are logits too.
        labels: (n,).
    """
    own = losses(logits, labels)
    known = own < np.inf
    return float(own[known].mean()) if known.any() else 0.0


def within_noise(values: npt.ArrayLike, n: float) -> int:
    """Return how many further ``values`` (k,), accuracies on the same ``n`` images, are within one standard error of the largest.

    The error is that of Wilson's (1927) interval, which does not vanish at an accuracy of 1. The rule is that of Breiman et al. 1984.
    """
    from statsmodels.stats.proportion import proportion_confint

    largest = np.max(values)
    low, _ = proportion_confint(largest * n, n, alpha=2 * norm.sf(1), method="wilson")
    return int((np.asarray(values) >= low).sum()) - 1


def tied(values: npt.ArrayLike) -> int:
    """Return how many of ``values`` (n,) equal the largest to 9 decimals."""
    rounded = np.round(np.asarray(values, float), DIGITS)
    return int((rounded == rounded.max()).sum())


def saturated(values: npt.ArrayLike) -> bool:
    """Return whether at least half of two or more values (n,) equal the largest, so that they hardly restrict the choice."""
    return tied(values) >= max(2, np.size(values) / 2)


def warn_if_saturated(where: str, grid: str, values: npt.ArrayLike) -> None:
    """Print a warning if the accuracies on val of all settings of a grid, (n,), are `saturated`.

    Args:
        where: stage and cell.
        grid: the grid's name in params.yaml.
        values: accuracies as fractions.
    """
    if saturated(values):
        count = f"{tied(values)} of {np.size(values)} settings of {grid} reach the best accuracy on val ({100 * np.max(values):.1f} %)"
        print(f"warning: {where}: {count}: the lowest NLL on val decided, and more val images would tell them apart")
