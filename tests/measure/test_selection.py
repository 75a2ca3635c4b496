"""Selection of the best value: equal ones are told apart by their losses, then by their order."""

import numpy as np
import pandas as pd
import pytest
from scipy.special import softmax
from sklearn.metrics import log_loss

from clipstore.measure.selection import best, nll, saturated, tied, warn_if_saturated, within_noise


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


@pytest.mark.parametrize(
    ("values", "losses", "position"),
    [
        ([0.9, 0.9, 0.8], [2.0, 1.0, 0.1], 1),
        ([0.9, 0.9 + 4e-10], [1.0, 2.0], 0),  # the values are equal to 9 decimals
        ([0.9, 0.9], [1.0 + 4e-10, 1.0], 0),  # so are the losses
        ([0.9, 0.9, 0.9], [np.nan, np.inf, 40.0], 2),
        ([0.8, 0.9, 0.9], [0.0, np.nan, np.nan], 1),
        ([0.9, 0.8], [np.inf, 0.0], 0),
    ],
)
def test_of_equal_values_the_smallest_loss_is_best(values: list[float], losses: list[float], position: int) -> None:
    assert best(values, losses) == position
    assert best(pd.Series(values, index=range(7, 7 + len(values))), pd.Series(losses)) == position


def test_nll_equals_sklearns_and_has_no_floor() -> None:
    random = np.random.default_rng(0)
    logits, labels = random.normal(size=(50, 4)), random.integers(0, 4, 50)
    expected = log_loss(labels, softmax(logits, axis=1), labels=np.arange(4))
    assert nll(logits, labels) == pytest.approx(expected, abs=1e-12)
    assert nll(np.log(softmax(logits, axis=1)), labels) == pytest.approx(expected, abs=1e-12)
    assert nll(np.array([[0, 900]], np.float32), np.array([0])) == 900  # 36 from probabilities of at least 2.2e-16


def test_images_of_classes_that_no_training_image_has_are_left_out_of_the_nll() -> None:
    logits = np.array([[0, 1, -np.inf], [2, 0, -np.inf]])
    assert nll(logits, np.array([2, 0])) == pytest.approx(np.log(1 + np.exp(-2)))
    assert nll(logits, np.array([2, 2])) == 0


@pytest.mark.parametrize(
    ("values", "n", "expected"),
    [
        ([0.5], 10, 0),  # nothing else to choose
        ([0.5, 0.36, 0.34, 0.5], 10, 2),  # (0.5 + 1/20 - sqrt(0.25/10 + 1/400)) / 1.1 = 0.349
        ([0.5, 0.36, 0.34, 0.5], 1000, 1),
        ([0.99, 0.95, 0.9, 1.0], 10, 2),  # 1 / 1.1 = 0.909
    ],
)
def test_values_within_one_standard_error_by_hand(values: list[float], n: int, expected: int) -> None:
    assert within_noise(values, n) == expected


@pytest.mark.parametrize(
    ("values", "count", "expected"),
    [
        ([1.0], 1, False),  # a single value is no choice
        ([1.0, 1.0], 2, True),
        ([0.9, 1.0], 1, False),
        ([0.9, 1.0, 1.0, 0.8], 2, True),
        ([0.9, 1.0, 1.0, 0.8, 0.7], 2, False),
        ([0.5, 0.5 + 4e-10, 0.1], 2, True),
    ],
)
def test_a_grid_is_saturated_if_half_of_it_reaches_the_best_value(values: list[float], count: int, expected: bool) -> None:
    assert (tied(values), saturated(values)) == (count, expected)


def test_a_saturated_grid_is_reported_with_its_count_on_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    warn_if_saturated("knn enc-toy", "knn.neighbors and votes", [0.5, 0.75, 0.75])
    warn_if_saturated("knn enc-toy", "knn.neighbors and votes", [0.5, 0.75, 0.7])
    assert capsys.readouterr().out == (
        "warning: knn enc-toy: 2 of 3 settings of knn.neighbors and votes reach the best accuracy on val (75.0 %): "
        "the lowest NLL on val decided, and more val images would tell them apart\n"
    )
