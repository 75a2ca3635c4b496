"""Nearest neighbours: search, votes, choice on val."""

from collections import Counter
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from sklearn.neighbors import KNeighborsClassifier, NearestNeighbors

from clipstore.core.errors import InputError
from clipstore.core.vectors import unit
from clipstore.store import predictions
from stages import knn
from stages.knn import Neighbours
from tests.synthetic import embed, use

Angles = list[float]


def unit_rows(random: np.random.Generator, count: int) -> knn.Matrix:
    return unit(random.normal(size=(count, 6)).astype(np.float32))[0]


def found(labels: list[int], cosines: list[float] | None = None) -> Neighbours:
    """One query's neighbours, nearest first."""
    return Neighbours(np.array([cosines or [0.5] * len(labels)], np.float32), np.array([labels]))


def circle(degrees: Angles) -> npt.NDArray[np.float64]:
    """Vectors in the plane: the nearer two angles, the greater their cosine."""
    radians = np.radians(degrees)
    return np.stack([np.cos(radians), np.sin(radians)], axis=1)


def test_nearest_are_sklearns_nearest() -> None:
    random = np.random.default_rng(0)
    gallery, queries, labels = unit_rows(random, 200), unit_rows(random, 50), np.arange(200)
    cosines, positions = knn.search(gallery, labels, queries, 5)
    distances, expected = NearestNeighbors(n_neighbors=5, metric="cosine", algorithm="brute").fit(gallery).kneighbors(queries)
    assert positions.tolist() == expected.tolist()
    np.testing.assert_allclose(cosines, 1 - distances, atol=1e-5)


@pytest.mark.parametrize(("k", "classes"), [(1, 4), (7, 2)])  # no two classes can tie
def test_prediction_is_sklearns(k: int, classes: int) -> None:
    random = np.random.default_rng(k)
    gallery, queries, labels = unit_rows(random, 300), unit_rows(random, 100), random.integers(0, classes, 300)
    predicted = knn.probabilities(knn.search(gallery, labels, queries, k), k, "uniform", 0.07, classes).argmax(axis=1)
    expected = KNeighborsClassifier(k, metric="cosine", algorithm="brute").fit(gallery, labels).predict(queries)
    assert predicted.tolist() == expected.tolist()


def test_vectors_in_column_order_are_searched_as_they_stand() -> None:
    random = np.random.default_rng(3)
    gallery, queries, labels = unit_rows(random, 20), unit_rows(random, 5), np.arange(20)
    expected = knn.search(gallery, labels, queries, 3)
    assert knn.search(np.asfortranarray(gallery), labels, np.asfortranarray(queries), 3).labels.tolist() == expected.labels.tolist()


def test_more_neighbours_than_rows_are_refused() -> None:
    gallery = unit_rows(np.random.default_rng(0), 3)
    with pytest.raises(AssertionError):
        knn.search(gallery, np.arange(3), gallery, 4)


@pytest.mark.parametrize("labels", [[2, 1, 1, 2, 0], [1, 2, 2, 1, 0], [2, 1, 2, 1, 0], [1, 1, 2, 2, 0]])
def test_of_equal_votes_the_nearest_neighbours_class_wins(labels: list[int]) -> None:
    assert knn.probabilities(found(labels), 5, "uniform", 0.07, 3).argmax() == labels[0]


