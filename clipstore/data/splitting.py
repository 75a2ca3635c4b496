"""Train, val and test: existing splits are kept; missing ones are generated class by class, in an order that a seed determines.

With images without a class, or labels from data/labels, a data set may have any number of labels; see `partly_labelled`.
"""

import hashlib
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from clipstore.core.errors import InputError
from clipstore.core.rows import NO_LABEL, UNLABELLED
from clipstore.data.index import SPLITS
from clipstore.data.tree import counted, listed

FEW = 3  # images of a class below which nothing is cut for val


def splits(rows: pd.DataFrame, val: float, test: float, seed: int, root: Path) -> tuple[pd.Series, str]:
    """Return each row's split, and a phrase that describes the origin of the splits.

    Args:
        rows: columns label, class_name, purpose, sha256, status and optionally split and group. Only usable images count for the shares:
            generated splits leave unusable images in train.
        val: share of each class, in (0, 0.5); a share of train if train is given without val.
        test: share of each class, in (0, 0.5).
        seed: another seed gives another split.
        root: named in error messages.

    Raises:
        InputError: a given split is not named train, val or test; no image is in train or in test; or classes have too few images.
    """
    if (rows["label"] == NO_LABEL).any() or (rows["purpose"] != "").any():
        return partly_labelled(rows, val, test, seed, root)
    if "split" in rows:
        given, fractions, source = rows["split"], {"val": val}, "given; val cut from train"
        _check_given(given, root)
        absent = {"train", "test"} - set(given)
        if absent:
            raise InputError(f"{root}: the given splits contain no {' and no '.join(sorted(absent))} images")
        if "val" in set(given):
            return given, "given"
    else:
        given = pd.Series("train", index=rows.index)
        fractions, source = {"val": val, "test": test}, "stratified"
    split = given.copy()
    usable = rows[(given == "train") & (rows["status"] == "ok")]
    split[usable.index] = stratified(usable, fractions, "train", seed)
    needed = {"train", *fractions}
    short = [
        f"{name!r} ({_independent(of_class)})"
        for name, of_class in usable.groupby("class_name", sort=False)
        if set(split[of_class.index]) < needed
    ]
    short += [f"{name!r} (0)" for name in dict.fromkeys(rows.loc[given == "train", "class_name"]) if name not in set(usable["class_name"])]
    if short:
        raise InputError(
            f"{root}: too few usable images to split in {counted(len(short), 'class')}: {listed(short, 20)}; "
            f"expected at least {len(needed)}, neither copies nor of one group: add images, or remove the class"
        )
    return split, f"{source}, seed {seed}"


def _check_given(given: pd.Series, root: Path) -> None:
    unknown = set(given) - set(SPLITS)
    if unknown:
        raise InputError(f"{root}: split {min(unknown)!r}: expected train, val or test")


def partly_labelled(rows: pd.DataFrame, val: float, test: float, seed: int, root: Path) -> tuple[pd.Series, str]:
    """Return each row's split, and a phrase that describes it, where some images have no class or got it from data/labels.

    Images without a class are in the split unlabelled. Labelled images that were drawn at random are test images; no other label that a
    person gave is. Classes of folders or the manifest keep given splits. Without given splits they give test images only if no label was
    drawn at random. A missing val is cut from train. Nothing is cut where a class would have fewer than `FEW` images.

    Args:
        rows: see `splits`.
        val: see `splits`.
        test: see `splits`.
        seed: see `splits`.
        root: named in error messages.

    Raises:
        InputError: a given split is not named train, val or test.
    """
    split = pd.Series(UNLABELLED, index=rows.index)
    labelled, drawn = rows["label"] != NO_LABEL, rows["purpose"] == "test"
    split[labelled] = "train"
    if "split" in rows:
        given = labelled & (rows["split"] != "")
        _check_given(rows.loc[given, "split"], root)
        split[given] = rows.loc[given, "split"]
    split[labelled & drawn] = "test"
    usable = rows[(split == "train") & (rows["status"] == "ok")]
    of_folders = usable[usable["purpose"] == ""]
    phrase = f"{int((labelled & drawn).sum())} labels drawn at random are test"
    if not set(split) & {"val", "test"} and _enough(of_folders):
        split[of_folders.index] = stratified(of_folders, {"val": val, "test": test}, "train", seed)
        phrase = "stratified"
    elif "val" not in set(split) and _enough(usable):
        split[usable.index] = stratified(usable, {"val": val}, "train", seed)
        phrase += "; val cut from train"
    return split, f"{phrase}, seed {seed}"


