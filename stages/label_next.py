"""List the images to label next: `dvc repro -s label_next@ENCODER-DATASET`.

Reads the index, the embeddings and the predictions of the approaches that use them. Writes data/label_next/ENCODER-DATASET.csv (rank, path,
sha256, guess, confidence, reason), the same images as a numbered contact sheet (.html and .png), and Label Studio's tasks (.json) and
labelling configuration (.xml). Images that were drawn to measure the accuracy are never listed.
"""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
from pydantic import Field

from clipstore.core.params import Names, Section, section
from clipstore.core.rows import NO_LABEL, UNLABELLED
from clipstore.core.stage import run
from clipstore.data import index
from clipstore.labelling import label_studio, sheets
from clipstore.labelling.sheets import Entry
from clipstore.labelling.strategies import Strategy, choose, unseen
from clipstore.measure.metrics import mean_per_class
from clipstore.measure.selection import best
from clipstore.report.gallery import Thumbnails
from clipstore.store import embeddings
from clipstore.store.approaches import read_all, readable
from clipstore.store.predictions import Predictions

COLUMNS = ["rank", "path", "sha256", "guess", "confidence", "reason"]
REASONS = {
    "random": "drawn at random",
    "typiclust": "typical of images without a label",
    "probcover": "like many images without a label",
    "maxherding": "like many images without a label",
}


class LabelNext(Section):
    """How many images to label next, and how they are chosen."""

    count: int = Field(ge=1, description="Number of images to label next.")
    strategy: Strategy = Field(
        description="How images are chosen. auto: typiclust as long as a class has no label, then margin. typiclust: typical of the "
        "largest clusters without a label. probcover, maxherding: those that cover most others. margin: those between two classes."
    )
    candidates: int = Field(ge=1, description="Largest number of images that probcover and maxherding consider, drawn with the seed.")
    seed: int = Field(ge=0, description="Seed of clusters, draws and ties.")
    thumbnail_size: int = Field(ge=16, le=1024, description="Pixels of the longer side of images on the contact sheet.")


class Pool(NamedTuple):
    """The usable images that may be labelled next, and those that already count as covered.

    Attributes:
        positions: in the usable rows of the index; the images that have a label come first.
        labels: int64 (positions,); `NO_LABEL` for the candidates, the number of classes for an image that shows none of them.
    """

    positions: npt.NDArray[np.intp]
    labels: npt.NDArray[np.int64]


def pool(rows: pd.DataFrame, classes: int) -> Pool:
    """Return the candidates, each picture once, and the labelled images; images for measuring the accuracy are in neither.

    Args:
        rows: the usable rows of the index.
        classes: number of classes.
    """
    waiting = (rows["split"] == UNLABELLED) & (rows["purpose"] == "")
    candidates = rows[waiting & ~rows["sha256"].isin(rows["sha256"][~waiting])].drop_duplicates("sha256")
    others = (rows["split"] == UNLABELLED) & (rows["purpose"] == "train")
    labelled = rows[rows["split"].isin(["train", "val"]) | others]
    labels = labelled["label"].where(~others[labelled.index], classes).to_numpy(np.int64)
    positions = np.concatenate([labelled.index.to_numpy(np.intp), candidates.index.to_numpy(np.intp)])
    return Pool(positions, np.concatenate([labels, np.full(len(candidates), NO_LABEL)]))


def adviser(approaches: list[Predictions], missing: int) -> Predictions | None:
    """Return the approach whose answers are shown as guesses, None if none has answers for unlabelled images.

    The best on val, if all have been measured there. Without val, zero-shot as long as classes without a label are ``missing``, which the
    others cannot predict; then the first, in the order given.
    """
    fitted = [approach for approach in approaches if (approach.rows["split"] == UNLABELLED).any()]
    if not fitted:
        return None
    measured = [approach.of("val") for approach in fitted]
    if all(len(labels) for _, labels in measured):
        return fitted[best([mean_per_class(logits.argmax(axis=1), labels) for logits, labels in measured])]
    return next((approach for approach in fitted if missing and approach.stage == "zero_shot"), fitted[0])


