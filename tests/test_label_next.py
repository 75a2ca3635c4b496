"""Which images are listed to be labelled next, with which guess, and what the list says where there is nothing to list."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from clipstore.core.digests import file_sha256
from clipstore.core.errors import InputError
from clipstore.core.params import check
from clipstore.core.rows import NO_LABEL
from clipstore.data import index
from clipstore.data.labels import NONE
from clipstore.labelling.strategies import Strategy
from clipstore.store import embeddings, predictions
from stages import label_next
from tests.synthetic import clusters, logits_of, put, use

SECTION: dict[str, Any] = {"count": 4, "strategy": "auto", "candidates": 100, "seed": 0, "thumbnail_size": 32}
CLASSES = ["ash", "beech", "oak"]
STEM = Path("data/label_next/enc-toy")

# split, label, purpose, cluster; the images of a cluster are alike
TRAIN: list[tuple[str, int, str, int]] = [("train", label, "train", label) for label in (0, 1) for _ in range(2)]
WAITING: list[tuple[str, int, str, int]] = [("unlabelled", NO_LABEL, "", at % 3) for at in range(9)]
OTHERS: list[tuple[str, int, str, int]] = [
    ("test", 2, "test", 2),
    ("unlabelled", NO_LABEL, "drawn", 2),
    ("unlabelled", NO_LABEL, "train", 3),  # shows none of the classes
]


def write(images: Sequence[tuple[str, int, str, int]], classes: Sequence[str] = CLASSES) -> pd.DataFrame:
    """Write the index of "toy" and its embeddings by "enc"; return the index's rows."""
    rows = pd.DataFrame(images, columns=["split", "label", "purpose", "cluster"])
    rows["image_id"] = [f"{at:02}.png" for at in range(len(rows))]
    rows["path"] = "data/raw/toy/" + rows["image_id"]
    rows["sha256"] = [file_sha256(put(Path(path), at)) for at, path in enumerate(rows["path"])]
    rows["class_name"] = [classes[label] if label != NO_LABEL else "" for label in rows["label"]]
    toy = index.Index("toy", rows.assign(width=6, height=4, status="ok"), {"classes": list(classes)})
    index.write(toy)
    provenance = {"classes": list(classes), "failed": 0, "index": toy.digest, "contract": "c0"}
    vectors = {"embedding": clusters(rows["cluster"].to_numpy(np.int64))}
    embeddings.write_images(embeddings.folder("enc", "toy"), rows, vectors, provenance, "float32")
    return rows


def answer(rows: pd.DataFrame, stage: str, shares: Sequence[float] | None) -> None:
    """Write predictions of ``stage``: the same probabilities for all images of val and all unlabelled ones, or none at all."""
    answered = rows[rows["split"].isin(["val", "unlabelled"]) & (shares is not None)]
    logits = np.tile(logits_of([shares or [1, 0, 0]]), (len(answered), 1))
    digest = index.read("toy").digest
    reason = "" if shares else "no labels"
    predictions.write("toy", predictions.Predictions(stage, "enc", answered, logits, CLASSES, 0, digest, "c0", not_yet=reason))


@pytest.fixture
def rows(project: Path, monkeypatch: pytest.MonkeyPatch) -> pd.DataFrame:
    """A cell with images of each kind, an encoder with a text tower, and no approach that has been fitted."""
    use(monkeypatch, {"label_next": SECTION, "axes": {"zero_shot": ["enc"]}})
    written = write(TRAIN + WAITING + OTHERS)
    for stage in ("linear_probe", "knn", "zero_shot"):
        answer(written, stage, None)
    return written


def run() -> pd.DataFrame:
    label_next.main("enc", "toy")
    return pd.read_csv(f"{STEM}.csv", keep_default_na=False)


def settle(monkeypatch: pytest.MonkeyPatch, **values: Any) -> None:
    use(monkeypatch, {"label_next": SECTION | values, "axes": {"zero_shot": ["enc"]}})


def test_a_class_without_label_is_looked_for_first(rows: pd.DataFrame, capsys: pytest.CaptureFixture[str]) -> None:
    table = run()
    assert list(table) == ["rank", "path", "sha256", "guess", "confidence", "reason"] and table["rank"].tolist() == [1, 2, 3, 4]
    cluster = rows.set_index("path")["cluster"][table["path"]].tolist()
    assert cluster[0] == 2 and set(table["guess"]) == {""} and set(table["reason"]) == {"typical of images without a label"}
    assert "4 of 9 images without a label, chosen by typiclust; 1 of 3 classes have no label yet" in capsys.readouterr().out


