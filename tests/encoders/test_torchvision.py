"""torchvision classifiers become encoders without their last layer and otherwise unchanged; a wrong entry is reported in one line."""

import hashlib
import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from clipstore.core.digests import file_sha256
from clipstore.core.errors import InputError
from clipstore.data import fetching
from clipstore.encoders import torchvision as encoders_torchvision
from clipstore.encoders.encoder import Encoder
from clipstore.encoders.info import EncoderInfo, folder, read_info, write_info
from clipstore.encoders.torchvision import backbone, without_classifier
from clipstore.encoders.vision import torchvision
from tests.mirror import Mirror, serving
from tests.project import prepared, random_crops, save_weights

MOBILE = {"source": "torchvision", "architecture": "mobilenet_v3_small", "weights": "IMAGENET1K_V1"}
PUBLISHED_MOBILE = torchvision.models.MobileNet_V3_Small_Weights.IMAGENET1K_V1


@pytest.fixture
def server(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Mirror]:
    """A replacement for torchvision's server, with a small classifier's random weights; the file name has its SHA-256's first digits."""
    monkeypatch.setattr(fetching, "WAITS", (0.0, 0.0))
    with serving(tmp_path / "mirror") as mirror:
        data = io.BytesIO()
        torch.save(torchvision.models.mobilenet_v3_small().state_dict(), data)
        publish(mirror, data.getvalue(), monkeypatch)
        yield mirror


def publish(mirror: Mirror, data: bytes, monkeypatch: pytest.MonkeyPatch) -> str:
    """Serve ``data`` at the URL that torchvision has for the small classifier's weights; return the file's name."""
    file = f"mobilenet_v3_small-{hashlib.sha256(data).hexdigest()[:8]}.pth"
    mirror.put(file, data)
    monkeypatch.setattr(PUBLISHED_MOBILE.value, "url", f"{mirror.address}/{file}")
    return file


def test_the_entrys_url_takes_precedence_over_torchvisions(server: Mirror, monkeypatch: pytest.MonkeyPatch) -> None:
    url = PUBLISHED_MOBILE.url
    monkeypatch.setattr(PUBLISHED_MOBILE.value, "url", "http://127.0.0.1:9/mobilenet_v3_small-00000000.pth")
    assert save_weights(MOBILE | {"url": url}).library == "torchvision"


def test_a_torchvision_encoder(server: Mirror) -> None:
    info = save_weights(MOBILE)
    (file,) = server.folder.iterdir()
    given = torch.load(file, weights_only=True)
    saved = load_file("data/weights/mine/model.safetensors")
    assert saved.keys() == given.keys()
    assert all(torch.equal(saved[key], value) for key, value in given.items())
    assert (info.library, info.image_vectors, info.text_vectors, info.logit_scale) == ("torchvision", {"embedding": 1024}, {}, None)
    assert info.origin == f"weights IMAGENET1K_V1, file {file.name}, SHA-256 {file_sha256(file)}"
    assert info.weights_sha256 == file_sha256(Path("data/weights/mine/model.safetensors"))
    model = torchvision.models.mobilenet_v3_small().eval()
    model.load_state_dict(given)
    model.classifier[3] = torch.nn.Identity()
    crops, encoder = random_crops(2, 64), Encoder(info, "float32", 2)
    with torch.inference_mode():
        expected = model(encoder.crops.normalized(crops))
        np.testing.assert_allclose(encoder.encode_images(crops)["embedding"], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("size", [(300, 250), (180, 400), (224, 224)])
def test_preprocessing_is_that_of_the_weights(server: Mirror, size: tuple[int, int]) -> None:
    info = save_weights(MOBILE)
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8))
    pixels, expected = prepared(Encoder(info, "float32", 1), image), PUBLISHED_MOBILE.transforms()(image)
    assert pixels.shape == (3, 224, 224)
    assert (pixels - expected).abs().max() < 1e-5


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"architecture": "mobilenet_v3_smal"}, ".architecture = 'mobilenet_v3_smal': torchvision has no such model; did you mean"),
        ({"weights": "IMAGENET1K_V9"}, ".weights = 'IMAGENET1K_V9': torchvision has IMAGENET1K_V1, DEFAULT for mobilenet_v3_small"),
        # Not image classifiers: a detector and a video network.
        ({"architecture": "fasterrcnn_resnet50_fpn", "weights": "COCO_V1"}, ".architecture = 'fasterrcnn_resnet50_fpn': "),
        ({"architecture": "r3d_18", "weights": "KINETICS400_V1"}, ".architecture = 'r3d_18': "),
    ],
)
def test_a_wrong_entry_is_one_line_before_anything_is_fetched(
    project: Path, monkeypatch: pytest.MonkeyPatch, fields: dict[str, str], message: str
) -> None:
    monkeypatch.setattr(encoders_torchvision, "fetch", None)
    with pytest.raises(InputError) as error:
        save_weights(MOBILE | fields)
    assert str(error.value).startswith(f"params.yaml: encoders.mine{message}")
    assert "\n" not in str(error.value)


