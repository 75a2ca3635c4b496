"""Fetch WikiText-2 from the Hugging Face hub and write it as its authors originally published it."""

import hashlib
from pathlib import Path

import pyarrow.parquet as pq
from pyarrow import ArrowException

from clipstore.core.datasets import WikiText
from clipstore.core.errors import InputError
from clipstore.data import hub

HUB_SPLITS = {"train": "train", "val": "validation", "test": "test"}  # names on the hub


def write(entry: WikiText, root: Path) -> int:
    """Write the three splits below ``root``; return the number of lines.

    The hub's tables have one row per line; a row for the line " " between paragraphs is empty.

    Raises:
        InputError: a file cannot be fetched, or its text differs from the published one.
    """
    version = entry.versions[entry.version]
    count = 0
    for split, hub_split in HUB_SPLITS.items():
        file = f"{version.folder}/{hub_split}-00000-of-00001.parquet"
        path = hub.file(entry.repository, [file], "dataset", entry.revision)
        try:
            lines = pq.read_table(path, columns=["text"])["text"].to_pylist()
        except (ArrowException, OSError) as error:
            raise InputError(f"{path}: expected a Parquet file with a column text: {str(error).splitlines()[0]}") from None
        text = "".join(line or " \n" for line in lines).encode()
        digest, expected = hashlib.sha256(text).hexdigest(), getattr(version, split)
        if digest != expected:
            raise InputError(f"{path}: the SHA-256 of its text is {digest}, expected {expected}: it is not the published WikiText-2")
        (root / f"{split}.txt").write_bytes(text)
        count += len(lines)
    return count
