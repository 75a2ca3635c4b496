"""The contract of a set of vectors: what determines them, and nothing else. Its digest names the row cache.

Vectors of equal contracts are equal up to rounding: the number of threads and the kind of CPU change the last bits alone
(docs/decisions/0017-contract.md).
"""

import importlib.metadata
from collections.abc import Iterable
from typing import Any

from clipstore.core.params import Exif
from clipstore.data import images
from clipstore.encoders.info import EncoderInfo

VERSION = 1
"""Raise this when a change of this project's code changes the vectors of an unchanged encoder: how a model is built from its folder, how
images are decoded and prepared, how texts are tokenised, which output is the vector. tests/encoders/test_reference.py fails after such a
change until this is raised and its vectors are written again."""


def of_images(
    info: EncoderInfo,
    precision: str,
    batch_size: int,
    hardware: str,
    exif: Exif = "ignore",
    resize: str = "pillow",
    jpeg_scaling: bool = False,
) -> dict[str, Any]:
    """Return the contract of image vectors.

    Args:
        info: the encoder's encoder.json.
        precision: the resolved one, never "auto".
        batch_size: images per batch.
        hardware: see `clipstore.encoders.precision.hardware`.
        exif: whether the EXIF orientation is applied.
        resize: the resolved one: "pillow", "torch" or "nvjpeg".
        jpeg_scaling: whether the decoder may scale large JPEGs.
    """
    preparation = {"resizer": resize} | ({"jpeg_scaling": "1/2, 1/4, 1/8 to twice the resized size or more"} if jpeg_scaling else {})
    return _common(info, precision, batch_size, hardware) | {
        "vectors": info.image_vectors,
        "preprocess": {**info.preprocess, **images.decoding(exif), **preparation},
        "versions": versions(info.packages["images"]),
    }


def of_texts(info: EncoderInfo, precision: str, batch_size: int, hardware: str) -> dict[str, Any]:
    """Return the contract of text vectors; it includes their logit scale and the digests of the tokenizer's files."""
    return _common(info, precision, batch_size, hardware) | {
        "vectors": info.text_vectors,
        "logit_scale": info.logit_scale,
        "tokenizer": info.tokenizer,
        "versions": versions(info.packages["texts"]),
    }


def of_backbone(info: EncoderInfo) -> dict[str, Any]:
    """Return what determines the image tower that fine-tuning starts from, and the normalisation of its pixels."""
    normalisation = {name: info.preprocess[name] for name in ("mean", "std")}
    return _model(info) | {"preprocess": normalisation, "versions": versions(info.packages["images"])}


def versions(packages: Iterable[str]) -> dict[str, str]:
    """Return the installed versions of torch and of ``packages``."""
    return {name: importlib.metadata.version(name) for name in ("torch", *packages)}


def _common(info: EncoderInfo, precision: str, batch_size: int, hardware: str) -> dict[str, Any]:
    return _model(info) | {"precision": precision, "batch_size": batch_size, "device": hardware}


def _model(info: EncoderInfo) -> dict[str, Any]:
    return {
        "encoding": VERSION,
        "library": info.library,
        "configuration": info.configuration,
        "activation": info.activation,
        "weights_sha256": info.weights_sha256,
    }
