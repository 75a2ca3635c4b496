"""The stage writes the weights of an entry of params.yaml."""

from pathlib import Path
from typing import Any

import pytest
import torch

from clipstore.core.digests import file_sha256
from clipstore.core.encoders import Encoder, GardenClip
from clipstore.core.params import check
from clipstore.encoders.info import EncoderInfo, read_info
from clipstore.encoders.vision import open_clip
from stages import weights
from tests.project import TINY


def run(monkeypatch: pytest.MonkeyPatch, entry: dict[str, Any]) -> EncoderInfo:
    """Run the stage on one entry."""
    monkeypatch.setattr(weights, "section", lambda kind, where: check(kind, entry, where))
    weights.main("mine")
    return read_info("mine")


def test_the_origin_is_printed(project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, "tiny", TINY)
    monkeypatch.setitem(open_clip.pretrained._PRETRAINED, "tiny", {"random": {"url": "https://example.org/vit.pt"}})
    path = project / "vit.pt"
    torch.save({"state_dict": open_clip.create_model("tiny", pretrained=None).state_dict()}, path)
    names = {"architecture": "tiny", "tag": "random"}
    info = run(monkeypatch, {"source": "open_clip_file", "file": str(path), "sha256": file_sha256(path)} | names)
    assert info.weights_sha256 == file_sha256(Path("data/weights/mine/open_clip_model.safetensors"))
    assert "weights mine: tag random, file vit.pt" in capsys.readouterr().out


@pytest.mark.slow
def test_garden_clip_is_trained_as_its_entry_specifies(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "load", lambda: {"seed": 0})
    entry = {"source": "garden", "image_size": 64, "drawings": 1, "steps": 1}
    info = run(monkeypatch, entry)
    assert isinstance(check(Encoder, entry), GardenClip)
    assert info.image_vectors == {"embedding": 128, "features": 512}
    assert info.origin == "trained on drawings, 1 steps"
