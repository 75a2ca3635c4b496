"""Figures by the templates that DVC draws with: the page's colours and font, ids that differ, the same bytes, several revisions."""

import csv
import json
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
import vl_convert
from dvc_render import VegaRenderer
from ruamel.yaml import YAML

from clipstore.report import sections, vega
from clipstore.report.page import Figure
from tests.workspace import PROJECT

TEMPLATES = PROJECT / ".dvc/plots"
NAMES = [
    "<script>alert(1)</script>",
    "زهرة حمراء",
    "花",
    'a $x$ "b" & \\d\x01',
    "one two three four five six seven eight nine ten eleven",
    "x" * 200,
    "🌷" * 200,
]
OKABE_ITO = {"#0072b2", "#e69f00", "#009e73", "#cc79a7", "#d55e00", "#56b4e9"}


def declared() -> dict[str, tuple[Path, dict[str, str]]]:
    """Return for each template of dvc.yaml a committed file that it draws, and the properties."""
    plots = {}
    for stage in YAML(typ="safe").load(PROJECT / "dvc.yaml")["stages"].values():
        for path, properties in [item for entry in stage.get("plots", []) for item in entry.items()]:
            if "template" in properties:
                file = min(PROJECT.glob(re.sub(r"\$\{.+?\}", "*", path)))
                plots[properties["template"]] = (min(file.iterdir()) if file.is_dir() else file, properties)
    return plots


PLOTS = declared()


def frames() -> dict[str, pd.DataFrame]:
    """Return rows for each template that the report draws, with names that are hard to show."""
    cells = [(actual, predicted) for actual in NAMES for predicted in [*NAMES, "(2 other classes)"]]
    methods = ("zero_shot", "nearest_mean", "linear_probe", "tip_adapter", "text_probe")
    epochs = [(epoch, name, split) for epoch in (1, 2) for name in NAMES[:2] for split in ("train", "val", "test")]
    tables: dict[str, list[dict[str, Any]]] = {
        "curves": [{"epoch": epoch, "approach": name, "split": split, "accuracy": 0.5, "loss": 2.5} for epoch, name, split in epochs],
        "linear_probe": [{"C": C, "series": f"{name}_raw", "mean_per_class": 0.9} for C in (1e-6, 1.0, 1e6) for name in NAMES[:2]],
        "knn": [{"k": k, "votes": "uniform", "split": split, "mean_per_class": k / 10} for k in (1, 5) for split in ("val", "test")],
        "few_shot": [
            {"shots": shots, "method": method, "mean_per_class": 0.9, "std": None if shots == "all" else 0.01}
            for shots in ("1", "2", "all")
            for method in methods
        ],
        "simulation": [
            {"labels": labels, "strategy": strategy, "mean_per_class": 0.9 + labels / 100, "std": 0.01 if labels else None}
            for labels, strategy in [(0, "zero_shot"), *((labels, name) for name in ("random", "auto") for labels in (1, 10))]
        ],
        "prompts": [{"template": f"{name} {{}}", "split": split, "mean_per_class": 0.9} for name in NAMES for split in ("val", "test")],
        "reliability": [
            {"confidence": confidence, "accuracy": 1.0, "temperature": when, "approach": "a"}
            for confidence in (0.5, 1.0)
            for when in ("before", "after")
        ],
        "confusion": [
            {"actual": actual, "predicted": predicted, "count": 2 * (actual == predicted), "share": 1.0 * (actual == predicted)}
            for actual, predicted in cells
        ],
        "fertility": [{"series": name, "vocab_size": size, "fertility": 1.5} for name in NAMES[:3] for size in (1000, 2000)],
        "lengths": [{"series": name, "length": length, "share": 0.5} for name in NAMES[:3] for length in (1, 2)],
        "ranks": [{"series": name, "rank": rank, "count": 9} for name in NAMES[:3] for rank in (1, 2, 10)],
    }
    return {template: pd.DataFrame(rows) for template, rows in tables.items()}


def as_text(file: Path) -> list[dict[str, str]]:
    """Return the rows of a CSV file as DVC passes them: every field is text."""
    with file.open(newline="", encoding="utf-8") as lines:
        return list(csv.DictReader(lines))


def draw(template: str, rows: pd.DataFrame) -> Figure:
    return vega.draw(template, rows, template, f'the "label" of {template}', "caption", "accuracy")


