"""The audit finds planted duplicates, wrong labels and outliers, and nothing in clean data."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from clipstore.audit import duplicates, label_errors
from clipstore.core.digests import file_sha256
from clipstore.core.errors import InputError
from clipstore.data import index
from clipstore.store import embeddings, predictions
from clipstore.store.predictions import Predictions
from stages import audit
from tests.audit.test_duplicates import again, scene
from tests.synthetic import clusters, image_rows, logits_of, use

SECTION = {"neighbors": 3, "min_agreement": 0.85, "folds": 5, "max_iter": 1000, "seed": 0, "outliers": 2}
SETTINGS = audit.Audit.model_validate(SECTION)


def test_outliers_are_far_from_their_nearest_images() -> None:
    labels = np.arange(20) % 2
    vectors = clusters(labels)
    vectors[[4, 9]] = np.eye(8, dtype=np.float32)[6]  # one picture twice: its copy must not make it look typical
    groups = np.arange(20)
    groups[9] = 4
    near = duplicates.neighbours(vectors, np.array(["train"] * 20), 3)
    typical = audit.typicality(near, groups, 3)
    farthest = audit.outliers(typical, 2)
    assert set(farthest["position"]) == {4, 9}
    others = np.sort(vectors @ vectors[0])[::-1][1:4]
    assert typical[0] == pytest.approx(others.mean(), abs=1e-6)
    assert typical[4] < 0.2  # it would be more than a third if the copy counted
    assert len(audit.outliers(typical, 0)) == 0
    assert len(audit.outliers(np.array([np.nan]), 5)) == 0


def test_cohesion_by_hand() -> None:
    """Class a is 30 degrees to either side of the x axis, class c is on the y axis; b has no images."""
    half = np.sqrt(0.75)
    vectors = np.array([[half, 0.5], [half, -0.5], [0, 1]], np.float32)
    table = audit.cohesion(vectors, np.array([0, 0, 2]), ["a", "b", "c"])
    assert table[["class_name", "images", "nearest_class"]].to_numpy().tolist() == [["a", 2, "c"], ["c", 1, "a"]]
    assert table["cohesion"].tolist() == pytest.approx([half, 1])
    assert table["nearest"].tolist() == pytest.approx([0, 0], abs=1e-7)


def test_cohesion_of_one_class_has_no_nearest_other() -> None:
    table = audit.cohesion(np.array([[1, 0], [-1, 0]], np.float32), np.array([0, 0]), ["a"])  # the mean has no direction
    assert table["cohesion"].tolist() == [0]
    assert table["nearest_class"].tolist() == [""]
    assert table["nearest"].isna().all()


def toy(monkeypatch: pytest.MonkeyPatch, other_index: bool = False) -> pd.DataFrame:
    """Write a data set of 2 classes, with a re-encoded training image as first test image, and predictions for it; return its rows."""
    splits = (["train"] * 8 + ["val"] * 2 + ["test"] * 4) * 2
    rows = image_rows(splits, [0] * 14 + [1] * 14).assign(width=120, height=90)
    pictures = [scene(seed) for seed in range(28)]
    pictures[10] = again(pictures[0], quality=50)
    vectors = clusters(rows["label"].to_numpy())
    vectors[10] = vectors[0]
    for at, (path, picture) in enumerate(zip(rows["path"], pictures, strict=True)):
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        picture.save(path, "PNG")
        rows.loc[at, "sha256"] = file_sha256(Path(path))
    images_index = index.Index("toy", rows, {"classes": ["a", "b"]})
    index.write(images_index)
    provenance = {"classes": ["a", "b"], "failed": 0, "index": images_index.digest, "contract": "c0"}
    embeddings.write_images(embeddings.folder("enc", "toy"), rows, {"embedding": vectors}, provenance, "float32")
    judged = rows[rows["split"] != "train"]
    answers = np.eye(2, dtype=np.float32)[judged["label"].to_numpy()]
    selected = {"C": 10.0, "vectors": "embedding_normalised"}
    digest = "0" * 64 if other_index else images_index.digest
    predictions.write("toy", Predictions("linear_probe", "enc", judged, logits_of(answers), ["a", "b"], 0, digest, "c0", selected=selected))
    use(monkeypatch, {"audit": SECTION})
    return rows


WRITTEN = ("data/audit/enc-toy.parquet", "metrics/audit/enc-toy.json", "plots/audit/enc-toy.csv", "data/predictions/toy/leaked-enc.parquet")


def test_main_writes_findings_counts_and_cohesion(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = toy(monkeypatch)
    audit.main("enc", "toy")
    table = pd.read_parquet(WRITTEN[0])
    assert table["kind"].tolist() == ["near_duplicate", "outlier", "outlier"]
    first = table.iloc[0]
    assert first[["image_id", "split", "other_id", "other_split"]].tolist() == [rows["image_id"][10], "test", rows["image_id"][0], "train"]
    assert (first["class_name"], first["other_class"]) == ("class 0", "class 0")
    assert first["score"] == pytest.approx(1)
    assert table["agreement"].isna().tolist() == [False, True, True]

    counts: dict[str, Any] = json.loads(Path(WRITTEN[1]).read_text())
    assert counts["pairs"] == {"copy": 0, "near_duplicate": 1, "mirrored": 0, "across_splits": 1, "of_two_classes": 0}
    assert counts["test_images"] == {"all": 8, "leaked": 1}
    assert counts["labels"] == {"judged": 28, "not_judged": 0, "issues": 0}
    assert counts["too_small_to_compare"] == 0
    assert set(counts) == {"pairs", "test_images", "labels", "too_small_to_compare"}  # accuracies are computed by score
    assert pd.read_parquet(WRITTEN[3])["image_id"].tolist() == [rows["image_id"][10]]
    assert pd.read_csv(WRITTEN[2])["class_name"].tolist() == ["a", "b"]


def test_the_same_input_gives_the_same_files(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    toy(monkeypatch)
    audit.main("enc", "toy")
    before = [Path(path).read_bytes() for path in WRITTEN]
    audit.main("enc", "toy")
    assert [Path(path).read_bytes() for path in WRITTEN] == before


def test_missing_predictions_of_the_linear_probe_are_one_line(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    toy(monkeypatch)
    path = predictions.path_of("toy", "linear_probe", "enc")
    path.unlink()
    with pytest.raises(InputError, match=rf"^{path}: no such file; `dvc repro` creates it$"):
        audit.main("enc", "toy")
    assert not Path("data/audit").exists()


def test_predictions_of_another_index_are_refused(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    toy(monkeypatch, other_index=True)
    with pytest.raises(InputError, match=r"linear_probe-enc\.parquet: computed from another index \(digest 000000000000, expected"):
        audit.main("enc", "toy")


def test_embeddings_of_another_index_are_refused(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = toy(monkeypatch)
    index.write(index.Index("toy", rows.iloc[:-1], {"classes": ["a", "b"]}))
    with pytest.raises(InputError, match=r"^data/embeddings/enc-toy: computed from another index than data/index/toy\.parquet: run"):
        audit.main("enc", "toy")


def test_predictions_of_other_approaches_are_not_read(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    toy(monkeypatch)
    audit.main("enc", "toy")
    assert {path.name for path in Path("data/predictions/toy").iterdir()} == {"linear_probe-enc.parquet", "leaked-enc.parquet"}


def test_an_image_that_changed_is_refused(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = toy(monkeypatch)
    scene(77).save(rows["path"][3], "PNG")
    with pytest.raises(InputError, match="the file has changed since it was indexed"):
        audit.main("enc", "toy")


def test_without_findings_the_table_has_no_rows() -> None:
    rows = image_rows(["train"], [0])
    near = duplicates.neighbours(np.array([[1, 0]], np.float32), np.array(["train"]), 3)
    same = duplicates.pairs(rows, near, np.zeros((1, 32, 32), np.uint8), 0.9)
    wrong = label_errors.find(np.array([0]), np.ones((1, 1), np.float32), np.array([True]))
    farthest = audit.outliers(audit.typicality(near, np.array([0]), 3), 5)
    table = audit.findings(rows, ["class 0"], same, wrong, farthest)
    assert len(table) == 0
    assert table.columns.tolist()[:2] == ["kind", "image_id"]
