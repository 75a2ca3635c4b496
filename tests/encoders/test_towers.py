"""The tower of a folder of weights gives its library's own vectors, and a classifier loses its last layer and nothing else."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from clipstore.encoders import info, towers
from clipstore.encoders.vision import open_clip, timm, torchvision
from tests.project import make_weights


def pixels(size: int = 32) -> torch.Tensor:
    return torch.randn(3, 3, size, size, generator=torch.Generator().manual_seed(0))


def card(name: str, library: Any, architecture: str, length: int) -> info.EncoderInfo:
    """Write and return the card of a folder of weights without a text tower."""
    info.write_info(info.EncoderInfo(name, library, architecture, None, {}, {"embedding": length}, {}, None, "random"))
    return info.read_info(name)


@torch.inference_mode()
def test_the_tower_of_an_open_clip_folder_gives_the_embedding_bit_for_bit(project: Path) -> None:
    make_weights()
    tower, length = towers.load(info.read_info("tiny"))
    model = open_clip.create_model("local-dir:data/weights/tiny", require_pretrained=True).eval()
    found = tower.eval()(pixels())
    assert torch.equal(found, model.encode_image(pixels()))
    assert found.shape == (3, length)
    assert length == 16


@torch.inference_mode()
def test_the_tower_of_a_timm_folder_gives_the_pooled_features_bit_for_bit(project: Path) -> None:
    model = timm.create_model("resnet10t", num_classes=0).eval()
    timm.models.save_for_hf(model, info.folder("mine"), safe_serialization=True)
    tower, length = towers.load(card("mine", "timm", "resnet10t", 512))
    assert torch.equal(tower.eval()(pixels()), model(pixels()))
    assert length == 512


@torch.inference_mode()
def test_the_tower_of_a_torchvision_folder_gives_what_its_classifier_saw(project: Path) -> None:
    model = torchvision.models.resnet18().eval()
    info.folder("mine").mkdir(parents=True)
    save_file(model.state_dict(), info.folder("mine") / "model.safetensors")
    tower, length = towers.load(card("mine", "torchvision", "resnet18", 512))
    logits = model(pixels())
    classifier = model.fc
    model.fc = torch.nn.Identity()
    found = tower.eval()(pixels())
    assert torch.equal(found, model(pixels()))
    torch.testing.assert_close(classifier(found), logits)
    assert found.shape == (3, length)


@pytest.mark.parametrize(
    ("architecture", "last", "length"),
    [("resnet18", "fc", 512), ("mobilenet_v3_small", "classifier.3", 1024), ("vit_b_16", "heads.head", 768)],
)
def test_a_classifier_loses_its_last_layer_alone(architecture: str, last: str, length: int) -> None:
    with torch.device("meta"):
        whole = torchvision.models.get_model(architecture, weights=None)
        tower, found = towers.without_classifier(torchvision.models.get_model(architecture, weights=None))
        features = tower.eval()(torch.empty(2, 3, 224, 224))
    assert found == length
    assert features.shape == (2, length)
    assert whole.state_dict().keys() - tower.state_dict().keys() == {f"{last}.weight", f"{last}.bias"}


def test_a_classifier_without_a_linear_layer_is_refused() -> None:
    with torch.device("meta"), pytest.raises(ValueError, match=r"^it has no linear layer$"):
        towers.without_classifier(torchvision.models.squeezenet1_1())
