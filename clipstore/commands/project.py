"""The project that a command works in, and its data sets."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

from clipstore.core.errors import InputError

if TYPE_CHECKING:
    from clipstore.data.index import Index

FILES = ("params.yaml", "dvc.yaml")


def enter() -> Path:
    """Make the project's root, the nearest folder upwards with params.yaml and dvc.yaml, the working folder; return the one before.

    Raises:
        InputError: there is no such folder.
    """
    before = Path.cwd()
    root = next((folder for folder in (before, *before.parents) if all((folder / name).is_file() for name in FILES)), None)
    if root is None:
        raise InputError(f"{before}: neither here nor in a folder above are {' and '.join(FILES)}; run clipstore inside a project")
    os.chdir(root)
    return before


def given(path: Path, before: Path) -> Path:
    """Return a path that was given in the folder ``before``, as seen from the project's root."""
    absolute = Path(os.path.normpath(before / path))
    return absolute.relative_to(Path.cwd()) if absolute.is_relative_to(Path.cwd()) else absolute


def index_of(dataset: str) -> "Index":
    """Return the index of ``dataset``.

    Raises:
        InputError: params.yaml has no such data set of images, or it is not indexed yet by this version.
    """
    from clipstore.data import index
    from clipstore.data.tree import listed

    path = index.path_of(dataset)
    if path.is_file():
        found = index.read(dataset)
        if set(found.rows) >= set(index.SCHEMA.names):
            return found
        raise InputError(f"{path}: written by an earlier version; run `dvc repro index@{dataset}` first")
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        names = list(YAML(typ="safe").load(Path("params.yaml"))["axes"]["datasets"])
    except (YAMLError, KeyError, TypeError):
        raise InputError("params.yaml: without a list axes.datasets; `dvc repro -s validate` says what is wrong") from None
    if dataset not in names:
        raise InputError(f"{dataset}: no such data set; expected one of axes.datasets in params.yaml: {listed(names, 20) or 'none yet'}")
    raise InputError(f"{path}: no such file; run `dvc repro index@{dataset}` first")
