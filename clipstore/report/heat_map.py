"""A confusion matrix as a figure."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from markupsafe import Markup

from clipstore.report.figures import PALETTE, style, svg, wrapped


def draw(
    name: str,
    label: str,
    counts: npt.NDArray[np.integer[Any]],
    shares: npt.NDArray[np.floating[Any]],
    rows: Sequence[str],
    columns: Sequence[str],
) -> Markup:
    """Return a confusion matrix: each cell's count, and its share of the row as the strength of the colour, right answers in another.

    Long names are numbered in the rows, and the columns have the numbers alone; a column without a row keeps its own name.
    """
    from matplotlib.figure import Figure

    with style():
        short = max(map(len, columns[: len(rows)]), default=0) <= 3
        row_labels = [row if short else f"{wrapped(row)}  {at}" for at, row in enumerate(rows, 1)]
        tall = 1 + any("\n" in row for row in row_labels)
        figure = Figure(
            (
                0.8 + 0.075 * max(len(part) for row in row_labels for part in row.split("\n")) + 0.3 * len(columns),
                0.9 + 0.2 * tall * len(rows),
            )
        )
        axes = figure.subplots()
        colours = np.zeros((*shares.shape, 4))
        right = np.array([[row == column for column in columns] for row in rows])
        for mask, colour in ((right, PALETTE[2]), (~right, PALETTE[4])):
            colours[mask, :3] = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        colours[..., 3] = 0.85 * shares
        axes.imshow(colours, interpolation="none", aspect="auto")
        for (row, column), count in np.ndenumerate(counts):
            if count:
                axes.text(column, row, str(count), ha="center", va="center", fontsize=8)
        numbers = {row: row if short else str(at) for at, row in enumerate(rows, 1)}
        ticks = [numbers.get(column, "other" if column.startswith("(") else wrapped(column, 12)) for column in columns]
        axes.set_xticks(range(len(columns)), ticks, fontsize=8)
        axes.set_yticks(range(len(rows)), row_labels, fontsize=8)
        axes.tick_params(length=0)
        axes.set(xlabel="taken for", ylabel="")
        axes.spines[["left", "bottom"]].set_visible(False)
        return svg(figure, name, label)