@pytest.fixture(scope="module")
def figures() -> dict[str, str]:
    return {template: str(draw(template, rows).svg) for template, rows in frames().items()}


def texts(svg: str) -> list[str]:
    """Return the lines of text in a figure."""
    parts = [part for part in ElementTree.fromstring(svg).iter() if part.tag in ("text", "tspan")]
    return [part.text for part in parts if part.text]


def test_figures_are_elements_that_say_what_they_are(figures: dict[str, str]) -> None:
    for template, svg in figures.items():
        root = ElementTree.fromstring(svg)
        assert (root.tag, root.get("role"), root.get("aria-label")) == ("svg", "img", f'the "label" of {template}')
        assert root.get("viewBox") == f"0 0 {root.get('width')} {(root.get('viewBox') or '').split()[-1]}"
        assert not {"aria-label", "role", "class"} & {key for part in root.iter() if part is not root for key in part.attrib}


def test_text_has_the_pages_colour_and_font_and_the_ground_is_the_pages(figures: dict[str, str]) -> None:
    for svg in figures.values():
        parts = list(ElementTree.fromstring(svg).iter())
        assert {part.get("fill") for part in parts if part.tag == "text"} == {"currentColor"}
        assert "font-family" not in svg
        colours = {value.lower() for part in parts for key, value in part.items() if key in ("fill", "stroke")}
        assert colours <= OKABE_ITO | {"currentcolor", "none", "transparent", "#808080", "#888888", "black"}
        assert {part.get("opacity") for part in parts if "black" in (part.get("fill"), part.get("stroke"))} <= {"0"}


def test_figures_of_one_template_are_equally_wide(figures: dict[str, str]) -> None:
    lines = ("curves", "linear_probe", "knn", "few_shot", "simulation", "prompts", "fertility", "lengths", "ranks")
    assert {ElementTree.fromstring(figures[template]).get("width") for template in lines} == {"390"}


def test_names_are_text(figures: dict[str, str]) -> None:
    for template in ("prompts", "confusion", "fertility"):
        assert "<script" not in figures[template] and "&lt;script&gt;" in figures[template]
        assert any("زهرة حمراء" in text for text in texts(figures[template]))
    assert any('a $x$ "b" & \\d\ufffd' in text for text in texts(figures["confusion"]))


def test_long_names_are_wrapped_and_cut(figures: dict[str, str]) -> None:
    rows = texts(figures["confusion"])
    assert {"one two three four five six seven", "eight nine ten eleven · 5"} <= set(rows)
    assert [row for row in rows if row.startswith("xxx")] == [row for row in rows if re.fullmatch(r"x{20,40}…", row)] != []


def test_columns_have_numbers_where_names_are_long(figures: dict[str, str]) -> None:
    assert {"1", "2", "3", "4", "5", "6", "7", "other"} <= set(texts(figures["confusion"]))
    short = pd.DataFrame([{"actual": a, "predicted": b, "count": 1, "share": 0.5} for a in ("7", "x") for b in ("7", "x")])
    assert {"7", "x"} <= set(texts(str(draw("confusion", short).svg)))


def test_the_same_values_give_the_same_bytes(figures: dict[str, str]) -> None:
    assert {template: str(draw(template, rows).svg) for template, rows in frames().items()} == figures


def test_ids_are_the_figures_own_and_stay_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    template = json.loads((TEMPLATES / "ranks.json").read_text())
    template["spec"]["mark"]["clip"] = True  # Vega gives what it clips an id that grows from call to call
    (tmp_path / "ranks.json").write_text(json.dumps(template))
    monkeypatch.setattr(vega, "TEMPLATES", tmp_path)
    rows = frames()["ranks"]
    first, second, other = (str(vega.draw("ranks", rows, name, "", "").svg) for name in ("one", "one", "two"))
    assert first == second != other
    ids = re.findall(r'\bid="([^"]+)"', first)
    assert ids and len(ids) == len(set(ids)) and all(name.startswith("one-") for name in ids)
    assert set(re.findall(r"url\(#([^)]+)\)", first)) == set(ids)


def test_an_axis_in_percent_shows_5_points_at_least(figures: dict[str, str]) -> None:
    for template in ("linear_probe", "few_shot", "simulation", "prompts"):
        ticks = [int(text[:-1]) for text in texts(figures[template]) if re.fullmatch(r"\d+%", text)]
        assert len(ticks) == len(set(ticks)) and max(ticks) - min(ticks) >= 2


