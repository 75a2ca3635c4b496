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

from clipstore.core.datasets import NONE, tidied
from clipstore.core.errors import InputError
from clipstore.core.params import Exif
from clipstore.core.rows import NO_LABEL, UNLABELLED
from clipstore.data import folders, images, labels, manifest
from clipstore.data.index import SCHEMA, Index, class_order
from clipstore.data.splitting import copies, splits
from clipstore.data.tree import counted, listed, spelling, walk


def make(
    dataset: str,
    root: Path,
    val: float,
    test: float,
    seed: int,
    exif: Exif = "ignore",
    names: Mapping[str, str] | tuple[str, ...] = (),
    given: pd.DataFrame | None = None,
) -> Index:
    """Return the index of the images below ``root``: those that its manifest lists, or else all in its folders.

    Args:
        dataset: the name.
        root: data/raw/DATASET.
        val: share of each class, if the data set has no val split.
        test: share of each class, if the data set has no splits.
        seed: of generated splits.
        exif: whether the EXIF orientation is applied.
        names: all classes in the order of their labels, or class names to replace, of folders or the manifest, and what they become.
        given: labels that people gave to images (see `clipstore.data.labels`).

    Raises:
        InputError: manifest, folders, labels or given splits are wrong, a class has too few images, a key of ``names`` is no class, or
            there are neither classes nor their names.
    """
    table = manifest.find(root)
    rows, notes = _listed_images(table, root) if table else folders.read(root, names)
    rows["class_name"] = class_names(rows["class_name"], names, dataset)
    classes = class_list(rows, names, root)
    paths = [root / image_id for image_id in rows["image_id"]]
    examine = partial(images.examine, exif=exif)
    facts = list(tqdm(images.in_order(examine, paths), f"index {dataset}", len(paths), unit="img", mininterval=1))
    rows = rows.assign(path=[path.as_posix() for path in paths], **pd.DataFrame(facts, columns=images.Facts._fields))
    rows["purpose"] = ""
    doubts = add_labels(rows, given, classes, dataset) if given is not None and len(given) else []
    rows["label"] = rows["class_name"].map({name: label for label, name in enumerate(classes)} | {"": NO_LABEL}).astype("int64")
    usable = bool((rows["status"] == "ok").any())
    rows["split"], source = splits(rows, val, test, seed, root) if usable else (rows.get("split", "train"), "none: no usable image")
    rows = rows.assign(last=rows["label"] == NO_LABEL).sort_values(["last", "label", "image_id"], ignore_index=True)
    notes |= {
        "classes": classes,
        "split": source,
        "exif": exif,
        "turned": int(rows["turned"].sum()),
        "grey_bits": {str(bits): count for bits, count in sorted(Counter(rows["grey_bits"]).items()) if bits},
        "warnings": notes.get("warnings", []) + doubts + warnings(rows, classes),
    }
    return Index(dataset, rows[SCHEMA.names], notes)