@pytest.mark.parametrize("k", [2, 4, 20, 100, 200, 1000])
@pytest.mark.parametrize("vote", ["uniform", "softmax"])
def test_nearest_wins_with_any_number_of_neighbours(k: int, vote: knn.Vote) -> None:
    assert knn.probabilities(found([1, 0] * (k // 2)), k, vote, 0.07, 2).argmax() == 1


def test_nearest_neighbour_outweighs_no_vote() -> None:
    assert knn.probabilities(found([1] * 10 + [0] * 11), 21, "uniform", 0.07, 2).argmax() == 0
    assert knn.probabilities(found([1] + [0] * 2), 3, "uniform", 0.07, 2).argmax() == 0


def test_only_the_first_k_neighbours_vote() -> None:
    one = found([0, 1, 1], [0.9, 0.8, 0.7])
    assert knn.probabilities(one, 1, "uniform", 0.07, 2).argmax() == 0
    assert knn.probabilities(one, 3, "uniform", 0.07, 2).argmax() == 1


def test_uniform_votes_are_smoothed_by_hand() -> None:
    shares = knn.probabilities(found([2, 2, 0]), 3, "uniform", 0.07, 4)
    np.testing.assert_allclose(shares, [[1.25 / 4, 0.25 / 4, 2.25 / 4, 0.25 / 4]], atol=1e-4)  # (votes + 1/4) / (3 + 1)


def test_softmax_votes_are_dinov2s_by_hand() -> None:
    cosines, temperature = np.array([0.9, 0.85, 0.8]), 0.1
    weights = np.exp(cosines / temperature) / np.exp(cosines / temperature).sum()  # 0.506, 0.307, 0.186
    shares = knn.probabilities(found([1, 0, 0], cosines.tolist()), 3, "softmax", temperature, 2)
    votes = 3 * np.array([weights[1] + weights[2], weights[0]])
    np.testing.assert_allclose(shares, [(votes + 0.5) / 4], atol=1e-4)
    assert shares.argmax() == 1  # one near neighbour outweighs two others
    assert knn.probabilities(found([1, 0, 0], cosines.tolist()), 3, "uniform", temperature, 2).argmax() == 0


def test_softmax_vote_predicts_as_dinov2_on_random_neighbours() -> None:
    random = np.random.default_rng(4)
    some = knn.search(unit_rows(random, 200), random.integers(0, 5, 200), unit_rows(random, 100), 20)
    weights = np.exp(some.cosines.astype(float) / 0.07)
    weights /= weights.sum(axis=1, keepdims=True)
    votes = np.stack([(weights * (some.labels == label)).sum(axis=1) for label in range(5)], axis=1)
    assert knn.probabilities(some, 20, "softmax", 0.07, 5).argmax(axis=1).tolist() == votes.argmax(axis=1).tolist()


@pytest.mark.parametrize("vote", ["uniform", "softmax"])
def test_rows_are_positive_and_sum_to_1(vote: knn.Vote) -> None:
    random = np.random.default_rng(5)
    some = knn.search(unit_rows(random, 50), random.integers(0, 9, 50), unit_rows(random, 30), 21)
    shares = knn.probabilities(some, 21, vote, 0.07, 9)
    assert shares.shape == (30, 9)
    assert (shares > 0).all()
    np.testing.assert_allclose(shares.sum(axis=1), 1, atol=1e-6)


SECTION = {"neighbors": [1, 3], "votes": ["uniform"], "temperature": 0.07}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def cell(**splits: list[tuple[float, int]]) -> None:
    """Write embeddings on a circle: of each split angles in degrees and labels."""
    rows = [(split, angle, label) for split, images in splits.items() for angle, label in images]
    embed([row[0] for row in rows], [row[2] for row in rows], 2, embedding=circle([row[1] for row in rows]))


def write_val_and_test_that_differ() -> None:
    """On val 3 neighbours are right and 1 is wrong; on test it is the other way round."""
    cell(
        train=[(0, 1), (5, 0), (6, 0), (180, 1), (181, 1), (182, 1)],
        val=[(1, 0), (179, 1)],  # the nearest of 1 is of class 1, two of its nearest three are not
        test=[(-1, 1), (182.5, 1)],  # the nearest of -1 is of class 1, its nearest three are mostly of class 0
    )


def test_number_of_neighbours_is_chosen_on_val(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, {"knn": SECTION})
    write_val_and_test_that_differ()
    knn.main("enc", "toy")
    made = predictions.read("toy", "knn", "enc")
    assert made.selected == {"k": 3, "votes": "uniform"}
    assert made.notes["val_mean_per_class"] == 1.0
    assert made.notes["best_on_test"] == {"top1": 1.0, "k": 1, "votes": "uniform"}
    test = (made.rows["split"] == "test").to_numpy()
    assert made.probabilities[test].argmax(axis=1).tolist() == [0, 1]
    assert made.rows["label"][test].tolist() == [1, 1]


def test_few_neighbours_are_chosen_where_they_are_better_on_val(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, {"knn": SECTION | {"neighbors": [1, 3, 5]}})
    cell(train=[(0, 0), (5, 1), (6, 1), (90, 0), (95, 1), (96, 1)], val=[(1, 0), (94, 1)], test=[(91, 0)])
    knn.main("enc", "toy")
    assert predictions.read("toy", "knn", "enc").selected["k"] == 1


def test_what_is_chosen_has_the_best_mean_per_class_not_the_best_top1(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, {"knn": SECTION})
    cell(
        train=[(0, 0), (2, 1), (3, 1), (90, 0), (91, 0), (92, 0)],
        val=[(-1, 0), (-2, 0), (91, 0), (-1.5, 1)],  # 1 neighbour says 0 to all, 3 say 1 to those around -1
        test=[(90.5, 0)],
    )
    knn.main("enc", "toy")
    table = pd.read_csv("plots/knn/enc-toy.csv").query("split == 'val'")
    assert table[["k", "top1", "mean_per_class"]].values.tolist() == [[1, 0.75, 0.5], [3, 0.5, pytest.approx(2 / 3, abs=1e-6)]]
    assert predictions.read("toy", "knn", "enc").selected["k"] == 3


def test_best_on_test_is_named_nowhere_else(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, {"knn": SECTION})
    write_val_and_test_that_differ()
    knn.main("enc", "toy")
    made = predictions.read("toy", "knn", "enc")
    assert set(made.notes) == {"train_only", "best_on_test", "val_mean_per_class"}
    assert made.notes["train_only"] == {"top1": 0.5, "mean_per_class": 0.5}


def test_sweep_is_written_by_number_of_neighbours(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, {"knn": SECTION | {"votes": ["uniform", "softmax"]}})
    write_val_and_test_that_differ()
    knn.main("enc", "toy")
    table = pd.read_csv("plots/knn/enc-toy.csv")
    uniform = table[table["votes"] == "uniform"]
    assert dict(zip(zip(uniform["split"], uniform["k"], strict=True), uniform["mean_per_class"], strict=True)) == {
        ("val", 1): 0.5,
        ("val", 3): 1.0,
        ("test", 1): 1.0,
        ("test", 3): 0.5,
    }
    assert Counter(table["votes"]) == {"uniform": 4, "softmax": 4}


def test_test_images_are_looked_up_in_train_and_val_and_val_images_in_train(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, {"knn": SECTION | {"neighbors": [1]}})
    cell(train=[(0, 0), (90, 1)], val=[(40, 1), (44, 1)], test=[(41, 1)])  # without val, 41 is nearest to 0
    knn.main("enc", "toy")
    made = predictions.read("toy", "knn", "enc")
    assert made.rows["split"].tolist() == ["val", "val", "test"]
    assert made.probabilities.argmax(axis=1).tolist() == [0, 0, 1]  # val images don't find one another
    assert made.notes["train_only"] == {"top1": 0.0, "mean_per_class": 0.0}


def test_more_neighbours_than_training_images_are_left_out(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, {"knn": SECTION | {"neighbors": [1, 2, 3]}})
    cell(train=[(0, 0), (90, 1)], val=[(10, 0)], test=[(80, 1)])
    knn.main("enc", "toy")
    assert set(pd.read_csv("plots/knn/enc-toy.csv")["k"]) == {1, 2}


def test_no_number_of_neighbours_left_is_an_error(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, {"knn": SECTION | {"neighbors": [3, 5]}})
    cell(train=[(0, 0), (90, 1)], val=[(10, 0)], test=[(80, 1)])
    with pytest.raises(InputError) as caught:
        knn.main("enc", "toy")
    assert str(caught.value) == "params.yaml: knn.neighbors = [3, 5]: toy has 2 training image(s)"
    assert not (folder / "data/predictions").exists()
