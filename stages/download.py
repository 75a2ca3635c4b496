"""Fetch or draw a data set: python -m stages.download DATASET.

Writes data/raw/DATASET: images and a manifest.csv (path, class_name; split and label where the data set has official ones), or text, a .txt
file a split. Archives stay in this user's cache folder, so that an interrupted run goes on and no other run fetches them again.
"""

import hashlib
import json
import platform
import shutil
import sys
import zlib
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
from PIL import Image
from pyarrow import ArrowException
from tqdm import tqdm

from clipstore.core.errors import InputError
from clipstore.core.params import section
from clipstore.core.schema import Dataset, Digits, Folder, Garden, Official, PythonDocs, Text, WikiText
from clipstore.core.stage import run
from clipstore.data import hub
from clipstore.data.fetching import fetch
from clipstore.data.index import SPLITS
from clipstore.text import docstrings, texts

if sys.version_info >= (3, 12):
    import tarfile
else:
    from backports import tarfile  # before 3.11.4, which Debian 12 does not have, Python's own knows no filters

FOLDERS = {"flowers102": "flowers-102", "pets": "oxford-iiit-pet"}  # torchvision's
# torchvision's name -> the one in OpenAI's list, where they differ in more than case (github.com/openai/CLIP, data/prompts.md).
OPENAI_FLOWERS = {"globe-flower": "globe flower", "pink-yellow dahlia?": "pink and yellow dahlia", "ball moss": "air plant"}


def garden(entry: Garden, root: Path) -> pd.DataFrame:
    """Draw the garden below ``root``; return its manifest."""
    from clipstore.data import garden as drawing

    lines = []
    for split, label, number, image in drawing.images(entry.train, entry.val, entry.test, entry.image_size, entry.seed):
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


def official(name: str, entry: Official, root: Path) -> pd.DataFrame:
    """Put Flowers 102 or Oxford-IIIT Pet below ``root``, from the entry's copy or else from the network; return its manifest.

    Raises:
        InputError: an archive cannot be had, or the copy is not complete.
    """
    if entry.root:
        try:
            listed(entry, entry.root)
        except InputError as error:
            raise InputError(f"params.yaml: datasets.{name}.root = {str(entry.root)!r}: {error}; without root it is fetched") from None
        shutil.copytree(entry.root / FOLDERS[entry.kind], root / FOLDERS[entry.kind])
    else:
        for url, md5 in sources(entry.kind):
            unpack(fetch(url, md5), root / FOLDERS[entry.kind])
    return listed(entry, root)


def sources(kind: str) -> list[tuple[str, str]]:
    """Return (address, MD5) of every file of the data set, as torchvision knows them."""
    from clipstore.encoders.vision import torchvision

    if kind == "pets":
        return list(torchvision.datasets.OxfordIIITPet._RESOURCES)
    flowers = torchvision.datasets.Flowers102
    return [(flowers._download_url_prefix + file, md5) for file, md5 in flowers._file_dict.values()]


