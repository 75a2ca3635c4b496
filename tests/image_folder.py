"""Folders of random images, and manifests, for tests of the index."""

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
    """Write ``count`` images for each class into its folder."""
    put_all(root, [f"{name}/{i}.png" for name in names for i in range(count)])


def manifest(root: Path, text: str, images: bool = True) -> None:
    """Write manifest.csv and the images listed in its first column."""
    (root / "manifest.csv").write_text(text)
    if images:
        put_all(root, [line.split(",")[0] for line in text.splitlines()[1:]])


def make(root: Path) -> Index:
    """Return the index of the folder."""
    return indexing.make("toy", root, val=0.2, test=0.3, seed=0)


def message(root: Path) -> str:
    """Return the one-line error that indexing the folder raises."""
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
