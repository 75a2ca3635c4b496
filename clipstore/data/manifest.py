"""Manifests: tables that list a data set's images, manifest.csv or manifest.parquet."""

import csv
import io
import unicodedata
from pathlib import Path, PurePosixPath
from typing import Any

import pandas as pd

from clipstore.core.errors import InputError
from clipstore.core.rows import UNLABELLED
from clipstore.data.tree import CONTROL

NAMES = ("manifest.csv", "manifest.parquet")
COLUMNS = ("path", "class_name", "split", "label", "group")  # the last three are optional


def find(root: Path) -> Path | None:
    """Return the manifest in ``root``, if there is one."""
    return next((path for name in NAMES if (path := root / name).exists()), None)


def read(manifest: Path) -> pd.DataFrame:
    """Return the manifest's rows: image_id, class_name, and split, label and group if the manifest has them; all values are strings.

    A row without class_name is an image without a class: it has no label, and no split.

    Raises:
        InputError: the file is not a table, has no rows, lacks a column or a value, has a row with another number of fields than the
            header, or lists a path twice or outside its folder.
    """
    root = manifest.parent
    table = _read_csv(manifest) if manifest.suffix == ".csv" else _read_parquet(manifest)
    rows = table[[name for name in COLUMNS if name in table]]
    if rows.empty:
        raise InputError(f"{manifest}: no rows")
    classless = rows["class_name"].str.strip() == ""
    for name in rows:
        empty = rows[name].str.strip() == ""
        wrong = empty if name == "path" else empty & ~classless
        if wrong.any() and name != "group":
            raise InputError(f"{manifest}: row {int(wrong.argmax()) + 1} has no {name}")
        surplus = classless & ~empty & ~(rows[name] == UNLABELLED)
        if surplus.any() and name in ("label", "split"):
            row = int(surplus.argmax())
            raise InputError(f"{manifest}: row {row + 1}: {name} {rows[name].iloc[row]!r} without class_name; expected both, or neither")
        control = rows[name].map(lambda value: any(unicodedata.category(character) in CONTROL for character in value))
        if control.any():
            row = int(control.argmax())
            raise InputError(f"{manifest}: row {row + 1}: {name} {rows[name].iloc[row]!r} contains a line break or control character")
    outside = [path for path in rows["path"] if PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts]
    if outside:
        raise InputError(f"{manifest}: path {outside[0]!r} is outside {root}; expected a path relative to that folder")
    if "split" in rows:
        rows.loc[classless, "split"] = ""
    rows = rows.assign(path=[PurePosixPath(path).as_posix() for path in rows["path"]])
    repeated = rows["path"][rows["path"].duplicated()]
    if len(repeated):
        raise InputError(f"{manifest}: path {repeated.iloc[0]!r} is listed twice")
    return rows.rename(columns={"path": "image_id"})


def _check_header(manifest: Path, header: list[str]) -> None:
    missing = {"path", "class_name"} - set(header)
    if missing:
        hint = "; expected commas between the columns" if len(header) == 1 and set(header[0]) & {";", "\t"} else ""
        raise InputError(f"{manifest}: column {' and '.join(sorted(missing))} is missing; the columns are {', '.join(header)}{hint}")
    repeated = sorted({name for name in header if header.count(name) > 1})
    if repeated:
        raise InputError(f"{manifest}: column {repeated[0]} occurs {header.count(repeated[0])} times; expected once")


def _read_csv(manifest: Path) -> pd.DataFrame:
    """Read every field as text; a row that does not have the header's number of fields is an error with its line number."""
    try:
        reader = csv.reader(io.StringIO(manifest.read_bytes().decode("utf-8-sig"), newline=""), strict=True)
        header = next(reader, [])
        _check_header(manifest, header)
        records = []
        for record in reader:
            if record and len(record) != len(header):
                raise InputError(
                    f"{manifest}: line {reader.line_num}: {len(record)} fields, expected {len(header)} ({', '.join(header)}); "
                    "put quotes around a value that contains a comma"
                )
            records += [record] if record else []
    except UnicodeDecodeError as error:
        raise InputError(f"{manifest}: byte {error.start} is not UTF-8 ({error.reason}); save the table as CSV in UTF-8") from None
    except csv.Error as error:
        raise InputError(f"{manifest}: line {reader.line_num}: not CSV: {error}") from None
    return pd.DataFrame(records, columns=header, dtype=object)


def _read_parquet(manifest: Path) -> pd.DataFrame:
    """Read the columns as text: numbers as they print, missing values as ""."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(manifest)
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{manifest}: not a Parquet table: {str(error).splitlines()[0]}") from None
    _check_header(manifest, table.column_names)
    columns: dict[str, Any] = {}
    for name in table.column_names:
        if name in COLUMNS:
            columns[name] = ["" if value is None or value != value else str(value) for value in table[name].to_pylist()]
    return pd.DataFrame(columns, dtype=object)
