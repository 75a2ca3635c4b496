"""Classifiers for few vectors: agreement with scikit-learn, examples by hand, and limiting cases."""

from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import NearestCentroid

from clipstore.core.vectors import unit
from clipstore.probes import adapters
from tests.saving import saved_and_loaded
from tests.synthetic import blobs


def normalised(vectors: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.float32]:
    return unit(vectors.astype(np.float32))[0]


def fit(
    vectors: npt.NDArray[np.float32], labels: npt.NDArray[np.int64], texts: npt.NDArray[np.float32], C: float, max_iter: int
) -> adapters.TextProbe:
    return next(adapters.fit_text_probes(vectors, labels, texts, [C], max_iter))


LABELS = np.arange(60) % 2
TEXTS = np.array([[0, 2, 1, 0], [2, 0, 0, 1]], np.float32)  # each text describes the other class


def test_nearest_mean_equals_sklearns_nearest_centroid() -> None:
    labels = np.array([0, 0, 0, 1, 1, 1, 1, 2, 2, 2])  # unequal counts, so the means differ in length
    random = np.random.default_rng(0)
    vectors, queries = (normalised(random.normal(size=(count, 3))) for count in (10, 200))
    scores = adapters.nearest_mean(vectors, labels, 3).scores(queries)
    expected = NearestCentroid().fit(vectors, labels).predict(queries)
    assert set(expected) == {0, 1, 2}
    np.testing.assert_array_equal(scores.argmax(axis=1), expected)
    by_cosine = queries @ normalised(np.stack([vectors[labels == label].mean(axis=0) for label in range(3)])).T
    assert (by_cosine.argmax(axis=1) != expected).any()  # Euclidean distance and cosine give different answers


def test_nearest_mean_never_predicts_a_class_without_images() -> None:
    scores = adapters.nearest_mean(np.eye(2, dtype=np.float32), np.array([0, 2]), 4).scores(np.eye(2, dtype=np.float32))
    assert scores.argmax(axis=1).tolist() == [0, 2]
    assert np.isneginf(scores[:, [1, 3]]).all()


def test_nearest_mean_by_hand() -> None:
    vectors = np.array([[1, 0], [0, 1], [0, -1]], np.float32)  # the means are (0.5, 0.5) and (0, -1)
    classifier = adapters.nearest_mean(vectors, np.array([0, 0, 1]), 2)
    assert classifier.scores(np.array([[0.6, 0.8]], np.float32)).tolist() == [[pytest.approx(0.7 - 0.25), pytest.approx(-0.8 - 0.5)]]


def test_tip_adapters_cache_by_hand() -> None:
    affinity = np.array([[1.0, 0.5, 0.0]], np.float32)  # two images of class 0, one of class 2
    logits = adapters.cache_logits(affinity, np.array([0, 0, 2]), 2.0, 3)
    np.testing.assert_allclose(logits, [[1 + np.exp(-1), 0, np.exp(-2)]], rtol=1e-6)


def test_tip_adapter_by_hand() -> None:
    images, texts = np.array([[1, 0], [0.6, 0.8]], np.float32), np.array([[2, 0], [0, 2], [2, 2]], np.float32)
    classifier = adapters.TipAdapter(texts, images, np.array([1, 2]), alpha=3.0, beta=2.0)
    scores = classifier.scores(np.array([[0, 1]], np.float32))
    np.testing.assert_allclose(scores, [[0, 2 + 3 * np.exp(-2), 2 + 3 * np.exp(-2 * 0.2)]], rtol=1e-6)


def test_text_probe_with_a_strong_penalty_is_zero_shot() -> None:
    vectors, queries = (normalised(blobs(seed, LABELS.tolist())) for seed in (0, 1))
    probe = fit(vectors, LABELS, TEXTS, 1e-9, 1000)
    np.testing.assert_allclose(probe.weights, TEXTS, atol=1e-6)
    np.testing.assert_array_equal(probe.scores(queries).argmax(axis=1), (queries @ TEXTS.T).argmax(axis=1))
    assert probe.converged


