"""Predictions are written to files and read back unchanged."""

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from clipstore.core.errors import InputError
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
        logits=np.array([[40, 41, -np.inf], [-200, 0.5, 0.25]], np.float32),
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
    assert restored.logits.tolist() == original.logits.tolist()
    blank: dict[str, Any] = {"rows": pd.DataFrame(), "logits": np.zeros((0, 3), np.float32)}
    assert replace(restored, **blank).__dict__.keys() == replace(original, **blank).__dict__.keys()
    names = [field.name for field in fields(Predictions) if field.name not in blank]
    assert [getattr(restored, name) for name in names] == [getattr(original, name) for name in names]


def test_probabilities_are_the_softmax_of_the_logits(original: Predictions) -> None:
    expected = [[1 / (1 + np.e), np.e / (1 + np.e), 0], [0, 1 / (1 + np.exp(-0.25)), 1 / (1 + np.exp(0.25))]]
    assert original.probabilities.dtype == np.float32
    np.testing.assert_allclose(original.probabilities, expected, rtol=1e-6)
    predictions.write("toy", original)
    table = pq.read_table("data/predictions/toy/knn-enc.parquet")
    assert table["probabilities"].to_pylist() == original.probabilities.tolist()


def test_answers_are_those_of_the_logits_where_float32_probabilities_are_equal(original: Predictions) -> None:
    close = replace(original, logits=np.array([[0, 0, 0], [0, 1e-9, 0]], np.float32))
    assert len(set(close.probabilities[1])) == 1
    assert close.test_answers.tolist() == [1]


def test_path_and_columns_of_the_file(original: Predictions) -> None:
    predictions.write("toy", original)
    schema = pq.read_schema("data/predictions/toy/knn-enc.parquet")
    assert schema.names == ["image_id", "split", "label", "logits", "probabilities"]
    assert schema.field("logits").type == schema.field("probabilities").type == pa.list_(pa.float32(), 3)


@pytest.mark.parametrize("row", [[np.nan, 0, 1], [np.inf, 0, 1], [np.inf, -np.inf, np.nan], [-np.inf] * 3])
def test_logits_without_a_softmax_are_one_line(original: Predictions, row: list[float]) -> None:
    wrong = original.logits.copy()
    wrong[1] = row
    with pytest.raises(InputError, match=r"^data/predictions/toy/knn-enc\.parquet: 1 of 2 images have a logit that is NaN or"):
        predictions.write("toy", replace(original, logits=wrong))
    assert not Path("data").exists()


def test_a_file_without_logits_is_one_line(original: Predictions) -> None:
    predictions.write("toy", original)
    path = "data/predictions/toy/knn-enc.parquet"
    pq.write_table(pq.read_table(path).drop_columns("logits"), path)
    with pytest.raises(InputError, match=rf"^{path}: no column logits, which earlier versions did not write: run `dvc repro` again$"):
        predictions.read("toy", "knn", "enc")


def test_rows_of_embeddings_match_the_logits_of_their_split(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    embed(["test", "train", "val", "test"], [0, 1, 1, 1], 2, embedding=np.eye(4))
    by_split = {"val": np.array([[0.2, 0.8]], np.float32), "test": np.array([[0.9, 0.1], [0.4, 0.6]], np.float32)}
    images = embeddings.read_images("enc", "toy")
    converted = embeddings.to_predictions(images, "knn", "enc", by_split, {"k": 1}, {"converged": True})
    assert converted.rows["image_id"].tolist() == ["1/002.png", "0/000.png", "1/003.png"]
    assert converted.rows["split"].tolist() == ["val", "test", "test"]
    np.testing.assert_allclose(converted.logits, [[0.2, 0.8], [0.9, 0.1], [0.4, 0.6]])
    assert (converted.classes, converted.failed, converted.contract) == (["class 0", "class 1"], 0, "c0")
    assert converted.index == images.provenance["index"]
    assert (converted.selected, converted.notes) == ({"k": 1}, {"converged": True})
