"""SVG figures: the page's colours, ids of their own, the same bytes."""

import re
from xml.etree import ElementTree

import numpy as np
import pytest
from markupsafe import Markup

from clipstore.report import figures, heat_map
from clipstore.report.figures import Series

TWO = [Series("a $x$ <b>", [1, 2, 3], [10.0, 20.0, 30.0], [1.0, float("nan"), 2.0]), Series("ب", [1, 2, 3], [5.0, 6.0, 7.0], None, 1, 1)]


def charts(name: str) -> list[Markup]:
    names = ["<script>alert(1)</script>", "زهرة حمراء", "花"]
    counts = np.array([[2, 1, 0], [0, 3, 0], [0, 0, 1]])
    return [
        figures.lines(f"{name}-lines", "lines", TWO, "epoch", "accuracy, %"),
        figures.lines(f"{name}-log", "log", TWO, "C", "count", "xy"),
        figures.lines(f"{name}-words", "words", [Series("a", ["1", "all"], [1.0, 1.0])], "shots", "mean per class, %"),
        figures.reliability(f"{name}-reliability", "reliability", [Series("before", [0.5, 1.0], [0.4, 1.0])]),
        heat_map.draw(f"{name}-map", "map", counts, counts / counts.sum(axis=1, keepdims=True), names, [*names]),
        figures.dots(f"{name}-dots", "dots", names, [Series("val", [0.5, 0.5, 0.5], [])], "mean per class, %"),
    ]


@pytest.fixture(scope="module")
def made() -> list[Markup]:
    return charts("one")


def test_figures_are_elements_that_say_what_they_are(made: list[Markup]) -> None:
    for svg in made:
        root = ElementTree.fromstring(str(svg).replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1))
        assert (root.get("role"), bool(root.get("aria-label")), bool(root.get("viewBox"))) == ("img", True, True)
        assert "<metadata" not in svg and "<?xml" not in svg


def test_text_has_the_pages_colour_and_names_are_escaped(made: list[Markup]) -> None:
    everything = "".join(made)
    assert figures.INK not in everything and "#000000" not in everything and "currentColor" in everything
    assert "<script" not in everything and "&lt;script&gt;" in everything and "زهرة" in everything
    assert "a $x$ &lt;b&gt;" in everything and "mathdefault" not in everything


def test_no_two_figures_share_an_id(made: list[Markup]) -> None:
    ids = re.findall(r'\bid="([^"]+)"', "".join(made))
    assert ids and len(ids) == len(set(ids))
    for svg in made:
        assert set(re.findall(r'(?:url\(#|href="#)([^")]+)', svg)) <= set(re.findall(r'\bid="([^"]+)"', svg))


def test_the_same_values_give_the_same_bytes(made: list[Markup]) -> None:
    assert charts("one") == made


def test_an_axis_in_percent_shows_5_points_at_least(made: list[Markup]) -> None:
    ticks = [float(text) for text in re.findall(r">(-?[\d.]+)</text>", made[2])]
    assert max(ticks) - min(ticks) >= 2


def test_long_names_are_wrapped() -> None:
    assert figures.wrapped("one two three four five six", 9) == "one two\nthree …"
