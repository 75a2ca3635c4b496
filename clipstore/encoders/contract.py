"""The contract of a set of vectors: everything that decides their bits, and nothing else. Its digest names the row cache."""

from importlib.metadata import version
from typing import Any

from clipstore.data import images
from clipstore.encoders.info import EncoderInfo

LIBRARIES = ("torch", "open_clip_torch", "timm", "torchvision", "pillow")


def of_images(card: EncoderInfo, precision: str, batch_size: int, device: str) -> dict[str, Any]:
    """Return the contract of image vectors.

    Args:
        card: the encoder's.
        precision: as resolved, never "auto".
        batch_size: images in a batch.
        device: "cpu" or "cuda".
    """
    return _common(card, precision, batch_size, device) | {
        "vectors": card.image_vectors,
        "preprocess": {**card.preprocess, **images.DECODING},
    }


def of_texts(card: EncoderInfo, precision: str, batch_size: int, device: str) -> dict[str, Any]:
    """Return the contract of text vectors, the logit scale that belongs to them included, and the tokenizer where it has files."""
    terms = _common(card, precision, batch_size, device) | {"vectors": card.text_vectors, "logit_scale": card.logit_scale}
    if card.tokenizer:
        terms["tokenizer"] = card.tokenizer
        terms["versions"] |= {name: version(name) for name in ("tokenizers", "transformers")}
    return terms


def _common(card: EncoderInfo, precision: str, batch_size: int, device: str) -> dict[str, Any]:
    return {
        "encoder": card.name,
        "library": card.library,
        "architecture": card.architecture,
        "activation": card.activation,
        "weights_sha256": card.weights_sha256,
        "precision": precision,
        "batch_size": batch_size,
        "device": device,
        "versions": {name: version(name) for name in LIBRARIES},
    }
