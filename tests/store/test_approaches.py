"""Predictions are read together only where they compare image by image."""

from pathlib import Path

import numpy as np
import pytest

from clipstore.core.errors import InputError
from clipstore.store import predictions
from clipstore.store.approaches import read_all
from clipstore.store.predictions import Predictions
from tests.synthetic import image_rows

ROWS = image_rows(["val", "test", "test"], [0, 0, 1])[["image_id", "split", "label"]]
WANTED = [("zero_shot", "enc"), ("knn", "enc")]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def put(stage: str, rows: list[int] | None = None, index: str = "i0") -> None:
    selected = [0, 1, 2] if rows is None else rows
    scores = np.array([[0.5, 0.5], [1, 0], [0.75, 0.25]], np.float32)[selected]
    predictions.write("toy", Predictions(stage, "enc", ROWS.iloc[selected], scores, ["a", "b"], 0, index, "c0"))


def test_an_outcome_is_that_of_the_test_images() -> None:
    put("knn")
    (found,) = read_all("toy", [("knn", "enc")], "i0")
    assert (found.title, found.images) == ("knn enc", ["0/001.png", "1/002.png"])
    assert (found.labels.tolist(), found.predicted.tolist()) == ([0, 1], [0, 0])
    assert found.probabilities.tolist() == [[1, 0], [0.75, 0.25]] and found.probabilities.dtype == float
    assert [some.tolist() for some in found.of("val")] == [[[0.5, 0.5]], [0]]


def test_val_images_may_differ() -> None:
    put("zero_shot")
    put("knn", [1, 2])
    assert [len(outcome.of("val")[1]) for outcome in read_all("toy", WANTED, "i0")] == [1, 0]


@pytest.mark.parametrize(("rows", "count"), [([0, 1], 1), ([0, 2, 1], 2)])
def test_other_test_images_or_another_order_is_one_line(rows: list[int], count: int) -> None:
    put("zero_shot")
    put("knn", rows)
    with pytest.raises(InputError) as caught:
        read_all("toy", WANTED, "i0")
    assert str(caught.value) == (
        f"data/predictions/toy/knn-enc.parquet: its {count} test images are not the 2 of data/predictions/toy/zero_shot-enc.parquet"
        " in their order: run `dvc repro` again"
    )


def test_a_missing_approach_is_one_line() -> None:
    put("zero_shot")
    with pytest.raises(InputError, match=r"^data/predictions/toy/knn-enc\.parquet: no such file; `dvc repro` makes it$"):
        read_all("toy", WANTED, "i0")
