"""Random draws of a few labelled images per class, reproducible from a seed on every machine."""

from collections.abc import Sequence
from hashlib import sha256

import numpy as np
import pandas as pd


def draw(rows: pd.DataFrame, seed: int) -> pd.Series:
    """Return each image's rank within its class and split, from 1: the images of rank 1 to k are the k shots.

    Images are ordered by a hash of seed and content. The order therefore depends neither on a library's random generator nor on the order
    of the index, and a new image does not change the order of the others.

    Args:
        rows: columns image_id, label, split, sha256.
        seed: another seed gives another order.
    """
    ranked = rows.assign(rank=[sha256(f"{seed}:{digest}".encode()).hexdigest() for digest in rows["sha256"]])
    return (ranked.sort_values(["rank", "image_id"]).groupby(["split", "label"]).cumcount() + 1).reindex(rows.index)


def fewer_than_all(shots: Sequence[int], rows: pd.DataFrame) -> list[int]:
    """Return the numbers of shots that leave out at least one training image, ascending: those below the size of the largest class."""
    return sorted(shot for shot in shots if shot < rows["label"][rows["split"] == "train"].value_counts().max())


def scarce(rows: pd.DataFrame, shots: int, classes: int) -> dict[str, int]:
    """Return the number of classes with fewer than ``shots`` images in train and in val; these classes use all their images."""
    counts = {split: np.bincount(rows["label"][rows["split"] == split], minlength=classes) for split in ("train", "val")}
    return {split: int((count < shots).sum()) for split, count in counts.items()}
