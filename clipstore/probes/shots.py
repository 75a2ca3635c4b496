"""Random draws of a few labelled images per class, reproducible from a seed on every machine."""

from collections.abc import Sequence
from hashlib import sha256

import numpy as np
import pandas as pd

COPY = int(np.iinfo(np.int64).max)  # rank of an image whose content was ranked before, larger than any number of shots


def draw(rows: pd.DataFrame, seed: int) -> pd.Series:
    """Return each image's rank within its class and split, from 1: the images of rank 1 to k are the k shots.

    Images are ordered by a hash of seed and content. The order therefore depends neither on a library's random generator nor on the order
    of the index, and a new image does not change the order of the others. Of byte-identical copies in a class and split, the first by
    image_id is ranked; the others have the rank `COPY` and are never drawn.

    Args:
        rows: columns image_id, label, split, sha256.
        seed: another seed gives another order.
    """
    ranked = rows.assign(rank=[sha256(f"{seed}:{digest}".encode()).hexdigest() for digest in rows["sha256"]])
    pictures = distinct(ranked.sort_values(["rank", "image_id"]))
    return (pictures.groupby(["split", "label"]).cumcount() + 1).reindex(rows.index, fill_value=COPY)


def distinct(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows without copies: of equal content in one class and split, the first."""
    return rows.drop_duplicates(["split", "label", "sha256"])


def fewer_than_all(shots: Sequence[int], rows: pd.DataFrame) -> list[int]:
    """Return the numbers of shots below the number of distinct training pictures of the largest class, ascending."""
    pictures = distinct(rows)
    return sorted(shot for shot in shots if shot < pictures["label"][pictures["split"] == "train"].value_counts().max())


def scarce(rows: pd.DataFrame, shots: int, classes: int) -> dict[str, int]:
    """Return the number of classes with fewer than ``shots`` distinct pictures in train and in val; these classes use all they have."""
    pictures = distinct(rows)
    counts = {split: np.bincount(pictures["label"][pictures["split"] == split], minlength=classes) for split in ("train", "val")}
    return {split: int((count < shots).sum()) for split, count in counts.items()}
