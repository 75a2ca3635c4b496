"""Floats in metrics and plots are rounded; other values are unchanged."""

import json
from pathlib import Path

import pandas as pd

from clipstore.core.outputs import write_metrics, write_plot


def test_floats_of_metrics_have_6_digits_and_no_negative_zero(tmp_path: Path) -> None:
    write_metrics(tmp_path / "new/toy.json", {"knn": {"enc": {"top1": 2 / 3, "n": 3, "gap": -1e-9, "votes": "uniform", "flag": True}}})
    text = (tmp_path / "new/toy.json").read_text()
    assert json.loads(text) == {"knn": {"enc": {"top1": 0.666667, "n": 3, "gap": 0.0, "votes": "uniform", "flag": True}}}
    assert "-0.0" not in text and text.endswith("}\n")


def test_floats_of_plots_have_6_digits_unless_they_are_exact(tmp_path: Path) -> None:
    table = pd.DataFrame({"C": [1e-8, 1.0], "mean_per_class": [1 / 3, 2e-7], "series": ["007", "b"], "k": [1, 2]})
    write_plot(tmp_path / "new/toy.csv", table, exact=["C"])
    assert (tmp_path / "new/toy.csv").read_text() == "C,mean_per_class,series,k\n1e-08,0.333333,007,1\n1.0,0.0,b,2\n"
