"""Scores and calibration, compared with scikit-learn, with values worked out by hand, and on simulated classifiers."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from scipy.special import softmax
from sklearn.calibration import CalibratedClassifierCV, calibration_curve
from sklearn.datasets import load_iris
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import brier_score_loss, log_loss

from clipstore.measure import calibration
from tests.synthetic import logits_of

Matrix = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]

RANDOM = np.random.default_rng(0)
LOGITS = RANDOM.normal(0, 2, (600, 4))
PROBABILITIES = softmax(LOGITS, axis=1)
LABELS = np.array([RANDOM.choice(4, p=row) for row in PROBABILITIES])  # perfectly calibrated
HARD = np.array([[1.0, 0, 0], [0, 1, 0], [1, 0, 0]])  # for labels 0 1 2: two right, one entirely wrong
ONE_CLASS = np.zeros((3, 1))


def drawn(random: np.random.Generator, n: int, distance: float = 3.7) -> tuple[Matrix, Labels]:
    """Return perfectly calibrated logits (n, 10) and labels of normally distributed classes; 97 % of the answers are right."""
    labels, vectors = random.integers(10, size=n), random.normal(size=(n, 10))
    vectors[np.arange(n), labels] += distance
    return distance * vectors, labels


def rightness(confidence: Matrix, right: npt.NDArray[np.bool_]) -> tuple[Matrix, Labels]:
    """Return probabilities of two classes, the first with ``confidence`` > 0.5, and labels for which the given answers are right."""
    return np.stack([confidence, 1 - confidence], axis=1), (~right).astype(np.int64)


def test_losses_equal_sklearns_log_loss() -> None:
    assert calibration.losses(LOGITS, LABELS).mean() == pytest.approx(log_loss(LABELS, PROBABILITIES), abs=1e-12)
    assert calibration.losses(LOGITS, LABELS, 2.5).mean() == pytest.approx(log_loss(LABELS, softmax(LOGITS / 2.5, axis=1)), abs=1e-12)


def test_losses_of_finite_logits_have_no_floor() -> None:
    assert calibration.losses(np.array([[0.0, 100], [0, 0]]), np.array([0, 1])).tolist() == pytest.approx([100, np.log(2)])


def test_classes_that_cannot_be_predicted_are_clipped_as_sklearn_does() -> None:
    labels = np.array([0, 1, 2])
    assert calibration.losses(logits_of(HARD).astype(float), labels) == pytest.approx([0, 0, 52 * np.log(2)])
    assert calibration.losses(logits_of(HARD).astype(float), labels).mean() == pytest.approx(log_loss(labels, HARD))
    assert calibration.brier(HARD, labels) == pytest.approx(2 / 3)
    measured = calibration.measures(logits_of(HARD).astype(float), labels, 2.0, 15, 0.9)
    assert (measured["nll_floored"], measured["nll"], measured["nll_scaled"]) == (1, *[pytest.approx(52 * np.log(2) / 3)] * 2)


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


def test_calibration_errors_by_hand() -> None:
    """The first bin's accuracy has the variance 0.5 * 0.5 / (2 - 1); the sum of squares less variances is then negative."""
    probabilities = np.array([[0.6, 0.4], [0.3, 0.7], [0.2, 0.8], [1.0, 0.0]])
    table = calibration.reliability(probabilities, np.array([0, 0, 1, 0]), 2)
    assert table.to_dict("list") == {"bin": [1, 2], "confidence": pytest.approx([0.65, 0.9]), "accuracy": [0.5, 1], "count": [2, 2]}
    assert calibration.ece(table) == pytest.approx((0.15 + 0.1) / 2)
    assert calibration.ece_debiased(table) == 0
    assert calibration.ece_debiased(table.assign(accuracy=[0, 1])) == pytest.approx(np.sqrt((0.65**2 + 0.1**2) / 2))
    assert calibration.ece_debiased(table.assign(accuracy=[0, 1], count=[1, 3])) == pytest.approx(
        np.sqrt((0.65**2 - 0.65 * 0.35 + 3 * 0.1**2) / 4)
    )


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


def test_noise_of_the_calibration_error_by_hand() -> None:
    """Of one image with confidence 0.8, the ece is 0.2 or, once in five times, 0.8; certain answers have none."""
    assert calibration.ece_noise(np.array([[0.8, 0.2]]), 15) == pytest.approx(0.8)
    assert calibration.ece_noise(np.array([[0.99, 0.01]]), 15) == pytest.approx(0.01)
    assert calibration.ece_noise(np.eye(3), 15) == 0


