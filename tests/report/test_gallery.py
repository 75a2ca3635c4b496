"""Which images are shown, and how small they are."""

import base64
import io

import numpy as np
import pandas as pd
from PIL import Image

from clipstore.report import gallery
from clipstore.store.predictions import Predictions
from tests.synthetic import image_rows, logits_of, picture

SCORES = [[0.9, 0.1], [0.6, 0.4], [0.2, 0.8], [0.3, 0.7], [0.05, 0.95]]  # of classes 0 0 0 1 1


def approach() -> Predictions:
    rows = image_rows(["test"] * 5, [0, 0, 0, 1, 1])[["image_id", "split", "label"]]
    return Predictions("knn", "enc", rows, logits_of(SCORES), ["a", "b"], 0, "i", "c")


def decoded(uri: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(uri.split(",")[1])))


def test_the_most_confident_wrong_answers_and_right_answers_one_per_class() -> None:
    assert gallery.most_confident(approach(), False, 3).tolist() == [2]
    assert gallery.most_confident(approach(), True, 3).tolist() == [4, 0]
    assert gallery.most_confident(approach(), True, 1).tolist() == [4]


def test_nearest_training_images_by_cosine() -> None:
    rows = pd.DataFrame({"image_id": ["t1", "t2", "v", "t3", "x"], "split": ["train", "train", "val", "train", "test"]})
    vectors = np.array([[1, 0], [0.6, 0.8], [0, 1], [0, 1], [0, 1]], np.float32)
    assert gallery.nearest(vectors, rows, "x", 2) == ["t3", "t2"]
    assert gallery.nearest(vectors, rows, "x", 9) == ["t3", "t2", "t1"]


def test_an_answer_has_true_and_predicted_class() -> None:
    answers = gallery.answers(approach(), False, 3, None, 3)
    assert [(answer.actual, answer.predicted, round(answer.confidence, 3), answer.nearest) for answer in answers] == [("a", "b", 0.8, [])]


def test_a_thumbnail_is_bounded_and_a_tiny_image_is_enlarged_by_an_integer_factor() -> None:
    large = gallery.data_uri(picture(0, (900, 300)), 128)
    assert large.startswith("data:image/webp;") and decoded(large).size == (128, 43) and len(large) < 12_000
    assert decoded(gallery.data_uri(picture(0, (6, 4)), 128)).size == gallery.shrunk(picture(0, (6, 4)), 128).size == (96, 64)
    assert decoded(gallery.data_uri(picture(0, (40, 40)), 16)).size <= (40, 40)
