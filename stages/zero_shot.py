"""Classify by the class names alone: python -m stages.zero_shot ENCODER DATASET.

Reads data/embeddings/ENCODER-DATASET and the index's notes; writes data/predictions/DATASET/zero_shot-ENCODER.parquet, and what each prompt
alone would have given, plots/zero_shot/ENCODER-DATASET.csv. The ensemble of all prompts is the result, whichever of them is best.
"""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.special import softmax

from clipstore.core.params import section
from clipstore.core.schema import Prompts
from clipstore.core.stage import run
from clipstore.data import index
from clipstore.measure import metrics
from clipstore.probes import ensemble
from clipstore.store import embeddings, predictions

Matrix = npt.NDArray[np.float32]


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


def wordings(images: embeddings.Images, texts: Matrix, rows: pd.DataFrame, prompts: Prompts) -> pd.DataFrame:
    """Return how each prompt alone and the ensemble of all do: columns template, split, top1, mean_per_class.

    Args:
        images: with val and test.
        texts: float32 (prompts x classes, d), unit rows.
        rows: label and prompt (its number) of each.
        prompts: the templates, by number.
    """
    labels, number = rows["label"].to_numpy(np.int64), rows["prompt"].to_numpy()
    selected = {template: number == position for position, template in enumerate(prompts)} | {ensemble.NAME: np.ones(len(rows), bool)}
    lines = []
    for template, some in selected.items():
        classes = ensemble.class_embeddings(texts[some], labels[some])
        for split in ("val", "test"):
            at = images.of(split)
            predicted = (images.embedding[at] @ classes.T).argmax(axis=1)
            lines.append({"template": template, "split": split} | metrics.accuracies(predicted, images.labels[at]))
    return pd.DataFrame(lines)


def main(encoder: str, dataset: str) -> None:
    """Write the predictions of one cell and the table of prompts."""
    images = embeddings.read_images(encoder, dataset)
    rows, texts, contract = embeddings.read_texts(encoder, dataset)
    classes = ensemble.class_embeddings(texts, rows["label"].to_numpy(np.int64))
    made = {split: probabilities(images.embedding[images.of(split)], classes, contract["logit_scale"]) for split in ("val", "test")}
    selected: dict[str, Any] = {"prompts": int(rows["prompt"].nunique()), "logit_scale": round(contract["logit_scale"], 3)}
    class_names = index.read(dataset).notes.get("class_names")
    if class_names:
        selected["class_names"] = class_names
    predictions.write(dataset, predictions.of_embeddings("zero_shot", encoder, images, made, selected, {}))

    path = Path("plots/zero_shot") / f"{encoder}-{dataset}.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    table = wordings(images, texts, rows, section(Prompts, f"prompts.{dataset}"))
    table.round({"top1": 6, "mean_per_class": 6}).to_csv(path, index=False)


if __name__ == "__main__":
    run(main)