def test_images_that_measure_the_accuracy_and_those_that_show_no_class_are_never_listed(
    rows: pd.DataFrame, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    settle(monkeypatch, count=50)
    table = run()
    assert set(table["path"]) == set(rows["path"][(rows["split"] == "unlabelled") & (rows["purpose"] == "")])
    lines = capsys.readouterr().out
    assert "all 9 images without a label" in lines and "label_next.count = 50, but only 9 images have no label" in lines


def test_each_picture_is_listed_once(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settle(monkeypatch, count=50)
    written = write(TRAIN + WAITING)
    same, labelled = written["sha256"].iloc[[4, 0]]
    written.loc[5, "sha256"] = same
    written.loc[6, "sha256"] = labelled
    assert label_next.pool(written, 3).positions.tolist() == [0, 1, 2, 3, 4, 7, 8, 9, 10, 11, 12]


def test_images_of_no_class_are_covered_but_no_class_is_seen_in_them(rows: pd.DataFrame) -> None:
    pool = label_next.pool(rows, 3)
    assert pool.labels.tolist() == [0, 0, 1, 1, 3] + [NO_LABEL] * 9 and pool.positions[4] == 15


@pytest.mark.parametrize("strategy", ["auto", "margin"])
def test_when_every_class_has_a_label_the_undecided_come_first(strategy: str, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settle(monkeypatch, strategy=strategy, count=2)
    written = write([*TRAIN, ("train", 2, "train", 2), *WAITING])
    answer(written, "knn", [1.0, 0, 0])
    answer(written, "zero_shot", [0, 0, 1.0])
    waiting = written[written["split"] == "unlabelled"]
    shares = np.array([[0.5 + at / 50, 0.5 - at / 50, 0] for at in (8, 7, 1, 6, 5, 0, 4, 3, 2)])
    probe = predictions.Predictions("linear_probe", "enc", waiting, logits_of(shares), CLASSES, 0, index.read("toy").digest, "c0")
    predictions.write("toy", probe)
    table = run()
    assert table["path"].tolist() == waiting["path"].iloc[[5, 2]].tolist()
    assert table["reason"].tolist() == ["undecided: ash 50 %, beech 50 %", "undecided: ash 52 %, beech 48 %"]
    assert table["guess"].tolist() == ["ash", "ash"] and table["confidence"].astype(float).tolist() == [0.5, 0.52]


def test_zero_shot_guesses_as_long_as_a_class_has_no_label(rows: pd.DataFrame) -> None:
    answer(rows, "linear_probe", [0.4, 0.6, 0])
    answer(rows, "zero_shot", [0.1, 0.2, 0.7])
    table = run()
    assert set(table["guess"]) == {"oak"} and set(table["confidence"].astype(float)) == {0.7}


def test_the_best_on_val_guesses(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settle(monkeypatch)
    written = write([*TRAIN, ("train", 2, "", 2), ("val", 1, "", 1), *WAITING])
    for stage, shares in {"linear_probe": [0.9, 0.1, 0], "zero_shot": [0.1, 0, 0.9], "knn": [0.2, 0.8, 0]}.items():
        answer(written, stage, shares)
    assert set(run()["guess"]) == {"beech"}


def test_without_labels_and_without_a_text_tower_coverage_lists_images(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, {"label_next": SECTION | {"strategy": "margin"}, "axes": {"zero_shot": []}})
    written = write(WAITING)
    answer(written, "linear_probe", None)
    answer(written, "knn", None)
    table = run()
    assert len(table) == 4 and set(table["guess"]) == {""} == set(table["confidence"])
    assert all("predictions" not in task for task in json.loads(STEM.with_suffix(".json").read_text()))


def test_margin_without_answers_says_what_was_used(
    rows: pd.DataFrame, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    settle(monkeypatch, strategy="margin")
    run()
    assert "label_next.strategy = margin needs an approach with answers and 2 classes: typiclust was used" in capsys.readouterr().out


def test_one_class(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settle(monkeypatch)
    written = write([("train", 0, "train", 0), *WAITING], ["ash"])
    for stage in ("linear_probe", "knn", "zero_shot"):
        answer(written, stage, None)
    assert len(run()) == 4


@pytest.mark.parametrize("strategy", ["random", "typiclust", "probcover", "maxherding"])
def test_the_same_bytes_again(strategy: Strategy, rows: pd.DataFrame, monkeypatch: pytest.MonkeyPatch) -> None:
    settle(monkeypatch, strategy=strategy)
    run()
    files = [STEM.with_suffix(suffix) for suffix in (".csv", ".html", ".json", ".png", ".xml")]
    first = [file.read_bytes() for file in files]
    run()
    assert [file.read_bytes() for file in files] == first


def test_the_files_show_the_same_images(rows: pd.DataFrame) -> None:
    answer(rows, "zero_shot", [0.1, 0.2, 0.7])
    table = run()
    tasks = json.loads(STEM.with_suffix(".json").read_text())
    assert [task["data"]["sha256"] for task in tasks] == table["sha256"].tolist()
    assert {task["predictions"][0]["model_version"] for task in tasks} == {"zero_shot enc"}
    assert NONE in STEM.with_suffix(".xml").read_text()
    page = STEM.with_suffix(".html").read_text()
    assert page.count("<img") == 4 and "The guesses are those of zero-shot (enc) and may be wrong." in page
    with Image.open(STEM.with_suffix(".png")) as sheet:
        assert sheet.width > 4 * SECTION["thumbnail_size"]


def test_where_every_image_has_a_label_all_files_are_written_and_say_so(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    settle(monkeypatch)
    written = write(TRAIN)
    for stage in ("linear_probe", "knn", "zero_shot"):
        answer(written, stage, None)
    assert run().empty and json.loads(STEM.with_suffix(".json").read_text()) == []
    assert "toy has no image without a label: there is nothing to label next." in STEM.with_suffix(".html").read_text()
    assert STEM.with_suffix(".png").exists() and "no image without a label" in capsys.readouterr().out


@pytest.mark.parametrize("count", [0, -3])
def test_a_count_below_1_is_named(count: int) -> None:
    with pytest.raises(InputError, match=rf"^params.yaml: label_next.count = {count}: .*greater than or equal to 1$"):
        check(label_next.LabelNext, SECTION | {"count": count}, "label_next")
