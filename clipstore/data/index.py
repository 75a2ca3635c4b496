"""The index of a data set: data/index/DATASET.parquet, one row per image, and the order of its classes.

Columns: image_id (path relative to data/raw/DATASET, with "/"), path (relative to the project's root), label (0 .. classes - 1, null for
an image without a class), class_name (null likewise), split ("train", "val", "test" or "unlabelled"), purpose (see `PURPOSES`), sha256,
width, height (pixels), status ("ok" or why the image cannot be used). Images without a class come last; see `clipstore.core.rows`.
"""

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from clipstore.core import rows
from clipstore.core.params import Exif

SPLITS = ("train", "val", "test")
# What a label from data/labels serves: "" without one; "train"; "test" if the image was drawn at random; "drawn" as long as such an
# image has no label yet. An image without a class whose purpose is train or test shows none of the classes.
PURPOSES = ("", "train", "test", "drawn")
SCHEMA = pa.schema(
    [
        ("image_id", pa.string()),
        ("path", pa.string()),
        ("label", pa.int32()),
        ("class_name", pa.string()),
        ("split", pa.string()),
        ("purpose", pa.string()),
        ("sha256", pa.string()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("status", pa.string()),
    ]
)


@dataclass(frozen=True)
class Index:
    """The rows of an index, and notes: ``classes`` (names in the order of their labels) and the origin (``split``, ``other_files`` ...)."""

    dataset: str
    rows: pd.DataFrame
    notes: dict[str, Any] = field(default_factory=dict)

    @property
    def usable(self) -> pd.DataFrame:
        """The rows with status "ok" in the order of the index; embeddings have exactly these rows."""
        return self.rows[self.rows["status"] == "ok"].reset_index(drop=True)

    @property
    def classes(self) -> list[str]:
        """The class names in the order of their labels."""
        classes: list[str] = self.notes["classes"]
        return classes

    @property
    def exif(self) -> Exif:
        """Whether the EXIF orientation of these images is applied when they are decoded."""
        return "apply" if self.notes.get("exif") == "apply" else "ignore"

    @property
    def digest(self) -> str:
        """SHA-256 over all rows; predictions store it to identify the index they were computed from."""
        digest = hashlib.sha256(json.dumps(self.classes).encode())
        for row in self.rows[SCHEMA.names].itertuples(index=False):
            digest.update(json.dumps(row).encode())
        if self.exif == "apply":
            digest.update(b"exif")
        return digest.hexdigest()


def path_of(dataset: str) -> Path:
    """Return the path of the index of ``dataset``."""
    return Path("data/index") / f"{dataset}.parquet"


def write(index: Index) -> None:
    """Write the index, with its notes as JSON in the schema's metadata."""
    path = path_of(index.dataset)
    path.parent.mkdir(parents=True, exist_ok=True)
    columns = {name: pa.array(index.rows[name]) for name in SCHEMA.names} | rows.label_columns(index.rows)
    table = pa.table([columns[name].cast(SCHEMA.field(name).type) for name in SCHEMA.names], schema=SCHEMA)
    pq.write_table(table.replace_schema_metadata({"notes": json.dumps(index.notes)}), path)


def read(dataset: str) -> Index:
    """Read the index of ``dataset``."""
    table = pq.read_table(path_of(dataset))
    return Index(dataset, rows.from_table(table), json.loads(table.schema.metadata[b"notes"]))


def natural_key(name: str) -> list[tuple[int, int | str]]:
    """Return a sort key that puts "2" before "10" and ignores case."""
    parts = re.split(r"(\d+)", name.casefold())
    return [(0, int(part)) if part.isdecimal() else (1, part) for part in parts if part]


def class_order(names: Sequence[str]) -> list[str]:
    """Return the distinct class names in natural order; names that differ only in case have a fixed order."""
    return sorted(set(names), key=lambda name: (natural_key(name), name))
