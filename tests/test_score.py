"""Metrics and plots of every approach on the axes."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from stages import score
from stages.lib import index, predictions, tables
from stages.lib.errors import InputError
from stages.lib.predictions import Predictions
from tests.synthetic import image_rows, use

SPLITS = ["train", "val", "test", "test", "test", "test"]
LABELS = [0, 1, 0, 0, 0, 1]
ROWS = [[0.9, 0.1, 0], [0.8, 0.1, 0.1], [0.3, 0.6, 0.1], [0.1, 0.2, 0.7], [0, 1, 0]]  # of val and test: 0 0 1 2 1


@pytest.fixture
def digest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    rows = image_rows([*SPLITS, "train"], [*LABELS, 2])
    made = index.Index("toy", rows)
    index.write(made)
    return made.digest


def put(digest: str, stage: str = "knn", name: str = "enc", **more: Any) -> Predictions:
    rows = image_rows(SPLITS, LABELS).iloc[1:][["image_id", "split", "label"]]
    facts: dict[str, Any] = {"classes": ["red rose", "lily", "poppy"], "failed": 1, "index": digest, "contract": "c0"}
    made = Predictions(stage, name, rows, np.array(ROWS, np.float32), **(facts | more))
    predictions.write("toy", made)
    return made


def metrics(monkeypatch: pytest.MonkeyPatch, **axes: list[str]) -> dict[str, Any]:
    empty: dict[str, list[str]] = {axis: [] for axis in tables.Axes.model_fields}
    use(monkeypatch, {"axes": empty | {"datasets": ["toy"]} | axes})
    score.main("toy")
    found: dict[str, Any] = json.loads(Path("metrics/toy.json").read_text())
    return found


def test_measures_on_test_by_hand(digest: str) -> None:
    found = score.measures(put(digest))
    assert found == {"top1": 0.5, "mean_per_class": pytest.approx((1 / 3 + 1) / 2), "n": 4, "failed": 1, "chosen": {}}


def test_what_was_chosen_and_noted_stands_beside_the_measures(digest: str) -> None:
    found = score.measures(put(digest, chosen={"k": 3}, notes={"converged": True, "train_only": {"top1": 0.25}}))
    assert (found["chosen"], found["converged"], found["train_only"]) == ({"k": 3}, True, {"top1": 0.25})


def many_classes(classes: int) -> Predictions:
    """Two test images of class 0, which comes 5th in the first and 6th, or last, in the second."""
    scores = np.zeros((2, classes), np.float32)
    scores[0, :5] = [0.1, 0.3, 0.25, 0.2, 0.15]
    scores[1] = np.linspace(0, 1, classes) / np.linspace(0, 1, classes).sum()
    rows = image_rows(["test", "test"], [0, 0])
    return Predictions("knn", "enc", rows, scores, [str(label) for label in range(classes)], 0, "i0", "c0")


def test_top5_is_absent_with_5_classes_and_there_with_6() -> None:
    assert "top5" not in score.measures(many_classes(5))
    assert score.measures(many_classes(6))["top5"] == 0.5


def test_metrics_nest_stage_name_measure(digest: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for stage in ("knn", "linear_probe"):
        for name in ("enc", "other"):
            put(digest, stage, name)
    put(digest, "zero_shot", "enc")
    found = metrics(monkeypatch, encoders=["enc", "other"], zero_shot=["enc"])
    assert {stage: set(names) for stage, names in found.items()} == {
        "zero_shot": {"enc"},
        "linear_probe": {"enc", "other"},
        "knn": {"enc", "other"},
    }
    assert found["knn"]["other"]["top1"] == 0.5


def leaves(value: Any) -> list[Any]:
    return [leaf for item in value.values() for leaf in leaves(item)] if isinstance(value, dict) else [value]


def test_metrics_are_numbers_strings_and_booleans_of_at_most_6_digits(digest: str, monkeypatch: pytest.MonkeyPatch) -> None:
    put(digest, chosen={"k": 3, "votes": "uniform"}, notes={"converged": True, "best_on_test": {"top1": 2 / 3, "k": 1}})
    put(digest, "linear_probe")
    found = metrics(monkeypatch, encoders=["enc"])
    assert {type(leaf) for leaf in leaves(found)} == {int, float, str, bool}
    assert found["knn"]["enc"]["mean_per_class"] == 0.666667
    assert found["knn"]["enc"]["best_on_test"]["top1"] == 0.666667


def test_approach_that_left_the_axes_is_not_in_the_metrics(digest: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("enc", "gone"):
        put(digest, "knn", name)
        put(digest, "linear_probe", name)
        put(digest, "zero_shot", name)
    assert "gone" in metrics(monkeypatch, encoders=["enc", "gone"], zero_shot=["enc", "gone"])["knn"]
    found = metrics(monkeypatch, encoders=["enc"])
    assert {stage: set(names) for stage, names in found.items()} == {"linear_probe": {"enc"}, "knn": {"enc"}}
    assert Path("data/predictions/toy/knn-gone.parquet").exists()


def test_predictions_of_another_index_are_refused_by_name(digest: str, monkeypatch: pytest.MonkeyPatch) -> None:
    put(digest, "linear_probe")
    put("0123456789abcdef", "knn")
    with pytest.raises(InputError) as caught:
        metrics(monkeypatch, encoders=["enc"])
    assert str(caught.value).startswith(
        f"data/predictions/toy/knn-enc.parquet: made from another index (digest 0123456789ab, expected {digest[:12]})"
    )
    assert not Path("metrics").exists()


def test_confusion_has_a_row_a_test_image(digest: str, monkeypatch: pytest.MonkeyPatch) -> None:
    put(digest, "knn")
    put(digest, "linear_probe")
    metrics(monkeypatch, encoders=["enc"])
    assert Path("plots/score/toy/confusion/knn-enc.csv").read_text().splitlines() == [
        "actual,predicted",
        "red rose,red rose",
        "red rose,lily",
        "red rose,poppy",
        "lily,lily",
    ]


def test_per_class_accuracy_has_a_row_for_every_class_of_test(digest: str, monkeypatch: pytest.MonkeyPatch) -> None:
    put(digest, "knn")
    put(digest, "linear_probe")
    metrics(monkeypatch, encoders=["enc"])
    table = pd.read_csv("plots/score/toy/per_class.csv")
    of_knn = table[table["approach"] == "knn enc"]
    assert dict(zip(of_knn["class_name"], of_knn["accuracy"], strict=True)) == {"red rose": 0.333333, "lily": 1.0}
    assert set(table["approach"]) == {"knn enc", "linear_probe enc"}


def point(epoch: int, split: str, accuracy: float, loss: float) -> dict[str, Any]:
    return {"epoch": epoch, "split": split, "accuracy": accuracy, "mean_per_class": 0.5, "loss": loss}


def test_curves_are_those_of_the_networks_that_were_trained(digest: str, monkeypatch: pytest.MonkeyPatch) -> None:
    put(digest, "knn")
    put(digest, "linear_probe")
    put(digest, "finetune", curve=[point(1, "train", 2 / 3, 1.5), point(1, "val", 0.5, 1.25)])
    put(digest, "scratch", "small", curve=[point(2, "val", 0.25, 2)])
    found = metrics(monkeypatch, encoders=["enc"], finetune=["enc"], scratch=["small"])
    table = pd.read_csv("plots/score/toy/curves.csv")
    assert table.to_dict("list") == {
        "epoch": [1, 1, 2],
        "approach": ["finetune enc", "finetune enc", "scratch small"],
        "split": ["train", "val", "val"],
        "accuracy": [0.666667, 0.5, 0.25],
        "loss": [1.5, 1.25, 2.0],
    }
    assert set(found) == {"linear_probe", "knn", "finetune", "scratch"}


def test_without_networks_the_curves_are_a_header(digest: str, monkeypatch: pytest.MonkeyPatch) -> None:
    put(digest, "zero_shot")
    metrics(monkeypatch, zero_shot=["enc"])
    assert Path("plots/score/toy/curves.csv").read_text() == "epoch,approach,split,accuracy,loss\n"


def test_axes_without_an_approach_are_one_line(digest: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match=r"axes\.encoders, zero_shot, finetune and scratch are empty: no approach to score$"):
        metrics(monkeypatch)


def test_numbers_that_name_classes_stay_as_they_are(digest: str) -> None:
    by_image, by_class = score.outcomes(put(digest, classes=["007", "10", "9"]))
    assert by_image["actual"].tolist() == ["007", "007", "007", "10"]
    assert by_class["class_name"].tolist() == ["007", "10"]
