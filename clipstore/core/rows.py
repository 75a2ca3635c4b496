"""Rows of images in tables: an image without a class has a null label and class name in a file, `NO_LABEL` and "" in memory."""

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

UNLABELLED = "unlabelled"  # the split of images without a class
NO_LABEL = -1


def from_table(table: pa.Table) -> pd.DataFrame:
    """Return the rows of a table, which may have the columns label and class_name, in memory."""
    for name, missing in (("label", NO_LABEL), ("class_name", "")):
        if name in table.column_names:
            table = table.set_column(table.column_names.index(name), name, pc.fill_null(table[name], missing))
    rows: pd.DataFrame = table.to_pandas()
    return rows


def label_columns(rows: pd.DataFrame) -> dict[str, pa.Array]:
    """Return the columns label and, if ``rows`` have it, class_name as they are stored."""
    missing = (rows["label"] == NO_LABEL).to_numpy()
    columns = {"label": pa.array(rows["label"].to_numpy(), pa.int32(), mask=missing)}
    if "class_name" in rows:
        columns["class_name"] = pa.array(rows["class_name"].to_numpy(object), pa.string(), mask=missing)
    return columns
