"""Fetch or draw a data set: python -m stages.download DATASET.

Writes data/raw/DATASET: the images and a manifest.csv (path, class_name, split where the data set has official splits).
"""

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image

from stages.lib.errors import InputError
from stages.lib.params import section
from stages.lib.run import run
from stages.lib.tables import Dataset, Folder, Garden


class Sample(NamedTuple):
    """One image to write; ``split`` is None where the data set has no official one."""

    path: str
    class_name: str
    split: str | None
    image: Image.Image


def garden_samples(entry: Garden) -> Iterator[Sample]:
    """Draw the garden."""
    from stages.lib import garden

    for split, label, number, image in garden.images(entry.train, entry.val, entry.test, entry.size, entry.seed):
        yield Sample(f"{label:02}/{split}_{number:03}.png", garden.name(garden.TASK[label]), split, image)


def digit_samples() -> Iterator[Sample]:
    """Unpack scikit-learn's scans: 8 x 8 pixels, 17 levels of grey, dark background. They have no official split."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    for number, (levels, label) in enumerate(zip(digits.images, digits.target, strict=True)):
        image = Image.fromarray((levels * (255 / 16)).round().astype("uint8"))
        yield Sample(f"{label}/{number:04}.png", str(label), None, image)


def write(samples: Iterator[Sample], root: Path) -> int:
    """Write the images as PNG files and the manifest last; return how many there are."""
    lines = []
    for sample in samples:
        path = root / sample.path
        path.parent.mkdir(parents=True, exist_ok=True)
        sample.image.save(path)
        lines.append([sample.path, sample.class_name, *([sample.split] if sample.split else [])])
    with (root / "manifest.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["path", "class_name", "split"][: len(lines[0])], *lines])
    return len(lines)


def main(dataset: str) -> dict[str, Any]:
    """Write data/raw/DATASET."""
    entry: Dataset = section(Dataset, f"datasets.{dataset}")
    if isinstance(entry, Folder):
        raise InputError(f"params.yaml: axes.download = {dataset!r}: it is a folder of one's own, expected in data/raw/{dataset}")
    samples = garden_samples(entry) if isinstance(entry, Garden) else digit_samples()
    count = write(samples, Path("data/raw") / dataset)
    print(f"download {dataset}: {count} images")
    return {"images": count}


if __name__ == "__main__":
    run(main)
