"""Methods of few_shot: what they try, in which order, and what of it is selected."""

from functools import partial

import numpy as np
import pytest

from clipstore.core.vectors import unit
from clipstore.probes import methods
from tests.synthetic import blobs

LABELS = [at % 2 for at in range(58)]
TEXTS = np.array([[1, 0.2, 0, 0], [0.9, 0.3, 0, 0]], np.float32)
GRID = methods.Grid(C=(100.0, 0.01, 1.0), alpha=(10.0, 0.0, 1.0), beta=(5.0, 1.0), max_iter=1000)


def candidate(name: int, *answers: int) -> methods.Candidate:
    scores = np.eye(2)[list(answers)]
    return methods.Candidate({"name": name}, scores, partial(np.copy, scores))


def test_best_on_val_by_mean_per_class_is_the_choice() -> None:
    labels = np.array([0, 0, 0, 1])
    commoner, fairer = candidate(1, 0, 0, 0, 0), candidate(2, 0, 0, 1, 1)  # both right on three of four
    best, measure = methods.choose(iter([commoner, fairer]), labels)
    assert best.values == {"name": 2}
    assert measure == pytest.approx((2 / 3 + 1) / 2)


def test_of_equals_the_first_is_the_choice() -> None:
    best, _ = methods.choose(iter([candidate(1, 0, 1), candidate(2, 0, 1)]), np.array([0, 1]))
    assert best.values == {"name": 1}


@pytest.fixture
def task() -> methods.Task:
    vectors, _ = unit(blobs(0, LABELS))
    labels = np.array(LABELS)
    return methods.Task(vectors[:10], labels[:10], vectors[10:18], vectors[18:], 2, 10 * unit(TEXTS)[0])


def test_candidates_come_from_the_one_nearest_to_zero_shot_on(task: methods.Task) -> None:
    for method in (methods.linear_probe, methods.text_probe):
        assert [found.values["C"] for found in method(task, GRID)] == [0.01, 1.0, 100.0]
    tip = [(found.values["alpha"], found.values["beta"]) for found in methods.tip_adapter(task, GRID)]
    assert tip == [(alpha, beta) for alpha in (0.0, 1.0, 10.0) for beta in (1.0, 5.0)]


def test_tip_adapter_is_its_formula(task: methods.Task) -> None:
    *_, last = methods.tip_adapter(task, GRID)
    for queries, found in ((task.val, last.val), (task.test, last.test())):
        by_hand = queries @ task.texts.T
        for query, row in zip(queries, by_hand, strict=True):
            for image, label in zip(task.train, task.labels, strict=True):
                row[label] += 10 * np.exp(-5 * (1 - query @ image))
        np.testing.assert_allclose(found, by_hand, rtol=1e-4)
    first = next(methods.tip_adapter(task, GRID))
    np.testing.assert_array_equal(first.val, next(methods.zero_shot(task, GRID)).val)


def test_scores_on_test_are_those_of_the_fit_that_val_judged(task: methods.Task) -> None:
    same = task._replace(test=task.val)
    for method in methods.OF_IMAGES + methods.OF_TEXTS:
        for found in method(same, GRID):
            np.testing.assert_allclose(found.test(), found.val, rtol=1e-6)
