"""What the audit of a data set leaves for other stages.

data/audit/ENCODER-DATASET.parquet has a row a finding (see `stages.audit`). data/predictions/DATASET/leaked-ENCODER.parquet, beside the
predictions that `score` reads, has the image_id of each test image whose picture is also in train or val.
"""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from clipstore.core.errors import InputError


def findings_path(encoder: str, dataset: str) -> Path:
    """Return where the findings of one encoder lie."""
    return Path("data/audit") / f"{encoder}-{dataset}.parquet"


def leaked_path(encoder: str, dataset: str) -> Path:
    """Return where the leaked test images that one encoder found lie."""
    return Path("data/predictions") / dataset / f"leaked-{encoder}.parquet"


def leaked(dataset: str, encoders: Sequence[str]) -> set[str] | None:
    """Return the image_id of every test image that at least one encoder found in train or val; None without an encoder to look.

    Raises:
        InputError: an encoder's audit is missing.
    """
    paths = [leaked_path(encoder, dataset) for encoder in encoders]
    missing = [path for path in paths if not path.exists()]
    if missing:
        raise InputError(f"{missing[0]}: no such file; `dvc repro` makes it")
    return {image for path in paths for image in pd.read_parquet(path)["image_id"]} if paths else None
