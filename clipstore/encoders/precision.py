"""The device that encoders run on and the precision that "auto" stands for there."""

from typing import Literal

import torch

from clipstore.encoders.info import EncoderInfo

Precision = Literal["float32", "bfloat16", "float16"]

BFLOAT16_COSINE = 0.999  # least cosine between an image's bfloat16 and float32 embeddings with which "auto" takes bfloat16


def device() -> str:
    """Return "cuda" where torch sees such a device (CUDA_VISIBLE_DEVICES can hide it), else "cpu"."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def fast_bfloat16(device_type: str) -> bool:
    """Return whether this machine's "cuda" or "cpu" device multiplies bfloat16 in hardware.

    A CPU without such instructions emulates them, at a tenth of the speed of float32.
    """
    if device_type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()  # torch has no public name for it


def resolve(precision: Literal["auto"] | Precision, info: EncoderInfo) -> Precision:
    """Return the precision that "auto" stands for on this machine and with this encoder.

    That is bfloat16 if the device multiplies it in hardware and the encoder's embeddings keep a cosine of BFLOAT16_COSINE to those in
    float32, as the ``weights`` stage measured: transformers reach about 0.9999, some convolutional networks less. Otherwise float32.
    """
    if precision != "auto":
        return precision
    return "bfloat16" if fast_bfloat16(device()) and info.bfloat16_cosine >= BFLOAT16_COSINE else "float32"
