"""Revealed labels: how many, which of them a round keeps, and what the next round knows."""

import numpy as np
import pytest

from clipstore.labelling.simulation import Pool
from clipstore.labelling.strategies import Strategy
from clipstore.probes.logistic import fit
from clipstore.probes.zero_shot import ZeroShotClassifier
from tests.synthetic import clusters

LABELS = np.array([0] * 20 + [1] * 10 + [2] * 5)
VECTORS = clusters(LABELS)
POOL = Pool(VECTORS, LABELS, 3, None, 10.0, 100, 1000)


@pytest.mark.parametrize("strategy", ["auto", "random", "typiclust", "probcover", "maxherding", "margin"])
def test_each_round_keeps_the_labels_of_the_last(strategy: Strategy) -> None:
    rounds = POOL.reveal(strategy, [3, 6, 35], 0)
    assert [len(set(positions.tolist())) for positions in rounds] == [3, 6, 35]
    assert rounds[1][:3].tolist() == rounds[0].tolist() and rounds[2][:6].tolist() == rounds[1].tolist()
    assert [positions.tolist() for positions in POOL.reveal(strategy, [3, 6, 35], 0)] == [positions.tolist() for positions in rounds]


@pytest.mark.parametrize("strategy", ["probcover", "maxherding"])
def test_a_greedy_strategy_begins_with_the_same_images_for_any_number(strategy: Strategy) -> None:
    assert POOL.reveal(strategy, [3, 20], 0)[0].tolist() == POOL.reveal(strategy, [3], 0)[0].tolist()


def test_typiclust_finds_every_class_at_once() -> None:
    assert sorted(LABELS[POOL.reveal("typiclust", [3], 0)[0]].tolist()) == [0, 1, 2]


def test_margin_asks_where_the_probe_that_knows_the_last_round_is_undecided() -> None:
    first, second = POOL.reveal("margin", [3, 4], 0)
    shares = np.sort(fit(VECTORS[first], LABELS[first], 10.0, 100, 3).probabilities(VECTORS), axis=1)
    margins = shares[:, -1] - shares[:, -2]
    margins[first] = 2
    assert second[-1] == margins.argmin()


def test_margin_begins_where_zero_shot_is_undecided() -> None:
    texts = clusters(np.arange(3), seed=1)
    pool = Pool(VECTORS, LABELS, 3, ZeroShotClassifier(texts, 10.0), 10.0, 100, 1000)
    shares = np.sort(ZeroShotClassifier(texts, 10.0).probabilities(VECTORS), axis=1)
    assert pool.reveal("margin", [2], 0)[0].tolist() == np.argsort(shares[:, -1] - shares[:, -2])[:2].tolist()


def test_with_labels_of_one_class_every_answer_is_that_class() -> None:
    assert POOL.scores(np.array([21, 22]), VECTORS).argmax(axis=1).tolist() == [1] * len(LABELS)
