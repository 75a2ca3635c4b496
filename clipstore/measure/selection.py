"""The rule for selecting the best of several measured values."""

import numpy as np
import numpy.typing as npt

DIGITS = 9  # values that agree to this many decimals count as equal: the last bits differ between machines


def best(values: npt.ArrayLike) -> int:
    """Return the position of the largest of ``values`` (n,), n >= 1; among values equal to 9 decimals, the first.

    Raises:
        ValueError: a value is NaN, for example a measure over no images.
    """
    rounded = np.round(np.asarray(values, float), DIGITS)
    if np.isnan(rounded).any():
        raise ValueError("cannot select the best value: one of them is NaN")
    return int(rounded.argmax())
