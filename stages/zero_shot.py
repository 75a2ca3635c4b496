"""Classify images by the class names alone: `dvc repro -s zero_shot@ENCODER-DATASET`.

Reads data/embeddings/ENCODER-DATASET and the index's notes; writes data/predictions/DATASET/zero_shot-ENCODER.parquet and the accuracies of
each single prompt, plots/zero_shot/ENCODER-DATASET.csv. The result always comes from the ensemble of all prompts, even if a single prompt
is better.
"""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from clipstore.core.outputs import write_plot
from clipstore.core.params import section
from clipstore.core.rows import UNLABELLED
from clipstore.core.schema import Prompts
from clipstore.core.stage import run
from clipstore.data import index
from clipstore.measure import metrics
from clipstore.probes import ensemble
from clipstore.probes.zero_shot import ZeroShotClassifier
from clipstore.store import embeddings, predictions
from clipstore.store.approaches import ENSEMBLE

Matrix = npt.NDArray[np.float32]


def wordings(images: embeddings.Images, texts: Matrix, rows: pd.DataFrame, prompts: Prompts) -> pd.DataFrame:
    """Return the accuracies of each prompt alone and of the ensemble: columns template, split, top1, mean_per_class.

    Args:
        images: image embeddings; only splits with images get rows.
        texts: float32 (prompts x classes, d), unit rows.
        rows: label and prompt (its number) of each text.
        prompts: the templates, by number.
    """
    labels, number = rows["label"].to_numpy(np.int64), rows["prompt"].to_numpy()
    subsets = {template: number == position for position, template in enumerate(prompts)} | {ENSEMBLE: np.ones(len(rows), bool)}
    lines = []
    splits = [split for split in ("val", "test") if len(images.of(split))]
    for template, subset in subsets.items():
        classes = ensemble.class_embeddings(texts[subset], labels[subset])
        for split in splits:
            at = images.of(split)
            predicted = (images.embedding[at] @ classes.T).argmax(axis=1)
            lines.append({"template": template, "split": split} | metrics.accuracies(predicted, images.labels[at]))
    return pd.DataFrame(lines, columns=["template", "split", "top1", "mean_per_class"])


def main(encoder: str, dataset: str) -> None:
    """Write the predictions and the table of prompts of one cell."""
    images = embeddings.read_images(encoder, dataset)
    rows, texts, contract = embeddings.read_texts(encoder, dataset)
    classes = ensemble.class_embeddings(texts, rows["label"].to_numpy(np.int64))
    classifier = ZeroShotClassifier(classes, contract["logit_scale"])
    logits = {split: classifier.scores(images.embedding[images.of(split)]) for split in ("val", "test", UNLABELLED)}
    selected: dict[str, Any] = {"prompts": int(rows["prompt"].nunique()), "logit_scale": round(contract["logit_scale"], 3)}
    class_names = index.read(dataset).notes.get("class_names")
    if class_names:
        selected["class_names"] = class_names
    predictions.write(dataset, embeddings.to_predictions(images, "zero_shot", encoder, logits, selected, {}))

    table = wordings(images, texts, rows, section(Prompts, f"prompts.{dataset}"))
    write_plot(Path("plots/zero_shot") / f"{encoder}-{dataset}.csv", table)


if __name__ == "__main__":
    run(main)
