"""Methods of few_shot: their candidates, the order of these, and the selection."""

import numpy as np
import pytest

from clipstore.core.vectors import unit
from clipstore.probes import adapters, methods
from tests.synthetic import blobs

LABELS = [i % 2 for i in range(58)]
TEXTS = np.array([[1, 0.2, 0, 0], [0.9, 0.3, 0, 0]], np.float32)
GRID = methods.Grid(C=(100.0, 0.01, 1.0), alpha=(10.0, 0.0, 1.0), beta=(5.0, 1.0), max_iter=1000)


CLASSIFIER = adapters.nearest_mean(np.eye(2, dtype=np.float32), np.arange(2), 2)


def candidate(name: int, *answers: int) -> methods.Candidate:
    return methods.Candidate(CLASSIFIER, {"name": name}, np.eye(2)[list(answers)])


def test_choice_has_the_best_mean_per_class_on_val() -> None:
    labels = np.array([0, 0, 0, 1])
    commoner, fairer = candidate(1, 0, 0, 0, 0), candidate(2, 0, 0, 1, 1)  # both are right on three of four
    choice = methods.choose(iter([commoner, fairer]), labels)
    assert choice.values == {"name": 2}
    assert choice.classifier is fairer.classifier
    assert choice.val_mean_per_class == pytest.approx((2 / 3 + 1) / 2)


def test_choice_among_equally_accurate_has_the_smallest_loss_then_is_the_first() -> None:
    labels = np.array([0, 1])
    unsure, sure, too = (methods.Candidate(CLASSIFIER, {"name": name}, scale * np.eye(2)) for name, scale in ((1, 0.1), (2, 5), (3, 5)))
    choice = methods.choose(iter([unsure, sure, too]), labels)
    assert choice.values == {"name": 2}
    assert choice.saturated
    assert not methods.choose(iter([unsure]), labels).saturated


@pytest.fixture
def task() -> methods.Task:
    vectors, _ = unit(blobs(0, LABELS))
    labels = np.array(LABELS)
    return methods.Task(vectors[:10], labels[:10], vectors[10:18], 2, 10 * unit(TEXTS)[0])


@pytest.fixture
def queries() -> methods.Matrix:
    return unit(blobs(0, LABELS))[0][18:]


def test_candidates_start_with_the_closest_to_zero_shot(task: methods.Task) -> None:
    for method in (methods.linear_probe, methods.text_probe):
        assert [fitted.values["C"] for fitted in method(task, GRID)] == [0.01, 1.0, 100.0]
    tip = [(fitted.values["alpha"], fitted.values["beta"]) for fitted in methods.tip_adapter(task, GRID)]
    assert tip == [(alpha, beta) for alpha in (0.0, 1.0, 10.0) for beta in (1.0, 5.0)]


def test_tip_adapter_follows_its_formula(task: methods.Task, queries: methods.Matrix) -> None:
    *_, last = methods.tip_adapter(task, GRID)
    for vectors, scores in ((task.val, last.val), (queries, last.classifier.scores(queries))):
        by_hand = vectors @ task.texts.T
        for query, row in zip(vectors, by_hand, strict=True):
            for image, label in zip(task.train, task.labels, strict=True):
                row[label] += 10 * np.exp(-5 * (1 - query @ image))
        np.testing.assert_allclose(scores, by_hand, rtol=1e-4)
    first = next(methods.tip_adapter(task, GRID))
    np.testing.assert_array_equal(first.val, next(methods.zero_shot(task, GRID)).val)


def test_zero_shot_equals_the_product_with_the_texts_bit_for_bit(task: methods.Task, queries: methods.Matrix) -> None:
    (only,) = methods.zero_shot(task, GRID)
    np.testing.assert_array_equal(only.val, task.val @ task.texts.T)
    np.testing.assert_array_equal(only.classifier.scores(queries), queries @ task.texts.T)


@pytest.mark.parametrize("method", methods.OF_IMAGES + methods.OF_TEXTS, ids=lambda method: method.__name__)
def test_scores_on_val_are_those_of_the_classifier(task: methods.Task, method: methods.Method) -> None:
    for fitted in method(task, GRID):
        np.testing.assert_array_equal(fitted.classifier.scores(task.val), fitted.val)