def test_text_probe_with_a_weak_penalty_is_plain_logistic_regression() -> None:
    vectors, queries = (
        normalised(blobs(seed, LABELS.tolist())) for seed in (0, 1)
    )  # not separable, so an optimum exists without a penalty
    probe = fit(vectors, LABELS, TEXTS, 1e6, 10_000)
    plain = LogisticRegression(C=1e6, fit_intercept=False, tol=1e-8, max_iter=10_000).fit(vectors.astype(float), LABELS)
    logits = probe.scores(queries)
    np.testing.assert_allclose(logits[:, 1] - logits[:, 0], plain.decision_function(queries), atol=0.01)
    assert plain.score(vectors, LABELS) < 1
    assert (logits.argmax(axis=1) == LABELS).mean() > 0.8


def test_text_probe_with_zero_texts_equals_sklearns() -> None:
    labels = np.arange(60) % 3
    vectors = normalised(np.random.default_rng(0).normal(size=(60, 4)) + 2 * np.eye(4)[labels])
    probe = fit(vectors, labels, np.zeros((3, 4), np.float32), 2.0, 1000)
    plain = LogisticRegression(C=2.0, fit_intercept=False, tol=1e-8).fit(vectors.astype(float), labels)
    np.testing.assert_allclose(probe.weights, plain.coef_, atol=1e-3)


def test_each_fit_of_a_sweep_is_at_its_optimum() -> None:
    """Under a weak penalty, vectors close to each other give a long flat valley; scikit-learn's Newton solver reaches its end."""
    random, labels = np.random.default_rng(0), np.arange(120) % 6
    corners = 8 + random.normal(size=(6, 32))
    vectors, queries = (normalised(corners[labels] + random.normal(0, 1.5, (120, 32))) for _ in range(2))
    probes = list(adapters.fit_text_probes(vectors, labels, np.zeros((6, 32), np.float32), [1e5, 1.0, 1e3], 10_000))
    assert [probe.C for probe in probes] == [1.0, 1e3, 1e5]
    for probe in probes:
        plain = LogisticRegression(C=probe.C, fit_intercept=False, solver="newton-cholesky", tol=1e-10).fit(vectors.astype(float), labels)
        logits = queries @ plain.coef_.T
        np.testing.assert_allclose(probe.scores(queries), logits, atol=0.002 * np.abs(logits).max())


def test_fit_that_does_not_converge_is_recorded() -> None:
    assert not fit(normalised(blobs(0, LABELS.tolist())), LABELS, TEXTS, 1e4, 1).converged


@pytest.mark.parametrize(
    "fitted",
    [
        adapters.nearest_mean(normalised(blobs(0, LABELS.tolist())), 2 * LABELS, 4),
        adapters.TipAdapter(TEXTS, normalised(blobs(0, LABELS.tolist())), LABELS, 1.5, 5.5),
        fit(normalised(blobs(0, LABELS.tolist())), LABELS, TEXTS, 10.0, 1000),
    ],
    ids=lambda fitted: type(fitted).__name__,
)
def test_fitted_classifiers_can_be_saved_and_loaded(fitted: adapters.NearestMean | adapters.TipAdapter | adapters.TextProbe) -> None:
    queries = normalised(blobs(1, LABELS.tolist()))
    np.testing.assert_array_equal(saved_and_loaded(fitted).scores(queries), fitted.scores(queries))


def test_a_sweep_gives_the_answers_of_single_fits() -> None:
    """For every C that params.yaml may name, starts at the previous optimum and at the texts reach the same optimum."""
    pixels, digits = load_digits(return_X_y=True)
    vectors, texts = normalised(pixels), 10 * normalised(np.random.default_rng(0).normal(size=(10, 64)))
    train, queries = np.arange(300), vectors[300:659]
    norms = []
    for probe in adapters.fit_text_probes(vectors[train], digits[train], texts, [10.0**exponent for exponent in range(-2, 7)], 1000):
        alone = fit(vectors[train], digits[train], texts, probe.C, 1000)
        assert probe.converged and alone.converged
        assert (probe.scores(queries).argmax(axis=1) != alone.scores(queries).argmax(axis=1)).sum() == 0
        norms.append(float(np.linalg.norm(probe.weights - texts)))
    assert all(later > 1.05 * earlier for earlier, later in pairwise(norms))  # separable: no fit stays where it was
