"""The labels that people give to images of a data set: data/labels/DATASET.csv, which git keeps and no stage writes.

Columns: sha256 (of the image), class_name, purpose, source (who or what gave the label), round (from 1). The purpose is "test" if the image
was drawn at random by `clipstore label sample`, else "train": accuracy is stated on labels of the first kind only. An image that was drawn
and has no label yet has an empty class_name. The name `NONE` stands for an image that shows none of the classes.
"""

import re
from pathlib import Path

import pandas as pd

from clipstore.core import atomic
from clipstore.core.datasets import NONE
from clipstore.core.errors import InputError
from clipstore.data import records

__all__ = ["COLUMNS", "NONE", "path_of", "read", "write"]

COLUMNS = ("sha256", "class_name", "purpose", "source", "round")


def path_of(dataset: str) -> Path:
    """Return the path of the labels of ``dataset``."""
    return Path("data/labels") / f"{dataset}.csv"


def read(path: Path) -> pd.DataFrame:
    """Return the labels in ``path``: the columns of the file, round int64, all others text.

    Raises:
        InputError: the file is missing or no such table, a value is wrong, or two rows are about the same image.
    """
    try:
        header, lines = records.read(path)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; expected labels, or the header {','.join(COLUMNS)} alone") from None
    if header != list(COLUMNS):
        raise InputError(f"{path}: line 1: the columns are {', '.join(header) or 'missing'}; expected {', '.join(COLUMNS)}")
    line_of: dict[str, int] = {}
    for line, record in lines:
        problem = _problem(record)
        if problem:
            raise InputError(f"{path}: line {line}: {problem}")
        if record[0] in line_of:
            raise InputError(f"{path}: line {line}: the image of line {line_of[record[0]]} again; expected one label per image")
        line_of[record[0]] = line
    rows = pd.DataFrame([record for _, record in lines], columns=list(COLUMNS), dtype=object)
    return rows.assign(round=rows["round"].astype("int64"))


def _problem(record: list[str]) -> str | None:
    sha256, class_name, purpose, _, number = record
    if not re.fullmatch("[0-9a-f]{64}", sha256):
        return f"sha256 = {sha256!r}: expected 64 digits of 0-9 and a-f"
    if purpose not in ("train", "test"):
        return f"purpose = {purpose!r}: expected train, or test for images drawn at random"
    if not class_name.strip() and purpose == "train":
        return "no class_name; only an image drawn at random may wait for its label"
    if not re.fullmatch("[1-9][0-9]{0,8}", number):
        return f"round = {number!r}: expected a whole number from 1"
    return None


def write(path: Path, rows: pd.DataFrame) -> None:
    """Write labels, the columns of the file, atomically."""
    text = rows[list(COLUMNS)].to_csv(index=False, lineterminator="\n")
    atomic.write(path, lambda temporary: temporary.write_bytes(text.encode()))


def create(dataset: str) -> bool:
    """Write the file of ``dataset`` with the header alone unless there is one; return whether there was none."""
    path = path_of(dataset)
    missing = not path.exists()
    if missing:
        write(path, pd.DataFrame(columns=list(COLUMNS)))
    return missing


def next_round(rows: pd.DataFrame) -> int:
    """Return the number of the round that follows the last one in ``rows``; the first is 1."""
    return 1 if rows.empty else int(rows["round"].max()) + 1
