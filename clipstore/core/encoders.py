"""The table `encoders` of params.yaml: the source of each encoder's weights."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator

from clipstore.core.digests import file_sha256
from clipstore.core.params import Section, Sha256, Url

OPEN_CLIP_WEIGHTS = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")  # open_clip's own names, in its order


class LocalFile(Section):
    """Weights in a local file. The entry includes its SHA-256, so that DVC notices when the file is replaced."""

    file: Path = Field(description="Path of the file with the weights.")
    sha256: Sha256 | None = Field(
        default=None,
        description="SHA-256 of the file. Required for an encoder on `axes.weights`; if it is missing, the error message gives it.",
    )

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
    image_size: int = Field(ge=32, le=512, description="Side of the square input, in pixels.")
    drawings: int = Field(ge=1, description="Training drawings of each captioned flower.")
    steps: int = Field(ge=1, description="Optimiser steps.")


class HubFile(Section):
    """Published weights from the Hugging Face hub; the file is checked against ``sha256`` if that is given."""

    sha256: Sha256 | None = Field(default=None, description="SHA-256 that the downloaded file must have; without it any file is accepted.")


class OpenClipTag(HubFile):
    """Weights that open_clip publishes for this architecture and tag."""

    source: Literal["open_clip"]
    architecture: str = Field(description="open_clip's name of the architecture, for example ViT-B-32-quickgelu.")
    tag: str = Field(description="open_clip's tag of the weights, for example openai.")


def _repository(address: str) -> str:
    if not re.fullmatch(r"hf-hub:[\w.-]+/[\w.-]+|(?!hf-hub:)(local-dir:)?.+", address):
        raise ValueError("expected hf-hub:OWNER/NAME, local-dir:PATH or a path")
    return address


class OpenClipRepository(HubFile):
    """A repository in open_clip's layout: open_clip_config.json, weights and, where the configuration names one, a tokenizer."""

    source: Literal["open_clip_repository"]
    repository: Annotated[str, AfterValidator(_repository)] = Field(
        description="hf-hub:OWNER/NAME for a repository of the Hugging Face hub; a path, or local-dir:PATH, for a local folder.",
    )

    @property
    def folder(self) -> Path | None:
        """The local folder; None for a repository of the hub."""
        return None if self.repository.startswith("hf-hub:") else Path(self.repository.removeprefix("local-dir:")).expanduser()

    def problem(self) -> str | None:
        """Return why a local folder cannot be used, or None. As for local files, only entries on an axis are checked."""
        if self.folder is None:
            return None
        if not self.folder.is_dir():
            return f"no such folder: {self.folder}; expected hf-hub:OWNER/NAME for a repository of the hub"
        if self.sha256 is None:
            path = next((path for path in (self.folder / name for name in OPEN_CLIP_WEIGHTS) if path.is_file()), None)
            if path is None:
                return f"{self.folder} has no file {' or '.join(OPEN_CLIP_WEIGHTS)}"
            return f"sha256 is missing; the SHA-256 of {path} is {file_sha256(path)}"
        return None


def _named_after_digest(url: str) -> str:
    if not re.search(r"-[0-9a-f]{8,64}\.\w+$", url):
        raise ValueError("the file's name must end in the first digits of its SHA-256, as in resnet34-b627a593.pth")
    return url


class Torchvision(Section):
    """Weights that torchvision publishes for this architecture, for example IMAGENET1K_V1 for resnet34."""

    source: Literal["torchvision"]
    architecture: str = Field(description="torchvision's name of the architecture, for example resnet34.")
    weights: str = Field(description="torchvision's name of the weights, for example IMAGENET1K_V1.")
    url: Annotated[Url, AfterValidator(_named_after_digest)] | None = Field(
        default=None, description="Mirror to fetch the file from, instead of torchvision's server."
    )


class OpenClipFile(LocalFile):
    """An open_clip checkpoint: open_clip's name of the ``architecture``, and either the tag it was trained under or its activation."""

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
    def _tag_or_activation(self) -> "OpenClipFile":
        if (self.tag is None) == (self.activation is None):
            raise ValueError("expected either tag or activation: the file does not record the activation")
        return self


class TimmPreprocess(Section):
    """Settings of timm's evaluation transform: size in pixels, mean and std in [0, 1], and the crop as a fraction of the resized side."""

    size: int = Field(ge=16, description="Side of the square input, in pixels.")
    mean: tuple[float, float, float] = Field(description="Mean of red, green and blue, as fractions of [0, 1].")
    std: tuple[float, float, float] = Field(description="Standard deviation of red, green and blue, as fractions of [0, 1].")
    interpolation: Literal["bicubic", "bilinear"] = Field(description="Filter for resizing.")
    crop_pct: float = Field(gt=0, le=1, description="Side of the centre crop, as a fraction of the resized shorter side.")


class Timm(Section):
    """An image encoder from timm; it has no text tower."""

    architecture: str = Field(
        description="timm's name of the architecture, for published weights with the tag, for example convnext_tiny.in12k."
    )
    arguments: Mapping[str, Any] = Field(default={}, description="Further arguments of timm.create_model.")


class TimmTag(HubFile, Timm):
    """Weights that timm publishes: ``architecture`` includes the tag, whose preprocessing applies unless ``preprocess`` is given."""

    source: Literal["timm"]
    preprocess: TimmPreprocess | None = Field(default=None, description="Preprocessing; without it the tag's own is used.")


class TimmFile(LocalFile, Timm):
    """A state dict in a local file."""

    source: Literal["timm_file"]
    preprocess: TimmPreprocess = Field(description="Preprocessing that the weights were trained with.")


Encoder = Annotated[
    GardenClip | OpenClipTag | OpenClipFile | OpenClipRepository | Torchvision | TimmTag | TimmFile, Field(discriminator="source")
]
