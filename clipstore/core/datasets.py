"""The table `datasets` of params.yaml: image and text data sets and their sources."""

import unicodedata
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, field_validator

from clipstore.core.params import Exif, Md5, Name, Section, Sha256, Url

NONE = "none of these"  # the label of an image that shows no class


def tidied(name: str) -> str:
    """Return a class name without outer blanks in Unicode's composed form (NFC)."""
    return unicodedata.normalize("NFC", name).strip()


def _class_name(name: str) -> str:
    if tidied(name).casefold() == NONE:
        raise ValueError(f"{NONE!r} is the label of images that show no class; choose another name")
    return name


ClassName = Annotated[Name, AfterValidator(_class_name)]


class Garden(Section):
    """The generated sample: images per class in each split, and their side in pixels."""

    kind: Literal["garden"]
    image_size: int = Field(ge=32, le=512, description="Side of the square drawings, in pixels.")
    train: int = Field(ge=1, description="Training images per class.")
    val: int = Field(ge=1, description="Validation images per class.")
    test: int = Field(ge=1, description="Test images per class.")
    seed: int = Field(ge=0, description="Seed of the drawings.")


class Digits(Section):
    """The scans of handwritten digits (8 x 8 pixels) that ship with scikit-learn."""

    kind: Literal["digits"]


class Counts(Section):
    """Numbers of images in the official splits."""

    train: int = Field(ge=1, description="Images in the official training split.")
    val: int = Field(
        default=0,
        ge=0,
        description="Images in the official validation split. If it is 0, val is cut from train (`index.val`).",
    )
    test: int = Field(ge=1, description="Images in the official test split.")


class Archive(Section):
    """One file of a data set: its address, at the publisher or a mirror, and its checksum."""

    url: Url = Field(description="Address of the file, on the publisher's server or a mirror.")
    md5: Md5 = Field(description="MD5 checksum that the file must have.")


class FlowerArchives(Section):
    """The files of Oxford 102 Flowers."""

    images: Archive = Field(description="102flowers.tgz: the images.")
    labels: Archive = Field(description="imagelabels.mat: the class of each image.")
    splits: Archive = Field(description="setid.mat: the official splits.")


class PetArchives(Section):
    """The files of Oxford-IIIT Pet."""

    images: Archive = Field(description="images.tar.gz: the images.")
    annotations: Archive = Field(description="annotations.tar.gz: the classes and the official splits.")


class Official(Section):
    """A published data set with official splits."""

    folder: str = Field(description="Folder below data/raw/NAME that the archives are extracted to, as torchvision names it.")
    images: Counts = Field(description="Number of images in each official split; a different number stops the run.")
    classes: int = Field(ge=2, description="Number of classes.")
    megabytes: int = Field(ge=1, description="Size of the archives in MB; used by `make plan`.")
    class_names: Literal["openai", "torchvision"] = Field(description="List of class names to use.")
    root: Path | None = Field(
        default=None,
        description="Existing folder that contains `folder` as torchvision extracts it. It is copied, and nothing is downloaded.",
    )
    exif: Exif = Field(default="ignore", description="Whether the EXIF orientation is applied; published figures were measured without.")


class Flowers(Official):
    """Oxford 102 Flowers."""

    kind: Literal["flowers102"]
    archives: FlowerArchives
    openai_names: Mapping[str, str] = Field(
        description="OpenAI's class name for each of torchvision's names from which it differs in more than case."
    )


class Pets(Official):
    """Oxford-IIIT Pet. OpenAI's class names follow from the names of the image files."""

    kind: Literal["pets"]
    archives: PetArchives


class Folder(Section):
    """A user's own photographs in data/raw/NAME, with or without classes: folders, or a manifest.csv or manifest.parquet."""

    kind: Literal["folder"]
    exif: Exif = Field(
        default="apply",
        description="Whether the EXIF orientation is applied. Without it, photographs that a phone stores sideways are embedded sideways.",
    )
    class_names: Mapping[str, ClassName] | tuple[ClassName, ...] = Field(
        default={},
        description="All classes as a list, which images without a class need; or new names of classes by their names in the folders "
        "or the manifest, for example {blue_tit: blue tit}.",
    )

    @field_validator("class_names")
    @classmethod
    def _check_class_names(cls, names: Mapping[str, str] | tuple[str, ...]) -> Mapping[str, str] | tuple[str, ...]:
        if isinstance(names, tuple) and len(names) < 2:
            raise ValueError("a list must name at least two classes")
        repeated = [name for name, count in Counter(map(tidied, names)).items() if count > 1]
        if repeated:
            raise ValueError(f"{repeated[0]!r} occurs more than once")
        return names


class Digests(Section):
    """SHA-256 of the text of each split as its authors originally published it."""

    folder: str = Field(description="Folder in the repository.")
    train: Sha256 = Field(description="SHA-256 of the training text.")
    val: Sha256 = Field(description="SHA-256 of the validation text.")
    test: Sha256 = Field(description="SHA-256 of the test text.")


class WikiText(Section):
    """WikiText-2 from the Hugging Face hub, with all words (raw) or with rare words replaced by <unk> (tokenised)."""

    kind: Literal["wikitext2"]
    repository: str = Field(description="Repository on the Hugging Face hub.")
    revision: str = Field(description="Commit of the repository.")
    version: Literal["raw", "tokenised"] = Field(
        description="Version to use: all words (raw), or rare words replaced by <unk> (tokenised)."
    )
    versions: Mapping[Literal["raw", "tokenised"], Digests] = Field(description="Folder and checksums of each version.")
    markup: Literal["keep", "undo"] = Field(
        description='Keep WikiText\'s markup (" @-@ " and spaces around punctuation, in both versions) or undo it.'
    )
    megabytes: int = Field(ge=1, description="Size of the text in MB; used by `make plan`.")


class PythonDocs(Section):
    """The sample of English prose: reference topics and standard-library docstrings of the running Python, split by module."""

    kind: Literal["python_docs"]
    val: float = Field(gt=0, lt=0.5, description="Share of the modules that becomes val.")
    test: float = Field(gt=0, lt=0.5, description="Share of the modules that becomes test.")
    seed: int = Field(ge=0, description="Seed of the split.")


class Text(Section):
    """The user's own text in data/raw/NAME: .txt files with one document per line, or .parquet files with a column text."""

    kind: Literal["text"]


Texts = WikiText | PythonDocs | Text
Dataset = Annotated[Garden | Digits | Flowers | Pets | Folder | WikiText | PythonDocs | Text, Field(discriminator="kind")]
