"""Confusion between classes. A confusion matrix is int64 (classes, classes): rows are actual classes, columns predicted classes."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

Matrix = npt.NDArray[np.int64]
Positions = npt.NDArray[np.intp]


def matrix(labels: npt.NDArray[np.integer[Any]], predicted: npt.NDArray[np.integer[Any]], classes: int) -> Matrix:
    """Return the confusion matrix of labels and predictions, (n,) each; scikit-learn's function warns about a single class."""
    return np.bincount(labels * classes + predicted, minlength=classes**2).reshape(classes, classes)


def shares(counts: Matrix) -> npt.NDArray[np.float64]:
    """Return each row divided by its sum; rows of classes without images are 0."""
    fractions: npt.NDArray[np.float64] = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    return fractions


def most_confused(counts: Matrix, names: list[str], worst: int) -> pd.DataFrame:
    """Return the ``worst`` most confused pairs by number of images; columns actual, predicted, count, share (of the actual class)."""
    errors = counts * ~np.eye(len(counts), dtype=bool)
    actual, predicted = np.nonzero(errors)
    table = pd.DataFrame(
        {
            "actual": np.array(names)[actual],
            "predicted": np.array(names)[predicted],
            "count": counts[actual, predicted],
            "share": shares(counts)[actual, predicted],
        }
    )
    return table.sort_values(["count", "share"], ascending=False, kind="stable").head(worst)


def worst_classes(counts: Matrix, worst: int) -> Positions:
    """Return the ``worst`` classes in ascending order, by errors: their images predicted as other classes, and the reverse."""
    right = np.diag(counts)
    wrong = counts.sum(axis=1) + counts.sum(axis=0) - 2 * right
    return np.sort(np.argsort(-wrong, kind="stable")[:worst])


def order(counts: Matrix) -> Positions:
    """Return an order of the classes in which confused classes are neighbours.

    scipy's average linkage on 1 - share of confusion (mean of both directions), with optimal leaf ordering (Bar-Joseph et al. 2001).
    """
    from scipy.cluster.hierarchy import leaves_list, linkage
    from scipy.spatial.distance import squareform

    if len(counts) < 3:
        return np.arange(len(counts))
    confused = shares(counts)
    distances = 1 - (confused + confused.T) / 2
    np.fill_diagonal(distances, 0)
    leaves: Positions = leaves_list(linkage(squareform(distances), "average", optimal_ordering=True)).astype(np.intp)
    return leaves


def cells(counts: Matrix, names: list[str], worst: int) -> pd.DataFrame:
    """Return the matrix of the ``worst`` classes, row by row in `order`; columns actual, predicted, count, share (of the row).

    All cells are included, also empty ones, so the first row gives the order of the columns. Classes without test images have no row.
    If some classes are not shown, the last column counts the images that were predicted as one of them.
    """
    selected = worst_classes(counts, worst)
    selected = selected[order(counts[np.ix_(selected, selected)])]
    columns, cells, sizes = [names[label] for label in selected], counts[:, selected], counts.sum(axis=1)
    if len(selected) < len(counts):
        columns.append(f"({len(counts) - len(selected)} other classes)")
        cells = np.column_stack([cells, sizes - cells.sum(axis=1)])
    rows: list[dict[str, Any]] = [
        {"actual": names[label], "predicted": column, "count": int(count), "share": count / sizes[label]}
        for label in selected
        if sizes[label]
        for column, count in zip(columns, cells[label], strict=True)
    ]
    return pd.DataFrame(rows, columns=["actual", "predicted", "count", "share"])
