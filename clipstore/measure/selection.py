"""The rule that selects the best of several measured values."""

import numpy as np
import numpy.typing as npt

DIGITS = 9  # values that agree to so many are equal: their last bits differ from machine to machine


def best(values: npt.ArrayLike) -> int:
    """Return the position of the largest of ``values`` (n,), n >= 1; of equal ones, to 9 digits, the first.

    Raises:
        ValueError: a value is not a number, as a measure over no images is.
    """
    rounded = np.round(np.asarray(values, float), DIGITS)
    if np.isnan(rounded).any():
        raise ValueError("nan has no place in a comparison")
    return int(rounded.argmax())
