"""Hardware that the tests pretend to have."""

import pytest
import torch


def set_hardware(monkeypatch: pytest.MonkeyPatch, cpu: bool, cuda: bool | None = None) -> None:
    """Set whether each device multiplies bfloat16 in hardware; if ``cuda`` is None there is no such device."""
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: cpu)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda is not None)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: cuda)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "Some GPU")
