"""Prompt ensembling: one embedding per class, from the embeddings of its prompts."""

import numpy as np
import numpy.typing as npt

from clipstore.core.vectors import unit

Matrix = npt.NDArray[np.float32]


def class_embeddings(texts: Matrix, labels: npt.NDArray[np.int64]) -> Matrix:
    """Return one unit embedding per class, float32 (classes, d): the mean of its prompts' unit embeddings, normalised again.

    As in Radford et al. 2021, section 3.1.4, the ensemble averages embeddings, not probabilities.

    Args:
        texts: float32 (prompts x classes, d), unit rows.
        labels: int64 (prompts x classes,), each class 0 .. classes - 1 equally often.
    """
    means = np.stack([texts[labels == label].mean(axis=0) for label in range(labels.max() + 1)])
    return unit(means)[0]
