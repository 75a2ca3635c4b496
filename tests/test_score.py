"""Metrics and plots of every approach on the axes."""

import json
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from clipstore.core import schema
from clipstore.core.errors import InputError
from clipstore.core.params import check
from clipstore.data import index
from clipstore.measure import comparisons
from clipstore.store import predictions
from clipstore.store.predictions import Predictions
from stages import score
from tests.synthetic import image_rows, logits_of, on_axis, use

SPLITS = ["train", "val", "test", "test", "test", "test"]
LABELS = [0, 1, 0, 0, 0, 1]
CLASSES = ["red rose", "lily", "poppy"]
ROWS: list[list[float]] = [[0.9, 0.1, 0], [0.8, 0.1, 0.1], [0.3, 0.6, 0.1], [0.1, 0.2, 0.7], [0, 1, 0]]  # of val and test: 0 0 1 2 1
SETTINGS = {"threshold": 0.6, "bins": 2, "worst": 20}


@pytest.fixture
def digest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    rows = image_rows([*SPLITS, "train"], [*LABELS, 2])
    images_index = index.Index("toy", rows, {"classes": CLASSES})
    index.write(images_index)
    return images_index.digest


def put(digest: str, stage: str = "knn", name: str = "enc", scores: list[list[float]] = ROWS, **more: Any) -> Predictions:
    """Write predictions for the last images of the index, one for each row of ``scores``."""
    rows = image_rows(SPLITS, LABELS)[["image_id", "split", "label"]].tail(len(scores))
    facts: dict[str, Any] = {"classes": CLASSES, "failed": 1, "index": digest, "contract": "c0"}
    approach = Predictions(stage, name, rows, logits_of(scores), **(facts | more))
    predictions.write("toy", approach)
    return approach


def metrics(monkeypatch: pytest.MonkeyPatch, **axes: list[str]) -> dict[str, Any]:
    empty: dict[str, list[str]] = {axis: [] for axis in schema.Axes.model_fields}
    use(monkeypatch, {"axes": empty | {"datasets": ["toy"]} | axes, "score": SETTINGS})
    score.main("toy")
    results: dict[str, Any] = json.loads(Path("metrics/toy.json").read_text())
    return results


def audited(encoder: str, *leaked: str) -> None:
    """Write ``leaked`` as the test images that the audit with ``encoder`` found in train or val."""
    Path("data/predictions/toy").mkdir(parents=True, exist_ok=True)
    pd.DataFrame({"image_id": list(leaked)}, dtype=object).to_parquet(f"data/predictions/toy/leaked-{encoder}.parquet")


def put_embedded(digest: str, *names: str, **facts: Any) -> None:
    """Write predictions of every approach on embeddings, for each encoder in ``names``, and audits without findings."""
    for name in names:
        audited(name)
        for stage in on_axis("encoders"):
            put(digest, stage, name, **facts)


def measures(approach: Predictions, temperature: float = 1) -> dict[str, Any]:
    return score.measures(approach, temperature, len(approach.of("val")[1]), score.Score.model_validate(SETTINGS))


def test_measures_on_test_by_hand(digest: str) -> None:
    measured = measures(put(digest))
    right, wrong = [np.log(0.8), np.log(1.0)], [np.log(0.3), np.log(0.1)]
    assert measured["top1"] == 0.5
    assert measured["mean_per_class"] == pytest.approx((1 / 3 + 1) / 2)
    assert (measured["top1_low"], measured["top1_high"]) == pytest.approx((0.0676, 0.9324), abs=5e-4)  # exact, of 2 in 4
    assert 0 < measured["mean_per_class_low"] < measured["mean_per_class"] < measured["mean_per_class_high"] < 1
    assert measured["nll"] == pytest.approx(-sum(right + wrong) / 4)
    assert measured["brier"] == pytest.approx((0.06 + (0.49 + 0.36 + 0.01) + (0.81 + 0.04 + 0.49)) / 4)
    assert measured["ece"] == pytest.approx(
        (abs(0 - 0.65) + abs(1 - 0.9)) / 2
    )  # one bin each for the two less and the two more confident answers
    assert (measured["coverage"], measured["covered_top1"]) == (1.0, 0.5)
    assert {key: measured[key] for key in ("n", "smallest_class", "classes_not_in_test", "failed", "calibrated_on")} == {
        "n": 4,
        "smallest_class": 1,
        "classes_not_in_test": 1,
        "failed": 1,
        "calibrated_on": 1,
    }


