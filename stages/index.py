"""List a data set's images: `dvc repro -s index@DATASET`.

Reads data/raw/DATASET: a manifest.csv or manifest.parquet (columns path, class_name, optionally split and label), class folders, or train/,
val/ and test/ with class folders. Every image is fully decoded once. Given splits are kept; missing ones are split off from the others,
class by class, in an order fixed by ``seed``. Writes data/index/DATASET.parquet, which also lists unusable images with the reason.
"""

from pathlib import Path
from typing import Any

from pydantic import Field

from clipstore.core.datasets import Dataset, Official
from clipstore.core.errors import InputError
from clipstore.core.params import Section, section
from clipstore.core.stage import run
from clipstore.data import index, indexing
from clipstore.data.splitting import leaked


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


def make(dataset: str, root: Path, settings: Index) -> index.Index:
    """Return the index of the images below ``root``."""
    return indexing.make(dataset, root, settings.val, settings.test, settings.seed)


def main(dataset: str) -> dict[str, Any]:
    """Write the index of ``dataset``; fail if too many images are unusable."""
    settings = section(Index, "index")
    entry: Dataset = section(Dataset, f"datasets.{dataset}")
    images = make(dataset, Path("data/raw") / dataset, settings)
    usable, unusable = images.usable, images.rows[images.rows["status"] != "ok"]
    for row in unusable.head(10).itertuples():
        print(f"{row.path}: {row.status}")
    counts = ", ".join(f"{split} {(images.rows['split'] == split).sum()}" for split in index.SPLITS)
    print(f"index {dataset}: {len(images.rows)} images of {len(images.classes)} classes ({counts}), {len(unusable)} unusable")
    if images.notes["other_files"]:
        print(f"index {dataset}: {images.notes['other_files']} file(s) skipped that are not images")
    copies = leaked(usable)
    if copies:
        print(f"warning: index {dataset}: {copies} val or test image(s) are byte-identical to a training image")
    share = len(unusable) / len(images.rows)
    if share > settings.max_unusable or len(unusable) == len(images.rows):
        first = unusable.iloc[0]
        raise InputError(
            f"data/raw/{dataset}: {len(unusable)} of {len(images.rows)} images are unusable ({first['path']}: {first['status']}), "
            f"more than index.max_unusable = {settings.max_unusable}"
        )
    for split in index.SPLITS:
        if not (usable["split"] == split).any():
            raise InputError(f"data/raw/{dataset}: no usable {split} images")
    if isinstance(entry, Official):
        images.notes["class_names"] = entry.class_names
    index.write(images)
    return {"images": len(images.rows)}


if __name__ == "__main__":
    run(main)
