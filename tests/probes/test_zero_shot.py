"""The zero-shot classifier: a softmax over the classes."""

import numpy as np
import pytest
import torch

from clipstore.core.vectors import Matrix, unit
from clipstore.probes.zero_shot import ZeroShotClassifier
from tests.saving import saved_and_loaded


def unit_rows(vectors: list[list[float]]) -> Matrix:
    return unit(np.array(vectors, np.float32))[0]


def test_probabilities_equal_torchs_softmax() -> None:
    random = np.random.default_rng(0)
    images, classes = unit_rows(random.normal(size=(20, 8)).tolist()), unit_rows(random.normal(size=(5, 8)).tolist())
    classifier = ZeroShotClassifier(classes, 100.0)
    probabilities = classifier.probabilities(images)
    logits = 100.0 * torch.from_numpy(images) @ torch.from_numpy(classes).T
    assert probabilities.dtype == classifier.scores(images).dtype == np.float32
    np.testing.assert_allclose(classifier.scores(images), logits.numpy(), atol=1e-4)
    np.testing.assert_allclose(probabilities, logits.softmax(dim=1).numpy(), atol=1e-5)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-5)


def test_logit_scale_determines_the_confidence() -> None:
    images, classes = unit_rows([[1, 0]]), unit_rows([[1, 0], [0, 1]])
    probabilities = [ZeroShotClassifier(classes, scale).probabilities(images)[0, 0] for scale in (1.0, 14.29)]
    assert probabilities == pytest.approx([1 / (1 + np.exp(-1)), 1 / (1 + np.exp(-14.29))], abs=1e-6)


def test_the_classifier_can_be_saved_and_loaded() -> None:
    random = np.random.default_rng(1)
    fitted = ZeroShotClassifier(unit_rows(random.normal(size=(5, 8)).tolist()), 14.285714149475098)
    images = unit_rows(random.normal(size=(20, 8)).tolist())
    np.testing.assert_array_equal(saved_and_loaded(fitted).probabilities(images), fitted.probabilities(images))
