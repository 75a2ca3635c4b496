"""Predictions are written to files and read back unchanged."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from clipstore.store import embeddings, predictions
from clipstore.store.predictions import Predictions
from tests.synthetic import embed


@pytest.fixture
def original(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Predictions:
    monkeypatch.chdir(tmp_path)
    return Predictions(
        stage="knn",
        name="enc",
        rows=pd.DataFrame({"image_id": ["b/1.png", "a/2.png"], "split": ["val", "test"], "label": [1, 0]}),
        probabilities=np.array([[0.25, 0.75, 0], [0.125, 0.375, 0.5]], np.float32),
        classes=["a", "b", "ü"],
        failed=2,
        index="i0",
        contract="c0",
        selected={"k": 3, "votes": "uniform"},
        notes={"best_on_test": {"top1": 0.5, "k": 1}, "converged": True},
    )


def test_predictions_are_read_as_written(original: Predictions) -> None:
    predictions.write("toy", original)
    restored = predictions.read("toy", "knn", "enc")
    assert restored.rows.to_dict("list") == original.rows.to_dict("list")
    assert restored.probabilities.tolist() == original.probabilities.tolist()
    blank = {"rows": pd.DataFrame(), "probabilities": np.zeros(0)}
    facts = [{key: value for key, value in vars(item).items() if key not in blank} for item in (restored, original)]
    assert facts[0] == facts[1]


def test_path_and_columns_of_the_file(original: Predictions) -> None:
    predictions.write("toy", original)
    schema = pq.read_schema("data/predictions/toy/knn-enc.parquet")
    assert schema.names == ["image_id", "split", "label", "probabilities"]
    assert schema.field("probabilities").type == pa.list_(pa.float32(), 3)


@pytest.mark.parametrize("row", [[0.5, 0.6, 0.0], [0.2, 0.2, 0.2], [float("nan"), 0.5, 0.5], [0.0, 0.0, 0.0]])
def test_row_that_does_not_sum_to_1_is_rejected(original: Predictions, row: list[float]) -> None:
    wrong = original.probabilities.copy()
    wrong[1] = row
    with pytest.raises(AssertionError):
        predictions.write("toy", replace(original, probabilities=wrong))
    assert not Path("data").exists()


def test_rows_of_embeddings_match_the_probabilities_of_their_split(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    embed(["test", "train", "val", "test"], [0, 1, 1, 1], 2, embedding=np.eye(4))
    by_split = {"val": np.array([[0.2, 0.8]], np.float32), "test": np.array([[0.9, 0.1], [0.4, 0.6]], np.float32)}
    images = embeddings.read_images("enc", "toy")
    converted = embeddings.to_predictions(images, "knn", "enc", by_split, {"k": 1}, {"converged": True})
    assert converted.rows["image_id"].tolist() == ["1/002.png", "0/000.png", "1/003.png"]
    assert converted.rows["split"].tolist() == ["val", "test", "test"]
    np.testing.assert_allclose(converted.probabilities, [[0.2, 0.8], [0.9, 0.1], [0.4, 0.6]])
    assert (converted.classes, converted.failed, converted.contract) == (["class 0", "class 1"], 0, "c0")
    assert converted.index == images.provenance["index"]
    assert (converted.selected, converted.notes) == ({"k": 1}, {"converged": True})
