"""The device that encoders run on, the cores beside it, and the precisions it computes in."""

import os
from typing import Any, Literal

import torch

Precision = Literal["float32", "bfloat16", "float16"]


def device() -> str:
    """Return "cuda" if torch finds such a device (CUDA_VISIBLE_DEVICES can hide it), otherwise "cpu"."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def hardware() -> str:
    """Return the device with the GPU's name, since GPUs of another model round differently: "cpu" or "cuda (NVIDIA ...)"."""
    return f"cuda ({torch.cuda.get_device_name()})" if device() == "cuda" else "cpu"


def cores() -> int:
    """Return the number of cores that this process may use; torchrun's processes on a machine share them."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, allowed // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))


def compute_float32_exactly() -> None:
    """Let no float32 product of this process be computed in TF32 or bfloat16, whatever switch or environment variable asks for it."""
    torch.set_float32_matmul_precision("highest")  # matrix products, on a GPU and a CPU
    backends: Any = torch.backends
    for backend in (backends, backends.cudnn, backends.cudnn.conv, backends.mkldnn.conv):
        backend.fp32_precision = "ieee"  # cuDNN's convolutions use TF32, with 10 of 23 mantissa bits, unless told otherwise


def fast_bfloat16(device_type: str) -> bool:
    """Return whether this machine's "cuda" or "cpu" device multiplies bfloat16 in hardware.

    A CPU without such instructions emulates them at a tenth of its float32 speed.
    """
    if device_type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()  # torch has no public name for it
