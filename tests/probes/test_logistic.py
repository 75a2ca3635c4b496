"""The logistic probe of linear_probe and few_shot."""

import warnings
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pytest
from scipy.special import log_softmax
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

from clipstore.core.vectors import Matrix, unit
from clipstore.probes.logistic import LARGEST_C, LogisticProbe, fit, fit_path, tolerance
from tests.saving import saved_and_loaded
from tests.synthetic import blobs


def test_probabilities_equal_plain_logistic_regression() -> None:
    labels = np.arange(60) % 3
    vectors, queries = blobs(0, labels.tolist()), blobs(1, labels.tolist())
    probe = fit(vectors, labels, 0.5, 1000, 3)
    expected = LogisticRegression(C=0.5, max_iter=1000, tol=1e-8).fit(vectors.astype(float), labels).predict_proba(queries)
    probabilities = probe.probabilities(queries)
    assert probe.converged
    assert probabilities.dtype == np.float32
    np.testing.assert_allclose(probabilities, expected, atol=1e-4)


def spread(seed: int, labels: npt.NDArray[np.int64], width: int) -> Matrix:
    """Return vectors around one corner per class, with enough spread that probabilities are neither 0 nor 1."""
    vectors: Matrix = (np.eye(width)[labels] + np.random.default_rng(seed).normal(0, 0.5, (len(labels), width))).astype(np.float32)
    return vectors


@pytest.mark.parametrize("width", [40, 64, 515])
@pytest.mark.parametrize("classes", [[0, 1], [1, 4], [0, 1, 2], [0, 2, 5], list(range(37))])
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_logits_equal_sklearns_decision_function_bit_for_bit(classes: list[int], width: int) -> None:
    """With two or more classes, and with or without gaps in the labels; a class without training images has probability 0."""
    labels = np.array(classes)[np.arange(120) % len(classes)]
    vectors, queries = spread(0, labels, width), spread(1, labels, width)
    grid, mean = [0.01, 1.0, 100.0], vectors.mean(axis=0)
    model = LogisticRegression(solver="newton-cg", max_iter=50, warm_start=True)
    probes = list(
        fit_path(vectors, labels, grid, 50, 40)
    )  # all probes are fitted before the first is used: later fits must not change earlier ones
    for probe, C in zip(probes, grid, strict=True):
        model.set_params(C=C, tol=tolerance(C, 120)).fit((vectors - mean).astype(float), labels)
        coefficients, intercept = model.coef_, model.intercept_
        model.coef_, model.intercept_ = coefficients.astype(np.float32), intercept.astype(np.float32)
        for batch in (queries, queries[:1], np.asfortranarray(queries)):
            decision = model.decision_function(batch - mean)
            expected = np.full((len(batch), 40), -np.inf, np.float32)
            expected[:, classes] = decision if len(classes) > 2 else np.column_stack([np.zeros_like(decision), decision])
            np.testing.assert_array_equal(probe.logits(batch), expected)
            probabilities = np.zeros((len(batch), 40), np.float32)
            probabilities[:, classes] = model.predict_proba(batch - mean)
            np.testing.assert_allclose(probe.probabilities(batch), probabilities, atol=1e-6)
            np.testing.assert_array_equal(probe.scores(batch), probe.logits(batch))
        model.coef_, model.intercept_ = coefficients, intercept  # from which the next fit starts


@pytest.mark.parametrize("classes", [2, 3])
def test_the_probe_can_be_saved_and_loaded(classes: int) -> None:
    labels = 2 * (np.arange(60) % classes)
    fitted, queries = fit(spread(0, labels, 40), labels, 0.5, 1000, 6), spread(1, labels, 40)
    loaded = saved_and_loaded(fitted)
    assert (loaded.C, loaded.converged, loaded.classes) == (0.5, True, 6)
    np.testing.assert_array_equal(loaded.probabilities(queries), fitted.probabilities(queries))


def test_fits_of_a_grid_equal_separate_fits() -> None:
    labels = np.arange(60) % 3
    vectors, queries = blobs(0, labels.tolist()), blobs(1, labels.tolist())
    grid = [10.0, 0.01, 1.0]
    probes = list(fit_path(vectors, labels, grid, 1000, 3))
    assert [probe.C for probe in probes] == [0.01, 1.0, 10.0]
    for probe, C in zip(probes, sorted(grid), strict=True):
        alone = fit(vectors, labels, C, 1000, 3).probabilities(queries)
        np.testing.assert_allclose(probe.probabilities(queries), alone, atol=1e-4)


