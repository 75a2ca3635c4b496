"""The answers for images without a class: which approach gives them, and what the files say."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from clipstore.core.errors import InputError
from clipstore.core.rows import NO_LABEL, UNLABELLED
from clipstore.core.schema import Axes
from clipstore.data import index
from clipstore.measure import calibration
from clipstore.store import predictions
from clipstore.store.answers import read
from clipstore.store.predictions import Predictions
from stages import answers
from tests.synthetic import image_rows, logits_of, use

CLASSES = ["b", "a", "<script>"]  # in the order of their labels
SPLITS = ["train", "val", "val", "test", *[UNLABELLED] * 5]
LABELS = [0, 0, 1, 1, *[NO_LABEL] * 5]
PURPOSES = ["", "", "", "test", "", "", "drawn", "train", "test"]  # the last two show none of the classes
UNSURE, SURE, OTHER = [0.5, 0.3, 0.2], [0.9, 0.1, 0.0], [0.1, 0.8, 0.1]
WITHOUT_CLASS = [UNSURE, OTHER, SURE, SURE, SURE]
NAMES = ["zero_shot enc", "linear_probe enc", "knn enc"]


@pytest.fixture
def indexed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> index.Index:
    monkeypatch.chdir(tmp_path)
    axes: dict[str, list[str]] = {axis: [] for axis in Axes.model_fields}
    use(monkeypatch, {"axes": axes | {"datasets": ["toy"], "encoders": ["enc"], "zero_shot": ["enc"]}})
    images = index.Index("toy", image_rows(SPLITS, LABELS, PURPOSES), {"classes": CLASSES})
    index.write(images)
    return images


def put(images: index.Index, title: str, scores: list[list[float]], not_yet: str = "") -> None:
    """Write predictions of the last images of the index, one for each row of ``scores``."""
    stage, name = title.split()
    rows = images.rows.tail(len(scores)) if scores else images.rows[:0]
    logits = logits_of(scores) if scores else np.zeros((0, len(CLASSES)), np.float32)
    predictions.write("toy", Predictions(stage, name, rows, logits, CLASSES, 0, images.digest, "c0", not_yet))


def put_all(images: index.Index, val: dict[str, list[list[float]]]) -> None:
    """Write predictions of every approach, which differ on val only."""
    for title in NAMES:
        put(images, title, [*val[title], OTHER, *WITHOUT_CLASS] if val else [OTHER, *WITHOUT_CLASS])


def test_the_files_by_hand(indexed: index.Index) -> None:
    put_all(indexed, {})
    put(indexed, "knn enc", [], "no labels")
    answers.main("toy")
    table = pd.read_csv("data/answers/toy.csv", keep_default_na=False)
    names = indexed.rows["path"].tolist()
    zero_shot = {"approach": "zero_shot enc", "calibrated": False}
    assert table.to_dict("records") == [
        {**row, **zero_shot, "zero_shot enc": row["class"], "linear_probe enc": row["class"], "knn enc": ""}
        for row in (
            {"path": names[6], "class": "b", "confidence": 0.9, "margin": 0.8, "runner_up": "a"},
            {"path": names[4], "class": "b", "confidence": 0.5, "margin": 0.2, "runner_up": "a"},
            {"path": names[5], "class": "a", "confidence": 0.8, "margin": 0.7, "runner_up": "b"},
        )
    ]
    stored = read("toy", indexed.digest)
    pd.testing.assert_frame_equal(stored.rows, pd.read_csv("data/answers/toy.csv", dtype=dict.fromkeys(NAMES, object)), check_dtype=False)
    assert (stored.notes.approach, stored.notes.calibrated, stored.notes.not_yet) == ("zero_shot enc", False, "")
    assert stored.notes.why == "there are too few labels to compare the approaches on val images, and zero-shot needs no labels"


def test_the_best_on_val_answers_with_its_temperature(indexed: index.Index) -> None:
    """Class 1 is not in train, so the answer for its val image counts, but fits no temperature."""
    put_all(indexed, {"zero_shot enc": [UNSURE, UNSURE], "linear_probe enc": [UNSURE, UNSURE], "knn enc": [SURE, OTHER]})
    answers.main("toy")
    stored = read("toy", indexed.digest)
    assert stored.notes.why == "it is the most accurate on the 2 val images, with 100.0 % mean per-class accuracy"
    assert set(stored.rows["approach"]) == {"knn enc"} and stored.rows["calibrated"].all()
    temperature = calibration.fit_temperature(logits_of([SURE]).astype(float), np.array([0]))
    powers = np.array([0.9, 0.1]) ** (1 / temperature)
    assert temperature < 1 and stored.rows["confidence"][0] == pytest.approx(powers[0] / powers.sum(), abs=1e-6)


def test_ties_on_val_go_to_the_lower_loss_whatever_the_answers_on_test(indexed: index.Index) -> None:
    val = {"zero_shot enc": [UNSURE, OTHER], "linear_probe enc": [SURE, OTHER], "knn enc": [UNSURE, OTHER]}
    put_all(indexed, val)
    put(indexed, "linear_probe enc", [*val["linear_probe enc"], SURE, *WITHOUT_CLASS])  # wrong on test
    answers.main("toy")
    assert read("toy", indexed.digest).notes.approach == "linear_probe enc"


def test_without_val_and_zero_shot_the_first_that_was_fitted_answers(indexed: index.Index) -> None:
    put_all(indexed, {})
    put(indexed, "zero_shot enc", [], "no text tower")
    answers.main("toy")
    notes = read("toy", indexed.digest).notes
    assert notes.approach == "linear_probe enc" and notes.why.endswith("and it is the first that could be trained")


def test_a_class_that_an_approach_cannot_give_is_no_runner_up(indexed: index.Index) -> None:
    put_all(indexed, {})
    put(indexed, "zero_shot enc", [[1.0, 0.0, 0.0]] * 6)
    answers.main("toy")
    rows = read("toy", indexed.digest).rows
    assert rows[["confidence", "margin"]].to_numpy().tolist() == [[1, 1]] * 3 and rows["runner_up"].isna().all()


def test_images_with_equal_confidence_keep_the_order_of_the_index(indexed: index.Index) -> None:
    put_all(indexed, {})
    put(indexed, "zero_shot enc", [SURE] * 6)
    answers.main("toy")
    assert read("toy", indexed.digest).rows["path"].tolist() == indexed.rows["path"][4:7].tolist()


def test_where_nothing_is_fitted_there_are_no_rows_and_the_reason(indexed: index.Index, capsys: pytest.CaptureFixture[str]) -> None:
    for title in NAMES:
        put(indexed, title, [], "no labels")
    answers.main("toy")
    stored = read("toy", indexed.digest)
    reasons = "zero-shot (enc): no labels; linear probe (enc): no labels; kNN (enc): no labels"
    assert stored.notes.not_yet == f"no approach can answer yet ({reasons})"
    assert capsys.readouterr().out == f"answers: toy: {stored.notes.not_yet}\n"
    assert len(stored.rows) == 0
    assert Path("data/answers/toy.csv").read_text() == f"path,class,confidence,margin,runner_up,approach,calibrated,{','.join(NAMES)}\n"


def test_where_every_image_has_a_label_there_are_no_rows_and_the_reason(indexed: index.Index) -> None:
    labelled = index.Index("toy", indexed.rows[:4], indexed.notes)
    index.write(labelled)
    for title in NAMES:
        put(labelled, title, [OTHER])
    answers.main("toy")
    stored = read("toy", labelled.digest)
    assert (len(stored.rows), stored.notes.not_yet, stored.notes.approach) == (0, "every image has a label", "zero_shot enc")


def test_predictions_of_another_index_are_one_line(indexed: index.Index) -> None:
    put_all(indexed, {})
    index.write(index.Index("toy", indexed.rows[:-1], indexed.notes))
    with pytest.raises(InputError, match=r"^data/predictions/toy/zero_shot-enc\.parquet: computed from another index [^\n]*$"):
        answers.main("toy")


def test_predictions_without_some_of_the_images_are_one_line(indexed: index.Index) -> None:
    put_all(indexed, {})
    put(indexed, "zero_shot enc", [SURE] * 4)
    put(indexed, "linear_probe enc", [SURE] * 4)
    put(indexed, "knn enc", [SURE] * 4)
    problem = r"4 images without a class, expected the 5 of data/index/toy\.parquet in the same order: run `dvc repro` again"
    with pytest.raises(InputError, match=rf"^data/predictions/toy/zero_shot-enc\.parquet: {problem}$"):
        answers.main("toy")


def test_missing_answers_and_those_of_another_index_are_one_line(indexed: index.Index) -> None:
    with pytest.raises(InputError, match=r"^data/answers/toy\.parquet: no such file; `dvc repro` creates it$"):
        read("toy", indexed.digest)
    put_all(indexed, {})
    answers.main("toy")
    with pytest.raises(InputError, match=r"^data/answers/toy\.parquet: computed from another index \(digest .*, expected 000000000000\)"):
        read("toy", "0" * 64)


def test_the_same_input_gives_the_same_files(indexed: index.Index) -> None:
    put_all(indexed, {})
    answers.main("toy")
    before = [path.read_bytes() for path in sorted(Path("data/answers").iterdir())]
    answers.main("toy")
    assert [path.read_bytes() for path in sorted(Path("data/answers").iterdir())] == before and len(before) == 2
