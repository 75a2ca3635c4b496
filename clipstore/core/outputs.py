"""Metric and plot files. All floats are rounded to the same number of digits, which hides last-bit differences between machines."""

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

DIGITS = 6  # finer than one image of any test set


def rounded(value: Any) -> Any:
    """Return ``value`` with every float, also inside mappings, rounded to DIGITS; -0.0 becomes 0.0."""
    if isinstance(value, Mapping):
        return {key: rounded(item) for key, item in value.items()}
    return round(value, DIGITS) + 0.0 if isinstance(value, float) else value


def write_metrics(path: Path, metrics: Mapping[str, Any]) -> None:
    """Write ``metrics`` as JSON. Values must be numbers, strings or booleans, since `dvc metrics` drops anything else."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes((json.dumps(rounded(metrics), indent=2, ensure_ascii=False) + "\n").encode())


def write_plot(path: Path, table: pd.DataFrame, exact: Collection[str] = ()) -> None:
    """Write ``table`` as CSV with rounded floats; the columns in ``exact``, such as a hyperparameter of 1e-7, keep all digits."""
    path.parent.mkdir(parents=True, exist_ok=True)
    table.round({column: DIGITS for column in table.columns if column not in exact}).to_csv(path, index=False)
