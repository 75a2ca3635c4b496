"""The files of a data set's folder, and what their places say: which folders are splits, what is passed over, what is refused.

Images and texts use the same rules.
"""

import os
import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from clipstore.core.errors import InputError
from clipstore.data.index import SPLITS

# Folders that file servers, operating systems, archivers, photo programs, notebooks and version control create, in lower case.
SYSTEM_FOLDERS = frozenset(
    {
        "#recycle", "#snapshot", "@eadir", "@recently-snapshot", "@recycle", ".@__thumb", ".snapshot", ".snapshots", ".zfs",
        "$recycle.bin", "recycler", "system volume information", "lost+found",
        ".appledouble", ".documentrevisions-v100", ".fseventsd", ".spotlight-v100", ".temporaryitems", ".trash", ".trashes", "__macosx",
        ".picasaoriginals", ".thumbnails", ".xvpics", "__pycache__", ".ipynb_checkpoints", ".git", ".hg", ".svn", ".cache",
    }
)  # fmt: skip

_UNLABELLED = frozenset(("unlabelled", "unlabeled", "_unlabelled", "_unlabeled"))  # folders of images without a class
_SPLITS = {"train": "train", "training": "train", "test": "test", "testing": "test"} | dict.fromkeys(
    ("val", "valid", "validation", "dev"), "val"
)
CONTROL = ("Cc", "Zl", "Zp")  # Unicode's categories of control characters and separators of lines and paragraphs
_SHARD = re.compile(r"[-_.]\d+[-_]of[-_]\d+([-_.][0-9a-f]+)?$")  # the hub's: train-00000-of-00001, validation-00000-of-00002-0a1b2c


@dataclass(frozen=True)
class Tree:
    """The files of a folder.

    Attributes:
        root: the folder.
        folders: every folder below it, relative to it.
        files: every file below it, relative to it, in order.
        hidden: hidden folders that no system makes, relative to it; their files are passed over.
        passed_over: number of files left out, by kind: the name of a system folder, "hidden", or "repeated links", each to a folder that is
            listed anyway.
    """

    root: Path
    folders: list[Path]
    files: list[Path]
    hidden: list[Path]
    passed_over: dict[str, int]


def split_of(name: str) -> str | None:
    """Return the split that a folder's name, or a file's without its suffix, stands for: "Validation" is "val"; None if it is no split."""
    return _SPLITS.get(_SHARD.sub("", name.casefold()))


def unlabelled(name: str) -> bool:
    """Return whether a folder's name says that its images have no class."""
    return name.casefold() in _UNLABELLED


def listed(names: Iterable[object], limit: int = 5) -> str:
    """Return the first names, separated by commas, and the number of those left out."""
    texts = list(map(str, names))
    return ", ".join(texts[:limit]) + (f" and {len(texts) - limit} more" if len(texts) > limit else "")


def counted(number: int, noun: str) -> str:
    """Return a number with its noun: "1 class", "2 classes"."""
    return f"{number} {noun}" + ("" if number == 1 else "es" if noun.endswith("s") else "s")


def by_kind(counts: Mapping[str, int]) -> str:
    """Return numbers of files by kind: "3 .txt, 1 .md"."""
    return ", ".join(f"{count} {kind}" for kind, count in counts.items())


def suffixes(paths: Iterable[Path]) -> dict[str, int]:
    """Return the number of files with each suffix, in lower case and alphabetical order; "no suffix" is one."""
    return dict(sorted(Counter(path.suffix.lower() or "no suffix" for path in paths).items()))


