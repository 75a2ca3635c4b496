"""Nearest neighbours: what is selected on val, and what is written."""

from collections import Counter
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest

from clipstore.core.errors import InputError
from clipstore.probes.knn import KnnClassifier, log_shares
from clipstore.store import embeddings, predictions
from stages import knn
from tests.synthetic import embed, use

Angles = list[float]


def circle(degrees: Angles) -> npt.NDArray[np.float64]:
    """Return unit vectors in the plane: the closer two angles, the greater their cosine."""
    radians = np.radians(degrees)
    return np.stack([np.cos(radians), np.sin(radians)], axis=1)


SECTION = {"neighbors": [1, 3], "votes": ["uniform"], "temperature": 0.07}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def cell(**splits: list[tuple[float, int]]) -> None:
    """Write embeddings on a circle, given the angles in degrees and the labels of each split."""
    rows = [(split, angle, label) for split, images in splits.items() for angle, label in images]
    embed([row[0] for row in rows], [row[2] for row in rows], 2, embedding=circle([row[1] for row in rows]))


def write_val_and_test_that_differ() -> None:
    """Write a cell where on val 3 neighbours are right and 1 is wrong, and on test the other way round."""
    cell(
        train=[(0, 1), (5, 0), (6, 0), (180, 1), (181, 1), (182, 1)],
        val=[(1, 0), (179, 1)],  # the nearest neighbour of 1 is in class 1, two of the nearest three are not
        test=[(-1, 1), (182.5, 1)],  # the nearest neighbour of -1 is in class 1, two of the nearest three are in class 0
    )


def test_number_of_neighbours_is_chosen_on_val(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, {"knn": SECTION})
    write_val_and_test_that_differ()
    knn.main("enc", "toy")
    written = predictions.read("toy", "knn", "enc")
    assert written.selected == {"k": 3, "votes": "uniform"}
    assert written.notes["val_mean_per_class"] == 1.0
    assert written.notes["best_on_test"] == {"mean_per_class": 1.0, "k": 1, "votes": "uniform", "trained_on": "train + val"}
    test = (written.rows["split"] == "test").to_numpy()
    assert written.probabilities[test].argmax(axis=1).tolist() == [0, 1]
    assert written.rows["label"][test].tolist() == [1, 1]


def test_predictions_are_those_of_a_classifier_with_the_selected_values(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are bit-identical: on val to a classifier of train, on test to one of train and val, so a saved classifier answers the same."""
    use(monkeypatch, {"knn": SECTION | {"neighbors": [1, 3, 7], "votes": ["softmax"]}})
    random = np.random.default_rng(0)
    splits, labels = ["train"] * 40 + ["val"] * 30 + ["test"] * 30, random.integers(0, 2, 100)
    vectors = np.repeat(random.normal(size=(50, 4)), 2, axis=0) + labels[:, None]
    embed(splits, labels.tolist(), 2, embedding=vectors)
    knn.main("enc", "toy")
    written, images = predictions.read("toy", "knn", "enc"), embeddings.read_images("enc", "toy")
    for split, known in (("val", images.of("train")), ("test", images.of("train", "val"))):
        classifier = KnnClassifier(images.embedding[known], images.labels[known], 7, written.selected["k"], "softmax", 0.07, 2)
        expected = log_shares(classifier.probabilities(images.embedding[images.of(split)]))
        np.testing.assert_array_equal(written.logits[(written.rows["split"] == split).to_numpy()], expected)


def test_few_neighbours_are_chosen_where_they_are_better_on_val(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, {"knn": SECTION | {"neighbors": [1, 3, 5]}})
    cell(train=[(0, 0), (5, 1), (6, 1), (90, 0), (95, 1), (96, 1)], val=[(1, 0), (94, 1)], test=[(91, 0)])
    knn.main("enc", "toy")
    assert predictions.read("toy", "knn", "enc").selected["k"] == 1


def test_what_is_chosen_has_the_best_mean_per_class_not_the_best_top1(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, {"knn": SECTION})
    cell(
        train=[(0, 0), (2, 1), (3, 1), (90, 0), (91, 0), (92, 0)],
        val=[(-1, 0), (-2, 0), (91, 0), (-1.5, 1)],  # with 1 neighbour all answers are 0, with 3 those around -1 are 1
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
    written = predictions.read("toy", "knn", "enc")
    assert set(written.notes) == {"train_only", "best_on_test", "val_mean_per_class", "val_nll", "tied_on_val"}
    assert written.notes["train_only"] == {"top1": 0.5, "mean_per_class": 0.5}


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
    cell(train=[(0, 0), (90, 1)], val=[(40, 1), (44, 1)], test=[(41, 1)])  # without val, the nearest neighbour of 41 is 0
    knn.main("enc", "toy")
    written = predictions.read("toy", "knn", "enc")
    assert written.rows["split"].tolist() == ["val", "val", "test"]
    assert written.probabilities.argmax(axis=1).tolist() == [0, 0, 1]  # val images are not searched among themselves
    assert written.notes["train_only"] == {"top1": 0.0, "mean_per_class": 0.0}


def test_more_neighbours_than_training_images_are_left_out(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, {"knn": SECTION | {"neighbors": [1, 2, 3]}})
    cell(train=[(0, 0), (90, 1)], val=[(10, 0)], test=[(80, 1)])
    knn.main("enc", "toy")
    assert set(pd.read_csv("plots/knn/enc-toy.csv")["k"]) == {1, 2}


def test_only_too_large_numbers_of_neighbours_are_an_error(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, {"knn": SECTION | {"neighbors": [3, 5]}})
    cell(train=[(0, 0), (90, 1)], val=[(10, 0)], test=[(80, 1)])
    with pytest.raises(InputError) as caught:
        knn.main("enc", "toy")
    message = "params.yaml: knn.neighbors = [3, 5]: expected a value of at most 2, the number of training images in toy"
    assert str(caught.value) == message
    assert not (folder / "data/predictions").exists()


def test_of_equal_accuracies_on_val_the_smallest_nll_is_chosen(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """All val images are classified correctly with 1, 3 and 5 neighbours, and with 5 by the largest share of the votes."""
    use(monkeypatch, {"knn": SECTION | {"neighbors": [1, 3, 5]}})
    cell(train=[(90.0 * label + angle, label) for label in (0, 1) for angle in range(5)], val=[(2, 0), (91, 1)], test=[(3, 0)])
    knn.main("enc", "toy")
    written = predictions.read("toy", "knn", "enc")
    assert written.selected["k"] == 5
    assert written.notes["tied_on_val"] == 3
    assert written.notes["val_nll"] == pytest.approx(-np.log(5.5 / 6), abs=1e-6)
    message = "3 of 3 settings of knn.neighbors and votes reach the best accuracy on val (100.0 %)"
    assert f"warning: knn enc-toy: {message}" in capsys.readouterr().out