def test_one_measure_of_the_curves_is_drawn(figures: dict[str, str]) -> None:
    loss = str(vega.draw("curves", frames()["curves"], "curves", "", "", "loss").svg)
    assert "accuracy" in texts(figures["curves"]) and "loss" not in texts(figures["curves"]) and "100%" not in texts(loss)
    assert "loss" in texts(loss)


def test_few_shot_has_a_band_and_a_dashed_baseline(figures: dict[str, str]) -> None:
    parts = list(ElementTree.fromstring(figures["few_shot"]).iter())
    assert sum(part.get("opacity") == "0.15" for part in parts) == 5
    assert {part.get("stroke") for part in parts if part.get("stroke-dasharray") == "5,3"} == {"#808080"}


def test_simulation_has_the_band_of_random_and_a_dashed_baseline_and_its_labels_in_order(figures: dict[str, str]) -> None:
    parts = list(ElementTree.fromstring(figures["simulation"]).iter())
    assert sum(part.get("opacity") == "0.2" for part in parts) == 1
    assert [part.get("stroke") for part in parts if part.get("stroke-dasharray") == "5,3"] == ["#808080"]
    assert [text for text in texts(figures["simulation"]) if text in ("0", "1", "10")] == ["0", "1", "10"]


def test_the_20_best_prompts_and_the_30_most_confused_pairs_are_drawn() -> None:
    rng = np.random.default_rng(0)
    values = {f"p{at:02}": at / 100 for at in rng.permutation(25)}
    rows = [{"template": name, "split": split, "mean_per_class": value} for name, value in values.items() for split in ("test", "val")]
    drawn = [text for text in texts(str(draw("prompts", pd.DataFrame(rows)).svg)) if text.startswith("p")]
    assert drawn == sorted(values, key=lambda name: -values[name])[:20]
    rows = [{"actual": f"a{at}", "predicted": "b", "count": at, "share": at / 100, "approach": "knn enc"} for at in rng.permutation(40)]
    drawn = [text for text in texts(str(draw("confused", pd.DataFrame(rows)).svg)) if text.startswith("a")]
    assert drawn == [f"a{at} → b" for at in range(39, 9, -1)]


@pytest.mark.parametrize("template", [*frames(), "cohesion", "confused", "pairs", "per_class"])
def test_values_as_text_give_the_same_figure(template: str) -> None:
    file, _ = PLOTS[template]
    assert draw(template, pd.DataFrame(as_text(file))).svg == draw(template, sections.table(file)).svg


def test_each_template_draws_a_plot() -> None:
    assert {path.stem for path in TEMPLATES.iterdir()} == set(PLOTS)


@pytest.mark.parametrize("template", PLOTS)
def test_dvc_draws_several_revisions(template: str) -> None:
    file, properties = PLOTS[template]
    points = [{**row, "rev": rev} for rev in ("workspace", "HEAD") for row in as_text(file)[:200]]
    renderer = VegaRenderer(points, "plot", template=template, template_dir=TEMPLATES, title="the title", y=properties.get("y"))
    shown = re.findall(r">([^<]+)</", vl_convert.vegalite_to_svg(renderer.get_filled_template(), vega.VEGA_LITE, allowed_base_urls=[]))
    assert {"workspace", "HEAD", "the title"} <= set(shown)
    assert not [text for text in shown if text in ("NaN", "undefined", "null")]


@pytest.mark.parametrize("template", PLOTS)
def test_dvcs_version_of_vega_lite_draws_it(template: str) -> None:
    """Vega-Lite 5.2.0, which DVC's pages load, fails in a facet at a `joinaggregate` or `window` without a `groupby`."""
    text = (TEMPLATES / f"{template}.json").read_text()

    def transforms(node: Any) -> list[dict[str, Any]]:
        nodes = node.values() if isinstance(node, dict) else node if isinstance(node, list) else []
        return ([node] if isinstance(node, dict) else []) + [part for child in nodes for part in transforms(child)]

    for part in transforms(json.loads(text)):
        assert "rev" in part.get("groupby", []) or not {"joinaggregate", "window"} & part.keys(), part
    assert {colour.lower() for colour in re.findall(r"#[0-9a-fA-F]{6}", text)} <= OKABE_ITO | {"#808080", "#888888"}
