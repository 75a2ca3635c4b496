"""Nearest-neighbour search, compared with scikit-learn and with values worked out by hand."""

import faiss
import numpy as np
from sklearn.neighbors import NearestNeighbors

from clipstore.core.vectors import Matrix, unit
from clipstore.probes.neighbours import NearestNeighbours
from tests.saving import saved_and_loaded


def unit_rows(seed: int, count: int) -> Matrix:
    return unit(np.random.default_rng(seed).normal(size=(count, 6)).astype(np.float32))[0]


def test_neighbours_equal_sklearns() -> None:
    vectors, queries = unit_rows(0, 200), unit_rows(1, 50)
    cosines, positions = NearestNeighbours(vectors).search(queries, 5)
    distances, expected = NearestNeighbors(n_neighbors=5, metric="cosine", algorithm="brute").fit(vectors).kneighbors(queries)
    assert cosines.dtype == np.float32
    assert positions.dtype == np.int64
    assert positions.tolist() == expected.tolist()
    np.testing.assert_allclose(cosines, 1 - distances, atol=1e-5)


def test_search_equals_a_direct_call_of_faiss() -> None:
    """Bit for bit: results must not depend on how the search is wrapped."""
    vectors, queries = unit_rows(0, 200), unit_rows(1, 50)
    flat = faiss.IndexFlatIP(6)
    flat.add(vectors)
    expected = flat.search(queries, 7)
    searched = NearestNeighbours(vectors)
    for _ in range(2):  # the index is built once and reused
        for array, expected_array in zip(searched.search(queries, 7), expected, strict=True):
            np.testing.assert_array_equal(array, expected_array)


def test_vectors_in_column_order_give_the_same_neighbours() -> None:
    vectors, queries = unit_rows(3, 20), unit_rows(4, 5)
    expected = NearestNeighbours(vectors).search(queries, 3).positions
    assert NearestNeighbours(np.asfortranarray(vectors)).search(np.asfortranarray(queries), 3).positions.tolist() == expected.tolist()


def test_cosines_by_hand_and_positions_of_minus_1_if_vectors_are_too_few() -> None:
    vectors = np.array([[1, 0], [0.6, 0.8]], np.float32)
    cosines, positions = NearestNeighbours(vectors).search(np.array([[0, 1], [1, 0]], np.float32), 3)
    assert positions.tolist() == [[1, 0, -1], [0, 1, -1]]
    np.testing.assert_allclose(cosines[:, :2], [[0.8, 0], [1, 0.6]], atol=1e-6)
    empty = NearestNeighbours(np.empty((0, 2), np.float32)).search(vectors, 2)
    assert empty.positions.tolist() == [[-1, -1]] * 2


def test_the_search_can_be_saved_and_loaded() -> None:
    fitted, queries = NearestNeighbours(unit_rows(0, 30)), unit_rows(1, 8)
    for array, loaded in zip(fitted.search(queries, 4), saved_and_loaded(fitted).search(queries, 4), strict=True):
        np.testing.assert_array_equal(array, loaded)
