"""Embeddings are unit rows with their norm, and each row is computed once."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from clipstore.core.errors import InputError
from clipstore.core.vectors import unit
from clipstore.store import embeddings


def test_unit_splits_vectors_into_unit_rows_and_norms() -> None:
    rows, norm = unit(np.array([[3, 4], [0, -2]], np.float32))
    np.testing.assert_allclose(rows, np.array([[0.6, 0.8], [0, -1]]), atol=1e-7)
    assert norm.tolist() == [5, 2]


@pytest.mark.parametrize("value", [0.0, float("nan"), float("inf")])
def test_a_vector_without_direction_is_rejected(value: float) -> None:
    with pytest.raises(InputError, match="1 of 2 vectors are zero or not finite"):
        unit(np.array([[1, 1], [value, 0]], np.float32))


def test_only_the_last_batch_is_shorter() -> None:
    assert list(embeddings.batched([5, 6, 7, 8, 9], 2)) == [[5, 6], [7, 8], [9]]


def test_compute_requests_each_missing_key_once_and_fills_its_copies(project: Path) -> None:
    keys = [hashlib.sha256(letter.encode()).digest() for letter in "abacba"]
    requested: list[int] = []

    def batches(positions: list[int]) -> Iterator[tuple[list[int], dict[str, embeddings.Matrix]]]:
        requested.extend(positions)
        for position in positions:
            yield [position], {"embedding": np.full((1, 2), float(keys[position][0]), np.float32)}

    contract = {"vectors": {"embedding": 2}}
    vectors, computed = embeddings.compute(keys, contract, batches)
    assert (requested, computed) == ([0, 1, 3], 3)
    assert vectors["embedding"][:, 0].tolist() == [key[0] for key in keys]
    keys.append(hashlib.sha256(b"d").digest())
    again, computed = embeddings.compute(keys, contract, batches)
    assert (requested[3:], computed) == ([6], 1)
    np.testing.assert_array_equal(again["embedding"][:6], vectors["embedding"])
