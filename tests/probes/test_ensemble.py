"""Class embeddings: the mean over prompts."""

import numpy as np

from clipstore.core.vectors import unit
from clipstore.probes import ensemble


def test_class_embedding_is_the_mean_of_unit_embeddings_normalised_again() -> None:
    texts = np.array([[1, 0, 0], [0, 0, 1], [0, 1, 0], [0, 0.6, 0.8]], np.float32)  # two prompts of two classes
    embedding = ensemble.class_embeddings(texts, np.array([0, 1, 0, 1]))
    by_hand = [[1 / np.sqrt(2), 1 / np.sqrt(2), 0], [0, 0.3 / np.sqrt(0.9), 0.9 / np.sqrt(0.9)]]
    np.testing.assert_allclose(embedding, by_hand, atol=1e-6)


def test_class_embedding_of_a_single_prompt_is_the_prompts() -> None:
    texts = unit(np.array([[3, 4], [1, -1]], np.float32))[0]
    np.testing.assert_allclose(ensemble.class_embeddings(texts, np.array([1, 0])), texts[::-1], atol=1e-6)