def objective(weights: Matrix, intercept: Matrix, vectors: Matrix, labels: npt.NDArray[np.int64], C: float) -> float:
    """Return scikit-learn's objective in float64: C times the summed cross-entropy plus half the squared weights (classes, d)."""
    logarithms = log_softmax(vectors.astype(float) @ weights.T.astype(float) + intercept, axis=1)
    return float(-C * logarithms[np.arange(len(labels)), labels].sum() + (weights.astype(float) ** 2).sum() / 2)


def test_the_probe_reaches_the_optimum_where_plain_scikit_learn_stops_early() -> None:
    """Vectors far from the origin and close to each other, as encoders give for images unlike their training data.

    The test compares objectives, because the error of float32 probabilities depends on the processor (0.0155 without AVX-512, less than
    0.01 with it).
    """
    labels, C = np.arange(300) % 10, 1e4
    vectors, queries = ((1 + 0.01 * blobs(seed, labels.tolist())).astype(np.float32) for seed in (0, 1))
    mean = vectors.mean(axis=0)
    exact = LogisticRegression(C=C, max_iter=100_000, tol=1e-9).fit(vectors.astype(float) - mean, labels)
    plain = LogisticRegression(C=C, max_iter=1000).fit(vectors, labels)
    probe = fit(vectors, labels, C, 1000, 10)
    optimum = objective(exact.coef_, exact.intercept_, vectors - mean, labels, C)
    plain_gap = objective(plain.coef_, plain.intercept_, vectors, labels, C) - optimum
    assert objective(probe.coefficients.T, probe.intercept, vectors - mean, labels, C) - optimum < 0.03 * plain_gap
    expected = exact.predict_proba(queries.astype(float) - mean)
    assert abs(plain.predict_proba(queries) - expected).max() > 0.1
    assert abs(probe.probabilities(queries) - expected).max() < 0.02


def test_class_without_a_training_image_gets_0() -> None:
    labels = np.array([0, 2] * 10)
    probe = fit(blobs(0, (labels // 2).tolist()), labels, 1.0, 1000, 4)
    probabilities = probe.probabilities(blobs(1, [0, 1]))
    assert probabilities.shape == (2, 4)
    assert (probabilities[:, [1, 3]] == 0).all()
    assert (probabilities[:, [0, 2]] > 0).all()
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-6)
    assert probabilities.argmax(axis=1).tolist() == [0, 2]


def test_fit_that_does_not_converge_is_recorded_without_a_warning() -> None:
    labels = np.arange(60) % 2
    with warnings.catch_warnings(record=True) as recorded:
        warnings.simplefilter("always")
        probe = fit(blobs(0, labels.tolist()), labels, 1e4, 1, 2)
    assert not probe.converged
    assert recorded == []


GRID = [10.0**exponent for exponent in range(-6, 7)]


@pytest.fixture(scope="module")
def digits() -> tuple[Matrix, npt.NDArray[np.int64], Matrix]:
    """Unit vectors of the pixels of digits: 898 with labels for training, and 359 others. They are separable."""
    pixels, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(labels))
    vectors, _ = unit(pixels.astype(np.float32))
    return vectors[order[:898]], labels[order[:898]], vectors[order[898 : 898 + 359]]


@pytest.fixture(scope="module")
def path(digits: tuple[Matrix, npt.NDArray[np.int64], Matrix]) -> list[LogisticProbe]:
    return list(fit_path(digits[0], digits[1], GRID, 1000, 10))


def test_a_sweep_gives_the_answers_of_single_fits(digits: tuple[Matrix, npt.NDArray[np.int64], Matrix], path: list[LogisticProbe]) -> None:
    """For every C that params.yaml may name: a start at the previous optimum and a start at 0 reach the same optimum."""
    assert GRID[-1] == LARGEST_C
    vectors, labels, queries = digits
    for probe in path:
        alone = fit(vectors, labels, probe.C, 1000, 10)
        assert probe.converged and alone.converged
        assert (probe.scores(queries).argmax(axis=1) != alone.scores(queries).argmax(axis=1)).sum() == 0
        np.testing.assert_allclose(probe.probabilities(queries), alone.probabilities(queries), atol=0.002)


def test_every_fit_of_a_sweep_moves_on(path: list[LogisticProbe]) -> None:
    """The data are separable, so that a weaker penalty always gives larger weights: a fit that takes no step would keep them."""
    norms = [float(np.linalg.norm(probe.coefficients)) for probe in path]
    assert all(later > 1.05 * earlier for earlier, later in pairwise(norms))


def test_a_fit_that_cannot_reach_its_tolerance_is_not_called_converged(
    digits: tuple[Matrix, npt.NDArray[np.int64], Matrix],
) -> None:
    assert not fit(digits[0], digits[1], 1e14, 1000, 10).converged
