"""Image folders: one folder per class, optionally inside train/, val/ and test/."""

import os
from pathlib import Path

import pandas as pd

from clipstore.core.errors import InputError
from clipstore.data import images
from clipstore.data.index import SPLITS

SPLIT_LIKE = {"train", "training", "val", "valid", "validation", "dev", "test", "testing"}


def files_below(root: Path) -> list[Path]:
    """Return the files below ``root``, relative to it, without hidden ones; links to folders are followed, each folder once."""
    files, visited = [], set()
    for folder, subfolders, names in os.walk(root, followlinks=True):
        visited.add(os.path.realpath(folder))
        subfolders[:] = [name for name in sorted(subfolders) if name[0] != "." and os.path.realpath(Path(folder, name)) not in visited]
        files += [Path(folder, name).relative_to(root) for name in sorted(names) if name[0] != "."]
    return files


def read(root: Path) -> tuple[pd.DataFrame, int]:
    """Return the images in class folders (image_id, class_name, and split if there are split folders) and the number of other files.

    Raises:
        InputError: there are no images, an image is outside the class folders, or split folders are not named train, val and test.
    """
    files = files_below(root)
    paths = [path for path in files if path.suffix.lower() in images.SUFFIXES]
    stray = [path for path in paths if len(path.parts) < 2]
    if not paths or stray:
        problem = f"image {stray[0]} is not in a class folder" if stray else "no images"
        raise InputError(f"{root}: {problem}; expected class folders of images, or a manifest.csv with the columns path and class_name")
    rows = pd.DataFrame({"image_id": [path.as_posix() for path in paths], "class_name": [path.parts[0] for path in paths]})
    top_folders = set(rows["class_name"])
    if all(len(path.parts) > 2 for path in paths) and {name.lower() for name in top_folders} <= SPLIT_LIKE:
        if not top_folders <= set(SPLITS):
            raise InputError(f"{root}: folders {', '.join(sorted(top_folders))}: split folders must be named train, val and test")
        rows["split"] = rows["class_name"]
        rows["class_name"] = [path.parts[1] for path in paths]
    return rows, len(files) - len(paths)
