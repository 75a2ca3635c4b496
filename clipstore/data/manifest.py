"""Manifests: tables that list a data set's images, manifest.csv or manifest.parquet."""

from pathlib import Path, PurePosixPath

import pandas as pd

from clipstore.core.errors import InputError

NAMES = ("manifest.csv", "manifest.parquet")
COLUMNS = ("path", "class_name", "split", "label")  # the last two are optional


def find(root: Path) -> Path | None:
    """Return the manifest in ``root``, if there is one."""
    return next((path for name in NAMES if (path := root / name).exists()), None)


def read(manifest: Path) -> pd.DataFrame:
    """Return the manifest's rows: image_id, class_name, and split and label if the manifest has them; all values are strings.

    Raises:
        InputError: the file is not a table, has no rows, lacks a column or a value, or lists a path twice or outside its folder.
    """
    root = manifest.parent
    try:
        table = (
            pd.read_csv(manifest, dtype=str, keep_default_na=False, index_col=False)
            if manifest.suffix == ".csv"
            else pd.read_parquet(manifest)
        )
    except (ValueError, OSError) as error:  # raised by pandas and pyarrow for an empty file, another encoding or another format
        raise InputError(f"{manifest}: cannot be read as a table in UTF-8: {str(error).splitlines()[0]}") from None
    missing = {"path", "class_name"} - set(table.columns)
    if missing:
        raise InputError(
            f"{manifest}: column {' and '.join(sorted(missing))} is missing; the columns are {', '.join(map(str, table.columns))}"
        )
    rows = table[[name for name in COLUMNS if name in table]].fillna("").astype(str)
    if rows.empty:
        raise InputError(f"{manifest}: no rows")
    for name in rows:
        empty = rows[name].str.strip() == ""
        if empty.any():
            raise InputError(f"{manifest}: row {int(empty.argmax()) + 1} has no {name}")
    outside = [path for path in rows["path"] if PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts]
    if outside:
        raise InputError(f"{manifest}: path {outside[0]!r} is outside {root}; expected a path relative to that folder")
    rows["path"] = [PurePosixPath(path).as_posix() for path in rows["path"]]
    repeated = rows["path"][rows["path"].duplicated()]
    if len(repeated):
        raise InputError(f"{manifest}: path {repeated.iloc[0]!r} is listed twice")
    return rows.rename(columns={"path": "image_id"})
