"""Scores and calibration, compared with scikit-learn and with values worked out by hand."""

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
HARD = np.array([[1.0, 0, 0], [0, 1, 0], [1, 0, 0]])  # for labels 0 1 2: two right, one entirely wrong
ONE_CLASS = np.ones((3, 1))


def test_nll_equals_sklearns_log_loss() -> None:
    assert calibration.nll(PROBABILITIES, LABELS) == pytest.approx(log_loss(LABELS, PROBABILITIES), abs=1e-12)


def test_probabilities_of_0_and_1_are_clipped_as_sklearn_does() -> None:
    labels = np.array([0, 1, 2])
    assert calibration.nll(HARD, labels) == pytest.approx(log_loss(labels, HARD)) == pytest.approx(52 * np.log(2) / 3)
    assert calibration.brier(HARD, labels) == pytest.approx(2 / 3)


def test_brier_equals_sklearns_unscaled_score() -> None:
    assert calibration.brier(PROBABILITIES, LABELS) == pytest.approx(brier_score_loss(LABELS, PROBABILITIES, scale_by_half=False))


def test_brier_by_hand() -> None:
    assert calibration.brier(np.array([[0.7, 0.2, 0.1]]), np.array([1])) == pytest.approx(0.49 + 0.64 + 0.01)


def test_reliability_equals_sklearns_quantile_curve() -> None:
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


def test_equal_confidences_share_a_bin_for_any_order_of_rows() -> None:
    probabilities = np.array([[0.9, 0.1]] * 6 + [[0.6, 0.4]] * 2)
    labels = np.array([0, 0, 0, 0, 0, 1, 1, 0])
    for order in (slice(None), slice(None, None, -1)):
        table = calibration.reliability(probabilities[order], labels[order], 4)
        assert table["count"].tolist() == [2, 6]
        assert table["accuracy"].tolist() == pytest.approx([1 / 2, 5 / 6])


def test_empty_bins_are_left_out() -> None:
    assert calibration.reliability(HARD, np.array([0, 1, 2]), 15)["count"].tolist() == [3]
    assert calibration.reliability(PROBABILITIES[:1], LABELS[:1], 15)["count"].tolist() == [1]


@pytest.mark.parametrize("sharpness", [0.5, 3.0])
def test_the_temperature_reverses_a_known_scaling(sharpness: float) -> None:
    wrong = softmax(sharpness * LOGITS, axis=1)
    temperature = calibration.fit_temperature(wrong, LABELS)
    grid = np.linspace(0.8, 1.2, 81) * temperature
    losses = [calibration.nll(calibration.scaled(wrong, value), LABELS) for value in grid]
    assert temperature == pytest.approx(sharpness, rel=0.1)
    assert int(np.argmin(losses)) == 40
    measures = calibration.measures(wrong, LABELS, temperature, 15, 0.5)
    assert measures["ece_scaled"] < measures["ece"]


def test_temperature_scaling_equals_sklearns() -> None:
    data, labels = load_iris(return_X_y=True)
    model = LogisticRegression(C=0.01).fit(data, labels)
    reference = CalibratedClassifierCV(FrozenEstimator(model), method="temperature").fit(data, labels)
    probabilities = model.predict_proba(data)
    scaled = calibration.scaled(probabilities, calibration.fit_temperature(probabilities, labels))
    assert np.allclose(scaled, reference.predict_proba(data), atol=1e-3)


def test_scaling_is_a_softmax_of_logits_and_keeps_the_ranking() -> None:
    assert np.allclose(calibration.scaled(PROBABILITIES, 2.5), softmax(LOGITS / 2.5, axis=1))
    assert np.allclose(calibration.scaled(PROBABILITIES, 1), PROBABILITIES)
    assert (calibration.scaled(PROBABILITIES, 0.05).argmax(axis=1) == PROBABILITIES.argmax(axis=1)).all()


def test_scaled_zeros_and_ones_stay_finite_and_sum_to_1() -> None:
    for temperature in calibration.TEMPERATURES:
        assert np.allclose(calibration.scaled(HARD, temperature).sum(axis=1), 1)


@pytest.mark.parametrize("probabilities", [np.empty((0, 3)), ONE_CLASS, np.full((3, 3), 1 / 3)])
def test_the_temperature_is_1_if_scaling_cannot_help(probabilities: np.ndarray) -> None:
    assert calibration.fit_temperature(probabilities, np.zeros(len(probabilities), int)) == 1


def test_the_temperature_is_at_its_lower_end_if_every_answer_is_right() -> None:
    probabilities = np.array([[0.6, 0.4], [0.3, 0.7]])
    assert calibration.fit_temperature(probabilities, np.array([0, 1])) == pytest.approx(calibration.TEMPERATURES[0], rel=0.01)


def test_a_single_class_is_always_right() -> None:
    measures = calibration.measures(ONE_CLASS, np.zeros(3, int), 1.0, 15, 0.9)
    assert measures == {f"{name}{suffix}": 0 for suffix in ("", "_scaled") for name in ("nll", "brier", "ece")} | {
        "coverage": 1,
        "covered_top1": 1,
    }


def test_confident_answers_by_hand() -> None:
    probabilities, labels = np.array([[0.6, 0.4], [0.1, 0.9], [0.95, 0.05], [0.2, 0.8]]), np.array([0, 1, 1, 1])
    assert calibration.confident(probabilities, labels, 0.9) == {"coverage": 0.5, "covered_top1": 0.5}
    assert calibration.confident(probabilities, labels, 0.99) == {"coverage": 0.0}
