"""Classify by the class names alone: python -m stages.zero_shot ENCODER DATASET.

Reads data/embeddings/ENCODER-DATASET and the index's notes; writes data/predictions/DATASET/zero_shot-ENCODER.parquet.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import softmax

from stages.lib import embeddings, index, predictions
from stages.lib.run import run

Matrix = npt.NDArray[np.float32]


def class_embeddings(texts: Matrix, labels: npt.NDArray[np.int64]) -> Matrix:
    """Return one unit embedding a class, float32 (classes, d): the mean of its prompts' unit embeddings, normalised again.

    Radford et al. 2021, section 3.1.4: the ensemble is built in the space of embeddings, not of probabilities.

    Args:
        texts: float32 (prompts x classes, d), unit rows.
        labels: int64 (prompts x classes,), each class 0 .. classes - 1 equally often.
    """
    means = np.stack([texts[labels == label].mean(axis=0) for label in range(labels.max() + 1)])
    return embeddings.unit(means)[0]


def probabilities(images: Matrix, classes: Matrix, logit_scale: float) -> Matrix:
    """Return the softmax over the classes of logit scale times cosine, float32 (n, classes).

    A logit bias, which SigLIP has, is the same for every class and cancels.

    Args:
        images: float32 (n, d), unit rows.
        classes: float32 (classes, d), unit rows.
        logit_scale: the model's own, about 100 for a trained CLIP.
    """
    softened: Matrix = softmax(logit_scale * (images @ classes.T), axis=1)
    return softened


def main(encoder: str, dataset: str) -> None:
    """Write the predictions of one cell."""
    images = embeddings.read_images(encoder, dataset)
    rows, texts, contract = embeddings.read_texts(encoder, dataset)
    classes = class_embeddings(texts, rows["label"].to_numpy(np.int64))
    made = {split: probabilities(images.embedding[images.of(split)], classes, contract["logit_scale"]) for split in ("val", "test")}
    chosen: dict[str, Any] = {"prompts": int(rows["prompt"].nunique()), "logit_scale": round(contract["logit_scale"], 3)}
    class_names = index.read(dataset).notes.get("class_names")
    if class_names:
        chosen["class_names"] = class_names
    predictions.write(dataset, predictions.of_embeddings("zero_shot", encoder, images, made, chosen, {}))


if __name__ == "__main__":
    run(main)
