"""Image folders: one folder per class, optionally inside train/, val/ and test/."""

from pathlib import Path
from typing import Any

import pandas as pd

from clipstore.core.errors import InputError
from clipstore.data import images
from clipstore.data.tree import Tree, by_kind, counted, given_splits, listed, split_of, suffixes, walk

EXPECTED = "expected class folders of images, or a manifest.csv with the columns path and class_name"


def read(root: Path) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Return the images in class folders: image_id, class_name, and split if there are split folders; and notes for the index.

    The notes are ``other_files``, the number of files that are not images by suffix; ``passed_over`` (see `Tree`); and ``warnings``.

    Raises:
        InputError: there are no images, one is outside the class folders, a class folder has none, or there are other folders beside split
            folders.
    """
    tree = walk(root)
    paths = [path for path in tree.files if images.has_suffix(path)]
    others = suffixes(path for path in tree.files if not images.has_suffix(path))
    split_by_folder = given_splits(tree, paths)
    depth = 2 if split_by_folder else 1  # of class folders
    stray = [path for path in paths if len(path.parts) <= depth]
    if stray:
        raise InputError(f"{root}: {counted(len(stray), 'image')} outside the class folders ({listed(stray)}); {EXPECTED}")
    if not paths:
        known = " ".join(sorted(images.SUFFIXES))
        raise InputError(f"{root}: no images, but {by_kind(others) or 'no file'}; {EXPECTED}. Images have the suffixes {known}")
    _check_empty(tree, paths, depth)
    rows = pd.DataFrame({"image_id": [path.as_posix() for path in paths], "class_name": [path.parts[depth - 1] for path in paths]})
    if split_by_folder:
        rows["split"] = [split_by_folder[path.parts[0]] for path in paths]
    notes = {"warnings": _doubts(paths, depth)}
    return rows, notes | {"other_files": others, "passed_over": tree.passed_over}


def _doubts(paths: list[Path], depth: int) -> list[str]:
    """Return what is doubtful about the folders below the class folders, a sentence each."""
    classes_of: dict[str, set[str]] = {}
    for path in paths:
        if len(path.parts) > depth + 1:
            classes_of.setdefault(path.parts[depth], set()).add(path.parts[depth - 1])
    lines = []
    inner = [path.parts[depth] if len(path.parts) > depth + 1 else "" for path in paths]
    splits = sorted(name for name in classes_of if split_of(name))
    if splits:
        count = sum(name in splits for name in inner)
        lines.append(f"{counted(count, 'image')} in folders {listed(splits)} below class folders, which are not taken as splits")
    repeated = sorted(name for name, classes in classes_of.items() if len(classes) > 1 and name not in splits)
    if all(inner) and len(repeated) >= len({path.parts[depth - 1] for path in paths}):  # years in each class folder are no doubt
        classes = sorted(set.union(*(classes_of[name] for name in repeated)))
        lines.append(
            f"the class folders {listed(classes)} contain folders of the same names ({listed(repeated)}): the classes are the outer ones"
        )
    return lines


def _check_empty(tree: Tree, paths: list[Path], depth: int) -> None:
    """Refuse class folders that give no image."""
    with_images = {path.parts[:depth] for path in paths}
    contents = []
    for folder in tree.folders:
        if len(folder.parts) == depth and folder.parts not in with_images:
            others = suffixes(path for path in tree.files if path.parts[:depth] == folder.parts)
            contents.append(f"{folder} ({by_kind(others) or 'no file'})")
    for folder in tree.hidden:
        if len(folder.parts) == depth and any(map(images.has_suffix, (tree.root / folder).rglob("*"))):
            contents.append(f"{folder} (hidden, since its name begins with a dot)")
    if contents:
        raise InputError(
            f"{tree.root}: no image in {counted(len(contents), 'class folder')}: {listed(contents)}; add images, or remove the folder. "
            f"Images have the suffixes {' '.join(sorted(images.SUFFIXES))}"
        )
