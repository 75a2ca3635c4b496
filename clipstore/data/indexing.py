"""Index a folder of images: list the images, decode each once, assign labels and splits."""

from pathlib import Path

import pandas as pd
from tqdm import tqdm

from clipstore.core.errors import InputError
from clipstore.data import folders, images, manifest
from clipstore.data.index import SCHEMA, Index, class_order
from clipstore.data.splitting import splits


def make(dataset: str, root: Path, val: float, test: float, seed: int) -> Index:
    """Return the index of the images below ``root``: those listed in its manifest if there is one, or else all in its folders.

    Args:
        dataset: its name.
        root: data/raw/DATASET.
        val: share of each class, if the data set has no val split.
        test: share of each class, if the data set has no splits.
        seed: of the generated splits.

    Raises:
        InputError: manifest, folders, labels or given splits are invalid, or a class has too few images.
    """
    table = manifest.find(root)
    rows, other_files = (manifest.read(table), 0) if table else folders.read(root)
    paths = [root / image_id for image_id in rows["image_id"]]
    facts = list(tqdm(images.in_order(images.examine, paths), f"index {dataset}", len(paths), unit="img", mininterval=1))
    rows = rows.assign(path=[path.as_posix() for path in paths], **pd.DataFrame(facts, columns=images.Facts._fields))
    rows["label"] = labels(rows, root)
    rows["split"], source = splits(rows, val, test, seed, root)
    rows = rows.sort_values(["label", "image_id"], ignore_index=True)
    return Index(dataset, rows[SCHEMA.names], {"split": source, "other_files": other_files})


def labels(rows: pd.DataFrame, root: Path) -> pd.Series:
    """Return each row's label: from the manifest, or the position of its class in the natural order of class names.

    Raises:
        InputError: the manifest's labels are not 0 .. classes - 1, one per class name.
    """
    if "label" not in rows:
        label_of = {name: label for label, name in enumerate(class_order(rows["class_name"].tolist()))}
        return rows["class_name"].map(label_of)
    pairs = rows[["label", "class_name"]].drop_duplicates()
    if not pairs["label"].str.fullmatch(r"\d+").all() or sorted(pairs["label"].astype(int)) != list(range(pairs["class_name"].nunique())):
        raise InputError(f"{root}: the manifest's labels must be 0 .. classes - 1, one per class_name")
    return rows["label"].astype(int)
