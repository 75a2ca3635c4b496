"""Accuracy measures, worked out by hand and compared with scikit-learn."""

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score, top_k_accuracy_score

from clipstore.measure import metrics

LABELS = np.array([0, 0, 0, 0, 2, 2])  # no image of class 1
PREDICTED = np.array([0, 0, 0, 1, 2, 0])


def test_top1_by_hand() -> None:
    assert metrics.top1(PREDICTED, LABELS) == 4 / 6


def test_per_class_contains_only_classes_that_occur() -> None:
    assert metrics.per_class(PREDICTED, LABELS) == {0: 0.75, 2: 0.5}


def test_mean_per_class_weights_classes_equally() -> None:
    assert metrics.mean_per_class(PREDICTED, LABELS) == (0.75 + 0.5) / 2


def test_accuracies_are_plain_floats() -> None:
    accuracies = metrics.accuracies(PREDICTED, LABELS)
    assert accuracies == {"top1": 4 / 6, "mean_per_class": 0.625}
    assert {type(value) for value in accuracies.values()} == {float}


def test_mean_per_class_equals_sklearns_balanced_accuracy() -> None:
    random = np.random.default_rng(0)
    labels, predicted = np.concatenate([np.arange(7), random.integers(0, 7, 200)]), random.integers(0, 7, 207)
    assert metrics.mean_per_class(predicted, labels) == pytest.approx(balanced_accuracy_score(labels, predicted), abs=1e-12)


@pytest.mark.parametrize("k", [1, 3, 5])
def test_top_k_equals_sklearns(k: int) -> None:
    random = np.random.default_rng(1)
    scores, labels = random.random((300, 8)), random.integers(0, 8, 300)
    expected = top_k_accuracy_score(labels, scores, k=k, labels=np.arange(8))
    assert metrics.top_k(scores, labels, k) == pytest.approx(expected, abs=1e-12)


def test_top_1_is_the_argmax_even_for_equal_scores() -> None:
    scores = np.array([[0.5, 0.5, 0.0], [0.2, 0.4, 0.4], [1.0, 0.0, 0.0]])
    for label in range(3):
        labels = np.full(3, label)
        assert metrics.top_k(scores, labels, 1) == metrics.top1(scores.argmax(axis=1), labels)


def test_a_label_that_shares_its_score_counts_only_if_all_of_them_fit() -> None:
    scores = np.array([[0.4, 0.2, 0.2, 0.1, 0.1]])
    hits = {k: [metrics.top_k(scores, np.array([label]), k) for label in range(5)] for k in range(1, 6)}
    assert hits == {1: [1, 0, 0, 0, 0], 2: [1, 0, 0, 0, 0], 3: [1, 1, 1, 0, 0], 4: [1, 1, 1, 0, 0], 5: [1] * 5}


def test_top_k_of_equal_scores_is_at_least_top_1() -> None:
    scores = np.zeros((1, 4))
    assert [metrics.top_k(scores, np.array([label]), 2) for label in range(4)] == [1, 0, 0, 0]
