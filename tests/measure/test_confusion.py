"""Confusion matrices: counts, selection of classes, and their order."""

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix

from clipstore.measure import confusion

# Classes 0 and 3 are confused with each other, 1 and 2 a little; 4 has no test images, but one image of 2 was predicted as 4.
COUNTS = np.array([[5, 0, 0, 5, 0], [0, 9, 1, 0, 0], [0, 1, 18, 0, 1], [4, 0, 0, 4, 0], [0, 0, 0, 0, 0]])
NAMES = ["ash", "beech", "<b>birch</b>", "שקד", "oak"]


def test_matrix_rows_are_actual_classes() -> None:
    assert confusion.matrix(np.array([0, 0, 2]), np.array([0, 1, 1]), 4).tolist() == [[1, 1, 0, 0], [0] * 4, [0, 1, 0, 0], [0] * 4]
    assert confusion.matrix(np.array([0]), np.array([0]), 1).tolist() == [[1]]


def test_matrix_equals_sklearns() -> None:
    labels, predicted = np.random.default_rng(0).integers(0, 7, (2, 200))
    assert (confusion.matrix(labels, predicted, 8) == confusion_matrix(labels, predicted, labels=np.arange(8))).all()


def test_most_confused_by_hand() -> None:
    assert confusion.most_confused(COUNTS, NAMES, 4).to_dict("list") == {
        "actual": ["ash", "שקד", "beech", "<b>birch</b>"],
        "predicted": ["שקד", "ash", "<b>birch</b>", "beech"],
        "count": [5, 4, 1, 1],
        "share": [0.5, 0.5, 0.1, 0.05],
    }
    assert len(confusion.most_confused(COUNTS, NAMES, 20)) == 5
    assert confusion.most_confused(np.diag([3, 2]), NAMES[:2], 20).empty


def test_worst_classes_have_the_most_errors() -> None:
    assert confusion.worst_classes(COUNTS, 2).tolist() == [0, 3]
    assert confusion.worst_classes(COUNTS, 3).tolist() == [0, 2, 3]
    assert confusion.worst_classes(np.zeros((3, 3), int), 2).tolist() == [0, 1]


def test_confused_classes_are_adjacent() -> None:
    order = confusion.order(COUNTS[:4, :4]).tolist()
    assert sorted(order) == [0, 1, 2, 3]
    assert {frozenset(order[:2]), frozenset(order[2:])} == {frozenset({0, 3}), frozenset({1, 2})}


@pytest.mark.parametrize("classes", [1, 2])
def test_one_or_two_classes_keep_their_order(classes: int) -> None:
    assert confusion.order(np.eye(classes, dtype=int)).tolist() == list(range(classes))


def test_cells_count_every_test_image() -> None:
    table = confusion.cells(COUNTS, NAMES, 20)
    assert table.groupby("actual")["count"].sum().to_dict() == dict(zip(NAMES[:4], [10, 10, 20, 8], strict=True))
    assert table.groupby("actual")["share"].sum().tolist() == pytest.approx([1] * 4)
    columns = table["predicted"][:5].tolist()  # the first row has all columns in row order, including the class without test images
    assert sorted(columns) == sorted(NAMES)
    assert table["actual"].unique().tolist() == [name for name in columns if name != "oak"]


def test_classes_that_are_not_shown_share_one_column() -> None:
    table = confusion.cells(COUNTS, NAMES, 3)
    assert set(table["actual"]) == {"ash", "<b>birch</b>", "שקד"}
    other = table[table["predicted"] == "(2 other classes)"]
    assert dict(zip(other["actual"], other["count"], strict=True)) == {"ash": 0, "<b>birch</b>": 2, "שקד": 0}
    assert table["predicted"][3] == "(2 other classes)"


def test_number_of_shown_classes_is_limited() -> None:
    random = np.random.default_rng(0)
    counts = confusion.matrix(random.integers(0, 102, 3000), random.integers(0, 102, 3000), 102)
    assert len(confusion.cells(counts, [f"class {label}" for label in range(102)], 20)) == 20 * 21
