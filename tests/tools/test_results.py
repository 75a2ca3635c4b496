"""The results table."""

import pandas as pd

from clipstore.tools.results import few_shot_table, table, unreadable

BEST = {"gap_to_best": 0.0, "significant": False, "significant_top1": False}
ZERO_SHOT = BEST | {
    "top1": 0.5,
    "top1_low": 0.352,
    "top1_high": 0.648,
    "mean_per_class": 0.25,
    "mean_per_class_low": 0.20349,
    "mean_per_class_high": 0.3,
    "failed": 1,
}
PROBE = BEST | {
    "top1": 1.0,
    "top1_low": 0.6756,
    "top1_high": 1.0,
    "mean_per_class": 0.87654,
    "mean_per_class_low": 0.75,
    "mean_per_class_high": 1.0,
    "failed": 0,
}


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_table_of_two_data_sets() -> None:
    text = table({"garden": {"zero_shot": {"enc": ZERO_SHOT}}, "digits": {"linear_probe": {"enc": PROBE}}})
    head, rule, *rows = text.splitlines()
    columns = dict(zip(cells(head), zip(*map(cells, rows), strict=True), strict=True))
    assert set(rule) <= set("|:- ")
    assert columns == {
        "data set": ("garden", "digits"),
        "approach": ("zero-shot (enc)", "linear probe (enc)"),
        "mean per class": ("25.0 (20.3–30.0)", "87.7 (75.0–100.0)"),
        "top-1": ("50.0 (35.2–64.8)", "100.0 (67.6–100.0)"),
        "gap to best": ("best", "best"),
    }


def test_rows_keep_the_order_of_data_sets_stages_and_names() -> None:
    text = table({"b": {"knn": {"y": PROBE, "x": PROBE}, "a": {"x": PROBE}}, "a": {"knn": {"x": PROBE}}})
    assert [cells(row)[:2] for row in text.splitlines()[2:]] == [["b", "kNN (y)"], ["b", "kNN (x)"], ["b", "a (x)"], ["a", "kNN (x)"]]


def test_gaps_that_are_not_significant_are_marked() -> None:
    behind = {"mean_per_class": 0.8}
    names = {
        "x": PROBE | behind | {"gap_to_best": -0.0765, "significant": True, "significant_top1": True, "top1": 0.8},
        "w": PROBE | behind | {"gap_to_best": -0.0765, "significant": True},
        "y": PROBE,
        "z": PROBE | behind | {"gap_to_best": -0.0004},
    }
    text = table({"a": {"knn": names, "zero_shot": {"y": dict(PROBE)}}})
    assert [cells(row)[4] for row in text.splitlines()[2:]] == ["-7.6", "-7.6 (top-1 n.s.)", "best", "0.0 (n.s.)", "0.0 (n.s.)"]


def test_an_approach_without_a_figure_has_the_reason() -> None:
    waiting = {"not_yet": "no labels"}
    text = table({"a": {"knn": {"x": waiting, "y": PROBE}}, "b": {"knn": {"x": waiting}}})
    assert [cells(row)[2:] for row in text.splitlines()[2:]] == [
        ["not yet: no labels", "–", "–"],
        ["87.7 (75.0–100.0)", "100.0 (67.6–100.0)", "best"],
        ["not yet: no labels", "–", "–"],
    ]
    assert unreadable({"a": {"knn": {"y": PROBE | {"failed": 2}, "x": waiting}}, "b": {"knn": {"x": waiting}}}) == [
        "a: 2 images could not be read; data/index/a.parquet gives the reasons"
    ]


def test_few_shot_table_has_a_row_for_each_method_and_a_column_for_each_number_of_images() -> None:
    rows = [("1", "linear_probe", 0.25, 0, 5), ("1", "zero_shot", 0.5, None, 5), ("all", "linear_probe", 0.87654, 1, 1)]
    rows.append(("all", "zero_shot", 0.5, None, 1))
    text = few_shot_table(pd.DataFrame(rows, columns=["shots", "method", "mean_per_class", "wins", "seeds"]))
    head, _, *lines = map(cells, text.splitlines())
    assert [head, *lines] == [["images per class", "1", "all"], ["linear probe", "25.0 (0/5)", "87.7"], ["zero shot", "50.0", "50.0"]]


def test_unreadable_images_are_counted_once_for_each_data_set() -> None:
    metrics = {
        "one": {"knn": {"x": PROBE | {"failed": 1}, "y": PROBE | {"failed": 1}}},
        "three": {"zero_shot": {"x": PROBE | {"failed": 3}}},
        "none": {"knn": {"x": PROBE}},
    }
    assert unreadable(metrics) == [
        "one: 1 image could not be read; data/index/one.parquet gives the reasons",
        "three: 3 images could not be read; data/index/three.parquet gives the reasons",
    ]
