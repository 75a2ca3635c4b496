"""The table `encoders` of params.yaml: the source of each encoder's weights."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator

from clipstore.core.digests import file_sha256
from clipstore.core.params import Section, Sha256, Url


class LocalFile(Section):
    """Weights in a local file. The entry includes its SHA-256, so that DVC notices when the file is replaced."""

    file: Path
    sha256: Sha256 | None = None

    def problem(self) -> str | None:
        """Return why the file cannot be used, or None. Only entries on an axis are checked: others may name files of another machine."""
        if not self.file.is_file():
            return f"no such file: {self.file}"
        if self.sha256 is None:
            return f"sha256 is missing; the SHA-256 of {self.file} is {file_sha256(self.file)}"
        return None


class GardenClip(Section):
    """A small CLIP that the ``weights`` stage trains on captioned drawings of flowers that are not in the sample."""

    source: Literal["garden"]
    image_size: int = Field(ge=32, le=512)  # pixels, square
    drawings: int = Field(ge=1)  # of every captioned flower
    steps: int = Field(ge=1)  # of the optimiser


class HubFile(Section):
    """Published weights from the Hugging Face hub; the file is checked against ``sha256`` if that is given."""

    sha256: Sha256 | None = None


class OpenClipTag(HubFile):
    """Weights that open_clip publishes for this architecture and tag."""

    source: Literal["open_clip"]
    architecture: str
    tag: str


def _named_after_digest(url: str) -> str:
    if not re.search(r"-[0-9a-f]{8,64}\.\w+$", url):
        raise ValueError("the file's name must end in the first digits of its SHA-256, as in resnet34-b627a593.pth")
    return url


class Torchvision(Section):
    """Weights that torchvision publishes for this architecture, for example IMAGENET1K_V1 for resnet34."""

    source: Literal["torchvision"]
    architecture: str
    weights: str
    url: Annotated[Url, AfterValidator(_named_after_digest)] | None = None  # of a mirror, instead of torchvision's own


class OpenClipFile(LocalFile):
    """An open_clip checkpoint: open_clip's name of the ``architecture``, and either the tag it was trained under or its activation."""

    source: Literal["open_clip_file"]
    architecture: str
    tag: str | None = None
    activation: Literal["gelu", "quick_gelu"] | None = None

    @model_validator(mode="after")
    def _tag_or_activation(self) -> "OpenClipFile":
        if (self.tag is None) == (self.activation is None):
            raise ValueError("expected either tag or activation: the file does not record the activation")
        return self


class TimmPreprocess(Section):
    """Settings of timm's evaluation transform: size in pixels, mean and std in [0, 1], and the crop as a fraction of the resized side."""

    size: int = Field(ge=16)
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    interpolation: Literal["bicubic", "bilinear"]
    crop_pct: float = Field(gt=0, le=1)


class Timm(Section):
    """An image encoder from timm; it has no text tower."""

    architecture: str
    arguments: Mapping[str, Any] = {}  # of timm.create_model


class TimmTag(HubFile, Timm):
    """Weights that timm publishes: ``architecture`` includes the tag, whose preprocessing applies unless ``preprocess`` is given."""

    source: Literal["timm"]
    preprocess: TimmPreprocess | None = None


class TimmFile(LocalFile, Timm):
    """A state dict in a local file."""

    source: Literal["timm_file"]
    preprocess: TimmPreprocess


Encoder = Annotated[GardenClip | OpenClipTag | OpenClipFile | Torchvision | TimmTag | TimmFile, Field(discriminator="source")]