def test_temperature_changes_calibration_but_no_accuracy(digest: str) -> None:
    approach = put(digest)
    before, after = measures(approach), measures(approach, 2.0)
    changed = {key for key in before if before[key] != after[key]}
    scaled = {f"{name}_scaled" for name in ("nll", "brier", "ece", "ece_debiased", "ece_noise")}
    assert changed == scaled | {"temperature", "nll_change", "nll_change_low", "nll_change_high", "coverage", "covered_top1"}


def test_selected_values_and_notes_are_among_the_measures(digest: str) -> None:
    measured = measures(put(digest, selected={"k": 3}, notes={"converged": True, "train_only": {"top1": 0.25}}))
    assert (measured["selected"], measured["converged"], measured["train_only"]) == ({"k": 3}, True, {"top1": 0.25})


def test_accuracy_without_leaked_images_by_hand(digest: str) -> None:
    approach = put(digest)  # right for the first test image of class 0 and for that of class 1
    ids = approach.test_ids
    assert score.without_leaked(approach, {ids[0]}) == {"top1_without_leaked": 1 / 3, "mean_per_class_without_leaked": 0.5}
    assert score.without_leaked(approach, {ids[3]}) == {"top1_without_leaked": 1 / 3, "mean_per_class_without_leaked": 1 / 3}
    assert score.without_leaked(approach, set())["top1_without_leaked"] == 0.5
    assert score.without_leaked(approach, set(ids)) == {}  # no images remain to be measured


def test_leaked_images_of_any_encoder_are_excluded_for_every_approach(digest: str, monkeypatch: pytest.MonkeyPatch) -> None:
    put(digest, "zero_shot")
    put_embedded(digest, "enc", "other")
    ids = put(digest).test_ids
    audited("enc", ids[0])
    audited("other", ids[0], ids[1])
    results = metrics(monkeypatch, encoders=["enc", "other"], zero_shot=["enc"])
    for names in results.values():
        for figures in names.values():
            assert (figures["leaked"], figures["top1"], figures["top1_without_leaked"]) == (2, 0.5, 0.5)
            assert figures["mean_per_class_without_leaked"] == 0.5  # class 0: 0 of 1, class 1: 1 of 1


def test_without_an_encoder_there_are_no_figures_about_leaked_images(digest: str, monkeypatch: pytest.MonkeyPatch) -> None:
    put(digest, "zero_shot")
    assert not {"leaked", "top1_without_leaked"} & set(metrics(monkeypatch, zero_shot=["enc"])["zero_shot"]["enc"])


def test_a_missing_audit_is_one_line(digest: str, monkeypatch: pytest.MonkeyPatch) -> None:
    put_embedded(digest, "enc")
    Path("data/predictions/toy/leaked-enc.parquet").unlink()
    with pytest.raises(InputError, match=r"^data/predictions/toy/leaked-enc\.parquet: no such file; `dvc repro` creates it$"):
        metrics(monkeypatch, encoders=["enc"])


def many_classes(classes: int) -> Predictions:
    """Return two test images of class 0, which is ranked 5th for the first image and 6th, or last, for the second."""
    scores = np.zeros((2, classes), np.float32)
    scores[0, :5] = [0.1, 0.3, 0.25, 0.2, 0.15]
    scores[1] = np.linspace(0, 1, classes) / np.linspace(0, 1, classes).sum()
    rows = image_rows(["test", "test"], [0, 0])
    return Predictions("knn", "enc", rows, logits_of(scores), [str(label) for label in range(classes)], 0, "i0", "c0")


def test_top5_is_absent_with_5_classes_and_present_with_6() -> None:
    assert "top5" not in measures(many_classes(5))
    measured = measures(many_classes(6))
    assert (measured["top5"], measured["top5_low"], measured["top5_high"]) == pytest.approx((0.5, 0.0126, 0.9874), abs=5e-4)


