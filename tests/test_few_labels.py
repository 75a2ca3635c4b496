"""Approaches where images have no class: what is fixed without val, what waits for labels, and what is answered."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from clipstore.core import schema
from clipstore.core.rows import NO_LABEL, UNLABELLED
from clipstore.core.vectors import unit
from clipstore.probes.logistic import fit
from clipstore.store import predictions
from stages import knn, linear_probe, score
from tests.synthetic import clusters, embed, use

SETTINGS: dict[str, Any] = {
    "linear_probe": {"C": [0.01, 1.0], "few_labels_C": 7.0, "max_iter": 1000},
    "knn": {"neighbors": [3, 5], "votes": ["softmax"], "temperature": 0.07, "few_labels_k": 2},
    "score": {"threshold": 0.6, "bins": 2, "worst": 20},
    "axes": {axis: [] for axis in schema.Axes.model_fields} | {"datasets": ["toy"], "encoders": ["enc"]},
}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    use(monkeypatch, SETTINGS)
    return tmp_path


def run(**labels: list[int]) -> tuple[predictions.Predictions, predictions.Predictions, dict[str, Any]]:
    """Run probe, kNN and score on images with these labels in each split, the true ones; return the predictions and the metrics."""
    splits = [split for split, of_split in labels.items() for _ in of_split]
    true = np.array([label for of_split in labels.values() for label in of_split])
    known = [NO_LABEL if split == UNLABELLED else int(label) for split, label in zip(splits, true, strict=True)]
    embed(splits, known, 3, embedding=clusters(true))
    linear_probe.main("enc", "toy")
    knn.main("enc", "toy")
    leaked = Path("data/predictions/toy/leaked-enc.parquet")
    pd.DataFrame({"image_id": []}, dtype=object).to_parquet(leaked)
    score.main("toy")
    both = (predictions.read("toy", "linear_probe", "enc"), predictions.read("toy", "knn", "enc"))
    return *both, json.loads(Path("metrics/toy.json").read_text())


def test_nothing_is_labelled() -> None:
    probe, neighbours, metrics = run(unlabelled=[0, 1, 2, 0])
    for approach in (probe, neighbours):
        assert approach.not_yet == "needs labelled images of at least 2 classes, found 0"
        assert len(approach.rows) == 0
        assert approach.logits.shape == (0, 3)
    assert metrics == {stage: {"enc": {"not_yet": probe.not_yet}} for stage in ("linear_probe", "knn")}
    for plot in ("linear_probe/enc-toy", "knn/enc-toy", "score/toy/per_class", "score/toy/pairs", "score/toy/reliability"):
        assert pd.read_csv(f"plots/{plot}.csv").empty


def test_labels_of_one_class_are_not_enough() -> None:
    assert run(train=[1, 1], unlabelled=[0, 1])[0].not_yet == "needs labelled images of at least 2 classes, found 1"


def test_without_val_the_settings_are_fixed_and_the_answers_come_from_all_labels() -> None:
    probe, neighbours, metrics = run(train=[0, 1, 2], unlabelled=[2, 1, 0, 0])
    assert probe.selected == {"C": 7.0, "vectors": "embedding_normalised"}
    assert neighbours.selected == {"k": 2, "votes": "uniform"}
    for approach in (probe, neighbours):
        assert approach.rows["split"].tolist() == [UNLABELLED] * 4
        assert approach.rows["label"].tolist() == [NO_LABEL] * 4
        assert approach.logits.argmax(axis=1).tolist() == [2, 1, 0, 0]
        assert approach.notes.get("val_mean_per_class") is None
    vectors = unit(clusters(np.array([0, 1, 2, 2, 1, 0, 0])))[0]
    expected = fit(vectors[:3], np.arange(3), 7.0, 1000, 3)
    np.testing.assert_allclose(probe.logits, expected.logits(vectors[3:]), rtol=1e-5)
    assert metrics["knn"]["enc"]["not_yet"] == "no labelled test images"


def test_without_val_but_with_test_nothing_is_calibrated() -> None:
    _, _, metrics = run(train=[0, 1, 2], test=[0, 1, 2, 2], unlabelled=[1])
    for stage in ("linear_probe", "knn"):
        measures = metrics[stage]["enc"]
        assert measures["top1"] == 1.0
        assert (measures["calibrated"], measures["calibrated_on"], measures["temperature"]) == (False, 0, 1.0)


def test_with_val_everything_is_chosen_as_ever_and_unlabelled_images_are_answered() -> None:
    labels = [0, 1, 2] * 4
    probe, neighbours, metrics = run(train=labels, val=labels[:3], test=labels[:6], unlabelled=[2, 0])
    assert probe.selected["C"] in (0.01, 1.0)
    assert neighbours.selected["k"] in (3, 5)
    for approach in (probe, neighbours):
        assert approach.rows["split"].tolist() == ["val"] * 3 + ["test"] * 6 + [UNLABELLED] * 2
        assert approach.of(UNLABELLED)[0].argmax(axis=1).tolist() == [2, 0]
    assert metrics["knn"]["enc"]["calibrated"] is True


def test_a_class_without_labels_is_never_the_probes_answer() -> None:
    probe, _, _ = run(train=[0, 2], unlabelled=[1, 0, 2])
    assert np.isneginf(probe.logits[:, 1]).all()
    assert probe.logits[1:].argmax(axis=1).tolist() == [0, 2]
