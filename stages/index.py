"""List a data set's images: python -m stages.index DATASET.

Reads data/raw/DATASET: a manifest.csv or manifest.parquet (columns path, class_name, optionally split and label), else class folders, else
train/, val/ and test/ of class folders. Every image is decoded once, fully. Given splits are kept; what is missing is cut from them, by
class, in an order fixed by ``seed``. Writes data/index/DATASET.parquet; images that cannot be used stay in it, with the reason.
"""

import os
from pathlib import Path, PurePosixPath
from typing import Any

import pandas as pd
from pydantic import Field
from tqdm import tqdm

from clipstore.core.errors import InputError
from clipstore.core.params import Section, section
from clipstore.core.schema import Dataset, Official
from clipstore.core.stage import run
from clipstore.data import images, index

SPLIT_LIKE = {"train", "training", "val", "valid", "validation", "dev", "test", "testing"}


class Index(Section):
    """How images are split where the data set does not say, and how many unusable ones are too many."""

    seed: int = Field(ge=0)
    val: float = Field(gt=0, lt=0.5)  # share of each class, where no split is given; of train, where train is given without val
    test: float = Field(gt=0, lt=0.5)
    max_unusable: float = Field(ge=0, le=1)  # share of all images


def listed(root: Path, manifest: Path) -> pd.DataFrame:
    """Return the manifest's rows: image_id, class_name, and split and label where the manifest has them.

    Raises:
        InputError: the file is no table, lacks a column or a value, lists a path twice or one outside of ``root``.
    """
    try:
        rows = (
            pd.read_csv(manifest, dtype=str, keep_default_na=False, index_col=False)
            if manifest.suffix == ".csv"
            else pd.read_parquet(manifest)
        )
    except (ValueError, OSError) as error:  # what pandas and pyarrow raise on an empty file, another encoding, another format
        raise InputError(f"{manifest}: not a table in UTF-8: {str(error).splitlines()[0]}") from None
    missing = {"path", "class_name"} - set(rows.columns)
    if missing:
        raise InputError(f"{manifest}: column {' and '.join(sorted(missing))} is missing; it has {', '.join(map(str, rows.columns))}")
    rows = rows[[name for name in ("path", "class_name", "split", "label") if name in rows]].fillna("").astype(str)
    for name in rows:
        empty = rows[name].str.strip() == ""
        if empty.any():
            raise InputError(f"{manifest}: row {int(empty.argmax()) + 1} has no {name}")
    outside = [path for path in rows["path"] if PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts]
    if outside:
        raise InputError(f"{manifest}: path {outside[0]!r} leads out of {root}; paths are relative to it")
    rows["path"] = [PurePosixPath(path).as_posix() for path in rows["path"]]
    twice = rows["path"][rows["path"].duplicated()]
    if len(twice):
        raise InputError(f"{manifest}: path {twice.iloc[0]!r} is listed twice")
    return rows.rename(columns={"path": "image_id"})


def files_below(root: Path) -> list[Path]:
    """Return the files below ``root``, relative to it, hidden ones left out; links to folders are followed, each folder once."""
    found, seen = [], set()
    for folder, subfolders, names in os.walk(root, followlinks=True):
        seen.add(os.path.realpath(folder))
        subfolders[:] = [name for name in sorted(subfolders) if name[0] != "." and os.path.realpath(Path(folder, name)) not in seen]
        found += [Path(folder, name).relative_to(root) for name in sorted(names) if name[0] != "."]
    return found


def found(root: Path) -> tuple[pd.DataFrame, int]:
    """Return the images of class folders (image_id, class_name, split where folders say so) and the count of other files.

    Raises:
        InputError: there are no images, one lies in no class folder, or split folders have other names than train, val, test.
    """
    files = files_below(root)
    pictures = [path for path in files if path.suffix.lower() in images.SUFFIXES]
    stray = [path for path in pictures if len(path.parts) < 2]
    if not pictures or stray:
        what = f"image {stray[0]} lies in no class folder" if stray else "no images"
        raise InputError(f"{root}: {what}; expected class folders of images, or a manifest.csv with the columns path and class_name")
    rows = pd.DataFrame({"image_id": [path.as_posix() for path in pictures], "class_name": [path.parts[0] for path in pictures]})
    tops = set(rows["class_name"])
    if all(len(path.parts) > 2 for path in pictures) and {top.lower() for top in tops} <= SPLIT_LIKE:
        if not tops <= set(index.SPLITS):
            raise InputError(f"{root}: folders {', '.join(sorted(tops))}: name split folders train, val and test")
        rows["split"] = rows["class_name"]
        rows["class_name"] = [path.parts[1] for path in pictures]
    return rows, len(files) - len(pictures)


