"""The learning curve of a network: its points, and which epoch is its best."""

from typing import TypedDict

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F

from clipstore.measure import metrics
from clipstore.measure.selection import best


class Point(TypedDict):
    """One point of a curve. Accuracies are fractions; those of "train" are measured on augmented images during the epoch."""

    epoch: int
    split: str
    loss: float
    accuracy: float
    mean_per_class: float


def evaluate(outputs: npt.NDArray[np.float32], labels: npt.NDArray[np.int64], epoch: int, split: str) -> Point:
    """Return the loss (cross-entropy) and the accuracies of logits, float32 (n, classes)."""
    loss = F.cross_entropy(torch.from_numpy(outputs), torch.from_numpy(labels)).item()
    accuracies = metrics.accuracies(outputs.argmax(axis=1), labels)
    return {"epoch": epoch, "split": split, "loss": loss, "accuracy": accuracies["top1"], "mean_per_class": accuracies["mean_per_class"]}


def best_so_far(curve: list[Point]) -> bool:
    """Return whether the last epoch of a curve is its best on val, by mean per class and then loss; without val, every epoch is."""
    val = [point for point in curve if point["split"] == "val"]
    return not val or best([point["mean_per_class"] for point in val], [point["loss"] for point in val]) == len(val) - 1
