"""Vectors: rows of unit length, and matrices as Parquet columns, FixedSizeList<float>[width], one list a row."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from clipstore.core.errors import InputError

Matrix = npt.NDArray[np.float32]


def to_column(matrix: npt.NDArray[np.floating[Any]]) -> pa.FixedSizeListArray:
    """Return the rows of a matrix (n, width) as a column of the matrix's own type; nothing is copied where it is contiguous."""
    return pa.FixedSizeListArray.from_arrays(pa.array(np.ascontiguousarray(matrix).ravel()), matrix.shape[1])


def to_matrix(column: pa.ChunkedArray) -> npt.NDArray[np.float32]:
    """Return a column of n lists as float32 (n, width), read-only where it is float32 already."""
    lists = column.combine_chunks()
    rows: npt.NDArray[np.float32] = lists.flatten().to_numpy().reshape(-1, lists.type.list_size).astype(np.float32, copy=False)
    return rows


def unit(vectors: Matrix) -> tuple[Matrix, Matrix]:
    """Return rows of unit length, float32 (n, d), and the length that they had, float32 (n,).

    Raises:
        InputError: a vector is 0 or not finite, and has no direction.
    """
    norm = np.linalg.norm(vectors, axis=1)
    without = ~(np.isfinite(norm) & (norm > 0))
    if without.any():
        raise InputError(f"{without.sum()} of {len(norm)} vectors have no direction (all 0 or not finite): another precision may help")
    return vectors / norm[:, None], norm