def test_metrics_nest_stage_name_measure(digest: str, monkeypatch: pytest.MonkeyPatch) -> None:
    put_embedded(digest, "enc", "other")
    put(digest, "zero_shot", "enc")
    results = metrics(monkeypatch, encoders=["enc", "other"], zero_shot=["enc"])
    embedded = {stage: {"enc", "other"} for stage in on_axis("encoders")}
    assert {stage: set(names) for stage, names in results.items()} == {"zero_shot": {"enc"}} | embedded
    assert {"linear_probe", "knn"} <= set(results)
    assert results["knn"]["other"]["top1"] == 0.5


def leaves(value: Any) -> list[Any]:
    return [leaf for item in value.values() for leaf in leaves(item)] if isinstance(value, dict) else [value]


def test_metrics_are_numbers_strings_and_booleans_of_at_most_6_digits(digest: str, monkeypatch: pytest.MonkeyPatch) -> None:
    put_embedded(digest, "enc")
    put(digest, selected={"k": 3, "votes": "uniform"}, notes={"converged": True, "best_on_test": {"top1": 2 / 3, "k": 1}})
    results = metrics(monkeypatch, encoders=["enc"])
    assert {type(leaf) for leaf in leaves(results)} == {int, float, str, bool}
    assert results["knn"]["enc"]["mean_per_class"] == 0.666667
    assert results["knn"]["enc"]["best_on_test"]["top1"] == 0.666667


def test_an_approach_removed_from_the_axes_is_not_in_the_metrics(digest: str, monkeypatch: pytest.MonkeyPatch) -> None:
    put_embedded(digest, "enc", "gone")
    for name in ("enc", "gone"):
        put(digest, "zero_shot", name)
    assert "gone" in metrics(monkeypatch, encoders=["enc", "gone"], zero_shot=["enc", "gone"])["knn"]
    results = metrics(monkeypatch, encoders=["enc"])
    assert {stage: set(names) for stage, names in results.items()} == {stage: {"enc"} for stage in on_axis("encoders")}
    assert Path("data/predictions/toy/knn-gone.parquet").exists()


def test_predictions_of_another_index_are_refused_by_name(digest: str, monkeypatch: pytest.MonkeyPatch) -> None:
    put_embedded(digest, "enc")
    put("0123456789abcdef", "knn")
    with pytest.raises(InputError) as caught:
        metrics(monkeypatch, encoders=["enc"])
    assert str(caught.value).startswith(
        f"data/predictions/toy/knn-enc.parquet: computed from another index (digest 0123456789ab, expected {digest[:12]})"
    )
    assert not Path("metrics").exists()


def test_confusion_counts_the_test_images(digest: str, monkeypatch: pytest.MonkeyPatch) -> None:
    put_embedded(digest, "enc")
    metrics(monkeypatch, encoders=["enc"])
    table = pd.read_csv("plots/score/toy/confusion/knn-enc.csv")
    assert {(actual, predicted): (count, share) for actual, predicted, count, share in table.to_numpy().tolist()} == {
        ("red rose", "red rose"): (1, 0.333333),
        ("red rose", "lily"): (1, 0.333333),
        ("red rose", "poppy"): (1, 0.333333),
        ("lily", "red rose"): (0, 0),
        ("lily", "lily"): (1, 1),
        ("lily", "poppy"): (0, 0),
    }
    confused = pd.read_csv("plots/score/toy/confused.csv")
    assert confused[confused["approach"] == "knn enc"].drop(columns="approach").to_numpy().tolist() == [
        ["red rose", "lily", 1, 0.333333],
        ["red rose", "poppy", 1, 0.333333],
    ]


def test_reliability_before_and_after_the_temperature(digest: str, monkeypatch: pytest.MonkeyPatch) -> None:
    put(digest, "zero_shot")
    results = metrics(monkeypatch, zero_shot=["enc"])["zero_shot"]["enc"]
    table = pd.read_csv("plots/score/toy/reliability.csv")
    assert set(table["approach"]) == {"zero_shot enc"} and set(table["count"]) == {2}
    for temperature, measure in (("before", "ece"), ("after", "ece_scaled")):
        bins = table[table["temperature"] == temperature]
        assert (bins["accuracy"] - bins["confidence"]).abs().mean() == pytest.approx(results[measure], abs=2e-6)
    assert results["temperature"] != 1


BETTER: list[list[float]] = [[0.9, 0.1, 0], [0.8, 0.1, 0.1], [0.6, 0.3, 0.1], [0.7, 0.2, 0.1], [0, 1, 0]]  # of val and test: all right