@pytest.mark.parametrize("confidences", ["spread", "high"])
def test_a_calibrated_classifier_has_no_calibration_error_and_5_points_show(confidences: str) -> None:
    """540 test images, 15 bins, 50 draws: ece alone is 0.03 to 0.05 for a classifier whose every confidence is right."""
    random = np.random.default_rng(1)
    results: dict[str, list[list[float]]] = {"calibrated": [], "overconfident": []}
    for _ in range(50):
        confidence = random.uniform(0.55, 0.95, 540) if confidences == "spread" else random.beta(30, 1.5, 540).clip(0.51)
        chance = random.random(540)
        noise = calibration.ece_noise(rightness(confidence, chance < confidence)[0], 15)
        for name, excess in (("calibrated", 0), ("overconfident", 0.05)):
            probabilities, labels = rightness(confidence, chance < confidence - excess)
            table = calibration.reliability(probabilities, labels, 15)
            results[name].append([calibration.ece(table), calibration.ece_debiased(table), float(calibration.ece(table) > noise)])
    calibrated, overconfident = (np.mean(results[name], axis=0) for name in results)
    assert calibrated[0] > 0.025
    assert calibrated[1] < 0.018 and np.median([row[1] for row in results["calibrated"]]) < 0.01
    assert calibrated[2] <= 0.1  # nominally 0.05
    assert overconfident[1] == pytest.approx(0.05, abs=0.012)
    assert overconfident[2] > 0.3


@pytest.mark.parametrize("factor", [1e-4, 0.01, 0.2, 3, 10, 1e4])
def test_the_temperature_reverses_a_known_scaling_of_500_images(factor: float) -> None:
    """From cosines without a scale to logits ten times too confident; it is close to the maximum of the likelihood alone."""
    logits, labels = drawn(np.random.default_rng(0), 500)
    temperature = calibration.fit_temperature(factor * logits, labels)
    grid = np.exp(np.linspace(np.log(0.5), np.log(2), 281))
    most_likely = float(grid[np.argmin([calibration.losses(logits, labels, value).sum() for value in grid])])
    assert temperature == pytest.approx(factor * most_likely, rel=0.05)
    assert most_likely == pytest.approx(1, rel=0.25)


def test_temperature_scaling_of_many_images_equals_sklearns() -> None:
    data, labels = load_iris(return_X_y=True)
    model = LogisticRegression(C=0.01).fit(data, labels)
    reference = CalibratedClassifierCV(FrozenEstimator(model), method="temperature").fit(data, labels)
    logits = model.decision_function(data)
    temperature = calibration.fit_temperature(np.tile(logits, (100, 1)), np.tile(labels, 100))
    assert np.allclose(calibration.scaled(logits, temperature), reference.predict_proba(data), atol=1e-3)


@pytest.mark.parametrize("n", [20, 40])
def test_a_temperature_from_few_images_hardly_worsens_a_calibrated_classifier(n: int) -> None:
    """200 draws of val. Without a prior, the temperature falls to 0 wherever all answers are right, in a third of the draws."""
    random = np.random.default_rng(0)
    logits, labels = drawn(random, 4000)
    before = calibration.losses(logits, labels).mean()
    temperatures = [calibration.fit_temperature(*drawn(random, n)) for _ in range(200)]
    after = np.array([calibration.losses(logits, labels, temperature).mean() for temperature in temperatures])
    assert after.mean() < 1.05 * before
    assert np.quantile(after, 0.95) < 1.2 * before
    assert after.max() < 1.75 * before


@pytest.mark.parametrize("factor", [0.2, 0.5])
def test_a_temperature_from_40_images_helps_an_unsure_classifier(factor: float) -> None:
    random = np.random.default_rng(0)
    logits, labels = drawn(random, 4000)
    draws = [drawn(random, 40) for _ in range(50)]
    temperatures = [calibration.fit_temperature(factor * unsure, known) for unsure, known in draws]
    after = np.array([calibration.losses(factor * logits, labels, temperature).mean() for temperature in temperatures])
    before = calibration.losses(factor * logits, labels).mean()
    assert after.mean() < 0.75 * before
    assert after.max() < before