def walk(root: Path) -> Tree:
    """Return the files below ``root``. Links to folders are followed, each folder once; system folders and hidden ones are passed over.

    Raises:
        InputError: a name is not UTF-8 or has control characters, a link is broken or leads to another split, a folder cannot be read,
            or ``root`` contains another DVC repository.
    """
    tree = Tree(root, [], [], [], {})
    passed_over: Counter[str] = Counter()
    inside = Path(os.path.realpath(root))
    visited = {os.path.realpath(root)}

    def refuse(error: OSError) -> None:
        raise InputError(f"{error.filename}: {error.strerror}; expected a folder that can be read")

    for folder, subfolders, names in os.walk(root, followlinks=True, onerror=refuse):
        below = Path(folder).relative_to(root)
        kept = []
        for name in sorted(subfolders):
            path = below / name
            _check_name(root, path)
            if name == ".dvc":
                raise InputError(
                    f"{root / below}: is another DVC repository (has .dvc), whose files DVC would not track; copy the data out of it"
                )
            if name.casefold() in SYSTEM_FOLDERS or name.casefold().startswith(".trash-"):
                passed_over[name] += _count_files(root / path)
            elif name.startswith("."):
                passed_over["hidden"] += _count_files(root / path)
                tree.hidden.append(path)
            else:
                real = os.path.realpath(root / path)
                repeated = real in visited
                if (root / path).is_symlink():
                    repeated |= _check_link(root, path, inside)
                if repeated:
                    passed_over["repeated links"] += 1
                else:
                    visited.add(real)
                    kept.append(name)
        subfolders[:] = kept
        tree.folders.extend(below / name for name in kept)
        for name in sorted(names):
            path = below / name
            _check_name(root, path)
            if name == ".dvcignore":
                raise InputError(f"{root / path}: DVC refuses a .dvcignore below a data folder; delete it")
            if name.startswith("."):
                passed_over["hidden"] += 1
                continue
            if (root / path).is_symlink():
                _check_link(root, path, inside)
            tree.files.append(path)
    return Tree(root, sorted(tree.folders), sorted(tree.files), tree.hidden, {kind: count for kind, count in passed_over.items() if count})


def _count_files(folder: Path) -> int:
    return sum(len(names) for _, _, names in os.walk(folder))


def _check_name(root: Path, path: Path) -> None:
    try:
        path.name.encode()
    except UnicodeEncodeError:
        shown = os.fsencode(path.name).decode("utf-8", "backslashreplace")
        raise InputError(f"{root / path.parent}: the file name {shown!r} is not UTF-8; rename it") from None
    if any(unicodedata.category(character) in CONTROL for character in path.name):
        raise InputError(f"{root / path.parent}: the file name {path.name!r} contains control characters; rename it")


def _check_link(root: Path, path: Path, inside: Path) -> bool:
    """Refuse a broken link and one between two splits; return whether it leads to a place inside ``root``."""
    real = Path(os.path.realpath(root / path))
    if not real.exists():
        raise InputError(f"{root / path}: broken link to {(root / path).readlink()}; delete it, or restore what it points to")
    if not real.is_relative_to(inside):
        return False
    target = real.relative_to(inside)
    here, there = (split_of(place.parts[0]) if place.parts else None for place in (path, target))
    if here and there and here != there:
        raise InputError(f"{root / path}: a link from the split {here} to {target} of {there}; expected files, or links within a split")
    return True


def spelling(name: str) -> str:
    """Return what names have in common that differ only in case, blanks, hyphens or underscores."""
    return re.sub(r"[\s_-]+", "", unicodedata.normalize("NFKC", name).casefold())


def given_splits(tree: Tree, files: list[Path], beside: Collection[str] = ()) -> dict[str, str]:
    """Return the split of each folder or file name at the top of ``tree`` that names one; empty where none does.

    Args:
        tree: the folder.
        files: the files that count, images or texts.
        beside: other names that may stand beside splits.

    Raises:
        InputError: some names at the top are splits and others are not, or two different names stand for the same split.
    """
    top_folders = {path.name for path in tree.folders if len(path.parts) == 1}
    top_files = {path.name for path in files if len(path.parts) == 1}
    split_by_name = {name: split_of(name) for name in top_folders} | {name: split_of(Path(name).stem) for name in top_files}
    given = {name: split for name, split in split_by_name.items() if split}
    if not given:
        return {}
    others = sorted(name for name in split_by_name if name not in given and name not in beside)
    if others:
        raise InputError(
            f"{tree.root}: {listed(others)} beside {listed(sorted(given))}: where names of splits occur, expected nothing but "
            f"{', '.join(SPLITS)}; move the rest away, or list the files in a manifest"
        )
    for split in SPLITS:
        spellings = {_SHARD.sub("", Path(name).stem if name in top_files else name) for name, of in given.items() if of == split}
        if len(spellings) > 1:
            raise InputError(f"{tree.root}: {listed(sorted(spellings))} all stand for the split {split}; expected one of them")
    return given
