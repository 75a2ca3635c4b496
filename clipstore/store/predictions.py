"""Predictions of one approach on one data set: data/predictions/DATASET/STAGE-NAME.parquet.

Columns: image_id, split, label, probabilities FixedSizeList<float32>[classes]. Rows of val come from a model that never saw val, rows of
test from the final one. The schema's metadata says what made them (see `Predictions`).
"""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from clipstore.core.vectors import to_column, to_matrix
from clipstore.store.embeddings import Images


@dataclass(frozen=True)
class Predictions:
    """What one approach says of the val and test images.

    Attributes:
        stage: the approach.
        name: of the encoder or net.
        rows: image_id, split, label of n images.
        probabilities: float32 (n, classes), rows that sum to 1.
        classes: names in label order.
        failed: unusable images of the index, which no row stands for.
        index: digest of the index.
        contract: digest of the vectors' contract.
        selected: hyperparameters, selected on val.
        notes: measures beside the headline (convergence, the figures of a train-only model, best on test ...), nested one level.
        curve: of a network that was trained: loss and accuracies of each epoch and split (see `clipstore.training.loop.Point`).
    """

    stage: str
    name: str
    rows: pd.DataFrame
    probabilities: npt.NDArray[np.float32]
    classes: list[str]
    failed: int
    index: str
    contract: str
    selected: dict[str, Any] = field(default_factory=dict)
    notes: dict[str, Any] = field(default_factory=dict)
    curve: list[Any] = field(default_factory=list)


def of_embeddings(
    stage: str,
    encoder: str,
    images: Images,
    probabilities: dict[str, npt.NDArray[np.float32]],
    selected: dict[str, Any],
    notes: dict[str, Any],
) -> Predictions:
    """Return predictions made from embeddings; ``probabilities`` has those of "val" and of "test", float32 (rows of the split, classes)."""
    rows = pd.concat([images.rows.iloc[images.of(split)] for split in probabilities], ignore_index=True)
    stacked = np.concatenate(list(probabilities.values())).astype(np.float32)
    facts = images.provenance
    return Predictions(
        stage, encoder, rows, stacked, facts["classes"], facts["failed"], facts["index"], facts["contract"], selected=selected, notes=notes
    )


def path_of(dataset: str, stage: str, name: str) -> Path:
    """Return where the predictions of ``stage`` with ``name`` lie."""
    return Path("data/predictions") / dataset / f"{stage}-{name}.parquet"


def write(dataset: str, made: Predictions) -> None:
    """Write the predictions; the probabilities must be finite and each row's sum 1."""
    assert np.allclose(made.probabilities.sum(axis=1), 1, atol=1e-3)
    facts = {key: getattr(made, key) for key in ("stage", "name", "classes", "failed", "index", "contract", "selected", "notes", "curve")}
    columns = {name: pa.array(made.rows[name]) for name in ("image_id", "split", "label")}
    columns["probabilities"] = to_column(made.probabilities)
    path = path_of(dataset, made.stage, made.name)
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns).replace_schema_metadata({"predictions": json.dumps(facts)}), path)


def read(dataset: str, stage: str, name: str) -> Predictions:
    """Read the predictions of ``stage`` with ``name``."""
    table = pq.read_table(path_of(dataset, stage, name))
    facts = json.loads(table.schema.metadata[b"predictions"])
    rows = table.drop_columns("probabilities").to_pandas()
    return Predictions(rows=rows, probabilities=to_matrix(table["probabilities"]), **facts)
