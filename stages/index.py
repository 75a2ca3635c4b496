"""List a data set's images: python -m stages.index DATASET.

Reads data/raw/DATASET: a manifest.csv or manifest.parquet (columns path, class_name, optionally split and label), else class folders, else
train/, val/ and test/ of class folders. Every image is decoded once, fully. Given splits are kept; what is missing is cut from them, by
class, in an order fixed by ``seed``. Writes data/index/DATASET.parquet; images that cannot be used stay in it, with the reason.
"""

from pathlib import Path, PurePosixPath
from typing import Any

import pandas as pd
from pydantic import Field
from tqdm import tqdm

from stages.lib import images, index
from stages.lib.errors import InputError
from stages.lib.params import Section, section
from stages.lib.run import run


class Index(Section):
    """How images are split where the data set does not say, and how many unusable ones are too many."""

    seed: int = Field(ge=0)
    val: float = Field(gt=0, lt=0.5)  # share of each class, where no split is given; of train, where train is given without val
    test: float = Field(gt=0, lt=0.5)
    max_unusable: float = Field(ge=0, le=1)  # share of all images


def listed(root: Path, manifest: Path) -> pd.DataFrame:
    """Return the manifest's rows: image_id, class_name, and split and label where the manifest has them."""
    rows = pd.read_csv(manifest, dtype=str, keep_default_na=False) if manifest.suffix == ".csv" else pd.read_parquet(manifest)
    missing = {"path", "class_name"} - set(rows.columns)
    if missing:
        raise InputError(f"{manifest}: column {' and '.join(sorted(missing))} is missing; it has {', '.join(rows.columns)}")
    rows = rows[[name for name in ("path", "class_name", "split", "label") if name in rows]].astype(str)
    for name in ("path", "class_name"):
        if (rows[name].str.strip() == "").any():
            raise InputError(f"{manifest}: row {int((rows[name].str.strip() == '').argmax()) + 1} has no {name}")
    outside = [path for path in rows["path"] if PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts]
    if outside:
        raise InputError(f"{manifest}: path {outside[0]!r} leads out of {root}; paths are relative to it")
    twice = rows["path"][rows["path"].duplicated()]
    if len(twice):
        raise InputError(f"{manifest}: path {twice.iloc[0]!r} is listed twice")
    return rows.rename(columns={"path": "image_id"})


def found(root: Path) -> tuple[pd.DataFrame, int]:
    """Return the images of class folders (image_id, class_name, split where folders say so) and the count of other files."""
    files = [path.relative_to(root) for path in sorted(root.rglob("*")) if path.is_file()]
    files = [path for path in files if not any(part.startswith(".") for part in path.parts)]
    pictures = [path for path in files if path.suffix.lower() in images.SUFFIXES]
    stray = [path for path in pictures if len(path.parts) < 2]
    if not pictures or stray:
        what = f"image {stray[0]} lies in no class folder" if stray else "no images"
        raise InputError(f"{root}: {what}; expected class folders of images, or a manifest.csv with the columns path and class_name")
    rows = pd.DataFrame({"image_id": [path.as_posix() for path in pictures], "class_name": [path.parts[0] for path in pictures]})
    if set(rows["class_name"]) <= set(index.SPLITS) and all(len(path.parts) > 2 for path in pictures):
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
        rows: columns label, class_name, sha256 and, where given, split.
        section: shares and seed.
        root: named in errors.
    """
    try:
        if "split" not in rows:
            return index.stratified(
                rows, {"val": section.val, "test": section.test}, "train", section.seed
            ), f"stratified, seed {section.seed}"
        unknown = set(rows["split"]) - set(index.SPLITS)
        if unknown:
            raise InputError(f"{root}: split {min(unknown)!r} in the manifest; expected train, val or test")
        split = rows["split"].copy()
        if not {"train", "test"} <= set(split):
            raise InputError(f"{root}: the given splits hold no {'test' if 'train' in set(split) else 'train'} images")
        if "val" in set(split):
            return split, "given"
        train = rows[split == "train"]
        split[train.index] = index.stratified(train, {"val": section.val}, "train", section.seed)
        return split, f"given; val cut from train, stratified, seed {section.seed}"
    except ValueError as error:
        name = rows["class_name"][rows["label"] == error.args[0]].iloc[0]
        count = int((rows["label"] == error.args[0]).sum())
        raise InputError(
            f"{root}: class {name!r} has {count} image(s), too few to give every split one: add some or leave it out"
        ) from None


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
    made = make(dataset, Path("data/raw") / dataset, settings)
    unusable = made.rows[made.rows["status"] != "ok"]
    for row in unusable.head(10).itertuples():
        print(f"{row.path}: {row.status}")
    counts = ", ".join(f"{split} {(made.rows['split'] == split).sum()}" for split in index.SPLITS)
    print(f"index {dataset}: {len(made.rows)} images of {len(made.classes)} classes ({counts}), {len(unusable)} unusable")
    if made.notes["other_files"]:
        print(f"index {dataset}: {made.notes['other_files']} file(s) that are not images left out")
    share = len(unusable) / len(made.rows)
    if share > settings.max_unusable or len(unusable) == len(made.rows):
        first = unusable.iloc[0]
        raise InputError(
            f"data/raw/{dataset}: {len(unusable)} of {len(made.rows)} images cannot be used ({first['path']}: {first['status']}), more than "
            f"index.max_unusable = {settings.max_unusable}"
        )
    index.write(made)
    return {"images": len(made.rows)}


if __name__ == "__main__":
    run(main)
