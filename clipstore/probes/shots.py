"""Few labelled images of each class, drawn at random but the same for the same seed everywhere."""

from collections.abc import Sequence
from hashlib import sha256

import numpy as np
import pandas as pd


def draw(rows: pd.DataFrame, seed: int) -> pd.Series:
    """Return which shot of its class and split each image is, from 1: k shots are the images up to the k-th.

    The order is that of a hash of seed and content. It depends neither on a library's generator nor on the index's order, and a new image
    does not change the order of the others.

    Args:
        rows: columns image_id, label, split, sha256.
        seed: another seed gives another order.
    """
    ranked = rows.assign(rank=[sha256(f"{seed}:{digest}".encode()).hexdigest() for digest in rows["sha256"]])
    return (ranked.sort_values(["rank", "image_id"]).groupby(["split", "label"]).cumcount() + 1).reindex(rows.index)


def fewer_than_all(shots: Sequence[int], rows: pd.DataFrame) -> list[int]:
    """Return the numbers of shots, ascending, that leave out a training image: those below the largest class's count."""
    return sorted(shot for shot in shots if shot < rows["label"][rows["split"] == "train"].value_counts().max())


def scarce(rows: pd.DataFrame, shots: int, classes: int) -> dict[str, int]:
    """Return how many classes have fewer than ``shots`` images in train and in val: those use all that they have."""
    counts = {split: np.bincount(rows["label"][rows["split"] == split], minlength=classes) for split in ("train", "val")}
    return {split: int((count < shots).sum()) for split, count in counts.items()}
