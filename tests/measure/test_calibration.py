"""Scores and calibration against scikit-learn's and by hand."""

import numpy as np
import pytest
from scipy.special import softmax
from sklearn.calibration import CalibratedClassifierCV, calibration_curve
from sklearn.datasets import load_iris
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import brier_score_loss, log_loss

from clipstore.measure import calibration

RANDOM = np.random.default_rng(0)
LOGITS = RANDOM.normal(0, 2, (600, 4))
PROBABILITIES = softmax(LOGITS, axis=1)
LABELS = np.array([RANDOM.choice(4, p=row) for row in PROBABILITIES])  # perfectly calibrated
HARD = np.array([[1.0, 0, 0], [0, 1, 0], [1, 0, 0]])  # with labels 0 1 2: two right, one as wrong as can be
ONE_CLASS = np.ones((3, 1))


def test_nll_is_sklearns_log_loss() -> None:
    assert calibration.nll(PROBABILITIES, LABELS) == pytest.approx(log_loss(LABELS, PROBABILITIES), abs=1e-12)


def test_probabilities_of_0_and_1_are_clipped_as_sklearn_does() -> None:
    labels = np.array([0, 1, 2])
    assert calibration.nll(HARD, labels) == pytest.approx(log_loss(labels, HARD)) == pytest.approx(52 * np.log(2) / 3)
    assert calibration.brier(HARD, labels) == pytest.approx(2 / 3)


def test_brier_is_sklearns_unscaled() -> None:
    assert calibration.brier(PROBABILITIES, LABELS) == pytest.approx(brier_score_loss(LABELS, PROBABILITIES, scale_by_half=False))


def test_brier_by_hand() -> None:
    assert calibration.brier(np.array([[0.7, 0.2, 0.1]]), np.array([1])) == pytest.approx(0.49 + 0.64 + 0.01)


def test_reliability_is_sklearns_curve_of_quantiles() -> None:
    table = calibration.reliability(PROBABILITIES, LABELS, 10)
    right = PROBABILITIES.argmax(axis=1) == LABELS
    accuracy, confidence = calibration_curve(right, PROBABILITIES.max(axis=1), n_bins=10, strategy="quantile")
    assert table["bin"].tolist() == list(range(1, 11)) and set(table["count"]) == {60}
    assert table["accuracy"].tolist() == pytest.approx(accuracy)
    assert table["confidence"].tolist() == pytest.approx(confidence)


def test_expected_calibration_error_by_hand() -> None:
    probabilities = np.array([[0.6, 0.4], [0.3, 0.7], [0.2, 0.8], [1.0, 0.0]])
    table = calibration.reliability(probabilities, np.array([0, 0, 1, 0]), 2)
    assert table.to_dict("list") == {"bin": [1, 2], "confidence": pytest.approx([0.65, 0.9]), "accuracy": [0.5, 1], "count": [2, 2]}
    assert calibration.ece(table) == pytest.approx((0.15 + 0.1) / 2)


def test_equal_confidences_share_a_bin_whatever_the_order_of_the_rows() -> None:
    probabilities = np.array([[0.9, 0.1]] * 6 + [[0.6, 0.4]] * 2)
    labels = np.array([0, 0, 0, 0, 0, 1, 1, 0])
    for order in (slice(None), slice(None, None, -1)):
        table = calibration.reliability(probabilities[order], labels[order], 4)
        assert table["count"].tolist() == [2, 6]
        assert table["accuracy"].tolist() == pytest.approx([1 / 2, 5 / 6])


def test_more_bins_than_images_leaves_bins_out() -> None:
    assert calibration.reliability(HARD, np.array([0, 1, 2]), 15)["count"].tolist() == [3]
    assert calibration.reliability(PROBABILITIES[:1], LABELS[:1], 15)["count"].tolist() == [1]


@pytest.mark.parametrize("sharpness", [0.5, 3.0])
def test_the_temperature_undoes_a_wrong_sharpness(sharpness: float) -> None:
    wrong = softmax(sharpness * LOGITS, axis=1)
    found = calibration.fit_temperature(wrong, LABELS)
    tried = np.linspace(0.8, 1.2, 81) * found
    losses = [calibration.nll(calibration.scaled(wrong, temperature), LABELS) for temperature in tried]
    assert found == pytest.approx(sharpness, rel=0.1)
    assert int(np.argmin(losses)) == 40
    assert calibration.measures(wrong, LABELS, found, 15, 0.5)["ece_scaled"] < calibration.measures(wrong, LABELS, found, 15, 0.5)["ece"]


def test_the_temperature_is_sklearns() -> None:
    data, labels = load_iris(return_X_y=True)
    model = LogisticRegression(C=0.01).fit(data, labels)
    theirs = CalibratedClassifierCV(FrozenEstimator(model), method="temperature").fit(data, labels)
    probabilities = model.predict_proba(data)
    ours = calibration.scaled(probabilities, calibration.fit_temperature(probabilities, labels))
    assert np.allclose(ours, theirs.predict_proba(data), atol=1e-3)


def test_scaling_is_a_softmax_of_logits_and_keeps_the_ranking() -> None:
    assert np.allclose(calibration.scaled(PROBABILITIES, 2.5), softmax(LOGITS / 2.5, axis=1))
    assert np.allclose(calibration.scaled(PROBABILITIES, 1), PROBABILITIES)
    assert (calibration.scaled(PROBABILITIES, 0.05).argmax(axis=1) == PROBABILITIES.argmax(axis=1)).all()


def test_scaled_zeros_and_ones_stay_finite_and_sum_to_1() -> None:
    for temperature in calibration.TEMPERATURES:
        assert np.allclose(calibration.scaled(HARD, temperature).sum(axis=1), 1)


@pytest.mark.parametrize("probabilities", [np.empty((0, 3)), ONE_CLASS, np.full((3, 3), 1 / 3)])
def test_without_anything_to_gain_the_temperature_is_1(probabilities: np.ndarray) -> None:
    assert calibration.fit_temperature(probabilities, np.zeros(len(probabilities), int)) == 1


def test_where_every_answer_is_right_the_temperature_is_at_its_lower_end() -> None:
    probabilities = np.array([[0.6, 0.4], [0.3, 0.7]])
    assert calibration.fit_temperature(probabilities, np.array([0, 1])) == pytest.approx(calibration.TEMPERATURES[0], rel=0.01)


def test_one_class_is_always_right() -> None:
    found = calibration.measures(ONE_CLASS, np.zeros(3, int), 1.0, 15, 0.9)
    assert found == {f"{name}{suffix}": 0 for suffix in ("", "_scaled") for name in ("nll", "brier", "ece")} | {
        "coverage": 1,
        "covered_top1": 1,
    }


def test_confident_answers_by_hand() -> None:
    probabilities, labels = np.array([[0.6, 0.4], [0.1, 0.9], [0.95, 0.05], [0.2, 0.8]]), np.array([0, 1, 1, 1])
    assert calibration.confident(probabilities, labels, 0.9) == {"coverage": 0.5, "covered_top1": 0.5}
    assert calibration.confident(probabilities, labels, 0.99) == {"coverage": 0.0}
