"""A weights folder, data/weights/NAME: the library's own files, and encoder.json, which describes them so that they need not be loaded.

The format depends only on the library, not on where the weights came from. open_clip models are stored as open_clip_config.json and
open_clip_model.safetensors, timm models as config.json and model.safetensors; both libraries load such a folder by "local-dir:",
including preprocessing and tokenizer. torchvision models are stored as model.safetensors, including the classifier; their preprocessing
is in encoder.json.
"""

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from clipstore.core.digests import file_sha256

FILES = {"open_clip": "open_clip_model.safetensors", "timm": "model.safetensors", "torchvision": "model.safetensors"}


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
        tokenizer: SHA-256 of tokenizer.json; None if the library's own tokenizer is used.
        weights_sha256: SHA-256 of the safetensors file; set by `write_info`, like ``tokenizer``.
        bfloat16_cosine: the lowest cosine between float32 and bfloat16 embeddings of some photographs, measured by the ``weights`` stage.
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
    tokenizer: str | None = None
    weights_sha256: str = ""
    bfloat16_cosine: float = 0.0


def folder(name: str) -> Path:
    """Return the weights folder of ``name``."""
    return Path("data/weights") / name


def local_dir(name: str) -> str:
    """Return the weights folder of ``name`` in the form that open_clip and timm load."""
    return f"local-dir:{folder(name)}"


def write_info(info: EncoderInfo) -> None:
    """Write encoder.json next to the weights, with their SHA-256 and the tokenizer's."""
    path = folder(info.name)
    tokenizer = path / "tokenizer.json"
    complete = dataclasses.replace(
        info,
        weights_sha256=file_sha256(path / FILES[info.library]),
        tokenizer=file_sha256(tokenizer) if tokenizer.exists() else None,
    )
    (path / "encoder.json").write_text(json.dumps(dataclasses.asdict(complete), indent=2) + "\n")


def read_info(name: str) -> EncoderInfo:
    """Read encoder.json of ``name``."""
    return EncoderInfo(**json.loads((folder(name) / "encoder.json").read_text()))
