"""The table `datasets` of params.yaml: image and text data sets and their sources."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from clipstore.core.params import Md5, Name, Section, Sha256, Url

Exif = Literal["apply", "ignore"]


class Garden(Section):
    """The generated sample: images per class in each split, and their side in pixels."""

    kind: Literal["garden"]
    image_size: int = Field(ge=32, le=512)
    train: int = Field(ge=1)
    val: int = Field(ge=1)
    test: int = Field(ge=1)
    seed: int = Field(ge=0)


class Digits(Section):
    """The scans of handwritten digits (8 x 8 pixels) that ship with scikit-learn."""

    kind: Literal["digits"]


class Counts(Section):
    """Numbers of images in the official splits."""

    train: int = Field(ge=1)
    val: int = Field(default=0, ge=0)
    test: int = Field(ge=1)


class Archive(Section):
    """One file of a data set: its address, at the publisher or a mirror, and its checksum."""

    url: Url
    md5: Md5


class FlowerArchives(Section):
    """The files of Oxford 102 Flowers."""

    images: Archive
    labels: Archive
    splits: Archive


class PetArchives(Section):
    """The files of Oxford-IIIT Pet."""

    images: Archive
    annotations: Archive


class Official(Section):
    """A published data set with official splits."""

    folder: str  # in data/raw/NAME: torchvision's name for it
    images: Counts
    classes: int = Field(ge=2)
    megabytes: int = Field(ge=1)  # of its archives
    class_names: Literal["openai", "torchvision"]  # whose list
    root: Path | None = None  # holds `folder`, extracted as torchvision does: it is copied, nothing is fetched
    exif: Exif = "ignore"  # whether the EXIF orientation is applied; published figures were measured without


class Flowers(Official):
    """Oxford 102 Flowers."""

    kind: Literal["flowers102"]
    archives: FlowerArchives
    openai_names: Mapping[str, str]  # torchvision's name -> OpenAI's, where they differ


class Pets(Official):
    """Oxford-IIIT Pet. OpenAI's class names follow from the names of the image files."""

    kind: Literal["pets"]
    archives: PetArchives


class Folder(Section):
    """A user's own photographs in data/raw/NAME: class folders, or a manifest.csv or manifest.parquet."""

    kind: Literal["folder"]
    exif: Exif = "apply"  # whether the EXIF orientation is applied, without which a phone's photographs are embedded sideways
    class_names: Mapping[str, Name] = {}  # class names to replace, of folders or the manifest, and what zero-shot and the report call them


class Digests(Section):
    """SHA-256 of the text of each split as its authors originally published it."""

    folder: str  # in the hub's repository
    train: Sha256
    val: Sha256
    test: Sha256


class WikiText(Section):
    """WikiText-2 from the Hugging Face hub, with all words (raw) or with rare words replaced by <unk> (tokenised)."""

    kind: Literal["wikitext2"]
    repository: str
    revision: str
    version: Literal["raw", "tokenised"]
    versions: Mapping[Literal["raw", "tokenised"], Digests]
    markup: Literal["keep", "undo"]  # " @-@ " and blanks around punctuation, which both versions have
    megabytes: int = Field(ge=1)


class PythonDocs(Section):
    """The sample of English prose: reference topics and standard-library docstrings of the running Python, split by module."""

    kind: Literal["python_docs"]
    val: float = Field(gt=0, lt=0.5)  # share of the modules
    test: float = Field(gt=0, lt=0.5)
    seed: int = Field(ge=0)


class Text(Section):
    """The user's own text in data/raw/NAME: .txt files with one document per line, or .parquet files with a column text."""

    kind: Literal["text"]


Texts = WikiText | PythonDocs | Text
Dataset = Annotated[Garden | Digits | Flowers | Pets | Folder | WikiText | PythonDocs | Text, Field(discriminator="kind")]
