"""Small synthetic data for tests: parameters without DVC, image files, an index, embeddings."""

import hashlib
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from PIL import Image

from clipstore.core import params
from clipstore.core.rows import NO_LABEL, UNLABELLED
from clipstore.core.vectors import unit
from clipstore.data import index
from clipstore.store import embeddings
from clipstore.store.approaches import APPROACHES


def on_axis(axis: str) -> list[str]:
    """Return the stages of the approaches on ``axis``, in the table's order."""
    return [approach.stage for approach in APPROACHES if approach.axis == axis]


def sha256(text: str) -> str:
    """Return the SHA-256 of ``text``, for use as the digest of an image."""
    return hashlib.sha256(text.encode()).hexdigest()


def use(monkeypatch: pytest.MonkeyPatch, declared: dict[str, Any]) -> None:
    """Make stages read ``declared`` instead of asking DVC for their parameters; sections are still validated."""
    monkeypatch.setattr(params, "load", lambda: declared)


def picture(seed: int, size: tuple[int, int] = (6, 4)) -> Image.Image:
    """Return an RGB image of random pixels."""
    width, height = size
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8))


def encoded(image: Image.Image, form: str, **options: Any) -> bytes:
    """Return the bytes of the image as a file in the format ``form`` ("PNG", "JPEG" ...)."""
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def put(path: Path, seed: int) -> Path:
    """Write a PNG file of random pixels."""
    path.parent.mkdir(parents=True, exist_ok=True)
    picture(seed).save(path, "PNG")
    return path


def image_rows(splits: Sequence[str], labels: Sequence[int], purposes: Sequence[str] = ()) -> pd.DataFrame:
    """Return rows of an index for usable images, in the given order.

    Args:
        splits: of each image.
        labels: of each image, `NO_LABEL` for an image without a class.
        purposes: of each image; none by default.
    """
    names = [f"{UNLABELLED if label == NO_LABEL else label}/{i:03}.png" for i, label in enumerate(labels)]
    return pd.DataFrame(
        {
            "image_id": names,
            "path": [f"data/raw/toy/{name}" for name in names],
            "label": list(labels),
            "class_name": ["" if label == NO_LABEL else f"class {label}" for label in labels],
            "split": list(splits),
            "purpose": list(purposes) or "",
            "sha256": [sha256(name) for name in names],
            "width": 6,
            "height": 4,
            "status": "ok",
        }
    )


def logits_of(probabilities: npt.ArrayLike) -> npt.NDArray[np.float32]:
    """Return logits whose softmax is ``probabilities``, float32; -inf for 0."""
    with np.errstate(divide="ignore"):
        return np.log(np.asarray(probabilities, np.float32))


def blobs(seed: int, labels: list[int], spread: float = 0.4, shift: float = 0.0) -> npt.NDArray[np.float32]:
    """Return vectors around one corner per class; if ``shift`` is 1, the two classes are swapped."""
    corners = np.eye(4)[(np.array(labels) + int(shift)) % 2]
    vectors: npt.NDArray[np.float32] = (corners + np.random.default_rng(seed).normal(0, spread, corners.shape)).astype(np.float32)
    return vectors


def clusters(labels: npt.NDArray[np.int64], seed: int = 0) -> npt.NDArray[np.float32]:
    """Return unit vectors close to one corner per class, so that any probe can separate the classes."""
    vectors = np.eye(8)[labels] + np.random.default_rng(seed).normal(0, 0.05, (len(labels), 8))
    return unit(vectors.astype(np.float32))[0]


def embed(
    splits: Sequence[str], labels: Sequence[int], classes: int, **vectors: npt.NDArray[np.floating[Any]] | Sequence[Sequence[float]]
) -> None:
    """Write the index of the data set "toy" and its embeddings by "enc" in the working directory."""
    rows = image_rows(splits, labels)
    toy = index.Index("toy", rows, {"classes": [f"class {label}" for label in range(classes)]})
    index.write(toy)
    provenance = {"classes": toy.classes, "failed": 0, "index": toy.digest, "contract": "c0"}
    stored = {name: np.asarray(values, np.float32) for name, values in vectors.items()}
    embeddings.write_images(embeddings.folder("enc", "toy"), rows, stored, provenance, "float32")
