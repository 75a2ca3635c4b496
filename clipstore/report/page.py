"""The HTML pages from their parts: Jinja2 with autoescape on, Markdown with HTML off."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markdown_it import MarkdownIt
from markupsafe import Markup, escape

from clipstore.report.sentences import chosen, verdict
from clipstore.store.approaches import readable

TEMPLATES = Path(__file__).parent


@dataclass(frozen=True)
class Figure:
    """A figure and its caption."""

    svg: Markup
    caption: str


def percent(fraction: float) -> str:
    """Return a fraction of [0, 1] in percent, "94.6"; "–" for NaN, where there was nothing to measure."""
    return "–" if math.isnan(fraction) else f"{100 * fraction:.1f}"


def points(difference: float) -> str:
    """Return a difference of accuracies in points with its sign, "−3.1"; a difference that rounds to zero is "0.0"."""
    count = f"{100 * difference:+.1f}".replace("-", "−")
    return "0.0" if count in ("+0.0", "−0.0") else count


def sentence(text: str) -> str:
    """Return ``text`` with a capital letter at its start, except for kNN, and no line break before a percent sign."""
    text = text.replace(" %", "\N{NO-BREAK SPACE}%")
    return text if text.startswith("kNN") else text[:1].upper() + text[1:]


def code(text: str) -> Markup:
    """Return ``text`` as HTML with what is between backticks as code."""
    parts = [Markup("<code>{}</code>").format(part) if number % 2 else escape(part) for number, part in enumerate(text.split("`"))]
    return Markup("").join(parts)


def markdown(text: str) -> Markup:
    """Return Markdown as HTML with its headings one level lower, below the page's own h1. HTML in it is shown as text."""
    tokens = (reader := MarkdownIt("commonmark", {"html": False})).parse(text)
    for token in tokens:
        if token.type in ("heading_open", "heading_close"):
            token.tag = f"h{min(6, int(token.tag[1]) + 1)}"
    return Markup(reader.renderer.render(tokens, reader.options, {}))


def render(template: str, parts: Mapping[str, Any]) -> str:
    """Return the page of a template, such as "report.html.j2"; a part that it uses and ``parts`` lacks is an error."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {
        "percent": percent,
        "points": points,
        "chosen": chosen,
        "verdict": verdict,
        "sentence": sentence,
        "code": code,
        "readable": readable,
        "json": lambda value: json.dumps(value, indent=2),
    }
    return environment.get_template(template).render(parts)
