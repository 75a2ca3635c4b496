"""Paired comparisons: agreement with scipy, examples by hand, and coverage and false positives in simulations."""

import tracemalloc

import numpy as np
import pytest
from scipy.stats import binomtest, permutation_test

from clipstore.measure import comparisons
from clipstore.measure.intervals import Counts

LABELS = np.repeat([0, 1, 2], [40, 20, 9])
RANDOM = np.random.default_rng(0)
RIGHT = {"a": RANDOM.random(69) < 0.9, "b": RANDOM.random(69) < 0.6, "c": RANDOM.random(69) < 0.85}


def test_mcnemar_by_hand() -> None:
    assert comparisons.mcnemar(4, 0) == pytest.approx(2 / 2**4)
    assert comparisons.mcnemar(1, 4) == pytest.approx(2 * (1 + 5) / 2**5)
    assert comparisons.mcnemar(3, 3) == comparisons.mcnemar(0, 0) == 1


@pytest.mark.parametrize(("only_a", "only_b"), [(10, 15), (36, 15), (0, 29), (464, 1)])
def test_mcnemar_is_a_binomial_test_of_the_images_only_one_got_right(only_a: int, only_b: int) -> None:
    assert comparisons.mcnemar(only_a, only_b) == pytest.approx(binomtest(only_a, only_a + only_b).pvalue, rel=1e-9)


def test_bonett_and_prices_interval_by_hand() -> None:
    value, interval, _ = comparisons.mean_per_class(np.array([6, 2]), np.array([1, 1]), np.array([20, 20]))
    share_a, share_b = 9 / 42, 3 / 42  # with one more image each, and two more in all
    half = 1.959964 * np.sqrt((share_a + share_b - (share_a - share_b) ** 2) / 42)
    assert value == pytest.approx(6 / 40)
    assert interval == pytest.approx((share_a - share_b - half, share_a - share_b + half))


@pytest.mark.parametrize(("only_a", "only_b"), [([9, 4, 2], [1, 0, 0]), ([3, 3, 0], [1, 1, 4]), ([50, 50, 50], [0, 0, 0])])
def test_classes_of_one_size_have_the_p_of_top1(only_a: list[int], only_b: list[int]) -> None:
    p = comparisons.mean_per_class(np.array(only_a), np.array(only_b), np.array([50, 50, 50])).p
    assert p == pytest.approx(comparisons.mcnemar(sum(only_a), sum(only_b)), rel=1e-9)


def test_p_is_somewhat_above_that_of_flipping_signs() -> None:
    """Under the null hypothesis that a and b are equally good in each class, an image's difference may as well have the other sign."""
    random, sizes = np.random.default_rng(0), np.geomspace(20, 238, 30).round().astype(int)
    only_a, only_b = random.multinomial(sizes, [0.06, 0.045, 0.895])[:, :2].T
    weights = np.repeat(1 / sizes, only_a + only_b)
    signs = np.concatenate([np.repeat([1, -1], counts) for counts in zip(only_a, only_b, strict=True)])
    flipped = permutation_test((signs * weights,), np.sum, permutation_type="samples", n_resamples=20_000, rng=1, batch=1000)
    p = comparisons.mean_per_class(only_a, only_b, sizes).p
    assert 0.001 < flipped.pvalue < 0.01 and flipped.pvalue < p < 2 * flipped.pvalue


def test_mean_per_class_is_tested_in_its_own_direction() -> None:
    # Of 1000 images of class 0 and 20 of each other class, a gets 90 % right, b 97 % and 60 %.
    labels = np.repeat([0, 1, 2, 3], [1000, 20, 20, 20])
    rank = np.concatenate([np.arange(count) for count in (1000, 20, 20, 20)])
    right_a, right_b = rank < np.where(labels == 0, 900, 18), rank >= np.where(labels == 0, 30, 8)
    table = comparisons.compare({"a": right_a, "b": right_b}, labels)
    row = table.iloc[0]
    assert row["difference"] == pytest.approx((0.9 - 0.97 + 3 * (0.9 - 0.6)) / 4)
    assert row["difference_top1"] == pytest.approx((900 - 970 + 3 * (18 - 12)) / 1060)
    assert row["low"] > 0 and row["p_corrected"] < 0.05 and row["p_top1_corrected"] < 0.001
    gap = comparisons.gap_to_best(table, "b", "a")
    assert gap["gap_to_best_high"] < 0 and gap["significant"] is gap["significant_top1"] is True


def test_many_images_of_one_class_do_not_make_mean_per_class_significant() -> None:
    # 19 classes of 20 images, on which a and b differ by chance, and one of 5000, on which b is better. p of top1 is 1e-60.
    p = comparisons.mean_per_class(np.array([1] * 19 + [20]), np.array([1] * 19 + [400]), np.array([20] * 19 + [5000])).p
    assert p > 0.5 and comparisons.mcnemar(39, 419) < 1e-50


RANK = np.linspace(0, 1, 37)
SIZES = {f"{size} per class": np.full(37, size) for size in (1, 2, 3, 5, 8, 20)} | {
    "as in Flowers 102": np.geomspace(20, 238, 37).round().astype(int),
    "from 1 to 200": np.geomspace(1, 200, 37).round().astype(int),
    "half with 3, half with 200": np.where(RANK < 0.5, 3, 200),
}
SHARES = {  # of the images of each class that only a, and only b, gets right
    "equal": (0 * RANK + 0.1, 0 * RANK + 0.1),
    "rarely different": (0 * RANK + 0.01, 0 * RANK + 0.01),
    "opposite in small and large classes": (0.2 * (1 - RANK), 0.2 * RANK),
    "rarely, and opposite": (0.04 * (1 - RANK), 0.04 * RANK),
    "a better": (0 * RANK + 0.2, 0 * RANK + 0.1),
    "a much better": (0 * RANK + 0.6, 0 * RANK + 0.02),
    "different in small classes": (0.4 * (1 - RANK) ** 2, 0.2 * (1 - RANK) ** 2),
    "different in large classes": (0.4 * RANK**2, 0.2 * RANK**2),
}


