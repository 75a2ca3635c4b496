"""The index of a data set: data/index/DATASET.parquet, one row an image, and the rules that make it.

Columns: image_id (path below data/raw/DATASET, "/" between folders), path (from the project's root), label (0 .. classes - 1),
class_name, split ("train", "val" or "test"), sha256, width, height (pixels), status ("ok" or why the image cannot be used).
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

SPLITS = ("train", "val", "test")
SCHEMA = pa.schema(
    [
        ("image_id", pa.string()),
        ("path", pa.string()),
        ("label", pa.int32()),
        ("class_name", pa.string()),
        ("split", pa.string()),
        ("sha256", pa.string()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("status", pa.string()),
    ]
)


@dataclass(frozen=True)
class Index:
    """The rows of an index and what was noted when it was made (``split``, ``other_files`` ...)."""

    dataset: str
    rows: pd.DataFrame
    notes: dict[str, Any] = field(default_factory=dict)

    @property
    def usable(self) -> pd.DataFrame:
        """The rows with status "ok", in index order: exactly the rows of the embeddings."""
        return self.rows[self.rows["status"] == "ok"].reset_index(drop=True)

    @property
    def classes(self) -> list[str]:
        """The class names in the order of their labels."""
        return self.rows.drop_duplicates("label").sort_values("label")["class_name"].tolist()

    @property
    def digest(self) -> str:
        """SHA-256 over every row: what predictions name to say which index they were made from."""
        digest = hashlib.sha256()
        for row in self.rows[SCHEMA.names].itertuples(index=False):
            digest.update(json.dumps(row).encode())
        return digest.hexdigest()


def path_of(dataset: str) -> Path:
    """Return where the index of ``dataset`` lies."""
    return Path("data/index") / f"{dataset}.parquet"


def write(index: Index) -> None:
    """Write the index, its notes as JSON in the schema's metadata."""
    path = path_of(index.dataset)
    path.parent.mkdir(parents=True, exist_ok=True)
    table = pa.Table.from_pandas(index.rows, schema=SCHEMA, preserve_index=False)
    pq.write_table(table.replace_schema_metadata({"notes": json.dumps(index.notes)}), path)


def read(dataset: str) -> Index:
    """Read the index of ``dataset``."""
    table = pq.read_table(path_of(dataset))
    return Index(dataset, table.to_pandas(), json.loads(table.schema.metadata[b"notes"]))


def natural_key(name: str) -> list[tuple[int, int | str]]:
    """Return a key that sorts "2" before "10" and ignores case."""
    parts = re.split(r"(\d+)", name.casefold())
    return [(0, int(part)) if part.isdecimal() else (1, part) for part in parts if part]


def class_order(names: Sequence[str]) -> list[str]:
    """Return the distinct class names in natural order; names that differ in case alone keep a fixed order."""
    return sorted(set(names), key=lambda name: (natural_key(name), name))


def stratified(rows: pd.DataFrame, fractions: dict[str, float], rest: str, seed: int) -> pd.Series:
    """Return a split for each row: of every label the given fractions of its images, at least one each, and the ``rest``.

    Within a class the images come in the order of a hash of seed and content, so a new image moves few others, and copies of one
    image stay in one split.

    Args:
        rows: columns label and sha256.
        fractions: share of each class that goes to each split, in (0, 1).
        rest: the split of the images left.
        seed: another seed gives another split.

    Raises:
        ValueError: a class has too few distinct images to give every split one; the argument is its label.
    """
    rank = rows["sha256"].map(lambda digest: hashlib.sha256(f"{seed}:{digest}".encode()).hexdigest())
    split = pd.Series(rest, index=rows.index)
    for label, ranks in rank.groupby(rows["label"]):
        distinct = sorted(set(ranks))
        if len(distinct) <= len(fractions):
            raise ValueError(label)
        taken = 0
        for position, (name, fraction) in enumerate(fractions.items()):
            spare = len(distinct) - taken - (len(fractions) - position)  # one at least for each split to come
            count = max(1, min(round(fraction * len(distinct)), spare))
            split[ranks.index[ranks.isin(distinct[taken : taken + count])]] = name
            taken += count
    return split
