"""The index: order of classes, digest, and the file."""

from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from clipstore.data import index
from tests.synthetic import image_rows


def test_numbers_sort_as_numbers() -> None:
    assert index.class_order([str(number) for number in range(102, 0, -1)]) == [str(number) for number in range(1, 103)]
    assert index.class_order(["10", "2", "1"]) == ["1", "2", "10"]


def test_numbers_inside_names_sort_as_numbers() -> None:
    assert index.class_order(["cat10", "cat2 b", "cat2 a", "bat11"]) == ["bat11", "cat2 a", "cat2 b", "cat10"]


def test_case_is_ignored_and_names_that_differ_in_it_alone_keep_a_fixed_order() -> None:
    assert index.class_order(["b", "A", "C"]) == ["A", "b", "C"]
    assert index.class_order(["rose", "Rose", "lily"]) == index.class_order(["Rose", "lily", "rose"]) == ["lily", "Rose", "rose"]


def test_numbers_and_words_compare() -> None:
    assert index.class_order(["x", "7", "07", "²", "_"])[:2] == ["07", "7"]


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> index.Index:
    monkeypatch.chdir(tmp_path)
    rows = image_rows(["train", "val", "test", "test"], [0, 1, 1, 0])
    rows["status"] = ["ok", "ok", "not an image", "ok"]
    return index.Index("toy", rows, {"split": "given", "other_files": 1})


def test_index_comes_back_as_written(made: index.Index) -> None:
    index.write(made)
    found = index.read("toy")
    assert (found.dataset, found.notes) == ("toy", {"split": "given", "other_files": 1})
    assert found.rows.to_dict("list") == made.rows.to_dict("list")
    assert found.digest == made.digest
    assert pq.read_schema("data/index/toy.parquet").names == index.SCHEMA.names


def test_classes_come_in_label_order(made: index.Index) -> None:
    assert replace(made, rows=made.rows[::-1]).classes == ["class 0", "class 1"]


def test_usable_rows_keep_their_order(made: index.Index) -> None:
    assert made.usable["image_id"].tolist() == ["0/000.png", "1/001.png", "0/003.png"]
    assert made.usable.index.tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("column", "value"), [("split", "val"), ("label", 5), ("sha256", "0" * 64), ("status", "empty file"), ("class_name", "x")]
)
def test_digest_tells_every_change(made: index.Index, column: str, value: object) -> None:
    rows = made.rows.assign(**{column: [value, *made.rows[column].tolist()[1:]]})
    assert replace(made, rows=rows).digest != made.digest


def test_digest_tells_the_order_of_rows_and_nothing_of_the_notes(made: index.Index) -> None:
    assert replace(made, rows=made.rows[::-1]).digest != made.digest
    assert replace(made, notes={}).digest == made.digest
