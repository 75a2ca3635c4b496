"""Fetch or draw a data set: python -m stages.download DATASET.

Writes data/raw/DATASET: the images and a manifest.csv (path, class_name; split and label where the data set has official ones).
"""

from pathlib import Path
from typing import Any

import pandas as pd
from PIL import Image

from stages.lib.errors import InputError
from stages.lib.params import section
from stages.lib.run import run
from stages.lib.tables import Dataset, Digits, Folder, Garden, Official

# Our split -> torchvision's name of it and its number of images (Nilsback and Zisserman 2008; Parkhi et al. 2012).
OFFICIAL = {
    "flowers102": {"train": ("train", 1020), "val": ("val", 1020), "test": ("test", 6149)},
    "pets": {"train": ("trainval", 3680), "test": ("test", 3669)},
}


def garden(entry: Garden, root: Path) -> pd.DataFrame:
    """Draw the garden below ``root``; return its manifest."""
    from stages.lib import garden as drawing

    lines = []
    for split, label, number, image in drawing.images(entry.train, entry.val, entry.test, entry.size, entry.seed):
        path = f"{label:02}/{split}_{number:03}.png"
        _save(image, root / path)
        lines.append({"path": path, "class_name": drawing.name(drawing.TASK[label]), "split": split})
    return pd.DataFrame(lines)


def digits(root: Path) -> pd.DataFrame:
    """Unpack scikit-learn's scans (8 x 8 pixels, 17 levels of grey, no official split) below ``root``; return their manifest."""
    from sklearn.datasets import load_digits

    scans = load_digits()
    lines = []
    for number, (levels, label) in enumerate(zip(scans.images, scans.target, strict=True)):
        path = f"{label}/{number:04}.png"
        _save(Image.fromarray((levels * (255 / 16)).round().astype("uint8")), root / path)
        lines.append({"path": path, "class_name": str(label)})
    return pd.DataFrame(lines)


def official(kind: str, root: Path) -> pd.DataFrame:
    """Fetch Flowers 102 or Oxford-IIIT Pet below ``root`` by torchvision, which checks MD5 sums; return the manifest of the official split.

    Class names are torchvision's; pets have no official val. The images listed, and no others, are in the manifest.

    Raises:
        InputError: an archive cannot be had, or images are missing.
    """
    from stages.lib.vision import torchvision

    flowers = kind == "flowers102"
    source = torchvision.datasets.Flowers102 if flowers else torchvision.datasets.OxfordIIITPet
    lines = []
    for split, (theirs, count) in OFFICIAL[kind].items():
        try:
            fetched = source(root, split=theirs, download=True)
        except (OSError, RuntimeError) as error:
            raise InputError(f"data set {kind}: cannot be fetched: {error}") from None
        paths = fetched._image_files if flowers else fetched._images  # torchvision has no public name for either
        absent = [path for path in paths if not path.is_file()]
        if absent or len(paths) != count:
            what = f"{len(absent)} images are missing, {absent[0]} first" if absent else f"{len(paths)} images are listed"
            raise InputError(f"data set {kind}, {split}: {what}; expected {count}")
        lines += [
            {"path": path.relative_to(root).as_posix(), "class_name": fetched.classes[label], "split": split, "label": label}
            for path, label in zip(paths, fetched._labels, strict=True)
        ]
    return pd.DataFrame(lines)


def _save(image: Image.Image, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)


def main(dataset: str) -> dict[str, Any]:
    """Write data/raw/DATASET, the manifest last."""
    entry: Dataset = section(Dataset, f"datasets.{dataset}")
    root = Path("data/raw") / dataset
    root.mkdir(parents=True, exist_ok=True)
    match entry:
        case Garden():
            manifest = garden(entry, root)
        case Digits():
            manifest = digits(root)
        case Official():
            manifest = official(entry.kind, root)
        case Folder():
            raise InputError(f"params.yaml: axes.download = {dataset!r}: a folder of one's own is expected in {root}, not fetched")
    manifest.to_csv(root / "manifest.csv", index=False)
    print(f"download {dataset}: {len(manifest)} images")
    return {"images": len(manifest)}


if __name__ == "__main__":
    run(main)