@pytest.mark.parametrize("logits", [np.empty((0, 3)), ONE_CLASS, np.zeros((3, 3))])
def test_the_temperature_is_1_if_scaling_cannot_help(logits: Matrix) -> None:
    assert calibration.fit_temperature(logits, np.zeros(len(logits), int)) == pytest.approx(1, abs=1e-6)


def test_the_temperature_ignores_a_constant_that_is_added_to_a_row() -> None:
    shifted = LOGITS + np.linspace(-1000, 1000, 600)[:, None]
    assert calibration.fit_temperature(shifted, LABELS) == pytest.approx(calibration.fit_temperature(LOGITS, LABELS))


def test_scaling_is_a_softmax_of_logits_and_keeps_the_ranking() -> None:
    assert np.allclose(calibration.scaled(LOGITS, 2.5), softmax(LOGITS / 2.5, axis=1))
    assert (calibration.scaled(LOGITS, 0.05).argmax(axis=1) == PROBABILITIES.argmax(axis=1)).all()
    assert np.allclose(calibration.scaled(logits_of(HARD).astype(float), 20.0), HARD)


def test_the_change_of_nll_by_hand() -> None:
    """The mean of -1, -2 and -3 has the standard error 1 / sqrt(3), and Student's t with 2 degrees of freedom the quantile 4.303."""
    changed = calibration.change(np.array([4.0, 4, 4]), np.array([3.0, 2, 1]))
    assert changed == {
        "nll_change": -2,
        "nll_change_low": pytest.approx(-2 - 4.303 / np.sqrt(3), abs=1e-3),
        "nll_change_high": pytest.approx(-2 + 4.303 / np.sqrt(3), abs=1e-3),
        "scaling": "no measurable change",
    }


def test_a_change_must_exceed_its_interval_and_a_likelihood_ratio_of_20() -> None:
    def verdict(differences: Any) -> float | str:
        return calibration.change(np.zeros(len(differences)), np.array(differences))["scaling"]

    assert [verdict([-1.1, -1, -1]), verdict([1.1, 1, 1])] == ["improves", "worsens"]
    assert [verdict([-0.9, -1, -1]), verdict([0.9, 1, 1])] == ["no measurable change"] * 2  # 2.9 nats: less than log 20
    assert verdict([-9, 2, 3.0]) == "no measurable change"  # 4 nats, but the interval includes 0
    assert calibration.change(np.ones(1), np.zeros(1)) == {"nll_change": -1, "scaling": "no measurable change"}


@pytest.mark.parametrize(("n", "temperature"), [(20, 0.8), (40, 0.5), (100, 0.8), (540, 0.9)])
def test_noise_is_not_called_an_improvement(n: int, temperature: float) -> None:
    """Any temperature worsens a calibrated classifier; the interval alone excludes this in up to a third of 300 draws."""
    random = np.random.default_rng(2)
    draws = [drawn(random, n) for _ in range(300)]
    changed = [calibration.change(calibration.losses(*draw), calibration.losses(*draw, temperature)) for draw in draws]
    assert sum(row["scaling"] == "improves" for row in changed) <= 0.025 * 300


def test_a_real_improvement_is_found() -> None:
    random = np.random.default_rng(3)
    draws = [(0.5 * logits, labels) for logits, labels in (drawn(random, 540) for _ in range(50))]
    changed = [calibration.change(calibration.losses(*draw), calibration.losses(*draw, 0.5)) for draw in draws]
    assert sum(row["scaling"] == "improves" for row in changed) >= 48


def test_a_single_class_is_always_right() -> None:
    measures = calibration.measures(ONE_CLASS, np.zeros(3, int), 1.0, 15, 0.9)
    scores = [f"{name}{suffix}" for suffix in ("", "_scaled") for name in ("nll", "brier", "ece", "ece_debiased", "ece_noise")]
    assert measures == dict.fromkeys([*scores, "nll_change", "nll_change_low", "nll_change_high", "nll_floored"], 0) | {
        "scaling": "no measurable change",
        "coverage": 1,
        "covered_top1": 1,
    }


def test_confident_answers_by_hand() -> None:
    probabilities, labels = np.array([[0.6, 0.4], [0.1, 0.9], [0.95, 0.05], [0.2, 0.8]]), np.array([0, 1, 1, 1])
    assert calibration.confident(probabilities, labels, 0.9) == {"coverage": 0.5, "covered_top1": 0.5}
    assert calibration.confident(probabilities, labels, 0.99) == {"coverage": 0.0}
