"""Votes of the nearest labelled images, and the kNN classifier."""

import numpy as np
import numpy.typing as npt
import pytest
from sklearn.neighbors import KNeighborsClassifier

from clipstore.core.vectors import Matrix, unit
from clipstore.measure import metrics
from clipstore.probes.knn import KnnClassifier, Vote, Voters, log_shares, vote_shares, voters
from clipstore.probes.neighbours import NearestNeighbours
from tests.saving import saved_and_loaded


def unit_rows(random: np.random.Generator, count: int) -> Matrix:
    return unit(random.normal(size=(count, 6)).astype(np.float32))[0]


def nearest(labels: list[int], cosines: list[float] | None = None) -> Voters:
    """Return one query's neighbours, nearest first."""
    return Voters(np.array([cosines or [0.5] * len(labels)], np.float32), np.array([labels]))


def test_voters_have_the_labels_of_the_nearest_images() -> None:
    vectors = np.array([[1, 0], [0.6, 0.8], [0, 1]], np.float32)
    nearest_two = voters(NearestNeighbours(vectors), np.array([7, 5, 9]), np.array([[0, 1], [1, 0]], np.float32), 2)
    assert nearest_two.labels.tolist() == [[9, 5], [7, 5]]
    np.testing.assert_allclose(nearest_two.cosines, [[1, 0.8], [1, 0.6]], atol=1e-6)


@pytest.mark.parametrize(("k", "classes"), [(1, 4), (7, 2)])  # cases without ties
def test_prediction_equals_sklearns(k: int, classes: int) -> None:
    random = np.random.default_rng(k)
    vectors, queries, labels = unit_rows(random, 300), unit_rows(random, 100), random.integers(0, classes, 300)
    classifier = KnnClassifier(vectors, labels, k, k, "uniform", 0.07, classes)
    predicted = classifier.probabilities(queries).argmax(axis=1)
    expected = KNeighborsClassifier(k, metric="cosine", algorithm="brute").fit(vectors, labels).predict(queries)
    assert predicted.tolist() == expected.tolist()


def test_more_neighbours_than_images_are_rejected() -> None:
    vectors = unit_rows(np.random.default_rng(0), 3)
    with pytest.raises(AssertionError):
        voters(NearestNeighbours(vectors), np.arange(3), vectors, 4)
    with pytest.raises(AssertionError):
        KnnClassifier(vectors, np.arange(3), 4, 1, "uniform", 0.07, 3).probabilities(vectors)


@pytest.mark.parametrize("labels", [[2, 1, 1, 2, 0], [1, 2, 2, 1, 0], [2, 1, 2, 1, 0], [1, 1, 2, 2, 0]])
def test_the_nearest_neighbours_class_wins_ties(labels: list[int]) -> None:
    assert vote_shares(nearest(labels), 5, "uniform", 0.07, 3).argmax() == labels[0]


