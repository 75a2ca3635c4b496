"""Figures as SVG to stand in a page: transparent, text and axes in the page's colour, the same bytes from the same values.

Colours are those of Okabe and Ito (2008), which colour-blind readers tell apart; series differ in marker or dash as well.
"""

import io
import re
import textwrap
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from markupsafe import Markup, escape

PALETTE = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#d55e00", "#56b4e9")
DASHES = ("solid", "dashed", "dotted", "dashdot")
MARKERS = "os^Dv*"
INK = "#010203"  # stands for the page's colour until the SVG is written
STYLE: dict[str, Any] = {
    "svg.fonttype": "none",  # text stays text: it is selected, searched and set in the page's font
    "svg.hashsalt": "report",
    "text.parse_math": False,  # a class name may hold a $
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.formatter.limits": (-4, 6),
    "legend.frameon": False,
    "figure.constrained_layout.use": True,
    **dict.fromkeys(("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"), INK),
}
WIDTH = 4.4  # inches
LEAST = 5.0  # points that an axis in percent shows


@dataclass(frozen=True)
class Series:
    """A line: ``x`` and ``y`` (n,), the spread of ``y`` on both sides if there is one, its colour and dash; without a name in no legend."""

    name: str
    x: Sequence[Any]
    y: Sequence[float]
    spread: Sequence[float] | None = None
    colour: int = 0
    dash: int = 0


@contextmanager
def style() -> Iterator[None]:
    """Give the figures drawn within the page's look."""
    import matplotlib

    with matplotlib.rc_context(cast(Any, STYLE)), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing", UserWarning)  # the reader's browser sets the text, not this machine's font
        yield


def svg(figure: Any, name: str, label: str) -> Markup:
    """Return the SVG element of ``figure``: its ids begin with ``name``, no two figures of a page share one; ``label`` says what it is."""
    file = io.StringIO()
    figure.savefig(file, format="svg", transparent=True, metadata={"Date": None})
    text = file.getvalue()
    text = re.sub(r"\s*<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)
    text = re.sub(r'\bid="([^"]+)"', rf'id="{name}-\1"', text)
    text = re.sub(r'(url\(#|href="#)', rf"\g<1>{name}-", text).replace(INK, "currentColor")
    box = re.search(r'viewBox="[^"]+"', text)
    assert box is not None
    width = round(figure.get_figwidth() * 96)  # pixels of CSS, for a page that does not set it
    opening = f'<svg xmlns:xlink="http://www.w3.org/1999/xlink" width="{width}" {box[0]} role="img" aria-label="{escape(label)}">'
    return Markup(opening + text[text.index(">") + 1 :].rstrip())


def _ticks(axis: Any, least: float = 0) -> None:
    """Give an axis few ticks, and at least the range ``least``, so that a difference of nothing does not look large."""
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

    if axis.get_scale() == "log":
        axis.set_major_locator(LogLocator(numticks=6))
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))  # matplotlib's own is a formula
        axis.set_minor_formatter(NullFormatter())
        return
    axis.set_major_locator(MaxNLocator(6, integer=least == 0))
    low, high = axis.get_view_interval()
    if high - low < least:
        axis.axes.set(**{f"{axis.axis_name}lim": ((low + high - least) / 2, (low + high + least) / 2)})


def _legend(figure: Any, count: int) -> None:
    handles, labels = figure.axes[0].get_legend_handles_labels()
    if count > 1:
        figure.legend(handles, labels, loc="outside lower center", ncols=1 + (max(map(len, labels)) <= 26), fontsize=9, handlelength=2.6)


def lines(name: str, label: str, series: Sequence[Series], x_label: str, y_label: str, log: str = "") -> Markup:
    """Return a line chart; ``log`` names the axes that are logarithmic, "x" or "xy". Strings as ``x`` are places in their order."""
    from matplotlib.figure import Figure

    with style():
        figure = Figure((WIDTH, 3.0 + 0.11 * len(series)))
        axes = figure.subplots()
        for one in series:
            colour = PALETTE[one.colour % len(PALETTE)]
            marker = MARKERS[one.colour % len(MARKERS)] if len(one.x) <= 30 else ""
            axes.plot(
                one.x,
                one.y,
                color=colour,
                linestyle=DASHES[one.dash % 4],
                marker=marker,
                markersize=4,
                linewidth=1.6,
                label=one.name or "_",
            )
            if one.spread is not None:
                y, spread = np.array(one.y), np.nan_to_num(np.array(one.spread))
                axes.fill_between(one.x, y - spread, y + spread, color=colour, alpha=0.15, linewidth=0)
        if "x" in log:
            axes.set_xscale("log")
        if "y" in log:
            axes.set_yscale("log")
        axes.set_xlabel(x_label)
        axes.set_ylabel(y_label)
        axes.grid(color=INK, alpha=0.13, linewidth=0.6)
        if not isinstance(series[0].x[0], str):
            _ticks(axes.xaxis)
        _ticks(axes.yaxis, LEAST if y_label.endswith("%") else 1e-9)
        _legend(figure, len(series))
        return svg(figure, name, label)


def reliability(name: str, label: str, series: Sequence[Series]) -> Markup:
    """Return a reliability diagram: accuracy against confidence, and the diagonal on which both agree."""
    from matplotlib.figure import Figure

    with style():
        figure = Figure((3.1, 3.5))
        axes = figure.subplots()
        axes.plot([0, 1], [0, 1], color=INK, alpha=0.5, linewidth=1, linestyle="dotted", label="as sure as right", clip_on=False)
        for one in series:
            axes.plot(
                one.x,
                one.y,
                color=PALETTE[one.colour],
                linestyle=DASHES[one.dash],
                marker=MARKERS[one.colour],
                markersize=4,
                clip_on=False,
                label=one.name or "_",
            )
        axes.set(xlim=(0, 1), ylim=(0, 1), xlabel="confidence", ylabel="accuracy on test", aspect="equal")
        axes.grid(color=INK, alpha=0.13, linewidth=0.6)
        _legend(figure, 3)
        return svg(figure, name, label)


def wrapped(text: str, width: int = 30, rows: int = 2) -> str:
    """Return ``text`` in at most ``rows`` lines of at most ``width`` characters; what does not fit is an ellipsis."""
    return "\n".join(textwrap.wrap(text, width, max_lines=rows, placeholder=" …"))


def dots(name: str, label: str, rows: Sequence[str], series: Sequence[Series], x_label: str) -> Markup:
    """Return a row for each name with a dot for each series, whose ``x`` are the values in the rows' order; the first row is on top."""
    from matplotlib.figure import Figure

    with style():
        names = [wrapped(row, 26, 3) for row in rows]
        figure = Figure((WIDTH, 1.1 + sum(0.16 + 0.15 * (1 + text.count("\n")) for text in names)))
        axes = figure.subplots()
        for one in series:
            axes.plot(
                one.x,
                range(len(rows)),
                color=PALETTE[one.colour],
                marker=MARKERS[one.colour],
                linestyle="",
                markersize=6,
                label=one.name or "_",
            )
        axes.set_yticks(range(len(rows)), names, fontsize=9)
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.set_xlabel(x_label)
        _ticks(axes.xaxis, LEAST)
        axes.grid(axis="both", color=INK, alpha=0.13, linewidth=0.6)
        _legend(figure, len(series))
        return svg(figure, name, label)
