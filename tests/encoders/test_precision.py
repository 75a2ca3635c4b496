"""bfloat16 is chosen if the device multiplies it in hardware and the encoder's embeddings stay close to float32."""

import dataclasses

import pytest
import torch

from clipstore.encoders import precision
from clipstore.encoders.info import EncoderInfo

INFO = EncoderInfo("x", "open_clip", "x", None, {}, {"embedding": 1}, {}, None, "x")


def set_hardware(monkeypatch: pytest.MonkeyPatch, cpu: bool, cuda: bool | None = None) -> None:
    """Set whether each device multiplies bfloat16 in hardware; if ``cuda`` is None there is no such device."""
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: cpu)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda is not None)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: cuda)


@pytest.mark.parametrize(("fast", "cosine", "expected"), [(True, 0.9999, "bfloat16"), (True, 0.98, "float32"), (False, 0.9999, "float32")])
def test_auto_is_bfloat16_if_hardware_and_encoder_allow_it(
    monkeypatch: pytest.MonkeyPatch, fast: bool, cosine: float, expected: str
) -> None:
    set_hardware(monkeypatch, cpu=fast)
    info = dataclasses.replace(INFO, bfloat16_cosine=cosine)
    assert precision.resolve("auto", info) == expected
    assert precision.resolve("float16", info) == "float16"


@pytest.mark.parametrize(("cpu", "cuda"), [(True, False), (False, True)])
def test_each_device_is_checked_separately(monkeypatch: pytest.MonkeyPatch, cpu: bool, cuda: bool) -> None:
    set_hardware(monkeypatch, cpu, cuda)
    assert precision.device() == "cuda"
    assert (precision.fast_bfloat16("cpu"), precision.fast_bfloat16("cuda")) == (cpu, cuda)
    assert precision.resolve("auto", dataclasses.replace(INFO, bfloat16_cosine=1.0)) == ("bfloat16" if cuda else "float32")
