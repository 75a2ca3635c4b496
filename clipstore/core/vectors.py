"""Vectors: rows of unit length, and matrices as Parquet columns, FixedSizeList<float>[width], one list per row."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from clipstore.core.errors import InputError

Matrix = npt.NDArray[np.float32]


def to_column(matrix: npt.NDArray[np.floating[Any]]) -> pa.FixedSizeListArray:
    """Return the rows of a matrix (n, width) as a column of n lists of the same type; a contiguous matrix is not copied."""
    return pa.FixedSizeListArray.from_arrays(pa.array(np.ascontiguousarray(matrix).ravel()), matrix.shape[1])


def to_matrix(column: pa.ChunkedArray) -> npt.NDArray[np.float32]:
    """Return a column of n lists as float32 (n, width), read-only if the column is float32."""
    lists = column.combine_chunks()
    rows: npt.NDArray[np.float32] = lists.flatten().to_numpy().reshape(-1, lists.type.list_size).astype(np.float32, copy=False)
    return rows


def unit(vectors: Matrix) -> tuple[Matrix, Matrix]:
    """Return rows of unit length, float32 (n, d), and the original lengths, float32 (n,).

    Raises:
        InputError: a vector is zero or not finite, so it has no direction.
    """
    norm = np.linalg.norm(vectors, axis=1)
    undirected = ~(np.isfinite(norm) & (norm > 0))
    if undirected.any():
        raise InputError(f"{undirected.sum()} of {len(norm)} vectors are zero or not finite and have no direction: try another precision")
    return vectors / norm[:, None], norm
