"""Figures of the report, drawn by the Vega-Lite templates that DVC uses for the same files.

A figure is an SVG element for a page: transparent, text and axes in the page's colour and font, and the same bytes for the same values.
"""

import json
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pandas as pd
from markupsafe import Markup

from clipstore.report.page import Figure

TEMPLATES = Path(".dvc/plots")
VEGA_LITE = "5.8"  # the oldest that vl-convert has; DVC's pages load 5.2
SVG = "{http://www.w3.org/2000/svg}"
# vl-convert ends the process at characters that XML forbids, and fails where it shortens a text within a character beyond U+FFFF.
UNSAFE = "[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff\U00010000-\U0010ffff]"
INK = "currentColor"
MARGIN = 70  # pixels beside the plot: figures with the same width are equally wide, whatever their labels
SHRINK = 0.84  # of the text after its width was measured: some of the fonts that readers have are that much wider
CONFIG: dict[str, Any] = {
    "aria": False,  # Vega would describe every mark; the figure has one label
    "background": None,
    "view": {"stroke": None},
    "font": "Liberation Sans",  # vl-convert has it on every machine
    "axis": {
        **dict.fromkeys(("labelColor", "titleColor", "domainColor", "tickColor", "gridColor"), INK),
        "labelFontSize": 14,
        "titleFontSize": 14,
        "titleFontWeight": "normal",
        "gridOpacity": 0.13,
    },
    "legend": {
        "labelColor": INK,
        "labelFontSize": 14,
        "labelLimit": 180,
        "orient": "bottom",
        "columns": 2,
        "layout": {"bottom": {"anchor": "start", "direction": "vertical", "margin": 4}},
        "symbolBaseStrokeColor": INK,
        "symbolOpacity": 1,
        "offset": 6,
    },
    "text": {"color": INK},
}


def specification(template: str, rows: pd.DataFrame, y: str) -> dict[str, Any]:
    """Return the Vega-Lite specification of ``rows``, all of one revision: DVC adds a title and a column for each revision."""
    text = (TEMPLATES / f"{template}.json").read_text(encoding="utf-8").replace("<DVC_METRIC_Y>", y)
    plot: dict[str, Any] = json.loads(text)["spec"]
    if isinstance(plot["width"], int):  # not a step for each column
        plot |= {"width": plot["width"] + MARGIN, "autosize": {"type": "fit-x", "contains": "padding"}}
    values = rows.replace(UNSAFE, "\N{REPLACEMENT CHARACTER}", regex=True).to_json(orient="records", double_precision=15)
    return plot | {"data": {"values": json.loads(values)}, "config": CONFIG}


def draw(template: str, rows: pd.DataFrame, name: str, label: str, caption: str, y: str = "") -> Figure:
    """Return a figure of the rows of a plot's file.

    Args:
        template: its file's name in .dvc/plots without the suffix.
        rows: those that the figure shows.
        name: begins the ids of the figure's parts: no two figures of a page share it.
        label: describes the figure to those who do not see it.
        caption: of the figure.
        y: column on the vertical axis, for a template that leaves it open.
    """
    import vl_convert

    svg = vl_convert.vegalite_to_svg(specification(template, rows, y), VEGA_LITE, allowed_base_urls=[])
    root = ElementTree.fromstring(svg)
    ids: dict[str, str] = {}
    for part in root.iter():
        part.tag = part.tag.removeprefix(SVG)
        for key in [key for key in part.attrib if key.startswith("aria-") or key in ("class", "font-family", "pointer-events", "role")]:
            del part.attrib[key]
        if "font-size" in part.attrib:
            part.set("font-size", f"{SHRINK * float(part.attrib['font-size'].removesuffix('px')):.4g}px")
        if "id" in part.attrib:
            ids[part.attrib["id"]] = part.attrib["id"] = f"{name}-{len(ids)}"
    for part in root.iter():
        for key, value in part.items():
            part.set(key, re.sub(r"url\(#(.+?)\)", lambda match: f"url(#{ids[match[1]]})", value))
    root.attrib = {"width": root.attrib["width"], "viewBox": root.attrib["viewBox"], "role": "img", "aria-label": label}
    return Figure(Markup(ElementTree.tostring(root, encoding="unicode")), caption)
