"""Selection of the best value, with ties going to the first."""

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
        ([0.5, 0.5 + 4e-10], 0),  # equal to 9 decimals
        ([0.5, 0.5 + 2e-9], 1),
        ([0.0, -0.0, 0.0], 0),
    ],
)
def test_best_is_the_first_of_the_largest_values(values: list[float], position: int) -> None:
    assert best(values) == position
    assert best(np.array(values)) == position
    assert best(pd.Series(values, index=range(7, 7 + len(values)))) == position  # a position, not an index label


@pytest.mark.parametrize("values", [[], [0.5, np.nan], [np.nan]])
def test_empty_lists_and_nan_are_rejected(values: list[float]) -> None:
    with pytest.raises(ValueError):
        best(values)
