"""The probe that several stages fit."""

import warnings

import numpy as np
from sklearn.linear_model import LogisticRegression

from stages.lib.probe import fit
from tests.synthetic import blobs


def test_probabilities_are_a_plain_logistic_regressions() -> None:
    labels = np.arange(60) % 3
    vectors, queries = blobs(0, labels.tolist()), blobs(1, labels.tolist())
    probe = fit(vectors, labels, 0.5, 1000, 3)
    expected = LogisticRegression(C=0.5, max_iter=1000).fit(vectors, labels).predict_proba(queries)
    found = probe.probabilities(queries)
    assert probe.converged
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-6)


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
