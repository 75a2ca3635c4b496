"""Oxford 102 Flowers and Oxford-IIIT Pet, with the splits, labels and class names that published results use.

Files lie as torchvision lays them out, so that a copy that torchvision extracted serves as well as the archives.
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
    from backports import tarfile  # Python before 3.11.4, for example Debian 12's, has no extraction filters

FLOWER_LISTS = {"labels": "imagelabels.mat", "splits": "setid.mat"}
FLOWER_SPLITS = {"train": "trnid", "val": "valid", "test": "tstid"}  # keys of setid.mat
PET_LISTS = {"train": "trainval.txt", "test": "test.txt"}


def write(name: str, entry: Flowers | Pets, root: Path, flower_names: Sequence[str] = ()) -> pd.DataFrame:
    """Put the data set below ``root``, from the entry's extracted copy or else from the network; return its manifest.

    Args:
        name: of the entry, for errors.
        entry: of the table.
        root: data/raw/NAME.
        flower_names: torchvision's class names of Flowers 102 in the order of the labels.

    Raises:
        InputError: an archive cannot be fetched, or the copy is not complete.
    """
    if entry.root:
        try:
            manifest(entry, entry.root, flower_names)
        except InputError as error:
            raise InputError(f"params.yaml: datasets.{name}.root = {str(entry.root)!r}: {error}; without root it is fetched") from None
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
    """Extract an archive into ``folder``; nothing is written outside of it.

    Raises:
        InputError: the archive is damaged, or holds what tarfile's "data" filter refuses.
    """
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with tarfile.open(file) as archive:
            for member in tqdm(archive, file.name, unit="file", mininterval=1):
                archive.extract(member, folder, filter="data")
    except (tarfile.TarError, EOFError, zlib.error) as error:
        raise InputError(f"{file}: cannot be extracted: {error}") from None


def manifest(entry: Flowers | Pets, root: Path, flower_names: Sequence[str] = ()) -> pd.DataFrame:
    """Return path, split, label and class_name of every image that the official lists below ``root`` name; labels start at 0.

    Raises:
        InputError: lists or images are missing, or they are not the official ones: other counts, classes without a training image.
    """
    try:
        lists = flower_lists(entry, root) if isinstance(entry, Flowers) else pet_lists(entry, root)
    except (OSError, ValueError) as error:
        raise InputError(f"{root / entry.folder}: no {entry.kind} as torchvision lays it out: {error}") from None
    rows = []
    for split, expected in entry.images:
        images = lists.get(split, [])
        missing = [path for path, _ in images if not (root / path).is_file()]
        if missing or len(images) != expected:
            problem = f"{len(missing)} images are missing, {root / missing[0]} first" if missing else f"{len(images)} images are listed"
            raise InputError(f"{entry.kind}, {split}: {problem}; expected {expected}")
        labels = {label for _, label in images}
        if split == "train" and labels != set(range(entry.classes)):
            raise InputError(f"{entry.kind}, {split}: {len(labels)} classes are listed; expected {entry.classes}")
        rows += [{"path": path, "split": split, "label": label} for path, label in images]
    listed = pd.DataFrame(rows)
    names = flower_class_names(entry, flower_names) if isinstance(entry, Flowers) else pet_class_names(entry, listed)
    return listed.assign(class_name=[names[label] for label in listed["label"]])


def flower_lists(entry: Flowers, root: Path) -> dict[str, list[tuple[str, int]]]:
    """Return path below ``root`` and label of the images of each split of Flowers 102.

    Raises:
        OSError: a list is missing.
        ValueError: a list is not the published one.
    """
    from scipy.io import loadmat

    folder = root / entry.folder
    for part, file in FLOWER_LISTS.items():
        digest, expected = file_md5(folder / file), getattr(entry.archives, part).md5
        if digest != expected:
            raise ValueError(f"{file}: MD5 is {digest}, expected {expected}")
    labels = loadmat(folder / FLOWER_LISTS["labels"], squeeze_me=True)["labels"].tolist()  # from 1
    numbers = loadmat(folder / FLOWER_LISTS["splits"], squeeze_me=True)  # of images, from 1
    return {
        split: [(f"{entry.folder}/jpg/image_{number:05}.jpg", labels[number - 1] - 1) for number in numbers[key].tolist()]
        for split, key in FLOWER_SPLITS.items()
    }


def pet_lists(entry: Pets, root: Path) -> dict[str, list[tuple[str, int]]]:
    """Return path below ``root`` and label of the images of each split of Oxford-IIIT Pet.

    Raises:
        OSError: a list is missing.
        ValueError: a line of a list is not NAME LABEL SPECIES BREED.
    """
    lists = {}
    for split, file in PET_LISTS.items():
        lines = (root / entry.folder / "annotations" / file).read_text().splitlines()
        images = [(name, int(label)) for name, label, _species, _breed in (line.split() for line in lines)]
        lists[split] = [(f"{entry.folder}/images/{name}.jpg", label - 1) for name, label in images]
    return lists


def flower_class_names(entry: Flowers, names: Sequence[str]) -> list[str]:
    """Return the class names of Flowers 102 in the order of their labels.

    Args:
        entry: says whose names they are, and where OpenAI's differ.
        names: torchvision's, in the order of the labels.

    Raises:
        InputError: OpenAI's names do not match torchvision's one to one.
    """
    if entry.class_names == "torchvision":
        return list(names)
    openai = [entry.openai_names.get(name, name) for name in names]
    if not set(entry.openai_names) <= set(names) or len({name.lower() for name in openai}) != entry.classes:
        raise _no_match(entry, names)
    return openai


def pet_class_names(entry: Pets, listed: pd.DataFrame) -> list[str]:
    """Return the class names of Oxford-IIIT Pet in the order of their labels.

    Both lists of names follow from the images' file names, american_bulldog_1.jpg: torchvision's begin every word with a capital, OpenAI's
    keep the spelling. OpenAI's list itself is in another order than the labels.

    Args:
        entry: says whose names they are.
        listed: path and label of each image.

    Raises:
        InputError: labels and file names do not match one to one.
    """
    breeds = listed["path"].map(lambda path: Path(path).stem.rpartition("_")[0].replace("_", " "))
    pairs = pd.DataFrame({"label": listed["label"], "breed": breeds}).drop_duplicates().sort_values(["label", "breed"])
    openai = pairs["breed"].tolist()
    torchvision = [" ".join(word.title() for word in name.split(" ")) for name in openai]
    if not pairs["label"].is_unique or len({name.lower() for name in openai}) != entry.classes:
        raise _no_match(entry, torchvision)
    return openai if entry.class_names == "openai" else torchvision


def _no_match(entry: Flowers | Pets, names: Sequence[str]) -> InputError:
    return InputError(f"{entry.kind}: torchvision's class names do not match OpenAI's one to one: {', '.join(names)}")
