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

    file: Path = Field(description="Path of the file with the weights.")
    sha256: Sha256 | None = Field(
        default=None,
        description="SHA-256 of the file. Required for an encoder on `axes.weights`; if it is missing, the error message gives it.",
    )

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
    image_size: int = Field(ge=32, le=512, description="Side of the square input, in pixels.")
    drawings: int = Field(ge=1, description="Training drawings of each captioned flower.")
    steps: int = Field(ge=1, description="Optimiser steps.")


class HubFile(Section):
    """Published weights, fetched from the Hugging Face hub; ``sha256``, where given, is what the file must have."""

    sha256: Sha256 | None = Field(default=None, description="SHA-256 that the downloaded file must have; without it any file is accepted.")


class OpenClipTag(HubFile):
    """open_clip's published weights of this architecture and tag."""

    source: Literal["open_clip"]
    architecture: str = Field(description="open_clip's name of the architecture, for example ViT-B-32-quickgelu.")
    tag: str = Field(description="open_clip's tag of the weights, for example openai.")


def _named_after_digest(url: str) -> str:
    if not re.search(r"-[0-9a-f]{8,64}\.\w+$", url):
        raise ValueError("the file's name must end in the first digits of its SHA-256, as in resnet34-b627a593.pth")
    return url


class Torchvision(Section):
    """torchvision's published weights of this architecture, for example resnet34 and IMAGENET1K_V1."""

    source: Literal["torchvision"]
    architecture: str = Field(description="torchvision's name of the architecture, for example resnet34.")
    weights: str = Field(description="torchvision's name of the weights, for example IMAGENET1K_V1.")
    url: Annotated[Url, AfterValidator(_named_after_digest)] | None = Field(
        default=None, description="Mirror to fetch the file from, instead of torchvision's server."
    )


class OpenClipFile(LocalFile):
    """An open_clip checkpoint: ``architecture`` as open_clip names it, with the tag it was trained under or its activation."""

    source: Literal["open_clip_file"]
    architecture: str = Field(description="open_clip's name of the architecture.")
    tag: str | None = Field(
        default=None,
        description="open_clip's tag whose activation and preprocessing the weights were trained with. Give either `tag` or `activation`.",
    )
    activation: Literal["gelu", "quick_gelu"] | None = Field(
        default=None, description="Activation that the weights were trained with. Give either `tag` or `activation`."
    )

    @model_validator(mode="after")
    def _one_of_both(self) -> "OpenClipFile":
        if (self.tag is None) == (self.activation is None):
            raise ValueError("name either the tag or the activation: the file does not say which")
        return self


class TimmPreprocess(Section):
    """What timm's evaluation transform needs: pixels, fractions of [0, 1] for mean and std, the crop as a fraction of the resized side."""

    size: int = Field(ge=16, description="Side of the square input, in pixels.")
    mean: tuple[float, float, float] = Field(description="Mean of red, green and blue, as fractions of [0, 1].")
    std: tuple[float, float, float] = Field(description="Standard deviation of red, green and blue, as fractions of [0, 1].")
    interpolation: Literal["bicubic", "bilinear"] = Field(description="Filter for resizing.")
    crop_pct: float = Field(gt=0, le=1, description="Side of the centre crop, as a fraction of the resized shorter side.")


class Timm(Section):
    """An image encoder of timm, without a text tower."""

    architecture: str = Field(
        description="timm's name of the architecture, for published weights with the tag, for example convnext_tiny.in12k."
    )
    arguments: Mapping[str, Any] = Field(default={}, description="Further arguments of timm.create_model.")


class TimmTag(HubFile, Timm):
    """timm's published weights: ``architecture`` with its tag; preprocessing is the tag's own unless it is given."""

    source: Literal["timm"]
    preprocess: TimmPreprocess | None = Field(default=None, description="Preprocessing; without it the tag's own is used.")


class TimmFile(LocalFile, Timm):
    """A state dict in a local file."""

    source: Literal["timm_file"]
    preprocess: TimmPreprocess = Field(description="Preprocessing that the weights were trained with.")


Encoder = Annotated[GardenClip | OpenClipTag | OpenClipFile | Torchvision | TimmTag | TimmFile, Field(discriminator="source")]
