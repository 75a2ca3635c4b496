"""The table `encoders` of params.yaml: where the weights of each encoder come from."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator

from clipstore.core.digests import file_sha256
from clipstore.core.params import Section, Sha256, Url


class LocalFile(Section):
    """Weights in a local file. Its SHA-256 stands in the entry, so that DVC notices another file under the same name."""

    file: Path
    sha256: Sha256 | None = None

    def problem(self) -> str | None:
        """Return why the file cannot be used, or None; asked only of entries on an axis: others may name files of another machine."""
        if not self.file.is_file():
            return f"no such file: {self.file}"
        if self.sha256 is None:
            return f"sha256 is missing; for {self.file} it is {file_sha256(self.file)}"
        return None


class GardenClip(Section):
    """A small CLIP, trained by the ``weights`` stage on captioned drawings of other flowers than the sample's."""

    source: Literal["garden"]
    image_size: int = Field(ge=32, le=512)  # pixels, square
    drawings: int = Field(ge=1)  # of every captioned flower
    steps: int = Field(ge=1)  # of the optimiser


class HubFile(Section):
    """Published weights, fetched from the Hugging Face hub; ``sha256``, where given, is what the file must have."""

    sha256: Sha256 | None = None


class OpenClipTag(HubFile):
    """open_clip's published weights of this architecture and tag."""

    source: Literal["open_clip"]
    architecture: str
    tag: str


def _named_after_digest(url: str) -> str:
    if not re.search(r"-[0-9a-f]{8,64}\.\w+$", url):
        raise ValueError("the file's name must end in the first digits of its SHA-256, as in resnet34-b627a593.pth")
    return url


class Torchvision(Section):
    """torchvision's published weights of this architecture, for example resnet34 and IMAGENET1K_V1."""

    source: Literal["torchvision"]
    architecture: str
    weights: str
    url: Annotated[Url, AfterValidator(_named_after_digest)] | None = None  # of a mirror, instead of torchvision's own


class OpenClipFile(LocalFile):
    """An open_clip checkpoint: ``architecture`` as open_clip names it, with the tag it was trained under or its activation."""

    source: Literal["open_clip_file"]
    architecture: str
    tag: str | None = None
    activation: Literal["gelu", "quick_gelu"] | None = None

    @model_validator(mode="after")
    def _one_of_both(self) -> "OpenClipFile":
        if (self.tag is None) == (self.activation is None):
            raise ValueError("name either the tag or the activation: the file does not say which")
        return self


class TimmPreprocess(Section):
    """What timm's evaluation transform needs: pixels, fractions of [0, 1] for mean and std, the crop as a fraction of the resized side."""

    size: int = Field(ge=16)
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    interpolation: Literal["bicubic", "bilinear"]
    crop_pct: float = Field(gt=0, le=1)


class Timm(Section):
    """An image encoder of timm, without a text tower."""

    architecture: str
    arguments: Mapping[str, Any] = {}  # of timm.create_model


class TimmTag(HubFile, Timm):
    """timm's published weights: ``architecture`` with its tag; preprocessing is the tag's own unless it is given."""

    source: Literal["timm"]
    preprocess: TimmPreprocess | None = None


class TimmFile(LocalFile, Timm):
    """A state dict in a local file."""

    source: Literal["timm_file"]
    preprocess: TimmPreprocess


Encoder = Annotated[GardenClip | OpenClipTag | OpenClipFile | Torchvision | TimmTag | TimmFile, Field(discriminator="source")]
