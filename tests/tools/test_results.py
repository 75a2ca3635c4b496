"""The results table."""

from clipstore.tools.results import table

BEST = {"gap_to_best": 0.0, "significant": False}
ZERO_SHOT = BEST | {
    "top1": 0.5,
    "top1_low": 0.352,
    "top1_high": 0.648,
    "mean_per_class": 0.25,
    "mean_per_class_low": 0.20349,
    "mean_per_class_high": 0.3,
    "top5": 0.999,
    "n": 40,
    "failed": 1,
    "selected": {"prompts": 1, "logit_scale": 100.0},
}
PROBE = BEST | {
    "top1": 1.0,
    "top1_low": 0.6756,
    "top1_high": 1.0,
    "mean_per_class": 0.87654,
    "mean_per_class_low": 0.75,
    "mean_per_class_high": 1.0,
    "n": 8,
    "failed": 0,
    "selected": {"C": 1e-05, "vectors": "features_raw"},
}


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_table_of_two_data_sets() -> None:
    train_only = {"train_only": {"top1": 0.9, "mean_per_class": 0.8}}
    text = table({"garden": {"zero_shot": {"enc": ZERO_SHOT}}, "digits": {"linear_probe": {"enc": PROBE | train_only}}})
    head, rule, *rows = text.splitlines()
    names = dict(zip(cells(head), zip(*map(cells, rows), strict=True), strict=True))
    assert set(rule) <= set("|:- ")
    assert names == {
        "data set": ("garden", "digits"),
        "approach": ("zero_shot", "linear_probe"),
        "encoder": ("enc", "enc"),
        "top-1": ("50.0 (35.2–64.8)", "100.0 (67.6–100.0)"),
        "top-5": ("99.9", "–"),
        "mean per class": ("25.0 (20.3–30.0)", "87.7 (75.0–100.0)"),
        "to the best": ("best", "best"),
        "trained on train alone": ("–", "80.0"),
        "test images": ("40", "8"),
        "failed": ("1", "0"),
        "with": ("prompts 1, logit_scale 100", "C 1e-05, vectors features_raw"),
    }


def test_rows_keep_the_order_of_data_sets_stages_and_names() -> None:
    text = table({"b": {"knn": {"y": PROBE, "x": PROBE}, "a": {"x": PROBE}}, "a": {"knn": {"x": PROBE}}})
    assert [cells(row)[:3] for row in text.splitlines()[2:]] == [["b", "knn", "y"], ["b", "knn", "x"], ["b", "a", "x"], ["a", "knn", "x"]]


def test_what_cannot_be_told_from_the_best_is_marked() -> None:
    behind = {"mean_per_class": 0.8}
    names = {
        "x": PROBE | behind | {"gap_to_best": -0.0765, "significant": True},
        "y": PROBE,
        "z": PROBE | behind | {"gap_to_best": -0.0004},
    }
    text = table({"a": {"knn": names, "zero_shot": {"y": dict(PROBE)}}})
    assert [cells(row)[6] for row in text.splitlines()] == ["to the best", cells(text.splitlines()[1])[6], "-7.6", "best", "0.0 ≈", "0.0 ≈"]
