"""Index a folder of images: list them, decode each once, and assign labels and splits."""

import re
import unicodedata
from collections import Counter
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
from tqdm import tqdm

from clipstore.core.errors import InputError
from clipstore.core.params import Exif
from clipstore.data import folders, images, manifest
from clipstore.data.index import SCHEMA, Index, class_order
from clipstore.data.splitting import copies, splits
from clipstore.data.tree import counted, listed, walk


def make(
    dataset: str, root: Path, val: float, test: float, seed: int, exif: Exif = "ignore", names: Mapping[str, str] | None = None
) -> Index:
    """Return the index of the images below ``root``: those that its manifest lists, or else all in its folders.

    Args:
        dataset: the name.
        root: data/raw/DATASET.
        val: share of each class, if the data set has no val split.
        test: share of each class, if the data set has no splits.
        seed: of generated splits.
        exif: whether the EXIF orientation is applied.
        names: class names to replace, of folders or the manifest, and what they become.

    Raises:
        InputError: manifest, folders, labels or given splits are wrong, a class has too few images, or a key of ``names`` is no class.
    """
    table = manifest.find(root)
    rows, notes = _listed_images(table, root) if table else folders.read(root)
    rows["class_name"] = class_names(rows["class_name"], names or {}, dataset)
    paths = [root / image_id for image_id in rows["image_id"]]
    examine = partial(images.examine, exif=exif)
    facts = list(tqdm(images.in_order(examine, paths), f"index {dataset}", len(paths), unit="img", mininterval=1))
    rows = rows.assign(path=[path.as_posix() for path in paths], **pd.DataFrame(facts, columns=images.Facts._fields))
    rows["label"] = labels(rows, root)
    usable = bool((rows["status"] == "ok").any())
    rows["split"], source = splits(rows, val, test, seed, root) if usable else (rows.get("split", "train"), "none: no usable image")
    rows = rows.sort_values(["label", "image_id"], ignore_index=True)
    rows["purpose"] = ""
    notes |= {
        "classes": rows.drop_duplicates("label").sort_values("label")["class_name"].tolist(),
        "split": source,
        "exif": exif,
        "turned": int(rows["turned"].sum()),
        "grey_bits": {str(bits): count for bits, count in sorted(Counter(rows["grey_bits"]).items()) if bits},
        "warnings": notes.get("warnings", []) + warnings(rows),
    }
    return Index(dataset, rows[SCHEMA.names], notes)


def _listed_images(table: Path, root: Path) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Return the images of a manifest, and the number of images in the folder that it does not list."""
    rows = manifest.read(table)
    files = [path for path in walk(root).files if images.has_suffix(path)]
    name_on_disk = {unicodedata.normalize("NFC", path.as_posix()): path.as_posix() for path in files}
    rows["image_id"] = [name_on_disk.get(unicodedata.normalize("NFC", image_id), image_id) for image_id in rows["image_id"]]
    return rows, {"not_listed": len({path.as_posix() for path in files} - set(rows["image_id"]))}


def class_names(given: pd.Series, names: Mapping[str, str], dataset: str) -> pd.Series:
    """Return the names of classes without outer blanks, in Unicode's composed form (NFC), replaced as ``names`` says.

    Raises:
        InputError: a key of ``names`` is not a class.
    """
    tidy = given.map(tidied)
    replace = {tidied(name): new for name, new in names.items()}
    unknown = sorted(set(replace) - set(tidy))
    if unknown:
        raise InputError(
            f"params.yaml: datasets.{dataset}.class_names: {listed(map(repr, unknown))}: no such class; "
            f"expected names of {listed(class_order(tidy.tolist()), 20)}"
        )
    return pd.Series([tidied(replace.get(name, name)) for name in tidy], index=given.index)


def tidied(name: str) -> str:
    """Return a name without outer blanks in Unicode's composed form."""
    return unicodedata.normalize("NFC", name).strip()


def identifier(name: str) -> bool:
    """Return whether a class name looks like a program's identifier, "blue_tit", "BlueTit" or "n01440764", and not like words."""
    return bool(re.search(r"_|[a-z][A-Z]|^[A-Za-z]{0,3}\d{2,}$", name))


def warnings(rows: pd.DataFrame) -> list[str]:
    """Return what is doubtful about the names and splits of an index, a sentence each, with counts.

    Args:
        rows: columns class_name, label, split, sha256, status and optionally group.
    """
    lines = []
    classes = class_order(rows["class_name"].tolist())
    spellings: dict[str, list[str]] = {}
    for name in classes:
        spellings.setdefault(re.sub(r"[\s_-]+", "", unicodedata.normalize("NFKC", name).casefold()), []).append(name)
    alike = [" and ".join(map(repr, names)) for names in spellings.values() if len(names) > 1]
    if alike:
        lines.append(
            f"{counted(len(alike), 'group')} of class names differ only in case, blanks or hyphens, and are separate classes: "
            f"{listed(alike)}"
        )
    usable = rows[rows["status"] == "ok"]
    in_train = set(usable.loc[usable["split"] == "train", "class_name"])
    for split in ("val", "test"):
        missing = [name for name in class_order(usable.loc[usable["split"] == split, "class_name"].tolist()) if name not in in_train]
        if missing:
            count = int((usable["class_name"].isin(missing) & (usable["split"] == split)).sum())
            lines.append(f"{counted(len(missing), 'class')} of {split} ({counted(count, 'image')}) not in train: {listed(missing)}")
    identifiers = [name for name in classes if identifier(name)]
    if identifiers:
        lines.append(
            f"{len(identifiers)} of {len(classes)} class names look like identifiers, and zero-shot reads them as they are: "
            f"{listed(identifiers)}; class_names in the data set's entry replaces them"
        )
    for split, *others in (("test", "train", "val"), ("val", "train")):
        count = copies(usable, split, *others)
        if count:
            lines.append(f"{counted(count, f'{split} image')} with the same bytes as an image of {' or '.join(others)}")
    several = usable.groupby("sha256")["class_name"].nunique()
    count = int((several > 1).sum())
    if count:
        lines.append(f"{counted(count, 'picture')} in more than one class, byte for byte")
    if "group" in usable:
        groups = usable[usable["group"] != ""].groupby("group")["split"].nunique()
        count = int((groups > 1).sum())
        if count:
            lines.append(f"{counted(count, 'group')} in more than one of the given splits")
    return lines


def labels(rows: pd.DataFrame, root: Path) -> pd.Series:
    """Return each row's label: the manifest's, or the position of its class in natural order of the class names.

    Raises:
        InputError: the manifest's labels are not 0 .. classes - 1, one per class name.
    """
    if "label" not in rows:
        label_by_name = {name: label for label, name in enumerate(class_order(rows["class_name"].tolist()))}
        return rows["class_name"].map(label_by_name)
    pairs = rows[["label", "class_name"]].drop_duplicates()
    if not pairs["label"].str.fullmatch(r"\d+").all() or sorted(pairs["label"].astype(int)) != list(range(pairs["class_name"].nunique())):
        raise InputError(f"{root}: the manifest's labels must be 0 .. classes - 1, one per class_name")
    return rows["label"].astype(int)
