"""timm weights, by tag or from a file, give timm's own features once saved; a wrong entry is reported in one line."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from clipstore.core.digests import file_sha256
from clipstore.core.errors import InputError
from clipstore.data import fetching
from clipstore.encoders.encoder import Encoder
from clipstore.encoders.info import EncoderInfo, folder, read_info, write_info
from clipstore.encoders.timm import backbone
from clipstore.encoders.vision import timm
from tests.mirror import Mirror, serving, use_as_hub
from tests.odd import drawn
from tests.project import prepared, random_crops, save_weights

LOCAL = {
    "source": "timm_file",
    "architecture": "resnet10t",
    "preprocess": {"size": 64, "mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5], "interpolation": "bilinear", "crop_pct": 0.9},
}
TAG = "vit_tiny_patch16_224.augreg_in21k_ft_in1k"


def test_a_timm_encoder(project: Path) -> None:
    model = timm.create_model("resnet10t", num_classes=0).eval()
    path = project / "r.safetensors"
    save_file(model.state_dict(), path)
    info = save_weights(LOCAL | {"file": str(path), "sha256": file_sha256(path)})
    assert (info.library, info.image_vectors, info.text_vectors, info.logit_scale) == ("timm", {"embedding": 512}, {}, None)
    encoder = Encoder(info, "float32", 2)
    crops = random_crops(2, 64)
    with torch.inference_mode():
        expected = model(encoder.crops.normalized(crops))
        torch.testing.assert_close(torch.from_numpy(encoder.encode_images(crops)["embedding"]), expected, rtol=1e-4, atol=1e-5)
    assert [type(step).__name__ for step in encoder.crops.steps] == ["Resize", "CenterCrop"]
    assert encoder.crops.steps[0].size == 71  # 64 / 0.9, rounded down
    assert json.loads(Path("data/weights/mine/encoder.json").read_text())["preprocess"]["crop_pct"] == 0.9


def test_weights_of_another_timm_model_are_refused(project: Path) -> None:
    path = project / "r.safetensors"
    save_file({"conv.weight": torch.zeros(1)}, path)
    with pytest.raises(InputError, match=r"r\.safetensors: expected weights of resnet10t"):
        save_weights(LOCAL | {"file": str(path), "sha256": file_sha256(path)})
    with pytest.raises(InputError, match="timm has no such model; did you mean 'resnet10t'"):
        save_weights(LOCAL | {"architecture": "resnet10x", "file": str(path), "sha256": file_sha256(path)})


@pytest.fixture
def hub(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Mirror]:
    """A hub with random weights of a small published encoder."""
    monkeypatch.setattr(fetching, "WAITS", (0.0, 0.0))
    with serving(tmp_path / "mirror") as mirror:
        repository = mirror.folder / f"timm/{TAG}/resolve/main"
        repository.mkdir(parents=True)
        save_file(timm.create_model(TAG).state_dict(), repository / "model.safetensors")
        use_as_hub(mirror, tmp_path / "hf", monkeypatch)
        yield mirror


def test_published_weights_are_those_that_timm_loads_by_tag(hub: Mirror) -> None:
    info = save_weights({"source": "timm", "architecture": TAG, "arguments": {"img_size": 64}, "preprocess": LOCAL["preprocess"]})
    model = timm.create_model(TAG, pretrained=True, num_classes=0, img_size=64).eval()
    crops, encoder = random_crops(2, 64), Encoder(info, "float32", 2)
    with torch.inference_mode():
        expected = model(encoder.crops.normalized(crops))
        np.testing.assert_allclose(encoder.encode_images(crops)["embedding"], expected, rtol=1e-4, atol=1e-5)
    assert info.origin.startswith(f"timm/{TAG}, file model.safetensors, SHA-256 ")


def test_preprocessing_comes_with_the_tag(hub: Mirror) -> None:
    info = save_weights({"source": "timm", "architecture": TAG})
    model = timm.create_model(TAG, pretrained=True, num_classes=0)
    expected = timm.data.create_transform(**timm.data.resolve_model_data_config(model))
    image = drawn(0, (300, 250))
    assert torch.equal(prepared(Encoder(info, "float32", 1), image), expected(image))


@pytest.mark.parametrize(
    ("architecture", "message"),
    [(f"{TAG[:-4]}99k", "augreg_in21k_ft_99k': timm's tags for it are "), ("resnet10t", "resnet10t.c3_in1k on ")],
)
def test_a_wrong_published_entry_is_one_line(hub: Mirror, architecture: str, message: str) -> None:
    with pytest.raises(InputError) as error:
        save_weights({"source": "timm", "architecture": architecture})
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@torch.inference_mode()
def test_the_backbone_gives_the_pooled_features_bit_for_bit(project: Path) -> None:
    model = timm.create_model("resnet10t", num_classes=0).eval()
    timm.models.save_for_hf(model, folder("mine"), safe_serialization=True)
    write_info(EncoderInfo("mine", "timm", "resnet10t", None, {}, {"embedding": 512}, {}, None, "random", {}))
    tower, length = backbone(read_info("mine"))
    pixels = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    assert torch.equal(tower.eval()(pixels), model(pixels))
    assert length == 512
