"""torchvision can be imported whether or not its compiled operators load; they are declared only if they do not."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from clipstore.encoders import vision


def test_the_libraries_are_imported() -> None:
    assert vision.torchvision.transforms.Resize(8).size == 8
    assert hasattr(torch.ops.torchvision, "nms")


def test_operators_that_do_not_load_are_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: str) -> None:
        raise OSError("libcudart.so: cannot open shared object file")

    monkeypatch.setattr(Path, "glob", lambda *_: [Path("_C.so")])
    monkeypatch.setattr(torch.ops, "load_library", broken)
    assert not vision._operators_load()


def test_operators_that_load_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.ops, "load_library", lambda _: None)
    assert vision._operators_load()  # by now nms exists, compiled or declared


@pytest.mark.slow
def test_transformers_is_imported_only_when_it_is_needed() -> None:
    code = (
        "import sys, clipstore.encoders.vision; assert 'transformers' not in sys.modules; import transformers; transformers.AutoTokenizer"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
