"""Data sets that need no network: the generated garden, and the handwritten digits that ship with scikit-learn."""

from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from clipstore.core.datasets import Garden
from clipstore.data import garden


def write_garden(entry: Garden, root: Path) -> pd.DataFrame:
    """Draw the garden into ``root``; return its manifest: path, class_name, split."""
    rows = []
    for split, label, number, image in garden.images(entry.train, entry.val, entry.test, entry.image_size, entry.seed):
        path = f"{label:02}/{split}_{number:03}.png"
        _save(image, root / path)
        rows.append({"path": path, "class_name": garden.name(garden.TASK[label]), "split": split})
    return pd.DataFrame(rows)


def write_digits(root: Path) -> pd.DataFrame:
    """Write scikit-learn's scans (8 x 8 pixels, 17 grey levels) into ``root``; return their manifest: path and class_name, no splits.

    They are the test set of UCI's "Optical Recognition of Handwritten Digits" (Alpaydin and Kaynak 1998), written by 13 people. The file
    does not name them, so the splits made here share their hands.
    """
    from sklearn.datasets import load_digits

    scans = load_digits()
    rows = []
    for number, (levels, label) in enumerate(zip(scans.images, scans.target, strict=True)):
        path = f"{label}/{number:04}.png"
        _save(Image.fromarray((levels * (255 / 16)).round().astype("uint8")), root / path)
        rows.append({"path": path, "class_name": str(label)})
    return pd.DataFrame(rows)


def count_digits() -> tuple[int, int]:
    """Return the number of scans and of classes."""
    from sklearn.datasets import load_digits

    labels = load_digits().target
    return len(labels), len(np.unique(labels))


def _save(image: Image.Image, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)
