"""The best of several values, and the first of equal ones."""

import numpy as np
import pandas as pd
import pytest

from clipstore.measure.selection import best


@pytest.mark.parametrize(
    ("values", "position"),
    [
        ([0.5], 0),
        ([0.1, 0.9, 0.5], 1),
        ([0.1, 0.9, 0.9], 1),
        ([0.3, 0.1 + 0.2], 0),  # the second is larger by its last bit
        ([0.1 + 0.2, 0.3], 0),
        ([0.5, 0.5 + 4e-10], 0),  # the same to 9 digits
        ([0.5, 0.5 + 2e-9], 1),
        ([0.0, -0.0, 0.0], 0),
    ],
)
def test_best_is_the_largest_and_of_equal_ones_the_first(values: list[float], position: int) -> None:
    assert best(values) == position
    assert best(np.array(values)) == position
    assert best(pd.Series(values, index=range(7, 7 + len(values)))) == position  # a position, not a label of the index


@pytest.mark.parametrize("values", [[], [0.5, np.nan], [np.nan]])
def test_no_value_and_values_that_are_no_numbers_are_refused(values: list[float]) -> None:
    with pytest.raises(ValueError):
        best(values)