def probabilities(approach: Predictions, image_ids: pd.Series) -> npt.NDArray[np.float32]:
    """Return an approach's probabilities for unlabelled images, float32 (images, classes)."""
    rows = pd.Index(approach.rows["image_id"]).get_indexer(image_ids)
    shares: npt.NDArray[np.float32] = approach.probabilities[rows]
    return shares


def undecided(shares: npt.NDArray[np.float32], classes: list[str]) -> str:
    """Return the two most probable classes of an image, whose probabilities are (classes,)."""
    first, second = np.argsort(-shares, kind="stable")[:2]
    return f"undecided: {classes[first]} {100 * shares[first]:.0f} %, {classes[second]} {100 * shares[second]:.0f} %"


def main(encoder: str, dataset: str) -> dict[str, Any]:
    """Write the list, the sheet and the tasks of one cell."""
    settings = section(LabelNext, "label_next")
    of_texts = ["zero_shot"] if encoder in section(Names, "axes.zero_shot") else []
    images_index = index.read(dataset)
    rows, classes, cell = images_index.usable, images_index.classes, f"{encoder}-{dataset}"
    approaches = read_all(dataset, [(stage, encoder) for stage in ("linear_probe", *of_texts, "knn")], images_index.digest)
    positions, labels = pool(rows, len(classes))
    candidates, missing = np.flatnonzero(labels == NO_LABEL), unseen(labels, len(classes))
    waiting = rows.iloc[positions[candidates]]
    guesses = adviser(approaches, missing)
    # the probe knows what the labels have taught; zero-shot may stay unsure of a class for ever
    unsure = next((approach for approach in approaches if (approach.rows["split"] == UNLABELLED).any()), None)

    title, entries = f"{dataset}: images to label next", []
    text = f"{dataset} has no image without a label: there is nothing to label next."
    if len(candidates):
        vectors = embeddings.read_images(encoder, dataset).embedding[positions]
        shares = None if unsure is None else probabilities(unsure, waiting["image_id"])
        chosen, strategy = choose(
            settings.strategy, vectors, labels, candidates, shares, settings.count, len(classes), settings.candidates, settings.seed
        )
        rank = chosen - candidates[0]
        guessed = None if guesses is None else probabilities(guesses, waiting["image_id"])
        for at in rank:
            row = waiting.iloc[at]
            reason = undecided(shares[at], classes) if strategy == "margin" and shares is not None else REASONS[strategy]
            guess, confidence = ("", None) if guessed is None else (classes[guessed[at].argmax()], float(guessed[at].max()))
            entries.append(Entry(row["image_id"], row["path"], row["sha256"], guess, confidence, reason))
        few = f"all {len(candidates)}" if len(candidates) <= settings.count else f"{len(entries)} of {len(candidates)}"
        why = f"{missing} of {len(classes)} classes have no label yet" if missing else "every class has a label"
        text = f"{few} images without a label, the most useful first, chosen by {strategy}; {why}. "
        text += f"The guesses are those of {readable(guesses.title)} and may be wrong. " if guesses else "No approach can guess yet. "
        text += f"Write down the class of each image, or “none of these”, and run: clipstore label import FILE {dataset}"
        print(f"label_next {cell}: {few} images without a label, chosen by {strategy}; {why}")
        if len(candidates) < settings.count:
            print(f"label_next {cell}: label_next.count = {settings.count}, but only {len(candidates)} images have no label")
        if settings.strategy == "margin" != strategy:
            print(f"label_next {cell}: label_next.strategy = margin needs an approach with answers and 2 classes: {strategy} was used")
    else:
        print(f"label_next {cell}: no image without a label")
    stem = Path("data/label_next") / cell
    sheets.write(stem, title, text, entries, Thumbnails(images_index, settings.thumbnail_size))
    lines = [(number, e.path, e.sha256, e.guess, e.confidence, e.reason) for number, e in enumerate(entries, 1)]
    pd.DataFrame(lines, columns=COLUMNS).to_csv(stem.with_name(f"{cell}.csv"), index=False, float_format="%.4f")
    stem.with_name(f"{cell}.json").write_text(label_studio.dumps(entries, guesses.title if guesses else ""))
    stem.with_name(f"{cell}.xml").write_text(label_studio.config(classes))
    return {"candidates": len(candidates), "chosen": len(entries)}


if __name__ == "__main__":
    run(main)