def unpack(file: Path, folder: Path) -> None:
    """Extract an archive into ``folder``, nothing outside of it; copy a file that is none.

    Raises:
        InputError: it is damaged, or holds what tarfile's "data" filter refuses.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if file.suffix not in (".tgz", ".gz"):
        shutil.copy(file, folder)
        return
    try:
        with tarfile.open(file) as archive:
            for member in tqdm(archive, file.name, unit="file", mininterval=1):
                archive.extract(member, folder, filter="data")
    except (tarfile.TarError, EOFError, zlib.error) as error:
        raise InputError(f"{file}: cannot be extracted: {error}") from None


def listed(entry: Official, root: Path) -> pd.DataFrame:
    """Return the manifest of the official lists below ``root``: path, class_name, split, label; no other image is in it.

    Labels are 0-based, as torchvision gives them.

    Raises:
        InputError: lists or images are missing, or they are not the official ones: other counts, classes without a training image.
    """
    from clipstore.encoders.vision import torchvision

    flowers = entry.kind == "flowers102"
    source = torchvision.datasets.Flowers102 if flowers else torchvision.datasets.OxfordIIITPet
    theirs = {"train": "train" if flowers else "trainval", "val": "val", "test": "test"}
    lines = []
    for split, count in entry.images:
        if not count:
            continue
        try:
            of_split = source(root, split=theirs[split])
        except (OSError, RuntimeError, ValueError) as error:
            raise InputError(f"{root / FOLDERS[entry.kind]}: no {entry.kind} as torchvision lays it out: {error}") from None
        paths = of_split._image_files if flowers else of_split._images  # torchvision has no public name for either
        absent = [path for path in paths if not path.is_file()]
        if absent or len(paths) != count:
            what = f"{len(absent)} images are missing, {absent[0]} first" if absent else f"{len(paths)} images are listed"
            raise InputError(f"{entry.kind}, {split}: {what}; expected {count}")
        lines += [
            {"path": path.relative_to(root).as_posix(), "split": split, "label": label}
            for path, label in zip(paths, of_split._labels, strict=True)
        ]
        if split == "train" and set(of_split._labels) != set(range(entry.classes)):
            raise InputError(f"{entry.kind}, {split}: {len(set(of_split._labels))} classes are listed; expected {entry.classes}")
        names = of_split.classes
    manifest = pd.DataFrame(lines)
    return manifest.assign(class_name=[class_names(entry, names, manifest)[label] for label in manifest["label"]])


def class_names(entry: Official, theirs: list[str], manifest: pd.DataFrame) -> list[str]:
    """Return the class names in the order of their labels: torchvision's (``theirs``), or OpenAI's for the same labels.

    OpenAI's list of pets is in another order than the labels; its names are those of the files, "american_bulldog_1.jpg", underscores
    read as spaces. That names match one to one, spelling aside, is checked.

    Raises:
        InputError: they do not.
    """
    if entry.class_names == "torchvision":
        return theirs
    if entry.kind == "pets":
        files = manifest.drop_duplicates("label").sort_values("label")["path"]
        names = [Path(path).stem.rpartition("_")[0].replace("_", " ") for path in files]
        same = [name.lower() for name in names] == [name.lower() for name in theirs]
    else:
        names = [OPENAI_FLOWERS.get(name, name) for name in theirs]
        same = set(OPENAI_FLOWERS) <= set(theirs)
    if not same or len({name.lower() for name in names}) != entry.classes:
        raise InputError(f"{entry.kind}: torchvision's class names do not match OpenAI's one to one: {', '.join(theirs)}")
    return names


def wikitext(entry: WikiText, root: Path) -> int:
    """Write the three splits of WikiText-2, as its makers published them, below ``root``; return how many lines they have.

    The hub's tables have a row a line, and an empty one for the makers' " " between paragraphs.

    Raises:
        InputError: a file cannot be had, or its text is not the published one.
    """
    version = entry.versions[entry.version]
    count = 0
    for theirs, split in (("train", "train"), ("validation", "val"), ("test", "test")):
        name = f"{version.folder}/{theirs}-00000-of-00001.parquet"
        path = hub.file(entry.repository, [name], "dataset", entry.revision)
        try:
            lines = pq.read_table(path, columns=["text"])["text"].to_pylist()
        except (ArrowException, OSError) as error:
            raise InputError(f"{path}: no Parquet file with a column text: {str(error).splitlines()[0]}") from None
        text = "".join(line or " \n" for line in lines).encode()
        digest, expected = hashlib.sha256(text).hexdigest(), getattr(version, split)
        if digest != expected:
            raise InputError(f"{path}: the SHA-256 of its text is {digest}, expected {expected}: not WikiText-2 as published")
        (root / f"{split}.txt").write_bytes(text)
        count += len(lines)
    return count


def python_docs(root: Path) -> int:
    """Write the paragraphs of Python's documentation below ``root``, split by module; return how many.

    One that stands in several modules belongs to the first.
    """
    paragraphs: dict[str, str] = {}  # to the split
    for name, written in docstrings.sources():
        split = texts.split_of(name, 0.1, 0.1, 0)
        for paragraph in docstrings.paragraphs(written):
            paragraphs.setdefault(paragraph, split)
    for split in SPLITS:
        texts.write(root / f"{split}.txt", (paragraph for paragraph, its in paragraphs.items() if its == split))
    (root / "about.json").write_text(json.dumps({"python": platform.python_version()}) + "\n")
    return len(paragraphs)


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
            manifest = official(dataset, entry, root)
        case WikiText() | PythonDocs():
            lines = wikitext(entry, root) if isinstance(entry, WikiText) else python_docs(root)
            print(f"download {dataset}: {lines} lines")
            return {"lines": lines}
        case Folder() | Text():
            raise InputError(f"params.yaml: axes.download = {dataset!r}: a folder of one's own is expected in {root}, not fetched")
    manifest.to_csv(root / "manifest.csv", index=False)
    print(f"download {dataset}: {len(manifest)} images")
    return {"images": len(manifest)}


if __name__ == "__main__":
    run(main)
