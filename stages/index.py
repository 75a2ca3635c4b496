"""List a data set's images: `dvc repro -s index@DATASET`.

Reads data/raw/DATASET: a manifest.csv or manifest.parquet (columns path, class_name, optionally split and label), class folders, or train/,
val/ and test/ with class folders; and data/labels/DATASET.csv, the labels that people gave to images without a class. Every image is fully
decoded once. Given splits are kept; missing ones are split off from the others, class by class, in an order fixed by ``seed``. Writes
data/index/DATASET.parquet, which also lists unusable images with the reason.
"""

from collections import Counter
from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import Field

from clipstore.core.datasets import Dataset, Folder, Official
from clipstore.core.errors import InputError
from clipstore.core.params import Section, section
from clipstore.core.rows import UNLABELLED
from clipstore.core.stage import run
from clipstore.data import index, indexing, labels
from clipstore.data.tree import by_kind, listed


class Index(Section):
    """How images without given splits are split, and how many unusable images are allowed."""

    seed: int = Field(ge=0, description="Seed of the split.")
    val: float = Field(
        gt=0,
        lt=0.5,
        description="Share of each class that becomes val: of all images if no splits are given, of train if only val is missing.",
    )
    test: float = Field(gt=0, lt=0.5, description="Share of each class that becomes test if no splits are given.")
    max_unusable: float = Field(ge=0, le=1, description="Largest share of unusable images; more stop the run.")


def make(dataset: str, entry: Dataset, root: Path, settings: Index, given: pd.DataFrame | None = None) -> index.Index:
    """Return the index of the images below ``root``, with the labels ``given`` by people."""
    exif = entry.exif if isinstance(entry, Folder | Official) else "ignore"
    names = entry.class_names if isinstance(entry, Folder) else ()
    return indexing.make(dataset, root, settings.val, settings.test, settings.seed, exif, names, given)


def check(images: index.Index, root: Path, settings: Index) -> None:
    """Refuse an index that cannot be trained and tested on.

    Raises:
        InputError: too many images are unusable, a split has no usable image although every image has a class, or there is only one class.
    """
    usable, unusable = images.usable, images.rows[images.rows["status"] != "ok"]
    if len(unusable) / len(images.rows) > settings.max_unusable or usable.empty:
        first = unusable.iloc[0]
        raise InputError(
            f"{root}: {len(unusable)} of {len(images.rows)} images are unusable ({first['path']}: {first['status']}), "
            f"more than index.max_unusable = {settings.max_unusable}"
        )
    complete = not (images.rows["split"] == UNLABELLED).any() and not (images.rows["purpose"] != "").any()
    for split in index.SPLITS:
        if complete and not (usable["split"] == split).any():
            raise InputError(f"{root}: no usable {split} images")
    if len(images.classes) == 1:
        name = images.classes[0]
        parts = [Path(image_id).parts for image_id in images.rows["image_id"]]
        inner = sorted({path[path.index(name) + 1] for path in parts if name in path[:-2]})
        hint = f"; are its folders {listed(inner)} the classes? Move them up by one level" if inner else ""
        raise InputError(f"{root}: only one class, {name!r}, expected at least two{hint}")


def report(images: index.Index) -> None:
    """Print what was found, what was left out, and what is doubtful."""
    name, notes = f"index {images.dataset}", images.notes
    unusable = images.rows[images.rows["status"] != "ok"]
    for row in unusable.head(10).itertuples():
        print(f"{row.path}: {row.status}")
    number = Counter(images.rows["split"])
    counts = ", ".join(f"{split} {number[split]}" for split in dict.fromkeys((*index.SPLITS, *sorted(number))))
    print(f"{name}: {len(images.rows)} images of {len(images.classes)} classes ({counts}), {len(unusable)} unusable")
    for what, number_by_kind in (("other files left out", "other_files"), ("passed over", "passed_over")):
        if found := notes.get(number_by_kind):
            print(f"{name}: {what}: {by_kind(found)}")
    if notes.get("not_listed"):
        print(f"{name}: {notes['not_listed']} image(s) in the folder are not in the manifest")
    if notes["turned"]:
        print(f"{name}: {notes['turned']} image(s) with an EXIF orientation, which is {'applied' if images.exif == 'apply' else 'ignored'}")
    if notes["grey_bits"]:
        print(f"{name}: 16-bit grey scaled: {', '.join(f'{count} image(s) of {bits} bits' for bits, count in notes['grey_bits'].items())}")
    for line in notes["warnings"]:
        print(f"warning: {name}: {line}")


def main(dataset: str) -> dict[str, Any]:
    """Write the index of ``dataset``; fail if too many images are unusable."""
    settings = section(Index, "index")
    entry: Dataset = section(Dataset, f"datasets.{dataset}")
    root = Path("data/raw") / dataset
    images = make(dataset, entry, root, settings, labels.read(labels.path_of(dataset)))
    report(images)
    check(images, root, settings)
    if isinstance(entry, Official):
        images.notes["class_names"] = entry.class_names
    index.write(images)
    return {"images": len(images.rows)}


if __name__ == "__main__":
    run(main)
