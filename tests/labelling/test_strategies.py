"""Strategies: what they choose from groups of images that are far apart, and that each image is chosen once."""

from typing import get_args

import numpy as np
import pytest
from skactiveml import pool

from clipstore.core.rows import NO_LABEL
from clipstore.labelling import strategies
from clipstore.labelling.strategies import Coverage, choose
from tests.synthetic import clusters

GROUPS = np.array([0] * 12 + [1] * 9 + [2] * 6 + [3] * 3)
VECTORS = clusters(GROUPS)
NOTHING = np.full(len(GROUPS), NO_LABEL)
ALL = np.arange(len(GROUPS))
COVERAGE: tuple[Coverage, ...] = get_args(Coverage)


@pytest.mark.parametrize("strategy", COVERAGE)
def test_the_first_images_are_of_different_groups(strategy: Coverage) -> None:
    chosen = strategies.by_coverage(strategy, VECTORS, NOTHING, ALL, 4, 4, 100, 0)
    assert sorted(GROUPS[chosen].tolist()) == [0, 1, 2, 3] and GROUPS[chosen[0]] == 0


@pytest.mark.parametrize("strategy", COVERAGE)
def test_groups_with_a_label_are_covered(strategy: Coverage) -> None:
    labels = NOTHING.copy()
    labels[[0, 1, 12]] = [5, 0, 5]
    candidates = np.flatnonzero(labels == NO_LABEL)
    chosen = strategies.by_coverage(strategy, VECTORS, labels, candidates, 2, 4, 100, 0)
    assert GROUPS[chosen].tolist() == [2, 3]


@pytest.mark.parametrize("strategy", COVERAGE)
@pytest.mark.parametrize("same", [False, True])
def test_all_candidates_once_if_more_are_wanted(strategy: Coverage, same: bool) -> None:
    vectors = np.tile(VECTORS[:1], (len(VECTORS), 1)) if same else VECTORS
    chosen = strategies.by_coverage(strategy, vectors, NOTHING, ALL[3:], 99, 4, 100, 0)
    assert sorted(chosen.tolist()) == ALL[3:].tolist()


@pytest.mark.parametrize("strategy", COVERAGE)
def test_one_candidate(strategy: Coverage) -> None:
    assert strategies.by_coverage(strategy, VECTORS, NOTHING, ALL[7:8], 2, 1, 100, 0).tolist() == [7]


@pytest.mark.parametrize("strategy", COVERAGE)
def test_a_quadratic_strategy_considers_a_seeded_part(strategy: Coverage) -> None:
    chosen = [strategies.by_coverage(strategy, VECTORS, NOTHING, ALL, 30, 4, 5, seed).tolist() for seed in (0, 0, 1)]
    assert [len(positions) for positions in chosen] == [5 if strategy in strategies.QUADRATIC else 30] * 3
    assert chosen[0] == chosen[1] != chosen[2]


def test_the_choice_is_the_librarys() -> None:
    centred = VECTORS - VECTORS.mean(axis=0)
    expected = pool.MaxHerding(missing_label=NO_LABEL, random_state=0).query(centred, NOTHING, batch_size=6)
    assert strategies.by_coverage("maxherding", VECTORS, NOTHING, ALL, 6, 4, 100, 0).tolist() == expected.tolist()


def test_margins_and_their_order() -> None:
    shares = np.array([[0.7, 0.2, 0.1], [0.4, 0.35, 0.25], [0.0, 0.5, 0.5], [0.05, 0.5, 0.45]])
    assert strategies.margins(shares).tolist() == pytest.approx([0.5, 0.05, 0, 0.05])
    assert strategies.by_margin(strategies.margins(shares), np.array([3, 5, 7, 9]), 3).tolist() == [7, 9, 5]


def test_auto_turns_to_margin_when_each_class_has_a_label() -> None:
    shares = np.tile(np.array([[0.6, 0.3, 0.1]], np.float32), (len(ALL) - 3, 1))
    labels = NOTHING.copy()
    labels[:3] = [0, 1, 3]  # an image that shows none of three classes, 3, is no image of class 2
    chosen = [choose("auto", VECTORS, labels, ALL[3:], shares, 2, 3, 100, 0)]
    labels[2] = 2
    chosen.append(choose("auto", VECTORS, labels, ALL[3:], shares, 2, 3, 100, 0))
    chosen.append(choose("auto", VECTORS, labels, ALL[3:], None, 2, 3, 100, 0))
    assert [choice.strategy for choice in chosen] == ["typiclust", "margin", "typiclust"]


def test_random_draws_each_image_once_and_by_the_seed() -> None:
    chosen = [choose("random", VECTORS, NOTHING, ALL[3:], None, 99, 3, 100, seed).positions.tolist() for seed in (0, 0, 1)]
    assert sorted(chosen[0]) == ALL[3:].tolist() and chosen[0] == chosen[1] != chosen[2]
