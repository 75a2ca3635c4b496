"""Matrices as Parquet columns: FixedSizeList<float>[width], one list a row."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa


def column(matrix: npt.NDArray[np.floating[Any]]) -> pa.FixedSizeListArray:
    """Return the rows of a matrix (n, width) as a column of the matrix's own type; nothing is copied where it is contiguous."""
    return pa.FixedSizeListArray.from_arrays(pa.array(np.ascontiguousarray(matrix).ravel()), matrix.shape[1])


def matrix(column: pa.ChunkedArray) -> npt.NDArray[np.float32]:
    """Return a column of n lists as float32 (n, width), read-only where it is float32 already."""
    lists = column.combine_chunks()
    rows: npt.NDArray[np.float32] = lists.flatten().to_numpy().reshape(-1, lists.type.list_size).astype(np.float32, copy=False)
    return rows
