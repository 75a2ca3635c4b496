"""A data set of images without a class, in the working folder, and what people say about it in several formats."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from clipstore.core.digests import file_sha256
from clipstore.core.rows import NO_LABEL, UNLABELLED
from clipstore.data import index, labels
from tests.synthetic import put

CLASSES = ("rose", "tulip")


def make(names: Sequence[str], given: Mapping[str, str] | None = None, dataset: str = "own", first_seed: int = 0) -> index.Index:
    """Write images and their index; ``given`` has the classes of those that the folder or manifest labels."""
    root = Path("data/raw") / dataset
    rows = []
    for seed, name in enumerate(names, first_seed):
        path = put(root / name, seed)
        class_name = (given or {}).get(name, "")
        rows.append(
            {
                "image_id": name,
                "path": path.as_posix(),
                "label": CLASSES.index(class_name) if class_name else NO_LABEL,
                "class_name": class_name,
                "split": "train" if class_name else UNLABELLED,
                "purpose": "",
                "sha256": file_sha256(path),
                "width": 6,
                "height": 4,
                "status": "ok",
            }
        )
    found = index.Index(dataset, pd.DataFrame(rows), {"classes": list(CLASSES)})
    index.write(found)
    return found


def sha256_of(found: index.Index, name: str) -> str:
    """Return the SHA-256 of an image of the index."""
    return str(found.rows.set_index("image_id").loc[name, "sha256"])


def label_rows(*rows: tuple[str, str, str, str, int]) -> pd.DataFrame:
    """Return rows of a labels file."""
    return pd.DataFrame(list(rows), columns=list(labels.COLUMNS))


def annotation(*choices: str, by: Any = 1, cancelled: bool = False) -> dict[str, Any]:
    """Return an annotation as Label Studio exports it."""
    result = {"id": "r1", "from_name": "choice", "to_name": "image", "type": "choices", "value": {"choices": list(choices)}}
    return {"id": 7, "completed_by": by, "was_cancelled": cancelled, "result": [result] if choices else []}


def export(path: Path, tasks: Sequence[tuple[Mapping[str, str], Sequence[Mapping[str, Any]]]]) -> Path:
    """Write Label Studio's JSON: the data and the annotations of each task."""
    document = [{"id": number, "data": data, "annotations": given} for number, (data, given) in enumerate(tasks, 1)]
    path.write_text(json.dumps(document))
    return path
