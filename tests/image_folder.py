"""A data set's folder for tests of the index: images of random pixels, and manifests."""

from pathlib import Path

import pytest

from clipstore.core.errors import InputError
from clipstore.data import indexing
from clipstore.data.index import Index
from tests.synthetic import put


def put_all(root: Path, names: list[str]) -> None:
    """Write an image for each name."""
    for seed, name in enumerate(names):
        put(root / name, seed)


def classes_of(root: Path, count: int, *names: str) -> None:
    """Write ``count`` images into a folder for each class."""
    put_all(root, [f"{name}/{at}.png" for name in names for at in range(count)])


def manifest(root: Path, text: str, images: bool = True) -> None:
    """Write manifest.csv, and the images of its first column."""
    (root / "manifest.csv").write_text(text)
    if images:
        put_all(root, [line.split(",")[0] for line in text.splitlines()[1:]])


def make(root: Path) -> Index:
    """Return the index of the folder."""
    return indexing.make("toy", root, val=0.2, test=0.3, seed=0)


def message(root: Path) -> str:
    """Return the one line that making the index fails with."""
    with pytest.raises(InputError) as caught:
        make(root)
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


def split_of(index: Index) -> dict[str, str]:
    """Return the split of each image_id."""
    return dict(zip(index.rows["image_id"], index.rows["split"], strict=True))


def label_of(index: Index) -> dict[str, int]:
    """Return the label of each class name."""
    return dict(zip(index.rows["class_name"], index.rows["label"], strict=True))
