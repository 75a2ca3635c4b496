"""The index's rules: order of classes, splits, and the file."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest

from clipstore.data import index
from tests.synthetic import image_rows, sha256


def images_of(counts: dict[int, int]) -> pd.DataFrame:
    """Return label and sha256 of so many distinct images of each label."""
    return pd.DataFrame([{"label": label, "sha256": sha256(f"{label}/{at}")} for label, count in counts.items() for at in range(count)])


def counts(rows: pd.DataFrame, split: pd.Series) -> dict[tuple[int, str], int]:
    return dict(Counter(zip(rows["label"].tolist(), split.tolist(), strict=True)))


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


def test_stratified_by_hand() -> None:
    rows = images_of({0: 10, 1: 20, 2: 3})
    split = index.stratified(rows, {"val": 0.2, "test": 0.3}, "train", seed=0)
    assert counts(rows, split) == {
        (0, "train"): 5,
        (0, "val"): 2,
        (0, "test"): 3,
        (1, "train"): 10,
        (1, "val"): 4,
        (1, "test"): 6,
        (2, "train"): 1,
        (2, "val"): 1,  # round(0.6)
        (2, "test"): 1,
    }


@pytest.mark.parametrize("fractions", [{"val": 0.2, "test": 0.3}, {"val": 0.01, "test": 0.01}, {"val": 0.4, "test": 0.4}])
def test_every_class_is_in_every_split(fractions: dict[str, float]) -> None:
    rows = images_of({count: count for count in range(3, 30)})
    found = counts(rows, index.stratified(rows, fractions, "train", seed=0))
    assert {(label, split) for label in range(3, 30) for split in index.SPLITS} == set(found)


def test_one_split_cut_from_train_needs_two_images() -> None:
    rows = images_of({0: 2})
    assert sorted(index.stratified(rows, {"val": 0.2}, "train", seed=0)) == ["train", "val"]


def test_seed_decides_the_split_and_the_order_of_rows_does_not() -> None:
    rows = images_of({0: 40})
    first = index.stratified(rows, {"val": 0.2, "test": 0.3}, "train", seed=0)
    shuffled = index.stratified(rows[::-1], {"val": 0.2, "test": 0.3}, "train", seed=0)
    assert first.tolist() == shuffled.sort_index().tolist()
    assert first.tolist() != index.stratified(rows, {"val": 0.2, "test": 0.3}, "train", seed=1).tolist()


def test_new_image_moves_at_most_one_image_across_each_border() -> None:
    """10 and 11 images give 2 of val and 3 of test alike: only what the new one pushes over the two borders moves."""
    ten = images_of({0: 10, 1: 10})
    before = index.stratified(ten, {"val": 0.2, "test": 0.3}, "train", seed=0)
    for new in range(30):
        more = pd.concat([ten, pd.DataFrame([{"label": 0, "sha256": sha256(f"new {new}")}])], ignore_index=True)
        after = index.stratified(more, {"val": 0.2, "test": 0.3}, "train", seed=0)
        moved = after[:-1] != before
        assert moved.sum() <= 2
        assert not moved[ten["label"] == 1].any()


def test_copies_of_an_image_are_in_one_split() -> None:
    rows = pd.concat([images_of({0: 10})] * 3, ignore_index=True)
    split = index.stratified(rows, {"val": 0.2, "test": 0.3}, "train", seed=0)
    assert split[:10].tolist() == split[10:20].tolist() == split[20:].tolist()
    assert counts(rows, split) == {(0, "train"): 15, (0, "val"): 6, (0, "test"): 9}


@pytest.mark.parametrize("copies", [1, 5])
def test_too_few_distinct_images_raise_their_label(copies: int) -> None:
    rows = pd.concat([images_of({0: 9}), *[images_of({7: 2})] * copies], ignore_index=True)
    with pytest.raises(ValueError, match=r"^7$"):
        index.stratified(rows, {"val": 0.2, "test": 0.3}, "train", seed=0)


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
