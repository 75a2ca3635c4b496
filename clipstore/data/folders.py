"""Image folders: one folder per class, optionally inside train/, val/ and test/, and images without a class."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from clipstore.core.datasets import tidied
from clipstore.core.errors import InputError
from clipstore.data import images
from clipstore.data.tree import Tree, by_kind, counted, given_splits, listed, spelling, split_of, suffixes, unlabelled, walk

EXPECTED = "expected class folders, a folder unlabelled/ for images without a class, or a manifest.csv with the columns path and class_name"


def read(root: Path, names: Mapping[str, str] | Collection[str] = ()) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Return the images: image_id, class_name ("" without a class), and split if there are split folders; and notes for the index.

    Images in a folder unlabelled/ have no class. Nor has any image if there are no class folders: all images are at the top, or
    ``names`` lists the classes and no folder is named like one of them.

    The notes are ``other_files``, the number of files that are not images by suffix; ``passed_over`` (see `Tree`); and ``warnings``.

    Args:
        root: the folder.
        names: the classes that the data set's entry lists, or new names by those of the folders.

    Raises:
        InputError: there are no images, one is outside the class folders, a class folder has none, or there are other folders beside split
            folders.
    """
    tree = walk(root)
    paths = [path for path in tree.files if images.has_suffix(path)]
    others = suffixes(path for path in tree.files if not images.has_suffix(path))
    split_by_folder = given_splits(tree, paths, {path.name for path in tree.folders if unlabelled(path.name)})
    depth = 2 if split_by_folder else 1  # of class folders
    if not paths:
        known = " ".join(sorted(images.SUFFIXES))
        raise InputError(f"{root}: no images, but {by_kind(others) or 'no file'}; {EXPECTED}. Images have the suffixes {known}")
    doubts = []
    classless = {path for path in paths if any(map(unlabelled, path.parts[:-1][:depth]))}
    if not split_by_folder and names and (folders := _other_folders(root, tree, names)) is not None:
        classless = set(paths)
        if folders:
            doubts = [f"no folder is named like a class ({listed(folders)}), so {counted(len(paths), 'image')} have no class"]
    stray = [path for path in paths if path not in classless and len(path.parts) <= depth]
    if stray:
        raise InputError(f"{root}: {counted(len(stray), 'image')} outside the class folders ({listed(stray)}); {EXPECTED}")
    labelled = [path for path in paths if path not in classless]
    if labelled:
        _check_empty(tree, labelled, depth)
    class_name = ["" if path in classless else path.parts[depth - 1] for path in paths]
    rows = pd.DataFrame({"image_id": [path.as_posix() for path in paths], "class_name": class_name})
    if split_by_folder:
        rows["split"] = ["" if path in classless else split_by_folder[path.parts[0]] for path in paths]
    notes = {"warnings": doubts + (_doubts(labelled, depth) if labelled else [])}
    return rows, notes | {"other_files": others, "passed_over": tree.passed_over}


def _other_folders(root: Path, tree: Tree, names: Mapping[str, str] | Collection[str]) -> list[str] | None:
    """Return the folders at the top if none of them is a class folder, without unlabelled/; None if there are class folders."""
    folders = [path.name for path in tree.folders if len(path.parts) == 1 and not unlabelled(path.name)]
    if isinstance(names, Mapping):
        return None if folders else []
    classes = set(map(tidied, names))
    if classes & set(map(tidied, folders)):
        return None
    class_of = {spelling(name): name for name in classes}
    alike = [folder for folder in folders if spelling(folder) in class_of]
    if alike:
        raise InputError(
            f"{root}: the folder {alike[0]!r} is spelt differently from the class {class_of[spelling(alike[0])]!r} of class_names; "
            "spell them alike, or use a map of folder name to class name"
        )
    return folders


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
        if len(folder.parts) == depth and folder.parts not in with_images and not any(map(unlabelled, folder.parts)):
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
