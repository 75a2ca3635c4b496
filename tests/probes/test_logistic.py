"""The probe that linear_probe and few_shot fit."""

import warnings

import numpy as np
from sklearn.linear_model import LogisticRegression

from clipstore.probes.logistic import fit, fits
from tests.synthetic import blobs


def test_probabilities_are_a_plain_logistic_regressions() -> None:
    labels = np.arange(60) % 3
    vectors, queries = blobs(0, labels.tolist()), blobs(1, labels.tolist())
    probe = fit(vectors, labels, 0.5, 1000, 3)
    expected = LogisticRegression(C=0.5, max_iter=1000, tol=1e-8).fit(vectors.astype(float), labels).predict_proba(queries)
    found = probe.probabilities(queries)
    assert probe.converged
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_fits_of_a_grid_are_those_of_each_c_alone() -> None:
    labels = np.arange(60) % 3
    vectors, queries = blobs(0, labels.tolist()), blobs(1, labels.tolist())
    grid = [10.0, 0.01, 1.0]
    found = list(fits(vectors, labels, grid, 1000, 3))
    assert [probe.model.C for probe in found] == [0.01, 1.0, 10.0]
    for probe, C in zip(found, sorted(grid), strict=True):
        alone = fit(vectors, labels, C, 1000, 3).probabilities(queries)
        np.testing.assert_allclose(probe.probabilities(queries), alone, atol=1e-4)


def test_it_reaches_the_optimum_where_plain_scikit_learn_stops_on_the_way() -> None:
    """Vectors far from the origin and close to each other, as an encoder gives of images that it never saw the like of."""
    labels, C = np.arange(300) % 10, 1e4
    vectors, queries = ((1 + 0.01 * blobs(seed, labels.tolist())).astype(np.float32) for seed in (0, 1))
    mean = vectors.mean(axis=0)
    exact = LogisticRegression(C=C, max_iter=100_000, tol=1e-9).fit(vectors.astype(float) - mean, labels)
    expected = exact.predict_proba(queries.astype(float) - mean)
    plain = LogisticRegression(C=C, max_iter=1000).fit(vectors, labels)
    assert abs(plain.predict_proba(queries) - expected).max() > 0.1
    assert abs(fit(vectors, labels, C, 1000, 10).probabilities(queries) - expected).max() < 0.01


def test_class_without_a_training_image_gets_0() -> None:
    labels = np.array([0, 2] * 10)
    probe = fit(blobs(0, (labels // 2).tolist()), labels, 1.0, 1000, 4)
    found = probe.probabilities(blobs(1, [0, 1]))
    assert found.shape == (2, 4)
    assert (found[:, [1, 3]] == 0).all()
    assert (found[:, [0, 2]] > 0).all()
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-6)
    assert found.argmax(axis=1).tolist() == [0, 2]


def test_fit_that_does_not_converge_is_recorded_without_a_warning() -> None:
    labels = np.arange(60) % 2
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        probe = fit(blobs(0, labels.tolist()), labels, 1e4, 1, 2)
    assert not probe.converged
    assert seen == []
