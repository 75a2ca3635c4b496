"""A weights folder, data/weights/NAME: the library's own files, and encoder.json, which describes them so that they need not be loaded.

The format depends only on the library, not on where the weights came from. open_clip models are stored as open_clip_config.json and
open_clip_model.safetensors, timm models as config.json and model.safetensors; both libraries load such a folder by "local-dir:",
including preprocessing and tokenizer. torchvision models are stored as model.safetensors, including the classifier; their preprocessing
is in encoder.json.
"""

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from clipstore.core.digests import file_sha256

FILES = {"open_clip": "open_clip_model.safetensors", "timm": "model.safetensors", "torchvision": "model.safetensors"}
CONFIGURATIONS = {"open_clip": "open_clip_config.json", "timm": "config.json"}  # what the library builds the model from


@dataclass(frozen=True)
class EncoderInfo:
    """encoder.json.

    Attributes:
        name: the entry in params.yaml.
        library: the library that loads the folder.
        architecture: the library's name for it.
        activation: "gelu" or "quick_gelu"; None if the architecture determines it.
        preprocess: size, interpolation, mean, std ... as the library's transform expects them.
        image_vectors: lengths of an image's vectors: embedding (projected) and, if there is a projection, features (before it).
        text_vectors: length of a text's embedding; empty without a text tower.
        logit_scale: factor by which cosines are multiplied before a softmax, read in float32; None without a text tower.
        origin: where the weights come from, as text for readers.
        packages: by "images" and "texts", the Python packages, other than torch and Pillow, whose code decides the vectors.
        configuration: what the library builds the model from: the contents of its configuration file, or the architecture if it has none.
        tokenizer: SHA-256 of each of the tokenizer's files; empty if the library's own tokenizer is used.
        weights_sha256: SHA-256 of the safetensors file; set by `write_info`, like ``configuration`` and ``tokenizer``.
    """

    name: str
    library: Literal["open_clip", "timm", "torchvision"]
    architecture: str
    activation: str | None
    preprocess: dict[str, Any]
    image_vectors: dict[str, int]
    text_vectors: dict[str, int]
    logit_scale: float | None
    origin: str
    packages: dict[str, list[str]]
    configuration: dict[str, Any] = field(default_factory=dict)
    tokenizer: dict[str, str] = field(default_factory=dict)
    weights_sha256: str = ""


def folder(name: str) -> Path:
    """Return the weights folder of ``name``."""
    return Path("data/weights") / name


def local_dir(name: str) -> str:
    """Return the weights folder of ``name`` in the form that open_clip and timm load."""
    return f"local-dir:{folder(name)}"


def write_info(info: EncoderInfo) -> None:
    """Write encoder.json next to the weights, with the library's configuration and the SHA-256 of the weights and the tokenizer's files."""
    path = folder(info.name)
    weights, configuration = FILES[info.library], CONFIGURATIONS.get(info.library)
    complete = dataclasses.replace(
        info,
        configuration=json.loads((path / configuration).read_text()) if configuration else {"architecture": info.architecture},
        tokenizer={
            file.name: file_sha256(file)
            for file in sorted(path.rglob("*"))
            if file.is_file() and file.name not in (weights, configuration, "encoder.json")
        },
        weights_sha256=file_sha256(path / weights),
    )
    (path / "encoder.json").write_text(json.dumps(dataclasses.asdict(complete), indent=2) + "\n")


def read_info(name: str) -> EncoderInfo:
    """Read encoder.json of ``name``."""
    return EncoderInfo(**json.loads((folder(name) / "encoder.json").read_text()))