@pytest.mark.parametrize("k", [2, 4, 20, 100, 200, 1000])
@pytest.mark.parametrize("vote", ["uniform", "softmax"])
def test_the_nearest_neighbour_wins_ties_for_any_k(k: int, vote: Vote) -> None:
    assert vote_shares(nearest([1, 0] * (k // 2)), k, vote, 0.07, 2).argmax() == 1


def test_the_nearest_neighbour_does_not_outweigh_a_vote() -> None:
    assert vote_shares(nearest([1] * 10 + [0] * 11), 21, "uniform", 0.07, 2).argmax() == 0
    assert vote_shares(nearest([1] + [0] * 2), 3, "uniform", 0.07, 2).argmax() == 0


def test_only_the_first_k_neighbours_vote() -> None:
    neighbours = nearest([0, 1, 1], [0.9, 0.8, 0.7])
    assert vote_shares(neighbours, 1, "uniform", 0.07, 2).argmax() == 0
    assert vote_shares(neighbours, 3, "uniform", 0.07, 2).argmax() == 1


def test_uniform_votes_are_smoothed_by_hand() -> None:
    shares = vote_shares(nearest([2, 2, 0]), 3, "uniform", 0.07, 4)
    np.testing.assert_allclose(shares, [[1.25 / 4, 0.25 / 4, 2.25 / 4, 0.25 / 4]], atol=1e-4)  # (votes + 1/4) / (3 + 1)


def test_softmax_votes_by_hand_as_in_dinov2() -> None:
    cosines, temperature = np.array([0.9, 0.85, 0.8]), 0.1
    weights = np.exp(cosines / temperature) / np.exp(cosines / temperature).sum()  # 0.506, 0.307, 0.186
    shares = vote_shares(nearest([1, 0, 0], cosines.tolist()), 3, "softmax", temperature, 2)
    votes = 3 * np.array([weights[1] + weights[2], weights[0]])
    np.testing.assert_allclose(shares, [(votes + 0.5) / 4], atol=1e-4)
    assert shares.argmax() == 1  # one near neighbour outweighs two others
    assert vote_shares(nearest([1, 0, 0], cosines.tolist()), 3, "uniform", temperature, 2).argmax() == 0


def test_softmax_votes_predict_as_in_dinov2() -> None:
    random = np.random.default_rng(4)
    index, labels = NearestNeighbours(unit_rows(random, 200)), random.integers(0, 5, 200)
    neighbours_20 = voters(index, labels, unit_rows(random, 100), 20)
    weights = np.exp(neighbours_20.cosines.astype(float) / 0.07)
    weights /= weights.sum(axis=1, keepdims=True)
    votes = np.stack([(weights * (neighbours_20.labels == label)).sum(axis=1) for label in range(5)], axis=1)
    assert vote_shares(neighbours_20, 20, "softmax", 0.07, 5).argmax(axis=1).tolist() == votes.argmax(axis=1).tolist()


@pytest.mark.parametrize("vote", ["uniform", "softmax"])
def test_rows_are_positive_and_sum_to_1(vote: Vote) -> None:
    random = np.random.default_rng(5)
    index, labels = NearestNeighbours(unit_rows(random, 50)), random.integers(0, 9, 50)
    shares = vote_shares(voters(index, labels, unit_rows(random, 30), 21), 21, vote, 0.07, 9)
    assert shares.shape == (30, 9)
    assert (shares > 0).all()
    np.testing.assert_allclose(shares.sum(axis=1), 1, atol=1e-6)


def test_log_shares_keep_the_shares_and_the_winner_of_a_tie() -> None:
    """Classes 3 and 7 have the share 2.01 / 11 each. In plain logarithms, -1.7, the one step of float32 between them is lost."""
    shares = vote_shares(nearest([7, 3, 3, 7, *range(10, 16)]), 10, "uniform", 0.07, 100)
    logits = log_shares(shares)
    assert logits.dtype == np.float32
    assert logits.argmax() == shares.argmax() == 7
    assert np.log(shares).argmax() == 3
    np.testing.assert_allclose(np.exp(logits) / np.exp(logits).sum(), shares, rtol=1e-6)


def test_the_classifier_returns_the_votes_of_its_nearest_images() -> None:
    """Two of three neighbours are of class 1, at cosines 0.8 and 0.6; (votes + 1/2) / (3 + 1)."""
    vectors = np.array([[1, 0], [0.8, 0.6], [0.6, 0.8], [-1, 0]], np.float32)
    classifier = KnnClassifier(vectors, np.array([0, 1, 1, 0]), 4, 3, "uniform", 0.07, 2)
    shares = classifier.probabilities(np.array([[1, 0]], np.float32))
    assert shares.dtype == np.float32
    np.testing.assert_allclose(shares, [[1.5 / 4, 2.5 / 4]], atol=1e-6)


@pytest.mark.parametrize("vote", ["uniform", "softmax"])
def test_the_classifier_equals_votes_on_a_shared_search_bit_for_bit(vote: Vote) -> None:
    """Every image occurs three times with random labels: the order of the copies depends on the number of neighbours searched."""
    random = np.random.default_rng(6)
    vectors, labels, queries = np.repeat(unit_rows(random, 20), 3, axis=0), random.integers(0, 4, 60), unit_rows(random, 30)
    searched = voters(NearestNeighbours(vectors), labels, queries, 21)
    for k in (1, 4, 21):
        shares = KnnClassifier(vectors, labels, 21, k, vote, 0.07, 4).probabilities(queries)
        np.testing.assert_array_equal(shares, vote_shares(searched, k, vote, 0.07, 4))


@pytest.mark.parametrize("vote", ["uniform", "softmax"])
def test_the_classifier_can_be_saved_and_loaded(vote: Vote) -> None:
    random = np.random.default_rng(7)
    fitted = KnnClassifier(unit_rows(random, 40), random.integers(0, 4, 40), 11, 5, vote, 0.07, 4)
    queries = unit_rows(random, 30)
    np.testing.assert_array_equal(saved_and_loaded(fitted).probabilities(queries), fitted.probabilities(queries))


@pytest.mark.parametrize("vote", ["uniform", "softmax"])
@pytest.mark.parametrize("k", [1, 3, 20])
def test_accuracies_do_not_depend_on_the_numbers_of_the_classes(k: int, vote: Vote) -> None:
    """Every vector occurs twice, often in two classes, and with few neighbours most classes have no vote and share one score."""
    random = np.random.default_rng(8)
    vectors, labels = np.repeat(unit_rows(random, 100), 2, axis=0), random.integers(0, 12, 200)
    queries, truth = unit_rows(random, 300), random.integers(0, 12, 300)

    def measures(numbers: npt.NDArray[np.int64]) -> tuple[dict[str, float], float]:
        shares = KnnClassifier(vectors, numbers[labels], 20, k, vote, 0.07, 12).probabilities(queries)
        accuracies = metrics.accuracies(shares.argmax(axis=1), numbers[truth])
        accuracies["mean_per_class"] = round(accuracies["mean_per_class"], 12)  # the order of summation changes the last bit
        return accuracies, metrics.top_k(shares, numbers[truth], 5)

    expected = measures(np.arange(12))
    assert 0 < expected[0]["top1"] < 1
    for _ in range(10):
        assert measures(random.permutation(12)) == expected