def _listed_images(table: Path, root: Path) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Return the images of a manifest, and the number of images in the folder that it does not list."""
    rows = manifest.read(table)
    files = [path for path in walk(root).files if images.has_suffix(path)]
    name_on_disk = {unicodedata.normalize("NFC", path.as_posix()): path.as_posix() for path in files}
    rows["image_id"] = [name_on_disk.get(unicodedata.normalize("NFC", image_id), image_id) for image_id in rows["image_id"]]
    return rows, {"not_listed": len({path.as_posix() for path in files} - set(rows["image_id"]))}


def class_names(given: pd.Series, names: Mapping[str, str] | tuple[str, ...], dataset: str) -> pd.Series:
    """Return the names of classes without outer blanks, in Unicode's composed form (NFC), replaced as a map ``names`` says.

    Raises:
        InputError: a key of ``names`` is not a class although every image has one, a class is not in a list ``names``, or a name is that of
            images without a class.
    """
    tidy = given.map(tidied)
    where = f"params.yaml: datasets.{dataset}.class_names"
    if isinstance(names, tuple):
        known = set(map(tidied, names))
        strange = class_order([name for name in tidy if name and known and name not in known])
        if strange:
            raise InputError(f"{where}: the list lacks {listed(map(repr, strange))}, classes of images; expected all classes")
        names = {}
    replace = {tidied(name): new for name, new in names.items()}
    unknown = sorted(set(replace) - set(tidy)) if (tidy != "").all() else []
    if unknown:
        raise InputError(
            f"params.yaml: datasets.{dataset}.class_names: {listed(map(repr, unknown))}: no such class; "
            f"expected names of {listed(class_order(tidy.tolist()), 20)}"
        )
    renamed = pd.Series([tidied(replace.get(name, name)) for name in tidy], index=given.index)
    if (renamed.str.casefold() == NONE).any():
        raise InputError(f"{where}: a class is named {NONE!r}, the label of images that show no class; give it another name there")
    return renamed


def class_list(rows: pd.DataFrame, names: Mapping[str, str] | tuple[str, ...], root: Path) -> list[str]:
    """Return the classes in the order of their labels: the manifest's order, the list ``names``, or natural order.

    Args:
        rows: columns class_name and, of some manifests, label.
        names: all classes, or new class names by old ones, as the data set's entry gives them.
        root: named in error messages.

    Raises:
        InputError: the manifest's labels are not 0 .. classes - 1, one per class name, or there are no classes.
    """
    labelled = rows[rows["class_name"] != ""]
    named = [tidied(name) for name in (names.values() if isinstance(names, Mapping) else names)]
    if len(labelled) == len(rows) and isinstance(names, Mapping):
        named = []
    if "label" in rows and len(labelled):
        pairs = labelled[["label", "class_name"]].drop_duplicates()
        count = pairs["class_name"].nunique()
        if not pairs["label"].str.fullmatch(r"\d+").all() or sorted(pairs["label"].astype(int)) != list(range(count)):
            raise InputError(f"{root}: the manifest's labels must be 0 .. classes - 1, one per class_name")
        ordered: list[str] = pairs.assign(label=pairs["label"].astype(int)).sort_values("label")["class_name"].tolist()
        if isinstance(names, tuple) and names and named[: len(ordered)] != ordered:
            raise InputError(f"{root}: the manifest's labels have the order {listed(ordered)}, but class_names {listed(named)}")
        return list(dict.fromkeys(ordered + named))
    classes = named if isinstance(names, tuple) and named else class_order([*labelled["class_name"], *named])
    if not classes:
        raise InputError(
            f"{root}: no image has a class, and the data set's entry in params.yaml names none; expected class_names: [first class, ...]"
        )
    return classes


def add_labels(rows: pd.DataFrame, given: pd.DataFrame, classes: list[str], dataset: str) -> list[str]:
    """Set class_name and purpose of the images that people labelled; return what is doubtful, a sentence each.

    Args:
        rows: columns image_id, sha256, class_name and purpose; changed in place.
        given: see `clipstore.data.labels`.
        classes: their names.
        dataset: named in error messages.

    Raises:
        InputError: no label belongs to an image, a label is not a class, or contradicts the folder or the manifest.
    """
    path = labels.path_of(dataset)
    name_of = dict(zip(given["sha256"], given["class_name"].map(tidied), strict=True))
    purpose_of = dict(zip(given["sha256"], given["purpose"], strict=True))
    known = rows["sha256"].isin(name_of)
    if not known.any():
        raise InputError(f"{path}: none of its {len(given)} images is in data/raw/{dataset}; are they labels of another data set?")
    strange = class_order([name for name in name_of.values() if name not in ("", NONE, *classes)])
    if strange:
        raise InputError(f"{path}: {listed(map(repr, strange))}: no such class; expected {listed(classes, 20)}")
    label = rows.loc[known, "sha256"].map(name_of)
    before = rows.loc[known, "class_name"]
    contrary = (before != "") & (label != "") & (label != before)
    if contrary.any():
        first = rows.loc[known, "image_id"][contrary].iloc[0]
        raise InputError(
            f"{path}: {counted(int(contrary.sum()), 'label')} contrary to the folder or manifest, first {first}: "
            f"{label[contrary].iloc[0]!r} instead of {before[contrary].iloc[0]!r}; remove the label, or move the image"
        )
    rows.loc[known, "class_name"] = before.where(before != "", label.where(label != NONE, ""))
    rows.loc[known, "purpose"] = rows.loc[known, "sha256"].map(purpose_of).where(label != "", "drawn")
    gone = len(set(name_of) - set(rows["sha256"]))
    return [f"{counted(gone, 'label')} in {path} of images that are gone or have changed"] if gone else []


def identifier(name: str) -> bool:
    """Return whether a class name looks like a program's identifier, "blue_tit", "BlueTit" or "n01440764", and not like words."""
    return bool(re.search(r"_|[a-z][A-Z]|^[A-Za-z]{0,3}\d{2,}$", name))


def warnings(rows: pd.DataFrame, classes: list[str]) -> list[str]:
    """Return what is doubtful about the names and splits of an index, a sentence each, with counts.

    Args:
        rows: columns class_name, label, split, sha256, status and optionally group.
        classes: their names.
    """
    lines = []
    spellings: dict[str, list[str]] = {}
    for name in classes:
        spellings.setdefault(spelling(name), []).append(name)
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
    several = usable[usable["label"] != NO_LABEL].groupby("sha256")["class_name"].nunique()
    count = int((several > 1).sum())
    if count:
        lines.append(f"{counted(count, 'picture')} in more than one class, byte for byte")
    if "group" in usable:
        groups = usable[(usable["group"] != "") & (usable["split"] != UNLABELLED)].groupby("group")["split"].nunique()
        count = int((groups > 1).sum())
        if count:
            lines.append(f"{counted(count, 'group')} in more than one of the given splits")
    return lines