def _enough(rows: pd.DataFrame) -> bool:
    """Return whether every class that has images has at least `FEW` that can be divided."""
    return len(rows) > 0 and all(_independent(of_class) >= FEW for _, of_class in rows.groupby("label"))


def _independent(rows: pd.DataFrame) -> int:
    return int(units(rows).nunique())


def units(rows: pd.DataFrame) -> pd.Series:
    """Return the number of each row's unit. A unit is never split: it joins images with the same bytes or of the same group.

    Args:
        rows: columns sha256 and optionally group, "" where an image belongs to none.
    """
    keys = [rows["sha256"]] + ([rows["group"].where(rows["group"] != "", "image " + rows["sha256"])] if "group" in rows else [])
    position = np.arange(len(rows))
    first = [pd.Series(position).groupby(key.to_numpy()).transform("min").to_numpy() for key in keys]
    links = coo_array((np.ones(len(rows) * len(keys)), (np.tile(position, len(keys)), np.concatenate(first))), (len(rows), len(rows)))
    return pd.Series(connected_components(links, directed=False)[1], index=rows.index)


def stratified(rows: pd.DataFrame, fractions: dict[str, float], rest: str, seed: int) -> pd.Series:
    """Return each row's split: each split gets its fraction of every class, and at least one unit if there are enough; others get ``rest``.

    Within a class, units are ordered by a hash of seed and content (or group), so a new image moves few others. A unit of several classes
    goes where the first of them, by label, puts it.

    Args:
        rows: columns label, sha256 and optionally group (see `units`).
        fractions: share of each class for each split, in (0, 1).
        rest: the split of the remaining images.
        seed: another seed gives another split.
    """
    unit = units(rows)
    names = rows["group"].where(rows["group"] != "", rows["sha256"]) if "group" in rows else rows["sha256"]
    first_name: dict[int, str] = {}
    for key, name in zip(unit.tolist(), names.tolist(), strict=True):
        first_name[key] = min(name, first_name.get(key, name))
    rank = {key: hashlib.sha256(f"{seed}:{name}".encode()).hexdigest() for key, name in first_name.items()}
    split_of_unit: dict[int, str] = {}
    for _, of_class in rows.assign(unit=unit).groupby("label"):
        distinct = set(zip(of_class["unit"].tolist(), of_class["sha256"].tolist(), strict=True))
        size = Counter(key for key, _ in distinct)  # images of each unit in this class, copies counted once
        free = sorted((key for key in size if key not in split_of_unit), key=rank.__getitem__)
        taken = dict.fromkeys((*fractions, rest), 0)
        for key in size.keys() & split_of_unit.keys():
            taken[split_of_unit[key]] += size[key]
        later = [*fractions, rest]
        for name, fraction in fractions.items():
            later.remove(name)
            target = max(1, round(fraction * sum(size.values())))
            for key in list(free):
                spare = len(free) - sum(taken[other] == 0 for other in later)  # leaves a unit for each later split that has none
                if taken[name] >= target or spare <= 0:
                    break
                if taken[name] and taken[name] + size[key] - target > target - taken[name]:
                    continue  # a large group that would miss the target by more than it is missed without
                split_of_unit[key] = name
                taken[name] += size[key]
                free.remove(key)
        split_of_unit |= dict.fromkeys(free, rest)
    return unit.map(split_of_unit)


def copies(usable: pd.DataFrame, split: str, *others: str) -> int:
    """Return the number of images of ``split`` with a byte-identical copy in one of the other splits; columns split and sha256."""
    elsewhere = usable.loc[usable["split"].isin(others), "sha256"]
    return int(usable.loc[usable["split"] == split, "sha256"].isin(elsewhere).sum())
