"""The contract of a set of vectors: everything that determines their bits, and nothing else. Its digest names the row cache."""

from importlib.metadata import version
from typing import Any

from clipstore.core.params import Exif
from clipstore.data import images
from clipstore.encoders.info import EncoderInfo

LIBRARIES = ("torch", "open_clip_torch", "timm", "torchvision", "pillow")


def of_images(info: EncoderInfo, precision: str, batch_size: int, device: str, exif: Exif = "ignore") -> dict[str, Any]:
    """Return the contract of image vectors.

    Args:
        info: the encoder's encoder.json.
        precision: the resolved one, never "auto".
        batch_size: images per batch.
        device: "cpu" or "cuda".
        exif: whether the EXIF orientation is applied.
    """
    return _common(info, precision, batch_size, device) | {
        "vectors": info.image_vectors,
        "preprocess": {**info.preprocess, **images.decoding(exif)},
    }


def of_texts(info: EncoderInfo, precision: str, batch_size: int, device: str) -> dict[str, Any]:
    """Return the contract of text vectors; it includes their logit scale and, if the tokenizer has files, its digest."""
    terms = _common(info, precision, batch_size, device) | {"vectors": info.text_vectors, "logit_scale": info.logit_scale}
    if info.tokenizer:
        terms["tokenizer"] = info.tokenizer
        terms["versions"] |= {name: version(name) for name in ("tokenizers", "transformers")}
    return terms


def _common(info: EncoderInfo, precision: str, batch_size: int, device: str) -> dict[str, Any]:
    return {
        "encoder": info.name,
        "library": info.library,
        "architecture": info.architecture,
        "activation": info.activation,
        "weights_sha256": info.weights_sha256,
        "precision": precision,
        "batch_size": batch_size,
        "device": device,
        "versions": {name: version(name) for name in LIBRARIES},
    }