def drawn(sizes: Counts, shares: tuple[np.ndarray, np.ndarray], draws: int) -> list[comparisons.Difference]:
    share_a, share_b = shares
    outcomes = np.random.default_rng(0).multinomial(sizes, np.stack([share_a, share_b, 1 - share_a - share_b], axis=1), (draws, 37))
    return [comparisons.mean_per_class(outcome[:, 0], outcome[:, 1], sizes) for outcome in outcomes]


@pytest.mark.parametrize("shares", SHARES.values(), ids=SHARES)
@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
def test_differences_are_covered_and_false_positives_are_rare(sizes: Counts, shares: tuple[np.ndarray, np.ndarray]) -> None:
    true = float(np.mean(shares[0] - shares[1]))
    differences = drawn(sizes, shares, 400)
    assert np.mean([low - 1e-12 <= true <= high + 1e-12 for _, (low, high), _ in differences]) >= 0.925
    assert all(low <= value <= high for value, (low, high), _ in differences)
    assert not any(p < 0.05 and low <= 0 <= high for _, (low, high), p in differences)
    if abs(true) < 1e-12:
        assert np.mean([p < 0.05 for *_, p in differences]) <= 0.075


def test_every_pair_is_compared_once() -> None:
    table = comparisons.compare(RIGHT, LABELS)
    assert table.columns.tolist() == comparisons.COLUMNS
    assert list(zip(table["a"], table["b"], strict=True)) == [("a", "b"), ("a", "c"), ("b", "c")]
    first = table.iloc[0]
    assert first["only_a_right"] - first["only_b_right"] == RIGHT["a"].sum() - RIGHT["b"].sum()
    assert first["difference_top1"] == pytest.approx(RIGHT["a"].mean() - RIGHT["b"].mean())
    a, b = ([RIGHT[name][label == LABELS].mean() for label in range(3)] for name in "ab")
    assert first["difference"] == pytest.approx(np.mean(a) - np.mean(b))
    assert (table["low"] <= table["difference"]).all() and (table["difference"] <= table["high"]).all()


def test_p_values_are_corrected_by_holm() -> None:
    # Only a is right on 6 images when compared with b, and on 8 with c. b and c are never both right: b has 8 and c 6.
    right = {"a": np.ones(14, bool), "b": np.arange(14) >= 6, "c": np.arange(14) < 6}
    table = comparisons.compare(right, np.zeros(14, int))
    b_c = binomtest(8, 14).pvalue
    for p in ("p", "p_top1"):  # one class: both measures are the same
        assert table[p].tolist() == pytest.approx([2 / 64, 2 / 256, b_c])
        assert table[f"{p}_corrected"].tolist() == pytest.approx([2 * 2 / 64, 3 * 2 / 256, max(b_c, 4 / 64)])


def test_identical_approaches_do_not_differ() -> None:
    row = comparisons.compare({"a": RIGHT["a"], "b": RIGHT["a"].copy()}, LABELS).iloc[0]
    assert row[["difference", "p", "p_corrected"]].tolist() == [0, 1, 1]
    assert row["difference_top1":].tolist() == [0, 0, 0, 1, 1]
    assert row["low"] == -row["high"] < 0  # on other images they may differ


def test_a_pair_does_not_depend_on_the_others() -> None:
    alone = comparisons.compare({name: RIGHT[name] for name in ("b", "c")}, LABELS)
    together = comparisons.compare(RIGHT, LABELS)
    columns = ["difference", "low", "high", "p", "p_top1"]
    assert alone.iloc[0][columns].tolist() == together.iloc[2][columns].tolist()


def test_memory_does_not_grow_with_classes_times_draws() -> None:
    random, labels = np.random.default_rng(0), np.repeat(np.arange(5000), 50)
    right = {name: random.random(len(labels)) < 0.8 for name in "abc"}
    tracemalloc.start()
    try:
        table = comparisons.compare(right, labels)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(table) == 3 and peak < 20e6  # 10 times the labels


def test_a_single_approach_has_no_pairs() -> None:
    table = comparisons.compare({"a": RIGHT["a"]}, LABELS)
    assert (len(table), table.columns.tolist()) == (0, comparisons.COLUMNS)
    gap = {"gap_to_best": 0, "gap_to_best_low": 0, "gap_to_best_high": 0, "significant": False, "significant_top1": False}
    assert comparisons.gap_to_best(table, "a", "a") == gap


def test_gap_to_best_is_signed_from_the_approach() -> None:
    table = comparisons.compare(RIGHT, LABELS)
    b, c = table.iloc[0], table.iloc[1]
    assert comparisons.gap_to_best(table, "b", "a") == {
        "gap_to_best": -b["difference"],
        "gap_to_best_low": -b["high"],
        "gap_to_best_high": -b["low"],
        "significant": bool(b["p_corrected"] < 0.05),
        "significant_top1": bool(b["p_top1_corrected"] < 0.05),
    }
    assert comparisons.gap_to_best(table, "a", "c")["gap_to_best_low"] == c["low"]
    assert comparisons.gap_to_best(table, "b", "a")["significant"] is True
    assert comparisons.gap_to_best(table, "c", "a")["significant"] is False
