"""Metrics and plots as files: every float rounded to the same number of digits, so that another machine's last bits are no change."""

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

DIGITS = 6  # more than any test set resolves


def rounded(value: Any) -> Any:
    """Return ``value`` with every float in it, in mappings too, rounded to DIGITS; -0.0 becomes 0.0."""
    if isinstance(value, Mapping):
        return {key: rounded(item) for key, item in value.items()}
    return round(value, DIGITS) + 0.0 if isinstance(value, float) else value


def write_metrics(path: Path, metrics: Mapping[str, Any]) -> None:
    """Write ``metrics`` as JSON; only numbers, strings and booleans may be in it, since `dvc metrics` drops anything else."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes((json.dumps(rounded(metrics), indent=2, ensure_ascii=False) + "\n").encode())


def write_plot(path: Path, table: pd.DataFrame, exact: Collection[str] = ()) -> None:
    """Write ``table`` as CSV, its floats rounded; the columns ``exact``, such as a hyperparameter of 1e-7, keep every digit."""
    path.parent.mkdir(parents=True, exist_ok=True)
    table.round({column: DIGITS for column in table.columns if column not in exact}).to_csv(path, index=False)
