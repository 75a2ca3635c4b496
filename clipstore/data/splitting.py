"""Train, val and test: given splits are kept, missing ones are cut, class by class, in an order fixed by a seed."""

import hashlib
from pathlib import Path

import pandas as pd

from clipstore.core.errors import InputError
from clipstore.data.index import SPLITS


def splits(rows: pd.DataFrame, val: float, test: float, seed: int, root: Path) -> tuple[pd.Series, str]:
    """Return each row's split, and a phrase that says where the splits come from.

    Args:
        rows: columns label, class_name, sha256, status and, where given, split. An unusable image takes no usable one's place: where
            splits are cut, it stays in train.
        val: share of each class, in (0, 0.5); of train, where train is given without val.
        test: share of each class, in (0, 0.5).
        seed: another seed gives another split.
        root: named in errors.

    Raises:
        InputError: a given split has another name than train, val, test, or none of train or test; a class has too few images.
    """
    if "split" in rows:
        given, fractions, source = rows["split"], {"val": val}, "given; val cut from train"
        unknown = set(given) - set(SPLITS)
        if unknown:
            raise InputError(f"{root}: split {min(unknown)!r}: expected train, val or test")
        absent = {"train", "test"} - set(given)
        if absent:
            raise InputError(f"{root}: the given splits hold no {' and no '.join(sorted(absent))} images")
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
        raise InputError(f"{root}: class {name!r} has {count} usable image(s), too few for a split: add some or leave it out") from None
    return split, f"{source}, seed {seed}"


def stratified(rows: pd.DataFrame, fractions: dict[str, float], rest: str, seed: int) -> pd.Series:
    """Return a split for each row: of every label the given fractions of its images, at least one each; ``rest`` for the others.

    Within a class the images are ordered by a hash of seed and content: a new image moves few others, and copies of one image stay in one
    split.

    Args:
        rows: columns label and sha256.
        fractions: share of each class that goes to each split, in (0, 1).
        rest: the split of the remaining images.
        seed: another seed gives another split.

    Raises:
        ValueError: a class has fewer distinct images than there are splits; the exception's argument is its label.
    """
    rank = rows["sha256"].map(lambda digest: hashlib.sha256(f"{seed}:{digest}".encode()).hexdigest())
    split = pd.Series(rest, index=rows.index)
    for label, ranks in rank.groupby(rows["label"]):
        distinct = sorted(set(ranks))
        if len(distinct) <= len(fractions):
            raise ValueError(label)
        taken = 0
        for position, (name, fraction) in enumerate(fractions.items()):
            spare = len(distinct) - taken - (len(fractions) - position)  # leaves at least one for each split to come
            count = max(1, min(round(fraction * len(distinct)), spare))
            split[ranks.index[ranks.isin(distinct[taken : taken + count])]] = name
            taken += count
    return split


def leaked(usable: pd.DataFrame) -> int:
    """Return how many val and test images are byte for byte in train; columns split and sha256."""
    train = usable["split"] == "train"
    return int(usable.loc[~train, "sha256"].isin(usable.loc[train, "sha256"]).sum())
