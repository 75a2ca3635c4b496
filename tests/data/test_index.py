"""The index: order of classes, digest, and its file."""

from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from clipstore.core.rows import NO_LABEL, UNLABELLED
from clipstore.data import index
from tests.synthetic import image_rows

NOTES = {"classes": ["class 0", "class 1", "class 2"], "split": "given", "other_files": 1}


def test_numbers_sort_as_numbers() -> None:
    assert index.class_order([str(number) for number in range(102, 0, -1)]) == [str(number) for number in range(1, 103)]
    assert index.class_order(["10", "2", "1"]) == ["1", "2", "10"]


def test_numbers_inside_names_sort_as_numbers() -> None:
    assert index.class_order(["cat10", "cat2 b", "cat2 a", "bat11"]) == ["bat11", "cat2 a", "cat2 b", "cat10"]


def test_case_is_ignored_except_to_order_names_that_differ_only_in_case() -> None:
    assert index.class_order(["b", "A", "C"]) == ["A", "b", "C"]
    assert index.class_order(["rose", "Rose", "lily"]) == index.class_order(["Rose", "lily", "rose"]) == ["lily", "Rose", "rose"]


def test_numbers_sort_before_words() -> None:
    assert index.class_order(["x", "7", "07", "²", "_"])[:2] == ["07", "7"]


@pytest.fixture
def original(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> index.Index:
    monkeypatch.chdir(tmp_path)
    rows = image_rows(["train", "val", "test", "test"], [0, 1, 1, 0])
    rows["status"] = ["ok", "ok", "not an image", "ok"]
    return index.Index("toy", rows, NOTES)


def test_index_is_read_as_written(original: index.Index) -> None:
    index.write(original)
    restored = index.read("toy")
    assert (restored.dataset, restored.notes) == ("toy", NOTES)
    assert restored.rows.to_dict("list") == original.rows.to_dict("list")
    assert restored.digest == original.digest
    assert pq.read_schema("data/index/toy.parquet").names == index.SCHEMA.names


def test_the_notes_name_the_classes_even_those_without_images(original: index.Index) -> None:
    assert replace(original, rows=original.rows[::-1]).classes == ["class 0", "class 1", "class 2"]


def test_an_image_without_a_class_has_neither_label_nor_class_name_in_the_file(original: index.Index) -> None:
    rows = image_rows(["train", *[UNLABELLED] * 2], [1, NO_LABEL, NO_LABEL], ["train", "drawn", ""])
    index.write(replace(original, rows=rows))
    stored = pq.read_table("data/index/toy.parquet")
    assert (stored["label"].to_pylist(), stored["class_name"].to_pylist()) == ([1, None, None], ["class 1", None, None])
    assert index.read("toy").rows.to_dict("list") == rows.to_dict("list")


def test_usable_rows_keep_their_order(original: index.Index) -> None:
    assert original.usable["image_id"].tolist() == ["0/000.png", "1/001.png", "0/003.png"]
    assert original.usable.index.tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("column", "value"),
    [("split", "val"), ("label", 5), ("sha256", "0" * 64), ("status", "empty file"), ("class_name", "x"), ("purpose", "test")],
)
def test_digest_depends_on_every_column(original: index.Index, column: str, value: object) -> None:
    rows = original.rows.assign(**{column: [value, *original.rows[column].tolist()[1:]]})
    assert replace(original, rows=rows).digest != original.digest


def test_digest_depends_on_the_order_of_rows_and_classes_but_not_on_other_notes(original: index.Index) -> None:
    assert replace(original, rows=original.rows[::-1]).digest != original.digest
    assert replace(original, notes={"classes": original.classes[:2]}).digest != original.digest
    assert replace(original, notes={"classes": original.classes}).digest == original.digest
