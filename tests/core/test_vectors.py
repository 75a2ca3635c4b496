"""Matrices convert to columns and back, for any type, memory order and chunking."""

import numpy as np
import pyarrow as pa
import pytest

from clipstore.core.vectors import to_column, to_matrix


@pytest.mark.parametrize("kind", [np.float32, np.float16])
def test_a_matrix_is_restored_as_float32(kind: type[np.floating]) -> None:
    matrix = np.asfortranarray(np.arange(6, dtype=kind).reshape(3, 2))
    column = to_column(matrix)
    assert column.type == pa.list_(pa.from_numpy_dtype(kind), 2)
    restored = to_matrix(pa.chunked_array([column[:1], column[1:]]))
    assert restored.dtype == np.float32
    assert restored.tolist() == [[0, 1], [2, 3], [4, 5]]
