"""The embeddings of a data set in data/embeddings/ENCODER-DATASET, written by embed_images and embed_texts and read by every evaluation.

images.parquet contains exactly the usable rows of the index, in the same order: image_id, label, class_name (both null for an image without
a class, in memory `NO_LABEL` and ""), split, sha256, ``embedding``
(unit length), ``norm`` (its original length) and, if the encoder has them, ``features`` (before the projection, not normalised).
images.npy is the same embedding as float32 (images, d). texts.parquet and texts.npy contain one row per prompt and class: class_name,
label, prompt, text, and the unit embedding. Vectors are FixedSizeList<float32>; only images.parquet can be configured to store float16.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from clipstore.core.rows import from_table, label_columns
from clipstore.core.vectors import to_column, to_matrix, unit
from clipstore.store.predictions import Predictions
from clipstore.store.row_cache import PART_ROWS, RowCache

Matrix = npt.NDArray[np.float32]
Batches = Iterator[tuple[Sequence[int], Mapping[str, Matrix]]]


@dataclass(frozen=True)
class Images:
    """Image embeddings of one encoder and data set.

    Attributes:
        rows: image_id, label, class_name, split, sha256 of n images.
        embedding: float32 (n, d), unit rows, memory-mapped.
        norm: float32 (n,), the length of each embedding before normalisation.
        features: float32 (n, f) as the encoder returns them, or None.
        provenance: classes, failed (number of unusable images in the index), index and contract (digests).
    """

    rows: pd.DataFrame
    embedding: Matrix
    norm: Matrix
    features: Matrix | None
    provenance: dict[str, Any]

    def of(self, *splits: str) -> npt.NDArray[np.intp]:
        """Return the positions of the rows in ``splits``."""
        return np.flatnonzero(self.rows["split"].isin(splits))

    @property
    def labels(self) -> npt.NDArray[np.int64]:
        """The labels, int64 (n,); `NO_LABEL` where there is none."""
        return self.rows["label"].to_numpy(np.int64)


def to_predictions(
    images: Images,
    stage: str,
    encoder: str,
    logits: dict[str, Matrix],
    selected: dict[str, Any],
    notes: dict[str, Any],
) -> Predictions:
    """Return the predictions of one approach on these images.

    Args:
        images: of a data set.
        stage: the approach.
        encoder: name of the images' encoder.
        logits: of "val", "test" and "unlabelled", float32 (rows of the split, classes), which may have no rows; see `Predictions`.
        selected: hyperparameters, selected on val.
        notes: see `Predictions`.
    """
    rows = pd.concat([images.rows.iloc[images.of(split)] for split in logits], ignore_index=True)
    stacked = np.concatenate(list(logits.values())).astype(np.float32)
    facts = images.provenance
    return Predictions(
        stage, encoder, rows, stacked, facts["classes"], facts["failed"], facts["index"], facts["contract"], selected=selected, notes=notes
    )


def not_yet(images: Images, stage: str, encoder: str, reason: str) -> Predictions:
    """Return predictions without rows: the approach could not be fitted on these images, for the reason given."""
    facts = images.provenance
    rows, logits = images.rows.iloc[:0], np.empty((0, len(facts["classes"])), np.float32)
    return Predictions(stage, encoder, rows, logits, facts["classes"], facts["failed"], facts["index"], facts["contract"], reason)


def folder(encoder: str, dataset: str) -> Path:
    """Return the folder of the embeddings of ``dataset`` by ``encoder``."""
    return Path("data/embeddings") / f"{encoder}-{dataset}"


def compute(keys: Sequence[bytes], contract: dict[str, Any], batches: Callable[[list[int]], Batches]) -> tuple[dict[str, Matrix], int]:
    """Return the vectors of all keys; rows missing from the row cache are computed and added to it as they become available.

    Args:
        keys: SHA-256 of the content that each row is computed from; rows with the same key are computed once.
        contract: describes how the vectors are computed; see `RowCache`.
        batches: given the positions of the rows to compute, yields positions and their vectors batch by batch. It is not called if
            nothing is missing.

    Returns:
        For each kind of vector, float32 (len(keys), width); and the number of distinct rows that were computed.
    """
    cache = RowCache(contract)
    vectors, cached = cache.read(keys)
    first = {key: position for position, key in reversed(list(enumerate(keys)))}
    missing = [position for position in sorted(first.values()) if not cached[position]]
    if missing:
        with cache.writing() as add:
            for positions, computed in batches(missing):
                for name, values in vectors.items():
                    values[positions] = computed[name]
                add([keys[position] for position in positions], computed)
        copies = [position for position in np.flatnonzero(~cached).tolist() if first[keys[position]] != position]
        for values in vectors.values():
            values[copies] = values[[first[keys[position]] for position in copies]]
    return vectors, len(missing)


def batched(positions: Sequence[int], batch: int) -> Iterator[list[int]]:
    """Yield the positions in lists of length ``batch``; the last list may be shorter."""
    for start in range(0, len(positions), batch):
        yield list(positions[start : start + batch])


def write_images(target: Path, rows: pd.DataFrame, vectors: dict[str, Matrix], provenance: dict[str, Any], dtype: str) -> None:
    """Write images.parquet (vectors as ``dtype``, "float32" or "float16") and images.npy.

    Args:
        target: the folder.
        rows: the usable rows of the index.
        vectors: "embedding" (n, d) and optionally "features" (n, f), float32, not normalised.
        provenance: see `Images`; stored in the schema's metadata.
        dtype: of the vectors in images.parquet.
    """
    embedding, norm = unit(vectors["embedding"])
    columns = {name: pa.array(rows[name]) for name in ("image_id", "split", "sha256")}
    columns |= label_columns(rows)
    columns |= {name: to_column(values.astype(dtype, copy=False)) for name, values in (vectors | {"embedding": embedding}).items()}
    columns["norm"] = pa.array(norm)
    _write(target / "images", pa.table(columns), embedding, provenance)


def write_texts(target: Path, rows: pd.DataFrame, vectors: Matrix, provenance: dict[str, Any]) -> None:
    """Write texts.parquet and texts.npy: ``rows`` (class_name, label, prompt, text) and their float32 (n, d) vectors as unit rows."""
    embedding, _ = unit(vectors)
    columns = {name: pa.array(rows[name]) for name in rows} | {"embedding": to_column(embedding)}
    _write(target / "texts", pa.table(columns), embedding, provenance)


def read_images(encoder: str, dataset: str, features: bool = False) -> Images:
    """Read the image embeddings, and ``features`` only if requested, since most evaluations do not need them."""
    path = folder(encoder, dataset) / "images.parquet"
    with pq.ParquetFile(path) as file:
        names = set(file.schema_arrow.names)
        columns = [
            "image_id",
            "label",
            "class_name",
            "split",
            "sha256",
            "norm",
            *(["features"] if features and "features" in names else []),
        ]
        table = file.read(columns)
    matrix = None
    if "features" in table.column_names:
        matrix = to_matrix(table["features"])
        table = table.drop_columns("features")
    provenance = json.loads(table.schema.metadata[b"provenance"])
    rows = from_table(table.drop_columns("norm"))
    return Images(rows, np.load(path.with_suffix(".npy"), mmap_mode="r"), table["norm"].to_numpy(), matrix, provenance)


def read_texts(encoder: str, dataset: str) -> tuple[pd.DataFrame, Matrix, dict[str, Any]]:
    """Return the texts' rows (class_name, label, prompt, text), their unit embeddings float32 (n, d), and their contract."""
    path = folder(encoder, dataset) / "texts.parquet"
    rows = pq.read_table(path, columns=["class_name", "label", "prompt", "text"]).to_pandas()
    return rows, np.load(path.with_suffix(".npy")), json.loads((path.parent / "texts_contract.json").read_text())


def text_warnings(encoder: str, dataset: str) -> list[str]:
    """Return what embed_texts warned of: texts that are cut, and classes with the same tokens."""
    metadata = pq.read_schema(folder(encoder, dataset) / "texts.parquet").metadata
    lines: list[str] = json.loads(metadata[b"provenance"])["warnings"]
    return lines


def _write(stem: Path, table: pa.Table, embedding: Matrix, provenance: dict[str, Any]) -> None:
    stem.parent.mkdir(parents=True, exist_ok=True)
    np.save(stem.with_suffix(".npy"), embedding)
    described = table.replace_schema_metadata({"provenance": json.dumps(provenance)})
    pq.write_table(described, stem.with_suffix(".parquet"), use_dictionary=["class_name", "split"], row_group_size=PART_ROWS)