def test_every_approach_is_compared_with_the_best(digest: str, monkeypatch: pytest.MonkeyPatch) -> None:
    put(digest, "zero_shot")
    put_embedded(digest, "enc", scores=BETTER)
    results = metrics(monkeypatch, encoders=["enc"], zero_shot=["enc"])
    keys = ("gap_to_best", "gap_to_best_low", "gap_to_best_high", "significant", "significant_top1")
    assert [results["linear_probe"]["enc"][key] for key in keys] == [0, 0, 0, False, False]
    identical = [results["knn"]["enc"][key] for key in keys]  # to the best
    assert identical[0] == 0 and identical[1] == -identical[2] < 0 and identical[3:] == [False, False]
    assert results["zero_shot"]["enc"]["gap_to_best"] == -0.333333
    assert results["zero_shot"]["enc"]["gap_to_best_low"] < -0.333333 < 0 < results["zero_shot"]["enc"]["gap_to_best_high"]
    table = pd.read_csv("plots/score/toy/pairs.csv")
    titles = ["zero_shot enc", *(f"{stage} enc" for stage in on_axis("encoders"))]
    worse, equal = [0, 2, 0.5, 1], [0, 0, 1, 1]
    assert table[["a", "b", "only_a_right", "only_b_right", "p_top1", "p_top1_corrected"]].to_numpy().tolist() == [
        [a, b, *(worse if a == "zero_shot enc" else equal)] for a, b in combinations(titles, 2)
    ]


def test_a_single_approach_is_the_best_and_has_no_pairs(digest: str, monkeypatch: pytest.MonkeyPatch) -> None:
    put(digest, "zero_shot")
    assert metrics(monkeypatch, zero_shot=["enc"])["zero_shot"]["enc"]["gap_to_best"] == 0
    assert Path("plots/score/toy/pairs.csv").read_text() == ",".join(comparisons.COLUMNS) + "\n"


def test_without_val_images_the_temperature_stays_1(digest: str, monkeypatch: pytest.MonkeyPatch) -> None:
    put(digest, "zero_shot", scores=ROWS[1:])
    results = metrics(monkeypatch, zero_shot=["enc"])["zero_shot"]["enc"]
    assert (results["temperature"], results["calibrated_on"]) == (1, 0)
    assert results["nll_scaled"] == pytest.approx(results["nll"], abs=1e-6)