def labels(rows: pd.DataFrame, root: Path) -> pd.Series:
    """Return each row's label: as the manifest gives it, else by natural order of the class names."""
    if "label" not in rows:
        order = {name: label for label, name in enumerate(index.class_order(rows["class_name"].tolist()))}
        return rows["class_name"].map(order)
    pairs = rows[["label", "class_name"]].drop_duplicates()
    if not pairs["label"].str.fullmatch(r"\d+").all() or sorted(pairs["label"].astype(int)) != list(range(pairs["class_name"].nunique())):
        raise InputError(f"{root}: the manifest's labels must be 0 .. classes - 1, one for each class_name")
    return rows["label"].astype(int)


def splits(rows: pd.DataFrame, section: Index, root: Path) -> tuple[pd.Series, str]:
    """Return each row's split, and in words where it comes from.

    Args:
        rows: columns label, class_name, sha256, status and, where given, split. An unusable image takes no usable one's place: where
            splits are cut, it stays in train.
        section: shares and seed.
        root: named in errors.

    Raises:
        InputError: a given split has another name than train, val, test, or none of train or test; a class has too few images.
    """
    if "split" in rows:
        given, fractions, source = rows["split"], {"val": section.val}, "given; val cut from train"
        unknown = set(given) - set(index.SPLITS)
        if unknown:
            raise InputError(f"{root}: split {min(unknown)!r}: expected train, val or test")
        absent = {"train", "test"} - set(given)
        if absent:
            raise InputError(f"{root}: the given splits hold no {' and no '.join(sorted(absent))} images")
        if "val" in set(given):
            return given, "given"
    else:
        given = pd.Series("train", index=rows.index)
        fractions, source = {"val": section.val, "test": section.test}, "stratified"
    split = given.copy()
    cut = rows[(given == "train") & (rows["status"] == "ok")]
    try:
        split[cut.index] = index.stratified(cut, fractions, "train", section.seed)
    except ValueError as error:
        of_class = cut[cut["label"] == error.args[0]]
        name, count = of_class["class_name"].iloc[0], of_class["sha256"].nunique()
        raise InputError(f"{root}: class {name!r} has {count} usable image(s), too few for a split: add some or leave it out") from None
    return split, f"{source}, seed {section.seed}"


def leaked(usable: pd.DataFrame) -> int:
    """Return how many val and test images are byte for byte in train; columns split and sha256."""
    train = usable["split"] == "train"
    return int(usable.loc[~train, "sha256"].isin(usable.loc[train, "sha256"]).sum())


def make(dataset: str, root: Path, section: Index) -> index.Index:
    """Return the index of the images below ``root``."""
    manifest = next((path for path in (root / "manifest.csv", root / "manifest.parquet") if path.exists()), None)
    rows, other_files = (listed(root, manifest), 0) if manifest else found(root)
    if rows.empty:
        raise InputError(f"{manifest}: no rows")
    paths = [root / image_id for image_id in rows["image_id"]]
    facts = list(tqdm(images.in_order(images.examine, paths), f"index {dataset}", len(paths), unit="img", mininterval=1))
    rows = rows.assign(path=[path.as_posix() for path in paths], **pd.DataFrame(facts, columns=images.Facts._fields))
    rows["label"] = labels(rows, root)
    rows["split"], source = splits(rows, section, root)
    rows = rows.sort_values(["label", "image_id"], ignore_index=True)
    return index.Index(dataset, rows[index.SCHEMA.names], {"split": source, "other_files": other_files})


def main(dataset: str) -> dict[str, Any]:
    """Write the index of ``dataset``; too many unusable images fail the run."""
    settings = section(Index, "index")
    entry: Dataset = section(Dataset, f"datasets.{dataset}")
    made = make(dataset, Path("data/raw") / dataset, settings)
    usable, unusable = made.usable, made.rows[made.rows["status"] != "ok"]
    for row in unusable.head(10).itertuples():
        print(f"{row.path}: {row.status}")
    counts = ", ".join(f"{split} {(made.rows['split'] == split).sum()}" for split in index.SPLITS)
    print(f"index {dataset}: {len(made.rows)} images of {len(made.classes)} classes ({counts}), {len(unusable)} unusable")
    if made.notes["other_files"]:
        print(f"index {dataset}: {made.notes['other_files']} file(s) that are not images left out")
    copies = leaked(usable)
    if copies:
        print(f"warning: index {dataset}: {copies} val or test image(s) have the very bytes of a training image")
    share = len(unusable) / len(made.rows)
    if share > settings.max_unusable or len(unusable) == len(made.rows):
        first = unusable.iloc[0]
        raise InputError(
            f"data/raw/{dataset}: {len(unusable)} of {len(made.rows)} images cannot be used ({first['path']}: {first['status']}), "
            f"more than index.max_unusable = {settings.max_unusable}"
        )
    for split in index.SPLITS:
        if not (usable["split"] == split).any():
            raise InputError(f"data/raw/{dataset}: no usable {split} images")
    if isinstance(entry, Official):
        made.notes["class_names"] = entry.class_names
    index.write(made)
    return {"images": len(made.rows)}


if __name__ == "__main__":
    run(main)
