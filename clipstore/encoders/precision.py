"""The device that encoders run on, and the precision that "auto" resolves to on it."""

from typing import Literal

import torch

from clipstore.encoders.info import EncoderInfo

Precision = Literal["float32", "bfloat16", "float16"]

BFLOAT16_COSINE = 0.999  # lowest cosine between an image's bfloat16 and float32 embeddings at which "auto" chooses bfloat16


def device() -> str:
    """Return "cuda" if torch finds such a device (CUDA_VISIBLE_DEVICES can hide it), otherwise "cpu"."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def fast_bfloat16(device_type: str) -> bool:
    """Return whether this machine's "cuda" or "cpu" device multiplies bfloat16 in hardware.

    A CPU without such instructions emulates them at a tenth of its float32 speed.
    """
    if device_type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()  # torch has no public name for it


def resolve(precision: Literal["auto"] | Precision, info: EncoderInfo) -> Precision:
    """Return the precision that "auto" resolves to for this encoder on this machine.

    It is bfloat16 if the device multiplies it in hardware and the cosine of the encoder's bfloat16 and float32 embeddings, measured by
    the ``weights`` stage, is at least BFLOAT16_COSINE; otherwise float32. Transformers reach about 0.9999, some convolutional networks
    less.
    """
    if precision != "auto":
        return precision
    return "bfloat16" if fast_bfloat16(device()) and info.bfloat16_cosine >= BFLOAT16_COSINE else "float32"