def test_val_images_of_classes_without_training_images_do_not_count(digest: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The only val image is of class 1, of which train has none; zero-shot, which trains nothing, knows the class."""
    put(digest, "zero_shot")
    put_embedded(digest, "enc")
    results = metrics(monkeypatch, encoders=["enc"], zero_shot=["enc"])
    for stage in on_axis("encoders"):
        assert (results[stage]["enc"]["temperature"], results[stage]["enc"]["calibrated_on"]) == (1, 0)
    assert results["zero_shot"]["enc"]["calibrated_on"] == 1
    assert results["zero_shot"]["enc"]["temperature"] > 1  # its answer is wrong


def test_test_images_of_classes_that_cannot_be_predicted_are_counted(digest: str, monkeypatch: pytest.MonkeyPatch) -> None:
    put(digest, "zero_shot", scores=[[0.9, 0.1, 0], [0.8, 0, 0.2], [0.3, 0, 0.7], [0.1, 0, 0.9], [0.5, 0, 0.5]])
    results = metrics(monkeypatch, zero_shot=["enc"])["zero_shot"]["enc"]
    assert results["nll_floored"] == 1
    assert results["nll"] == pytest.approx((52 * np.log(2) - np.log(0.8) - np.log(0.3) - np.log(0.1)) / 4, abs=1e-5)


def test_one_class_and_one_image(digest: str, monkeypatch: pytest.MonkeyPatch) -> None:
    audited("enc")
    for stage in on_axis("encoders"):
        approach = put(digest, stage, scores=[[1.0]], classes=["<script>"])
        rows = approach.rows.assign(label=0)
        predictions.write("toy", Predictions(stage, "enc", rows, approach.logits, approach.classes, 0, digest, "c0"))
    results = metrics(monkeypatch, encoders=["enc"])["knn"]["enc"]
    assert (results["top1"], results["mean_per_class"], results["n"], results["smallest_class"]) == (1, 1, 1, 1)
    assert (results["top1_low"], results["top1_high"]) == (0.025, 1)
    assert (results["nll"], results["ece"], results["temperature"], results["significant"]) == (0, 0, 1, False)
    assert Path("plots/score/toy/confusion/knn-enc.csv").read_text() == "actual,predicted,count,share\n<script>,<script>,1,1.0\n"


def test_certain_probabilities_give_finite_measures(digest: str, monkeypatch: pytest.MonkeyPatch) -> None:
    put(digest, "zero_shot", scores=[[1, 0, 0], [1, 0, 0], [0, 1, 0], [1, 0, 0], [0, 0, 1]])
    results = metrics(monkeypatch, zero_shot=["enc"])["zero_shot"]["enc"]
    assert results["nll"] == pytest.approx(2 * 52 * np.log(2) / 4, abs=1e-5)
    assert all(np.isfinite(leaf) for leaf in leaves(results) if isinstance(leaf, float))


def test_per_class_accuracy_has_a_row_for_every_class_in_test(digest: str, monkeypatch: pytest.MonkeyPatch) -> None:
    put_embedded(digest, "enc")
    metrics(monkeypatch, encoders=["enc"])
    table = pd.read_csv("plots/score/toy/per_class.csv")
    of_knn = table[table["approach"] == "knn enc"]
    assert dict(zip(of_knn["class_name"], of_knn["accuracy"], strict=True)) == {"red rose": 0.333333, "lily": 1.0}
    assert set(table["approach"]) == {f"{stage} enc" for stage in on_axis("encoders")}


def point(epoch: int, split: str, accuracy: float, loss: float) -> dict[str, Any]:
    return {"epoch": epoch, "split": split, "accuracy": accuracy, "mean_per_class": 0.5, "loss": loss}


def test_curves_are_those_of_the_trained_networks(digest: str, monkeypatch: pytest.MonkeyPatch) -> None:
    put_embedded(digest, "enc")
    put(digest, "finetune", curve=[point(1, "train", 2 / 3, 1.5), point(1, "val", 0.5, 1.25)])
    put(digest, "scratch", "small", curve=[point(2, "val", 0.25, 2)])
    results = metrics(monkeypatch, encoders=["enc"], finetune=["enc"], scratch=["small"])
    table = pd.read_csv("plots/score/toy/curves.csv")
    assert table.to_dict("list") == {
        "epoch": [1, 1, 2],
        "approach": ["finetune enc", "finetune enc", "scratch small"],
        "split": ["train", "val", "val"],
        "accuracy": [0.666667, 0.5, 0.25],
        "loss": [1.5, 1.25, 2.0],
    }
    assert set(results) == {*on_axis("encoders"), "finetune", "scratch"}


def test_without_networks_the_curves_are_only_a_header(digest: str, monkeypatch: pytest.MonkeyPatch) -> None:
    put(digest, "zero_shot")
    metrics(monkeypatch, zero_shot=["enc"])
    assert Path("plots/score/toy/curves.csv").read_text() == "epoch,approach,split,accuracy,loss\n"


def test_axes_without_an_approach_are_one_line(digest: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(
        InputError, match=r"^params\.yaml: axes\.zero_shot, encoders, finetune, scratch are all empty: expected an approach to score$"
    ):
        metrics(monkeypatch)


@pytest.mark.parametrize(("key", "value"), [("threshold", 1.5), ("bins", 0), ("worst", 0)])
def test_wrong_settings_are_one_line(key: str, value: float) -> None:
    with pytest.raises(InputError, match=rf"^params\.yaml: score\.{key} = {value}: input should be (greater|less) than or equal to \d+$"):
        check(score.Score, SETTINGS | {key: value}, "score")


def test_numeric_class_names_are_unchanged(digest: str, monkeypatch: pytest.MonkeyPatch) -> None:
    put(digest, "zero_shot", classes=["007", "10", "9"])
    metrics(monkeypatch, zero_shot=["enc"])
    by_class = pd.read_csv("plots/score/toy/per_class.csv", dtype=str)
    cells = pd.read_csv("plots/score/toy/confusion/zero_shot-enc.csv", dtype=str)
    assert by_class["class_name"].tolist() == ["007", "10"]
    assert (set(cells["actual"]), set(cells["predicted"])) == ({"007", "10"}, {"007", "10", "9"})
