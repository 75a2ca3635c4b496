"""The results of a data set's audit that other stages read.

data/audit/ENCODER-DATASET.parquet has one row per finding (see `stages.audit`). data/predictions/DATASET/leaked-ENCODER.parquet, next to
the predictions that `score` reads, lists the image_id of each test image whose picture is also in train or val.
"""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from clipstore.core.errors import InputError


def findings_path(encoder: str, dataset: str) -> Path:
    """Return the path of the findings of one encoder."""
    return Path("data/audit") / f"{encoder}-{dataset}.parquet"


def leaked_path(encoder: str, dataset: str) -> Path:
    """Return the path of the leaked test images that one encoder found."""
    return Path("data/predictions") / dataset / f"leaked-{encoder}.parquet"


def leaked(dataset: str, encoders: Sequence[str]) -> set[str] | None:
    """Return the image_id of every test image that any encoder found in train or val; None if there are no encoders.

    Raises:
        InputError: an encoder's audit is missing.
    """
    paths = [leaked_path(encoder, dataset) for encoder in encoders]
    missing = [path for path in paths if not path.exists()]
    if missing:
        raise InputError(f"{missing[0]}: no such file; `dvc repro` creates it")
    return {image for path in paths for image in pd.read_parquet(path)["image_id"]} if paths else None
