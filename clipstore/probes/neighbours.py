"""Exact nearest-neighbour search by cosine, with FAISS's IndexFlatIP on unit rows."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Matrix = npt.NDArray[np.float32]


class Neighbours(NamedTuple):
    """The nearest vectors for n queries, nearest first: cosines float32 (n, k) and positions int64 (n, k), -1 for no neighbour."""

    cosines: Matrix
    positions: npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class NearestNeighbours:
    """The vectors to search, float32 (m, d), unit rows."""

    vectors: Matrix

    @cached_property
    def _index(self) -> Any:
        import faiss

        index = faiss.IndexFlatIP(self.vectors.shape[1])
        index.add(np.ascontiguousarray(self.vectors, np.float32))
        return index

    def search(self, queries: Matrix, k: int) -> Neighbours:
        """Return the ``k`` nearest vectors for each query.

        The order of vectors with equal cosines depends on ``k``. The last bits of a cosine may depend on the number of queries in one
        call.

        Args:
            queries: float32 (n, d), unit rows.
            k: number of neighbours, >= 1; if there are fewer vectors, the remaining positions are -1 and their cosines are undefined.
        """
        return Neighbours(*self._index.search(np.ascontiguousarray(queries, np.float32), k))
