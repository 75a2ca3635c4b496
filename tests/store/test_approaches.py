"""The table of approaches, and reading predictions that cover the same test images."""

from pathlib import Path

import numpy as np
import pytest

from clipstore.core.errors import InputError
from clipstore.core.schema import Axes
from clipstore.store import predictions
from clipstore.store.approaches import APPROACHES, cells, read_all, readable
from clipstore.store.predictions import Predictions
from tests.synthetic import image_rows, logits_of
from tests.workspace import PROJECT

ROWS = image_rows(["val", "test", "test"], [0, 0, 1])[["image_id", "split", "label"]]
PAIRS = [("zero_shot", "enc"), ("knn", "enc")]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def put(stage: str, rows: list[int] | None = None, index: str = "i0") -> None:
    selected = [0, 1, 2] if rows is None else rows
    scores = logits_of([[0.5, 0.5], [1.0, 0.0], [0.75, 0.25]])[selected]
    predictions.write("toy", Predictions(stage, "enc", ROWS.iloc[selected], scores, ["a", "b"], 0, index, "c0"))


def test_predictions_for_the_test_images() -> None:
    put("knn")
    (approach,) = read_all("toy", [("knn", "enc")], "i0")
    assert (approach.title, approach.test_ids) == ("knn enc", ["0/001.png", "1/002.png"])
    assert (approach.test_labels.tolist(), approach.test_answers.tolist()) == ([0, 1], [0, 0])
    assert approach.test_probabilities == pytest.approx(np.array([[1, 0], [0.75, 0.25]])) and approach.test_probabilities.dtype == float
    assert [array.tolist() for array in approach.of("val")] == [[[logits_of(0.5)] * 2], [0]]


def test_cells_pair_approaches_with_the_names_on_their_axes() -> None:
    names: dict[str, list[str]] = {axis: [] for axis in Axes.model_fields} | {
        "encoders": ["a", "b"],
        "zero_shot": ["a"],
        "scratch": ["own"],
    }
    pairs = cells(Axes.model_validate(names))
    assert pairs[:2] == [("zero_shot", "a"), ("linear_probe", "a")] and pairs[-1] == ("scratch", "own")
    assert {("linear_probe", "b"), ("knn", "a"), ("knn", "b")} <= set(pairs)


def test_every_approach_has_its_own_stage_and_title_and_an_existing_axis() -> None:
    assert all((PROJECT / f"stages/{approach.stage}.py").exists() for approach in APPROACHES)
    assert {approach.axis for approach in APPROACHES} <= set(Axes.model_fields)
    assert len({approach.stage for approach in APPROACHES}) == len({approach.title for approach in APPROACHES}) == len(APPROACHES)


def test_readable_titles() -> None:
    assert [readable(title) for title in ("knn enc", "zero_shot", "other enc")] == ["kNN (enc)", "zero-shot", "other (enc)"]


def test_val_images_may_differ() -> None:
    put("zero_shot")
    put("knn", [1, 2])
    assert [len(approach.of("val")[1]) for approach in read_all("toy", PAIRS, "i0")] == [1, 0]


@pytest.mark.parametrize(("rows", "count"), [([0, 1], 1), ([0, 2, 1], 2)])
def test_other_test_images_or_another_order_are_rejected(rows: list[int], count: int) -> None:
    put("zero_shot")
    put("knn", rows)
    with pytest.raises(InputError) as caught:
        read_all("toy", PAIRS, "i0")
    assert str(caught.value) == (
        f"data/predictions/toy/knn-enc.parquet: {count} test images, expected the 2 of data/predictions/toy/zero_shot-enc.parquet"
        " in the same order: run `dvc repro` again"
    )


def test_an_approach_that_cannot_be_fitted_yet_has_no_images() -> None:
    for stage in ("zero_shot", "knn", "scratch"):
        put(stage)
    nothing = Predictions("zero_shot", "enc", ROWS[:0], np.zeros((0, 2), np.float32), ["a", "b"], 0, "i0", "c0", "no labels")
    predictions.write("toy", nothing)
    read = read_all("toy", [*PAIRS, ("scratch", "enc")], "i0")
    assert [(approach.not_yet, len(approach.test_ids)) for approach in read] == [("no labels", 0), ("", 2), ("", 2)]
    put("scratch", [0, 1])
    with pytest.raises(InputError, match=r"scratch-enc\.parquet: 1 test images, expected the 2 of data/predictions/toy/knn-enc\.parquet"):
        read_all("toy", [*PAIRS, ("scratch", "enc")], "i0")


def test_missing_predictions_are_reported() -> None:
    put("zero_shot")
    with pytest.raises(InputError, match=r"^data/predictions/toy/knn-enc\.parquet: no such file; `dvc repro` creates it$"):
        read_all("toy", PAIRS, "i0")
