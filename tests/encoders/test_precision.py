"""The device, its name and the arithmetic of float32 on it."""

import os
from typing import Any

import pytest
import torch

from clipstore.encoders import precision
from tests.hardware import set_hardware


@pytest.mark.parametrize(("cpu", "cuda"), [(True, False), (False, True)])
def test_each_device_is_checked_separately(monkeypatch: pytest.MonkeyPatch, cpu: bool, cuda: bool) -> None:
    set_hardware(monkeypatch, cpu, cuda)
    assert precision.device() == "cuda"
    assert (precision.fast_bfloat16("cpu"), precision.fast_bfloat16("cuda")) == (cpu, cuda)


def test_a_gpu_has_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    set_hardware(monkeypatch, cpu=True)
    assert precision.hardware() == "cpu"
    set_hardware(monkeypatch, cpu=True, cuda=True)
    assert precision.hardware() == "cuda (Some GPU)"


def test_no_switch_makes_float32_less_precise() -> None:
    backends: Any = torch.backends
    for backend in (backends, backends.cudnn, backends.cudnn.conv, backends.mkldnn.conv):
        backend.fp32_precision = "tf32"
    torch.set_float32_matmul_precision("medium")
    assert (backends.cuda.matmul.fp32_precision, backends.mkldnn.matmul.fp32_precision) == ("tf32", "bf16")
    precision.compute_float32_exactly()
    for backend in (backends.cuda.matmul, backends.cudnn.conv, backends.mkldnn.matmul, backends.mkldnn.conv):
        assert backend.fp32_precision == "ieee"


def test_the_cores_of_this_process_are_shared_with_torchruns_other_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(16)), raising=False)
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    assert precision.cores() == 16
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "3")
    assert precision.cores() == 5
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "32")
    assert precision.cores() == 1
