"""Which images to show, and thumbnails of them as data URIs."""

import base64
import io
from collections import Counter
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
from PIL import Image

from clipstore.data import images
from clipstore.data.index import Index
from clipstore.probes.neighbours import NearestNeighbours
from clipstore.store.embeddings import Matrix
from clipstore.store.predictions import Predictions

TINY = 48  # pixels; smaller images are enlarged by an integer factor


@dataclass(frozen=True)
class Answer:
    """An approach's answer for a test image: class names, probability of the predicted class, nearest training images (image_id)."""

    image: str
    actual: str
    predicted: str
    confidence: float
    nearest: list[str]


class Thumbnails:
    """Thumbnails of a data set's images as data URIs, each created once."""

    def __init__(self, index: Index, size: int) -> None:
        """Prepare thumbnails of the images in ``index``, at most ``size`` pixels wide and high."""
        self.size, self.exif = size, index.exif
        self.rows = index.rows.set_index("image_id")
        self.cache: dict[str, str] = {}

    def __call__(self, image_id: str) -> str:
        """Return the thumbnail of an image.

        Raises:
            InputError: its file is missing or has changed since it was indexed.
        """
        if image_id not in self.cache:
            self.cache[image_id] = data_uri(self._load(image_id), self.size)
        return self.cache[image_id]

    def image(self, image_id: str) -> Image.Image:
        """Return the thumbnail of an image as pixels; raises like a call."""
        return shrunk(self._load(image_id), self.size)

    def _load(self, image_id: str) -> Image.Image:
        row = self.rows.loc[image_id]
        return Image.fromarray(images.load(str(row["path"]), str(row["sha256"]), self.exif))

    def class_of(self, image_id: str) -> str:
        """Return the class name of an image."""
        return str(self.rows.loc[image_id, "class_name"])

    def classes_of(self, image_ids: list[str]) -> Counter[str]:
        """Return the class names of images with their counts, in order of appearance."""
        return Counter(map(self.class_of, image_ids))


def shrunk(image: Image.Image, size: int) -> Image.Image:
    """Return the image, at most ``size`` pixels wide and high; a tiny one is enlarged by an integer factor."""
    if max(image.size) <= TINY:
        factor = max(1, min(size, 2 * TINY) // max(image.size))
        return image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST)
    smaller = image.copy()
    smaller.thumbnail((size, size), Image.Resampling.LANCZOS)
    return smaller


def data_uri(image: Image.Image, size: int) -> str:
    """Return the image as `shrunk` as a data URI: PNG if it is tiny, else WebP."""
    kind, options = ("png", {"optimize": True}) if max(image.size) <= TINY else ("webp", {"quality": 80})
    file = io.BytesIO()
    shrunk(image, size).save(file, kind, **options)
    return f"data:image/{kind};base64,{base64.b64encode(file.getvalue()).decode()}"


def most_confident(approach: Predictions, right: bool, count: int) -> npt.NDArray[np.intp]:
    """Return the positions of the ``count`` right, or wrong, answers with the highest probability, in descending order.

    Right answers are limited to one per class; otherwise an easy class would fill the gallery.
    """
    selected = np.flatnonzero((approach.test_answers == approach.test_labels) == right)
    selected = selected[np.argsort(-approach.test_probabilities[selected].max(axis=1), kind="stable")]
    if right:
        selected = selected[np.sort(np.unique(approach.test_labels[selected], return_index=True)[1])]
    return selected[:count]


def nearest(embedding: Matrix, rows: pd.DataFrame, image_id: str, count: int) -> list[str]:
    """Return the image_id of the ``count`` training images with the highest cosine to an image, the nearest first; [] without any.

    Args:
        embedding: float32 (n, d), unit rows.
        rows: image_id and split of each row.
        image_id: of the image.
        count: number of training images.
    """
    train, image = np.flatnonzero(rows["split"] == "train"), np.flatnonzero(rows["image_id"] == image_id)
    if not len(train):
        return []
    positions = NearestNeighbours(embedding[train]).search(embedding[image], min(count, len(train))).positions[0]
    image_ids: list[str] = rows["image_id"].iloc[train[positions]].tolist()
    return image_ids


def answers(approach: Predictions, right: bool, count: int, embedded: tuple[Matrix, pd.DataFrame] | None, neighbours: int) -> list[Answer]:
    """Return the most confident right or wrong answers of an approach; without embeddings, they have no nearest training images."""
    names, shown_answers = approach.classes, []
    for at in most_confident(approach, right, count):
        image = approach.test_ids[at]
        near = nearest(*embedded, image, neighbours) if embedded and neighbours else []
        answer, confidence = int(approach.test_answers[at]), float(approach.test_probabilities[at].max())
        shown_answers.append(Answer(image, names[approach.test_labels[at]], names[answer], confidence, near))
    return shown_answers
