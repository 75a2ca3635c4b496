"""The random sample of a data set."""

import numpy as np

from clipstore.core.rows import NO_LABEL, UNLABELLED
from clipstore.data.index import Index
from clipstore.report import samples
from clipstore.report.samples import RandomSample
from clipstore.store.predictions import Predictions
from tests.synthetic import image_rows


def test_only_labels_of_images_drawn_at_random_count() -> None:
    """Every answer is class 0. The image of the given test split and the label for training are right, and neither counts."""
    splits = ["test", "test", "test", "train", "test", *[UNLABELLED] * 5]
    labels = [0, 1, 0, 0, 0, *[NO_LABEL] * 5]
    purposes = ["test", "test", "", "train", "test", "test", "train", "drawn", "drawn", ""]
    rows = image_rows(splits, labels, purposes)
    rows.loc[4, "status"] = "not an image"
    usable = rows[(rows["status"] == "ok") & (rows["split"] != "train")]
    logits = np.tile(np.array([1, 0], np.float32), (len(usable), 1))
    approach = Predictions("knn", "enc", usable, logits, ["a", "b"], 1, "i", "c")
    expected = RandomSample(hits=1, labelled=3, waiting=2, none=["unlabelled/005.png"])
    assert samples.of(Index("toy", rows, {"classes": ["a", "b"]}), approach) == expected


def test_without_a_sample() -> None:
    rows = image_rows(["train", UNLABELLED], [0, NO_LABEL])
    approach = Predictions("knn", "enc", rows[1:], np.zeros((1, 1), np.float32), ["a"], 0, "i", "c")
    assert samples.of(Index("toy", rows, {"classes": ["a"]}), approach) == RandomSample()
