"""The table `datasets` of params.yaml: images and texts, and where they come from."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from clipstore.core.params import Md5, Section, Sha256, Url


class Garden(Section):
    """The drawn sample: numbers of images for each class, and their side in pixels."""

    kind: Literal["garden"]
    image_size: int = Field(ge=32, le=512)
    train: int = Field(ge=1)
    val: int = Field(ge=1)
    test: int = Field(ge=1)
    seed: int = Field(ge=0)


class Digits(Section):
    """The scans of handwritten digits (8 x 8 pixels) that scikit-learn carries."""

    kind: Literal["digits"]


class Counts(Section):
    """Images of the official splits."""

    train: int = Field(ge=1)
    val: int = Field(default=0, ge=0)
    test: int = Field(ge=1)


class Archive(Section):
    """A file that a data set consists of: where it is fetched from, the publisher's server or a mirror, and what it must be."""

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


class Flowers(Official):
    """Oxford 102 Flowers."""

    kind: Literal["flowers102"]
    archives: FlowerArchives
    openai_names: Mapping[str, str]  # torchvision's name -> OpenAI's, where they differ


class Pets(Official):
    """Oxford-IIIT Pet. OpenAI's class names are those of the image files."""

    kind: Literal["pets"]
    archives: PetArchives


class Folder(Section):
    """A user's own photographs in data/raw/NAME: class folders, or a manifest.csv or manifest.parquet."""

    kind: Literal["folder"]


class Digests(Section):
    """SHA-256 of the text of each split, as its authors first published it."""

    folder: str  # in the hub's repository
    train: Sha256
    val: Sha256
    test: Sha256


class WikiText(Section):
    """WikiText-2 from the Hugging Face hub: all words (raw), or rare ones replaced by <unk> (tokenised)."""

    kind: Literal["wikitext2"]
    repository: str
    revision: str
    version: Literal["raw", "tokenised"]
    versions: Mapping[Literal["raw", "tokenised"], Digests]
    markup: Literal["keep", "undo"]  # " @-@ " and blanks around punctuation, which both versions have
    megabytes: int = Field(ge=1)


class PythonDocs(Section):
    """The sample of English prose: the running Python's reference topics and its standard library's docstrings, split by module."""

    kind: Literal["python_docs"]
    val: float = Field(gt=0, lt=0.5)  # share of the modules
    test: float = Field(gt=0, lt=0.5)
    seed: int = Field(ge=0)


class Text(Section):
    """A user's own text in data/raw/NAME: .txt files, one document a line, or .parquet files with a column text."""

    kind: Literal["text"]


Texts = WikiText | PythonDocs | Text
Dataset = Annotated[Garden | Digits | Flowers | Pets | Folder | WikiText | PythonDocs | Text, Field(discriminator="kind")]
