"""Train, val and test: existing splits are kept; missing ones are generated class by class, in an order that a seed determines."""

import hashlib
from pathlib import Path

import pandas as pd

from clipstore.core.errors import InputError
from clipstore.data.index import SPLITS


def splits(rows: pd.DataFrame, val: float, test: float, seed: int, root: Path) -> tuple[pd.Series, str]:
    """Return each row's split, and a phrase that describes the origin of the splits.

    Args:
        rows: columns label, class_name, sha256, status and optionally split. Only usable images count for the shares: generated splits
            leave unusable images in train.
        val: share of each class, in (0, 0.5); a share of train if train is given without val.
        test: share of each class, in (0, 0.5).
        seed: another seed gives another split.
        root: named in error messages.

    Raises:
        InputError: a given split is not named train, val or test; no image is in train or in test; or a class has too few images.
    """
    if "split" in rows:
        given, fractions, source = rows["split"], {"val": val}, "given; val cut from train"
        unknown = set(given) - set(SPLITS)
        if unknown:
            raise InputError(f"{root}: split {min(unknown)!r}: expected train, val or test")
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
    try:
        split[usable.index] = stratified(usable, fractions, "train", seed)
    except ValueError as error:
        of_class = usable[usable["label"] == error.args[0]]
        name, count = of_class["class_name"].iloc[0], of_class["sha256"].nunique()
        raise InputError(f"{root}: class {name!r} has {count} usable image(s), too few to split: add images or remove the class") from None
    return split, f"{source}, seed {seed}"


def stratified(rows: pd.DataFrame, fractions: dict[str, float], rest: str, seed: int) -> pd.Series:
    """Return each row's split: each split gets its fraction of every class, but at least one image; the others get ``rest``.

    Within a class, images are ordered by a hash of seed and content, so a new image moves few others and copies of an image share a split.

    Args:
        rows: columns label and sha256.
        fractions: share of each class for each split, in (0, 1).
        rest: the split of the remaining images.
        seed: another seed gives another split.

    Raises:
        ValueError: a class has fewer distinct images than there are splits; its label is the exception's argument.
    """
    rank = rows["sha256"].map(lambda digest: hashlib.sha256(f"{seed}:{digest}".encode()).hexdigest())
    split = pd.Series(rest, index=rows.index)
    for label, ranks in rank.groupby(rows["label"]):
        distinct = sorted(set(ranks))
        if len(distinct) <= len(fractions):
            raise ValueError(label)
        taken = 0
        for position, (name, fraction) in enumerate(fractions.items()):
            spare = len(distinct) - taken - (len(fractions) - position)  # leaves at least one image for each later split
            count = max(1, min(round(fraction * len(distinct)), spare))
            split[ranks.index[ranks.isin(distinct[taken : taken + count])]] = name
            taken += count
    return split


def leaked(usable: pd.DataFrame) -> int:
    """Return the number of val and test images with a byte-identical copy in train; ``usable`` has columns split and sha256."""
    train = usable["split"] == "train"
    return int(usable.loc[~train, "sha256"].isin(usable.loc[train, "sha256"]).sum())
