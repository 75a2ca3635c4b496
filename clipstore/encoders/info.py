"""A folder of weights, data/weights/NAME: the library's own files, and encoder.json, which describes them without loading them.

The form depends on the library alone, not on where the weights came from. open_clip's models are kept as open_clip_config.json and
open_clip_model.safetensors, timm's as config.json and model.safetensors: each library reads its folder by "local-dir:", preprocessing and
tokenizer included. torchvision's are kept as model.safetensors, classifier included; their preprocessing is in encoder.json.
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
        library: whose format the folder has.
        architecture: as the library names it.
        activation: "gelu" or "quick_gelu"; None where the architecture alone decides.
        preprocess: size, interpolation, mean, std ... as the library's transform takes them.
        image_vectors: length of each vector of an image: embedding (projected) and, where there is a projection, features (before it).
        text_vectors: length of a text's embedding; empty without a text tower.
        logit_scale: what cosines are multiplied by before a softmax, read in float32; None without a text tower.
        origin: where the weights come from, for people to read.
        tokenizer: SHA-256 of tokenizer.json; None where the library's own tokenizer is used.
        weights_sha256: of the safetensors file; `write_info` sets it and ``tokenizer``.
        bfloat16_cosine: the least cosine between float32 and bfloat16 embeddings of some photographs; the ``weights`` stage measures it.
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
    """Return the folder that holds the weights of ``name``."""
    return Path("data/weights") / name


def local_dir(name: str) -> str:
    """Return the folder of ``name`` as open_clip and timm address it."""
    return f"local-dir:{folder(name)}"


def write_info(info: EncoderInfo) -> None:
    """Write encoder.json beside the weights, with the SHA-256 of these and of the tokenizer."""
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
