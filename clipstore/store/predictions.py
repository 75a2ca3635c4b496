"""Predictions of one approach on one data set: data/predictions/DATASET/STAGE-NAME.parquet.

Columns: image_id, split, label, and per class logits and probabilities, each FixedSizeList<float32>[classes]. The probabilities are the
softmax of the logits. They are written for other readers; `read` computes them from the logits, because float32 cannot tell very small
probabilities from 0. Rows of val come from a model that never saw val, rows of test and of unlabelled images, whose label is null, from the
final model. The schema's metadata contains the other fields of `Predictions`.
"""

import json
from dataclasses import dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from scipy.special import softmax

from clipstore.core.errors import InputError
from clipstore.core.rows import from_table, label_columns
from clipstore.core.vectors import to_column, to_matrix


@dataclass(frozen=True)
class Predictions:
    """The predictions of one approach for the val and test images; ``test_...`` cover the test images, in the order of the rows.

    Attributes:
        stage: stage of the approach.
        name: of its encoder or net.
        rows: image_id, split ("val", "test" or "unlabelled"), label of n images; the label is `NO_LABEL` where there is none.
        logits: float32 (n, classes), logarithms of the probabilities up to a constant per row; -inf for a class that the approach cannot
            predict, such as one without training images.
        classes: class names in label order.
        failed: number of unusable images in the index, which have no row.
        index: digest of the index.
        contract: digest of the vectors' contract.
        selected: hyperparameters, selected on val.
        not_yet: why the approach could not be fitted, if it has no rows for that reason, "" otherwise.
        notes: additional measures (convergence, results of a train-only model, best on test ...), nested one level.
        curve: of a trained network, loss and accuracies per epoch and split (see `clipstore.training.curve.Point`).
    """

    stage: str
    name: str
    rows: pd.DataFrame
    logits: npt.NDArray[np.float32]
    classes: list[str]
    failed: int
    index: str
    contract: str
    not_yet: str = ""
    selected: dict[str, Any] = field(default_factory=dict)
    notes: dict[str, Any] = field(default_factory=dict)
    curve: list[Any] = field(default_factory=list)

    @property
    def title(self) -> str:
        """The name of the approach in tables and plots: "knn enc"."""
        return f"{self.stage} {self.name}"

    @cached_property
    def probabilities(self) -> npt.NDArray[np.float32]:
        """The softmax of the logits, computed in float64, float32 (n, classes)."""
        probabilities: npt.NDArray[np.float32] = softmax(self.logits.astype(float), axis=1).astype(np.float32)
        return probabilities

    def of(self, split: str) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
        """Return logits float64 (rows, classes) and labels (rows,) of the images in "val", "test" or "unlabelled"."""
        rows = (self.rows["split"] == split).to_numpy()
        return self.logits[rows].astype(float), self.rows["label"].to_numpy()[rows]

    @cached_property
    def test_ids(self) -> list[str]:
        """The image_id of each test image."""
        ids: list[str] = self.rows.loc[self.rows["split"] == "test", "image_id"].tolist()
        return ids

    @cached_property
    def test_logits(self) -> npt.NDArray[np.float64]:
        """The logits of the test images, (n, classes)."""
        return self.of("test")[0]

    @cached_property
    def test_probabilities(self) -> npt.NDArray[np.float64]:
        """The probabilities of the test images, (n, classes)."""
        probabilities: npt.NDArray[np.float64] = softmax(self.test_logits, axis=1)
        return probabilities

    @cached_property
    def test_labels(self) -> npt.NDArray[np.int64]:
        """The labels of the test images, (n,)."""
        return self.of("test")[1]

    @cached_property
    def test_answers(self) -> npt.NDArray[np.intp]:
        """The most probable class of each test image, (n,)."""
        answers: npt.NDArray[np.intp] = self.test_logits.argmax(axis=1)
        return answers


def too_few_labels(labels: npt.NDArray[np.int64]) -> str:
    """Return why no classifier can be fitted to these labels of training images, (n,); "" if one can."""
    known = len(np.unique(labels))
    return "" if known > 1 else f"needs labelled images of at least 2 classes, found {known}"


def path_of(dataset: str, stage: str, name: str) -> Path:
    """Return the path of the predictions of ``stage`` with ``name``."""
    return Path("data/predictions") / dataset / f"{stage}-{name}.parquet"


def write(dataset: str, predictions: Predictions) -> None:
    """Write the predictions.

    Raises:
        InputError: a row has a logit that is NaN or +inf, or none that is finite.
    """
    path = path_of(dataset, predictions.stage, predictions.name)
    wrong = ~np.isfinite(predictions.logits.max(axis=1, initial=-np.inf))  # NaN if the row contains NaN
    if wrong.any():
        problem = "have a logit that is NaN or +inf, or only -inf: expected finite logits, or -inf for a class that cannot be predicted"
        raise InputError(f"{path}: {wrong.sum()} of {len(wrong)} images {problem}")
    facts = {field.name: getattr(predictions, field.name) for field in fields(predictions) if field.name not in ("rows", "logits")}
    columns = {name: pa.array(predictions.rows[name], pa.string()) for name in ("image_id", "split")}
    columns |= label_columns(predictions.rows[["label"]])
    columns |= {"logits": to_column(predictions.logits), "probabilities": to_column(predictions.probabilities)}
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns).replace_schema_metadata({"predictions": json.dumps(facts)}), path)


def read(dataset: str, stage: str, name: str) -> Predictions:
    """Read the predictions of ``stage`` with ``name``.

    Raises:
        InputError: the file has no logits.
    """
    path = path_of(dataset, stage, name)
    table = pq.read_table(path)
    if "logits" not in table.column_names:
        raise InputError(f"{path}: no column logits, which earlier versions did not write: run `dvc repro` again")
    facts = json.loads(table.schema.metadata[b"predictions"])
    rows = from_table(table.select(["image_id", "split", "label"]))
    return Predictions(rows=rows, logits=to_matrix(table["logits"]), **facts)
