"""Paired comparisons: agreement with scipy, examples by hand, and identical approaches."""

from typing import Any

import numpy as np
import pytest
from scipy.stats import binomtest, bootstrap

from clipstore.measure import comparisons

LABELS = np.repeat([0, 1, 2], [40, 20, 9])
RANDOM = np.random.default_rng(0)
RIGHT = {"a": RANDOM.random(69) < 0.9, "b": RANDOM.random(69) < 0.6, "c": RANDOM.random(69) < 0.85}


def test_difference_matches_scipys_paired_bootstrap_within_classes() -> None:
    a, b = RIGHT["a"], RIGHT["b"]
    difference, interval = comparisons.difference(a & ~b, b & ~a, LABELS, 20_000, 0)
    images = [(a.astype(int) - b)[label == LABELS] for label in range(3)]

    def mean_per_class(*classes: np.ndarray, axis: int = -1) -> Any:
        return np.mean([hits.mean(axis=axis) for hits in classes], axis=0)

    expected = bootstrap(images, mean_per_class, n_resamples=20_000, method="percentile", rng=np.random.default_rng(1)).confidence_interval
    assert difference == pytest.approx(mean_per_class(*images))
    assert interval == pytest.approx((expected.low, expected.high), abs=0.01)


def test_mcnemar_by_hand() -> None:
    assert comparisons.mcnemar(4, 0) == pytest.approx(2 / 2**4)
    assert comparisons.mcnemar(1, 4) == pytest.approx(2 * (1 + 5) / 2**5)
    assert comparisons.mcnemar(3, 3) == comparisons.mcnemar(0, 0) == 1


@pytest.mark.parametrize(("only_a", "only_b"), [(10, 15), (36, 15), (0, 29)])
def test_mcnemar_is_a_binomial_test_of_the_images_only_one_got_right(only_a: int, only_b: int) -> None:
    assert comparisons.mcnemar(only_a, only_b) == pytest.approx(binomtest(only_a, only_a + only_b).pvalue, rel=1e-9)


def test_every_pair_is_compared_once() -> None:
    table = comparisons.compare(RIGHT, LABELS, 100, 0)
    assert table.columns.tolist() == comparisons.COLUMNS
    assert list(zip(table["a"], table["b"], strict=True)) == [("a", "b"), ("a", "c"), ("b", "c")]
    first = table.iloc[0]
    assert first["only_a_right"] - first["only_b_right"] == RIGHT["a"].sum() - RIGHT["b"].sum()
    assert (table["low"] <= table["difference"]).all() and (table["difference"] <= table["high"]).all()


def test_p_values_are_corrected_by_holm() -> None:
    # Only a is right on 6 images when compared with b, and on 8 with c. b and c are never both right: b has 8 and c 6.
    right = {"a": np.ones(14, bool), "b": np.arange(14) >= 6, "c": np.arange(14) < 6}
    table = comparisons.compare(right, np.zeros(14, int), 100, 0)
    b_c = binomtest(8, 14).pvalue
    assert table["p"].tolist() == pytest.approx([2 / 64, 2 / 256, b_c])
    assert table["p_corrected"].tolist() == pytest.approx([2 * 2 / 64, 3 * 2 / 256, max(b_c, 4 / 64)])


def test_identical_approaches_do_not_differ() -> None:
    table = comparisons.compare({"a": RIGHT["a"], "b": RIGHT["a"].copy()}, LABELS, 100, 0)
    assert table.iloc[0].tolist() == ["a", "b", 0, 0, 0, 0, 0, 1, 1]


def test_a_pair_does_not_depend_on_the_others() -> None:
    alone = comparisons.compare({name: RIGHT[name] for name in ("b", "c")}, LABELS, 100, 0)
    together = comparisons.compare(RIGHT, LABELS, 100, 0)
    columns = ["difference", "low", "high", "p"]
    assert alone.iloc[0][columns].tolist() == together.iloc[2][columns].tolist()


def test_a_single_approach_has_no_pairs() -> None:
    table = comparisons.compare({"a": RIGHT["a"]}, LABELS, 100, 0)
    assert (len(table), table.columns.tolist()) == (0, comparisons.COLUMNS)
    assert comparisons.gap_to_best(table, "a", "a") == {"gap_to_best": 0, "gap_to_best_low": 0, "gap_to_best_high": 0, "significant": False}


def test_gap_to_best_is_signed_from_the_approach() -> None:
    table = comparisons.compare(RIGHT, LABELS, 100, 0)
    b, c = table.iloc[0], table.iloc[1]
    assert comparisons.gap_to_best(table, "b", "a") == {
        "gap_to_best": -b["difference"],
        "gap_to_best_low": -b["high"],
        "gap_to_best_high": -b["low"],
        "significant": bool(b["p_corrected"] < 0.05),
    }
    assert comparisons.gap_to_best(table, "a", "c")["gap_to_best_low"] == c["low"]
    assert comparisons.gap_to_best(table, "b", "a")["significant"] is True
    assert comparisons.gap_to_best(table, "c", "a")["significant"] is False
