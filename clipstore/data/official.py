"""Oxford 102 Flowers and Oxford-IIIT Pet, with the splits, labels and class names of published results.

Files have torchvision's layout, so a copy that torchvision extracted can replace the archives.
"""

import shutil
import sys
import zlib
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from tqdm import tqdm

from clipstore.core.datasets import Flowers, Pets
from clipstore.core.digests import file_md5
from clipstore.core.errors import InputError
from clipstore.data.fetching import fetch

if sys.version_info >= (3, 12):
    import tarfile
else:
    from backports import tarfile  # before 3.11.4, Python (for example Debian 12's) has no extraction filters

FLOWER_LISTS = {"labels": "imagelabels.mat", "splits": "setid.mat"}
FLOWER_SPLITS = {"train": "trnid", "val": "valid", "test": "tstid"}  # keys of setid.mat
PET_LISTS = {"train": "trainval.txt", "test": "test.txt"}


def write(name: str, entry: Flowers | Pets, root: Path, flower_names: Sequence[str] = ()) -> pd.DataFrame:
    """Put the data set into ``root``, from the entry's extracted copy or else from the network; return its manifest.

    Args:
        name: of the entry, for error messages.
        entry: of the table `datasets`.
        root: data/raw/NAME.
        flower_names: torchvision's class names for Flowers 102, in label order.

    Raises:
        InputError: an archive cannot be downloaded, or the copy is incomplete.
    """
    if entry.root:
        try:
            manifest(entry, entry.root, flower_names)
        except InputError as error:
            raise InputError(
                f"params.yaml: datasets.{name}.root = {str(entry.root)!r}: {error}; without root, the data set is downloaded"
            ) from None
        shutil.copytree(entry.root / entry.folder, root / entry.folder)
    else:
        for part, archive in entry.archives:
            file = fetch(archive.url, archive.md5)
            if part in FLOWER_LISTS:
                (root / entry.folder).mkdir(parents=True, exist_ok=True)
                shutil.copy(file, root / entry.folder / FLOWER_LISTS[part])
            else:
                extract(file, root / entry.folder)
    return manifest(entry, root, flower_names)


def extract(file: Path, folder: Path) -> None:
    """Extract an archive into ``folder``; nothing is written outside it.

    Raises:
        InputError: the archive is damaged, or contains members that tarfile's "data" filter rejects.
    """
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with tarfile.open(file) as archive:
            for member in tqdm(archive, file.name, unit="file", mininterval=1):
                archive.extract(member, folder, filter="data")
    except (tarfile.TarError, EOFError, zlib.error) as error:
        raise InputError(f"{file}: cannot be extracted: {error}") from None


def manifest(entry: Flowers | Pets, root: Path, flower_names: Sequence[str] = ()) -> pd.DataFrame:
    """Return path, split, label and class_name of every image in the official lists below ``root``; labels start at 0.

    Raises:
        InputError: lists or images are missing, counts differ from the official ones, or a class has no training image.
    """
    try:
        lists = flower_lists(entry, root) if isinstance(entry, Flowers) else pet_lists(entry, root)
    except (OSError, ValueError) as error:
        raise InputError(f"{root / entry.folder}: not {entry.kind} in torchvision's layout: {error}") from None
    rows = []
    for split, expected in entry.images:
        images = lists.get(split, [])
        missing = [path for path, _ in images if not (root / path).is_file()]
        if missing or len(images) != expected:
            problem = (
                f"{len(missing)} images are missing, for example {root / missing[0]}" if missing else f"{len(images)} images are listed"
            )
            raise InputError(f"{entry.kind}, {split}: {problem}; expected {expected}")
        labels = {label for _, label in images}
        if split == "train" and labels != set(range(entry.classes)):
            raise InputError(f"{entry.kind}, {split}: {len(labels)} classes are listed; expected {entry.classes}")
        rows += [{"path": path, "split": split, "label": label} for path, label in images]
    table = pd.DataFrame(rows)
    names = flower_class_names(entry, flower_names) if isinstance(entry, Flowers) else pet_class_names(entry, table)
    return table.assign(class_name=[names[label] for label in table["label"]])


def flower_lists(entry: Flowers, root: Path) -> dict[str, list[tuple[str, int]]]:
    """Return, for each split of Flowers 102, path below ``root`` and label of its images.

    Raises:
        OSError: a list is missing.
        ValueError: a list differs from the published one.
    """
    from scipy.io import loadmat

    folder = root / entry.folder
    for part, file in FLOWER_LISTS.items():
        digest, expected = file_md5(folder / file), getattr(entry.archives, part).md5
        if digest != expected:
            raise ValueError(f"{file}: MD5 is {digest}, expected {expected}")
    labels = loadmat(folder / FLOWER_LISTS["labels"], squeeze_me=True)["labels"].tolist()  # start at 1
    numbers = loadmat(folder / FLOWER_LISTS["splits"], squeeze_me=True)  # image numbers, from 1
    return {
        split: [(f"{entry.folder}/jpg/image_{number:05}.jpg", labels[number - 1] - 1) for number in numbers[key].tolist()]
        for split, key in FLOWER_SPLITS.items()
    }


def pet_lists(entry: Pets, root: Path) -> dict[str, list[tuple[str, int]]]:
    """Return, for each split of Oxford-IIIT Pet, path below ``root`` and label of its images.

    Raises:
        OSError: a list is missing.
        ValueError: a line of a list is not of the form NAME LABEL SPECIES BREED.
    """
    lists = {}
    for split, file in PET_LISTS.items():
        lines = (root / entry.folder / "annotations" / file).read_text().splitlines()
        images = [(name, int(label)) for name, label, _species, _breed in (line.split() for line in lines)]
        lists[split] = [(f"{entry.folder}/images/{name}.jpg", label - 1) for name, label in images]
    return lists


def flower_class_names(entry: Flowers, names: Sequence[str]) -> list[str]:
    """Return the class names of Flowers 102 in label order.

    Args:
        entry: selects OpenAI's or torchvision's names and lists where OpenAI's differ.
        names: torchvision's names in label order.

    Raises:
        InputError: OpenAI's names do not match torchvision's one to one.
    """
    if entry.class_names == "torchvision":
        return list(names)
    openai = [entry.openai_names.get(name, name) for name in names]
    if not set(entry.openai_names) <= set(names) or len({name.lower() for name in openai}) != entry.classes:
        raise _no_match(entry, names)
    return openai


def pet_class_names(entry: Pets, images: pd.DataFrame) -> list[str]:
    """Return the class names of Oxford-IIIT Pet in label order.

    Both lists of names follow from the images' file names, such as american_bulldog_1.jpg: torchvision capitalises every word, OpenAI keeps
    the spelling. OpenAI's published list is not in label order.

    Args:
        entry: selects OpenAI's or torchvision's names.
        images: path and label of each image.

    Raises:
        InputError: labels and file names do not match one to one.
    """
    breeds = images["path"].map(lambda path: Path(path).stem.rpartition("_")[0].replace("_", " "))
    pairs = pd.DataFrame({"label": images["label"], "breed": breeds}).drop_duplicates().sort_values(["label", "breed"])
    openai = pairs["breed"].tolist()
    torchvision = [" ".join(word.title() for word in name.split(" ")) for name in openai]
    if not pairs["label"].is_unique or len({name.lower() for name in openai}) != entry.classes:
        raise _no_match(entry, torchvision)
    return openai if entry.class_names == "openai" else torchvision


def _no_match(entry: Flowers | Pets, names: Sequence[str]) -> InputError:
    return InputError(f"{entry.kind}: torchvision's class names do not match OpenAI's one to one: {', '.join(names)}")
