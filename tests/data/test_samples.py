"""Data sets without a network: the garden and scikit-learn's digits."""

from pathlib import Path

import numpy as np
from PIL import Image

from clipstore.core.datasets import Garden
from clipstore.data import samples


def test_the_garden_is_drawn_with_its_splits(project: Path) -> None:
    manifest = samples.write_garden(Garden(kind="garden", image_size=32, train=2, val=1, test=1, seed=0), project)
    assert manifest.groupby("split").size().to_dict() == {"train": 56, "val": 28, "test": 28}
    assert manifest["class_name"].nunique() == 28
    with Image.open(project / manifest["path"][0]) as image:
        assert image.size == (32, 32)


def test_digits_are_scikit_learns_scans(project: Path) -> None:
    manifest = samples.write_digits(project)
    assert list(manifest.columns) == ["path", "class_name"]
    assert len(manifest) == 1797
    with Image.open("0/0000.png") as image:
        first = np.asarray(image)
    assert first[0].tolist() == [0, 0, 80, 207, 143, 16, 0, 0]  # 0, 0, 5, 13, 9, 1, 0, 0 sixteenths of 255
    assert samples.count_digits() == (1797, manifest["class_name"].nunique()) == (1797, 10)