def test_a_damaged_file_is_one_line(server: Mirror) -> None:
    (file,) = server.folder.iterdir()
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(InputError, match=rf"/{file.name}: SHA256 is [0-9a-f]{{64}}, expected {file.stem[-8:]}: an error page, ") as error:
        save_weights(MOBILE)
    assert "\n" not in str(error.value)


def test_a_file_without_weights_of_the_architecture_is_one_line(server: Mirror, monkeypatch: pytest.MonkeyPatch) -> None:
    data = io.BytesIO()
    torch.save({"fc.weight": torch.zeros(2, 2)}, data)
    for content in (b"<html>", data.getvalue()):
        file = publish(server, content, monkeypatch)
        with pytest.raises(InputError, match=rf"{file}: expected weights of mobilenet_v3_small: ") as error:
            save_weights(MOBILE)
        assert "\n" not in str(error.value)


def test_without_a_network_the_error_names_a_place_for_a_copy_of_the_file(server: Mirror, monkeypatch: pytest.MonkeyPatch) -> None:
    (file,) = server.folder.iterdir()
    monkeypatch.setattr(PUBLISHED_MOBILE.value, "url", f"http://127.0.0.1:9/{file.name}")
    with pytest.raises(
        InputError, match=rf"^http://127\.0\.0\.1:9/{file.name}: cannot be reached .*; alternatively, put a copy of "
    ) as error:
        save_weights(MOBILE)
    target = Path(str(error.value).partition("; alternatively, put a copy of the file at ")[2])
    target.parent.mkdir(parents=True)
    target.write_bytes(file.read_bytes())
    assert save_weights(MOBILE).image_vectors == {"embedding": 1024}
    assert server.requests == []


def test_a_network_without_a_linear_layer_is_one_line(server: Mirror, monkeypatch: pytest.MonkeyPatch) -> None:
    data = io.BytesIO()
    torch.save(torchvision.models.squeezenet1_1().state_dict(), data)
    file = f"squeezenet1_1-{hashlib.sha256(data.getvalue()).hexdigest()[:8]}.pth"
    server.put(file, data.getvalue())
    monkeypatch.setattr(torchvision.models.SqueezeNet1_1_Weights.IMAGENET1K_V1.value, "url", f"{server.address}/{file}")
    with pytest.raises(InputError, match=r"squeezenet1_1.*: it has no linear layer$"):
        save_weights(MOBILE | {"architecture": "squeezenet1_1"})


@torch.inference_mode()
def test_the_backbone_gives_the_classifiers_input(project: Path) -> None:
    model = torchvision.models.resnet18().eval()
    folder("mine").mkdir(parents=True)
    save_file(model.state_dict(), folder("mine") / "model.safetensors")
    write_info(EncoderInfo("mine", "torchvision", "resnet18", None, {}, {"embedding": 512}, {}, None, "random", {}))
    tower, length = backbone(read_info("mine"))
    pixels = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    logits = model(pixels)
    classifier = model.fc
    model.fc = torch.nn.Identity()
    features = tower.eval()(pixels)
    assert torch.equal(features, model(pixels))
    torch.testing.assert_close(classifier(features), logits)
    assert features.shape == (3, length)
    assert length == 512


@pytest.mark.parametrize(
    ("architecture", "last", "length"),
    [("resnet18", "fc", 512), ("mobilenet_v3_small", "classifier.3", 1024), ("vit_b_16", "heads.head", 768)],
)
def test_a_classifier_loses_only_its_last_layer(architecture: str, last: str, length: int) -> None:
    with torch.device("meta"):
        whole = torchvision.models.get_model(architecture, weights=None)
        tower, width = without_classifier(torchvision.models.get_model(architecture, weights=None))
        features = tower.eval()(torch.empty(2, 3, 224, 224))
    assert width == length
    assert features.shape == (2, length)
    assert whole.state_dict().keys() - tower.state_dict().keys() == {f"{last}.weight", f"{last}.bias"}


def test_a_classifier_without_a_linear_layer_is_refused() -> None:
    with torch.device("meta"), pytest.raises(ValueError, match=r"^it has no linear layer$"):
        without_classifier(torchvision.models.squeezenet1_1())
