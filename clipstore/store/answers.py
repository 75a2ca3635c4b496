"""The answers for the images of a data set that have no class: data/answers/DATASET.csv and DATASET.parquet.

Columns: path (relative to the project's root), class, confidence (the probability of the class), margin (how much less the runner-up has),
runner_up (null if the approach can give no other class), approach (title of the answering approach), calibrated (whether a temperature was
fitted on val), and for every approach its own answer in a column of its title, null if it has none yet. Rows are sorted by class, then the
surest first. Both files have the same rows; the schema's metadata in the Parquet file has the other fields of `Answers`.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from clipstore.core import atomic
from clipstore.core.errors import InputError

COLUMNS = {
    "path": pa.string(),
    "class": pa.string(),
    "confidence": pa.float64(),
    "margin": pa.float64(),
    "runner_up": pa.string(),
    "approach": pa.string(),
    "calibrated": pa.bool_(),
}


@dataclass(frozen=True)
class Notes:
    """Where answers come from.

    Attributes:
        index: digest of the index.
        approach: title of the answering approach; "" without one.
        why: why that approach, as a clause; "" without one.
        calibrated: whether the confidences are.
        not_yet: why there are no rows, although an approach may be able to answer; "" if there are.
    """

    index: str
    approach: str = ""
    why: str = ""
    calibrated: bool = False
    not_yet: str = ""


@dataclass(frozen=True)
class Answers:
    """The rows of the files, and their notes."""

    rows: pd.DataFrame
    notes: Notes


def path_of(dataset: str) -> Path:
    """Return the path of the Parquet file; the CSV file is beside it."""
    return Path("data/answers") / f"{dataset}.parquet"


def write(dataset: str, answers: Answers) -> None:
    """Write both files; columns of ``answers.rows`` beyond `COLUMNS` are those of the approaches."""
    path = path_of(dataset)
    path.parent.mkdir(parents=True, exist_ok=True)
    fields = [(str(name), COLUMNS.get(str(name), pa.string())) for name in answers.rows]
    table = pa.table({name: pa.array(answers.rows[name], kind, from_pandas=True) for name, kind in fields})
    pq.write_table(table.replace_schema_metadata({"notes": json.dumps(asdict(answers.notes))}), path)
    text = answers.rows.to_csv(index=False, lineterminator="\n")
    atomic.write(path.with_suffix(".csv"), lambda temporary: temporary.write_bytes(text.encode()))


def read(dataset: str, digest: str) -> Answers:
    """Read the answers.

    Raises:
        InputError: there are none, or they are computed from an index whose digest is not ``digest``.
    """
    path = path_of(dataset)
    if not path.exists():
        raise InputError(f"{path}: no such file; `dvc repro` creates it")
    table = pq.read_table(path)
    notes = Notes(**json.loads(table.schema.metadata[b"notes"]))
    if notes.index != digest:
        raise InputError(f"{path}: computed from another index (digest {notes.index[:12]}, expected {digest[:12]}): run `dvc repro` again")
    rows: pd.DataFrame = table.to_pandas()
    return Answers(rows, notes)
