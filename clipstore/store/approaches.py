"""The table of approaches: the stage that runs each, the axis that names its encoders or nets, and its title for readers.

`score`, the report, verify, plan and the tests' fixtures iterate over it. A new approach needs a stage and a row here (docs/adding.md).
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from clipstore.core.errors import InputError
from clipstore.core.schema import Axes
from clipstore.store import predictions
from clipstore.store.predictions import Predictions

ENSEMBLE = "ensemble"  # marks the rows of all prompts together in plots/zero_shot


@dataclass(frozen=True)
class Approach:
    """One way to classify images.

    Attributes:
        stage: name of its stage, section of params.yaml, and first part of its predictions' file names.
        axis: the axis of params.yaml that lists its encoders or nets.
        title: its name in sentences and tables.
        trains: what it fits on images or vectors; for a "network", the report shows training curves and the printed network.
        sweep: caption of plots/STAGE/NAME-DATASET.csv, mean_per_class over a hyperparameter; None if there is no such plot.
    """

    stage: str
    axis: Literal["zero_shot", "encoders", "finetune", "scratch"]
    title: str
    trains: Literal["nothing", "classifier", "network"]
    sweep: str | None = None


APPROACHES = (
    Approach("zero_shot", "zero_shot", "zero-shot", "nothing"),
    Approach(
        "linear_probe",
        "encoders",
        "linear probe",
        "classifier",
        "the larger C, the weaker the penalty.",
    ),
    Approach(
        "knn",
        "encoders",
        "kNN",
        "classifier",
        "selected where val (dashed) is highest; test (solid) is shown for comparison only.",
    ),
    Approach("finetune", "finetune", "fine-tuning", "network"),
    Approach("scratch", "scratch", "training from scratch", "network"),
)


def cells(axes: Axes) -> list[tuple[str, str]]:
    """Return (stage, name) for every approach and every name on its axis, in the table's order."""
    return [(approach.stage, name) for approach in APPROACHES for name in getattr(axes, approach.axis)]


def readable(title: str) -> str:
    """Return the readable form of a title of predictions: "kNN (enc)" for "knn enc", "kNN" for "knn"."""
    stage, _, name = title.partition(" ")
    approach_title = {approach.stage: approach.title for approach in APPROACHES}.get(stage, stage)
    return f"{approach_title} ({name})" if name else approach_title


def calibration_images(approach: Predictions, trained: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """Return logits (n, classes) and labels (n,) of the val images on which the temperature is fitted.

    Images of a class without training images do not count: the model on val never saw the class, whereas the final model, trained on
    train + val, did. An approach that trains nothing knows every class.

    Args:
        approach: the approach's predictions.
        trained: labels of the training images.
    """
    logits, labels = approach.of("val")
    trains = {row.stage for row in APPROACHES if row.trains != "nothing"}
    known = np.isin(labels, trained) | (approach.stage not in trains)
    return logits[known], labels[known]


def read_all(dataset: str, pairs: list[tuple[str, str]], digest: str) -> list[Predictions]:
    """Read the predictions of each (stage, name) pair.

    Raises:
        InputError: a file is missing, its index does not have the digest ``digest``, or its test images differ from those of the first
            approach that could be fitted.
    """
    all_predictions: list[Predictions] = []
    for stage, name in pairs:
        path = predictions.path_of(dataset, stage, name)
        if not path.exists():
            raise InputError(f"{path}: no such file; `dvc repro` creates it")
        loaded = predictions.read(dataset, stage, name)
        if loaded.index != digest:
            raise InputError(
                f"{path}: computed from another index (digest {loaded.index[:12]}, expected {digest[:12]}): run `dvc repro` again"
            )
        all_predictions.append(loaded)
        fitted = [each for each in all_predictions if not each.not_yet]
        if fitted and not loaded.not_yet and loaded.test_ids != (first := fitted[0].test_ids):
            other = predictions.path_of(dataset, fitted[0].stage, fitted[0].name)
            raise InputError(
                f"{path}: {len(loaded.test_ids)} test images, expected the {len(first)} of {other} in the same order: run `dvc repro` again"
            )
    return all_predictions
