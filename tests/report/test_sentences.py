"""Sentences, from pairs made up by hand."""

from typing import Any

import pandas as pd

from clipstore.report import sentences


def pair(a: str, b: str, difference: float, only_a: int, only_b: int, p: float) -> dict[str, Any]:
    return {"a": a, "b": b, "difference": difference, "only_a_right": only_a, "only_b_right": only_b, "p_corrected": p}


def test_of_a_significant_pair_the_better_one_beats_the_other_whichever_comes_first() -> None:
    said = "linear probe (enc) beats kNN (enc) by 4.1 points; the difference is significant."
    assert sentences.of_pair(pd.Series(pair("linear_probe enc", "knn enc", 0.041, 9, 2, 0.01))) == said
    assert sentences.of_pair(pd.Series(pair("knn enc", "linear_probe enc", -0.041, 2, 9, 0.01))) == said


def test_one_point_is_singular() -> None:
    assert "by 1.0 point; " in sentences.of_pair(pd.Series(pair("knn enc", "scratch own", 0.01, 9, 0, 0.01)))


def test_from_a_p_of_5_percent_on_two_do_not_differ_significantly() -> None:
    found = sentences.of_pair(pd.Series(pair("finetune net", "linear_probe enc", 0.004, 5, 3, 0.05)))
    assert found == "fine-tuning (net) and linear probe (enc) do not differ significantly (0.4 points between them)."


def test_identical_answers() -> None:
    found = sentences.of_pair(pd.Series(pair("knn a", "knn b", 0.0, 0, 0, 1.0)))
    assert found == "kNN (a) and kNN (b) are right on exactly the same test images."


def test_mean_per_class_and_top_1_may_disagree() -> None:
    found = sentences.of_pair(pd.Series(pair("knn enc", "zero_shot enc", 0.02, 3, 40, 0.001)))
    assert found == "zero-shot (enc) is right on significantly more of the test images, while kNN (enc) has the higher mean per class."


def test_pairs_of_the_best_come_first() -> None:
    rows = [
        pair("zero_shot e", "knn e", -0.1, 0, 9, 0.01),
        pair("zero_shot e", "scratch s", 0.1, 9, 0, 0.01),
        pair("knn e", "scratch s", 0.2, 18, 0, 0.01),
    ]
    found = sentences.of_pairs(pd.DataFrame(rows), ["knn e", "zero_shot e", "scratch s"])
    assert [sentence.split(" by ")[0] for sentence in found] == [
        "kNN (e) beats zero-shot (e)",
        "kNN (e) beats training from scratch (s)",
        "zero-shot (e) beats training from scratch (s)",
    ]


def result(title: str, mean: float, beyond: bool) -> dict[str, Any]:
    return {
        "title": title,
        "mean_per_class": mean,
        "mean_per_class_low": mean - 0.01,
        "mean_per_class_high": mean + 0.01,
        "significant": beyond,
    }


def test_headline_names_what_does_not_differ_from_the_best() -> None:
    best, close, far = result("knn e", 0.946, False), result("linear_probe e", 0.94, False), result("scratch s", 0.3, True)
    start = "kNN (e) is best with 94.6 % mean per class (95 % interval 93.6 to 95.6)"
    assert sentences.headline([best, close, far]) == f"{start}; not significantly different from it: linear probe (e)."
    assert sentences.headline([best, far]) == f"{start}; every other approach is significantly worse."
    assert sentences.headline([best]) == f"{start}."
