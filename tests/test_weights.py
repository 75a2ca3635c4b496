"""Whatever the source, weights end as one folder in one format; a wrong entry is one line."""

import hashlib
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from clipstore.core import encoders as entries
from clipstore.core.digests import file_sha256
from clipstore.core.errors import InputError
from clipstore.core.params import check
from clipstore.data import fetching
from clipstore.encoders import encoder as encoders
from clipstore.encoders import info as folders
from clipstore.encoders.vision import open_clip, timm, torchvision
from stages import weights
from tests.mirror import Mirror, serving, use_as_hub
from tests.project import TINY, unigram_tokenizer


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of random ViT-B-32 weights, as open_clip's trainer saves it."""
    path = tmp_path_factory.mktemp("checkpoint") / "vit.pt"
    torch.save({"state_dict": open_clip.create_model("ViT-B-32", pretrained=None).state_dict()}, path)
    return path


def run(monkeypatch: pytest.MonkeyPatch, entry: dict[str, Any]) -> folders.EncoderInfo:
    """Run the stage on one entry."""
    monkeypatch.setattr(weights, "section", lambda kind, where: check(kind, entry, where))
    weights.main("mine")
    return folders.read_info("mine")


def local(path: Path, **fields: Any) -> dict[str, Any]:
    return {"source": "open_clip_file", "file": str(path), "sha256": file_sha256(path)} | fields


@pytest.mark.timeout(120)
def test_an_open_clip_checkpoint(
    project: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    card = run(monkeypatch, local(checkpoint, architecture="ViT-B-32-quickgelu", tag="openai"))
    assert (card.library, card.architecture, card.activation) == ("open_clip", "ViT-B-32-quickgelu", "quick_gelu")
    assert card.image_vectors == {"embedding": 512, "features": 768}
    assert card.logit_scale == pytest.approx(1 / 0.07, rel=1e-4)
    assert card.bfloat16_cosine > 0.999
    assert card.weights_sha256 == file_sha256(Path("data/weights/mine/open_clip_model.safetensors"))
    assert {path.name for path in Path("data/weights/mine").iterdir()} == {
        "encoder.json",
        "open_clip_config.json",
        "open_clip_model.safetensors",
    }
    saved = load_file("data/weights/mine/open_clip_model.safetensors")
    given = torch.load(checkpoint, weights_only=True)["state_dict"]
    assert all(torch.equal(saved[name], value) for name, value in given.items())
    assert "weights mine: tag openai, file vit.pt" in capsys.readouterr().out
    encoder = encoders.Encoder(card, "float32", 1)
    assert isinstance(encoder.model.visual.transformer.resblocks[0].mlp.gelu, open_clip.transformer.QuickGELU)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"architecture": "ViT-B-32", "tag": "openai"}, "'ViT-B-32' runs gelu, the weights need quick_gelu: 'ViT-B-32-quickgelu'"),
        ({"architecture": "ViT-B-32-quickgelu", "activation": "gelu"}, "runs quick_gelu, the weights need gelu: 'ViT-B-32'"),
        ({"architecture": "ViT-B-33", "activation": "gelu"}, "'ViT-B-33': open_clip knows no such model; did you mean 'ViT-B-32'"),
        ({"architecture": "ViT-B-32", "tag": "opnai"}, "tag = 'opnai': open_clip's tags for ViT-B-32 are openai, "),
        ({"architecture": "roberta-ViT-B-32", "tag": "laion2b_s12b_b32k"}, "text towers of transformers are not supported"),
        ({"architecture": "coca_ViT-B-32", "activation": "gelu"}, "CoCa models are not supported"),
        ({"architecture": "ViT-B-16", "tag": "laion2b_s34b_b88k"}, "vit.pt: no weights of ViT-B-16"),
        ({"architecture": "ViT-B-32", "activation": "gelu", "sha256": "0" * 64}, "sha256 = '000"),
    ],
)
def test_a_wrong_entry_is_one_line(
    project: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch, fields: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError) as error:
        run(monkeypatch, local(checkpoint) | fields)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_file_that_is_no_checkpoint_is_one_line(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = project / "notes.pt"
    path.write_text("not weights")
    with pytest.raises(InputError, match=r"notes\.pt: no weights of ViT-B-32"):
        run(monkeypatch, local(path, architecture="ViT-B-32", activation="gelu"))


TIMM = {
    "source": "timm_file",
    "architecture": "resnet10t",
    "preprocess": {"size": 64, "mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5], "interpolation": "bilinear", "crop_pct": 0.9},
}


def test_a_timm_encoder(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = timm.create_model("resnet10t", num_classes=0).eval()
    path = project / "r.safetensors"
    save_file(model.state_dict(), path)
    card = run(monkeypatch, TIMM | {"file": str(path), "sha256": file_sha256(path)})
    assert (card.library, card.image_vectors, card.text_vectors, card.logit_scale) == ("timm", {"embedding": 512}, {}, None)
    encoder = encoders.Encoder(card, "float32", 2)
    pixels = torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        torch.testing.assert_close(torch.from_numpy(encoder.encode_images(pixels)["embedding"]), model(pixels), rtol=1e-4, atol=1e-5)
    steps = [type(step).__name__ for step in encoder.transform.transforms]  # type: ignore[attr-defined]
    assert steps[:2] == ["Resize", "CenterCrop"]
    assert encoder.transform.transforms[0].size == 71  # type: ignore[attr-defined]  # 64 / 0.9, rounded down
    assert json.loads(Path("data/weights/mine/encoder.json").read_text())["preprocess"]["crop_pct"] == 0.9


def test_weights_of_another_timm_model_are_refused(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = project / "r.safetensors"
    save_file({"conv.weight": torch.zeros(1)}, path)
    with pytest.raises(InputError, match=r"r\.safetensors: no weights of resnet10t"):
        run(monkeypatch, TIMM | {"file": str(path), "sha256": file_sha256(path)})
    with pytest.raises(InputError, match="timm knows no such model; did you mean 'resnet10t'"):
        run(monkeypatch, TIMM | {"architecture": "resnet10x", "file": str(path), "sha256": file_sha256(path)})


def test_garden_clip_is_trained_by_its_entry(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "load", lambda: {"seed": 0})
    entry = {"source": "garden", "image_size": 64, "drawings": 1, "steps": 1}
    card = run(monkeypatch, entry)
    assert isinstance(check(entries.Encoder, entry), entries.GardenClip)
    assert card.image_vectors == {"embedding": 128, "features": 512}
    assert card.origin == "trained on drawings, 1 steps"


TINY_SIGLIP: dict[str, Any] = {
    "embed_dim": 192,
    "init_logit_bias": -10,
    "custom_text": True,
    "vision_cfg": {"image_size": 224, "timm_model_name": "vit_tiny_patch16_224", "timm_model_pretrained": False, "timm_pool": "map"}
    | {"timm_proj": "none"},
    "text_cfg": {"context_length": 16, "vocab_size": 64, "width": 64, "heads": 1, "layers": 1, "hf_tokenizer_name": "org/tiny_siglip"}
    | {"tokenizer_kwargs": {"clean": "canonicalize"}, "no_causal_mask": True, "proj_bias": True, "pool_type": "last"},
}
# Like open_clip's own table: a CLIP with another mean and a file of another name, a SigLIP that squashes.
PUBLISHED: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "tiny_clip": (TINY | {"quick_gelu": True}, {"hf_hub": "org/tiny_clip/weights.bin", "quick_gelu": True, "mean": (0.4,) * 3}),
    "tiny_siglip": (TINY_SIGLIP, {"hf_hub": "org/tiny_siglip/", "resize_mode": "squash", "std": (0.5, 0.5, 0.5)}),
}


@pytest.fixture
def hub(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Mirror]:
    """A hub with random weights of two small published models that open_clip knows of, and of a timm encoder."""
    monkeypatch.setattr(fetching, "WAITS", (0.0, 0.0))
    with serving(tmp_path / "mirror") as mirror:
        for name, (config, published) in PUBLISHED.items():
            monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, name, config)
            monkeypatch.setitem(open_clip.pretrained._PRETRAINED, name, {"made": published})
            file = mirror.folder / "org" / name / "resolve/main"
            file.mkdir(parents=True)
            state = open_clip.create_model(name, pretrained=None).state_dict()
            if name == "tiny_clip":
                torch.save(state, file / "weights.bin")
            else:
                save_file(state, file / "open_clip_model.safetensors")
                unigram_tokenizer().save_pretrained(file)
        folder = mirror.folder / f"timm/{TIMM_TAG}/resolve/main"
        folder.mkdir(parents=True)
        save_file(timm.create_model(TIMM_TAG).state_dict(), folder / "model.safetensors")
        use_as_hub(mirror, tmp_path / "hf", monkeypatch)
        yield mirror


TIMM_TAG = "vit_tiny_patch16_224.augreg_in21k_ft_in1k"


def open_clip_tag(name: str, **fields: Any) -> dict[str, Any]:
    return {"source": "open_clip", "architecture": name, "tag": "made"} | fields


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_weights_are_those_that_open_clip_loads_by_tag(hub: Mirror, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    card = run(monkeypatch, open_clip_tag(name))
    theirs, _, transform = open_clip.create_model_and_transforms(name, pretrained="made", require_pretrained=True)
    ours = encoders.Encoder(card, "float32", 2)
    expected = theirs.eval().state_dict()
    saved = load_file("data/weights/mine/open_clip_model.safetensors")
    assert saved.keys() == expected.keys()
    assert all(torch.equal(saved[key], value) for key, value in expected.items())
    photograph = Image.fromarray(np.random.default_rng(0).integers(0, 256, (300, 250, 3), np.uint8))
    assert torch.equal(ours.transform(photograph), transform(photograph))
    texts = ["A Photo, of a lily!", "an iris"]
    assert torch.equal(ours.tokenize(texts), open_clip.get_tokenizer(name)(texts))
    with torch.inference_mode():
        np.testing.assert_allclose(ours.encode_texts(texts)["embedding"], theirs.encode_text(ours.tokenize(texts)), rtol=1e-4, atol=1e-5)
    assert (card.tokenizer is None) == (name == "tiny_clip")
    assert card.activation == {"tiny_clip": "quick_gelu", "tiny_siglip": None}[name]
    file = hub.folder / "org" / name / "resolve/main" / {"tiny_clip": "weights.bin"}.get(name, "open_clip_model.safetensors")
    assert card.origin == f"tag made, org/{name}, file {file.name}, SHA-256 {file_sha256(file)}"


def test_published_weights_of_timm_are_those_that_timm_loads_by_tag(hub: Mirror, monkeypatch: pytest.MonkeyPatch) -> None:
    card = run(monkeypatch, {"source": "timm", "architecture": TIMM_TAG, "arguments": {"img_size": 64}, "preprocess": TIMM["preprocess"]})
    theirs = timm.create_model(TIMM_TAG, pretrained=True, num_classes=0, img_size=64).eval()
    pixels = torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        found = encoders.Encoder(card, "float32", 2).encode_images(pixels)["embedding"]
        np.testing.assert_allclose(found, theirs(pixels), rtol=1e-4, atol=1e-5)
    assert card.origin.startswith(f"timm/{TIMM_TAG}, file model.safetensors, SHA-256 ")


def test_preprocessing_of_timm_comes_with_the_tag(hub: Mirror, monkeypatch: pytest.MonkeyPatch) -> None:
    card = run(monkeypatch, {"source": "timm", "architecture": TIMM_TAG})
    theirs = timm.create_model(TIMM_TAG, pretrained=True, num_classes=0)
    expected = timm.data.create_transform(**timm.data.resolve_model_data_config(theirs))
    assert str(encoders.Encoder(card, "float32", 1).transform) == str(expected)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (open_clip_tag("tiny_clip", sha256="0" * 64), "params.yaml: encoders.mine.sha256 = '000"),
        ({"source": "timm", "architecture": f"{TIMM_TAG[:-4]}99k"}, "augreg_in21k_ft_99k': timm's tags for it are "),
        ({"source": "timm", "architecture": "resnet10t"}, "resnet10t.c3_in1k on "),
        ({"source": "open_clip", "architecture": "ViT-B-32", "tag": "openai"}, "the weights need quick_gelu: 'ViT-B-32-quickgelu'"),
    ],
)
def test_a_wrong_published_entry_is_one_line(hub: Mirror, monkeypatch: pytest.MonkeyPatch, entry: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as error:
        run(monkeypatch, entry)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_damaged_file_of_the_hub_is_one_line(hub: Mirror, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.put("org/tiny_siglip/resolve/main/open_clip_model.safetensors", b"<html>")
    with pytest.raises(InputError, match=r"open_clip_model\.safetensors: no weights of tiny_siglip: "):
        run(monkeypatch, open_clip_tag("tiny_siglip"))


def test_a_tokenizer_that_cannot_be_had_is_one_line(hub: Mirror, monkeypatch: pytest.MonkeyPatch) -> None:
    file = hub.folder / "org/tiny_siglip/resolve/main/tokenizer.json"
    whole = file.read_text()
    file.unlink()
    with pytest.raises(InputError, match=r"^org/tiny_siglip on .* has no file tokenizer\.json$"):
        run(monkeypatch, open_clip_tag("tiny_siglip"))
    file.write_text(whole.replace("Unigram", "Bigram"))
    with pytest.raises(InputError, match=r"^org/tiny_siglip: no tokenizer: ") as error:
        run(monkeypatch, open_clip_tag("tiny_siglip"))
    assert "\n" not in str(error.value)


@pytest.fixture
def torchvisions(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Mirror]:
    """A stand-in for torchvision's server with random weights of a small classifier, under a name that ends in their SHA-256's begin."""
    monkeypatch.setattr(fetching, "WAITS", (0.0, 0.0))
    with serving(tmp_path / "mirror") as mirror:
        data = io.BytesIO()
        torch.save(torchvision.models.mobilenet_v3_small().state_dict(), data)
        publish(mirror, data.getvalue(), monkeypatch)
        yield mirror


MOBILE = {"source": "torchvision", "architecture": "mobilenet_v3_small", "weights": "IMAGENET1K_V1"}
PUBLISHED_MOBILE = torchvision.models.MobileNet_V3_Small_Weights.IMAGENET1K_V1


def publish(mirror: Mirror, data: bytes, monkeypatch: pytest.MonkeyPatch) -> str:
    """Let torchvision's address of the small classifier's weights be one of ``data``; return the file's name."""
    file = f"mobilenet_v3_small-{hashlib.sha256(data).hexdigest()[:8]}.pth"
    mirror.put(file, data)
    monkeypatch.setattr(PUBLISHED_MOBILE.value, "url", f"{mirror.address}/{file}")
    return file


def test_a_mirror_of_torchvisions_weights(torchvisions: Mirror, monkeypatch: pytest.MonkeyPatch) -> None:
    url = PUBLISHED_MOBILE.url
    monkeypatch.setattr(PUBLISHED_MOBILE.value, "url", "http://127.0.0.1:9/mobilenet_v3_small-00000000.pth")
    assert run(monkeypatch, MOBILE | {"url": url}).library == "torchvision"


def test_a_torchvision_encoder(torchvisions: Mirror, monkeypatch: pytest.MonkeyPatch) -> None:
    card = run(monkeypatch, MOBILE)
    (file,) = torchvisions.folder.iterdir()
    given = torch.load(file, weights_only=True)
    saved = load_file("data/weights/mine/model.safetensors")
    assert saved.keys() == given.keys()
    assert all(torch.equal(saved[key], value) for key, value in given.items())
    assert (card.library, card.image_vectors, card.text_vectors, card.logit_scale) == ("torchvision", {"embedding": 1024}, {}, None)
    assert card.origin == f"weights IMAGENET1K_V1, file {file.name}, SHA-256 {file_sha256(file)}"
    assert card.weights_sha256 == file_sha256(Path("data/weights/mine/model.safetensors"))
    theirs = torchvision.models.mobilenet_v3_small().eval()
    theirs.load_state_dict(given)
    theirs.classifier[3] = torch.nn.Identity()
    pixels = torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        found = encoders.Encoder(card, "float32", 2).encode_images(pixels)["embedding"]
        np.testing.assert_allclose(found, theirs(pixels), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("size", [(300, 250), (180, 400), (224, 224)])
def test_preprocessing_of_torchvision_is_that_of_its_weights(
    torchvisions: Mirror, monkeypatch: pytest.MonkeyPatch, size: tuple[int, int]
) -> None:
    card = run(monkeypatch, MOBILE)
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8))
    found, expected = encoders.Encoder(card, "float32", 1).transform(image), PUBLISHED_MOBILE.transforms()(image)
    assert found.shape == (3, 224, 224)
    assert (found - expected).abs().max() < 1e-5


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"architecture": "mobilenet_v3_smal"}, ".architecture = 'mobilenet_v3_smal': torchvision knows no such model; did you mean"),
        ({"weights": "IMAGENET1K_V9"}, ".weights = 'IMAGENET1K_V9': torchvision has IMAGENET1K_V1, DEFAULT for mobilenet_v3_small"),
        # Not classifiers: a detector, and one of videos.
        ({"architecture": "fasterrcnn_resnet50_fpn", "weights": "COCO_V1"}, ".architecture = 'fasterrcnn_resnet50_fpn': "),
        ({"architecture": "r3d_18", "weights": "KINETICS400_V1"}, ".architecture = 'r3d_18': "),
    ],
)
def test_a_wrong_torchvision_entry_is_one_line_before_anything_is_fetched(
    project: Path, monkeypatch: pytest.MonkeyPatch, fields: dict[str, str], message: str
) -> None:
    monkeypatch.setattr(weights, "fetch", None)
    with pytest.raises(InputError) as error:
        run(monkeypatch, MOBILE | fields)
    assert str(error.value).startswith(f"params.yaml: encoders.mine{message}")
    assert "\n" not in str(error.value)


def test_a_damaged_file_of_torchvision_is_one_line(torchvisions: Mirror, monkeypatch: pytest.MonkeyPatch) -> None:
    (file,) = torchvisions.folder.iterdir()
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(InputError, match=rf"/{file.name}: SHA256 is [0-9a-f]{{64}}, expected {file.stem[-8:]}: an error page, ") as error:
        run(monkeypatch, MOBILE)
    assert "\n" not in str(error.value)


def test_a_file_of_torchvision_that_holds_no_weights_of_the_architecture_is_one_line(
    torchvisions: Mirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = io.BytesIO()
    torch.save({"fc.weight": torch.zeros(2, 2)}, data)
    for content in (b"<html>", data.getvalue()):
        file = publish(torchvisions, content, monkeypatch)
        with pytest.raises(InputError, match=rf"{file}: no weights of mobilenet_v3_small: ") as error:
            run(monkeypatch, MOBILE)
        assert "\n" not in str(error.value)


def test_without_a_network_the_line_says_where_a_copy_of_torchvisions_file_may_lie(
    torchvisions: Mirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    (file,) = torchvisions.folder.iterdir()
    monkeypatch.setattr(PUBLISHED_MOBILE.value, "url", f"http://127.0.0.1:9/{file.name}")
    with pytest.raises(InputError, match=rf"^http://127\.0\.0\.1:9/{file.name}: cannot be reached .*; a copy of the file at ") as error:
        run(monkeypatch, MOBILE)
    target = Path(str(error.value).partition("; a copy of the file at ")[2].removesuffix(" serves as well"))
    target.parent.mkdir(parents=True)
    target.write_bytes(file.read_bytes())
    assert run(monkeypatch, MOBILE).image_vectors == {"embedding": 1024}
    assert torchvisions.requests == []


def test_a_torchvision_network_without_a_linear_layer_is_one_line(torchvisions: Mirror, monkeypatch: pytest.MonkeyPatch) -> None:
    data = io.BytesIO()
    torch.save(torchvision.models.squeezenet1_1().state_dict(), data)
    file = f"squeezenet1_1-{hashlib.sha256(data.getvalue()).hexdigest()[:8]}.pth"
    torchvisions.put(file, data.getvalue())
    monkeypatch.setattr(torchvision.models.SqueezeNet1_1_Weights.IMAGENET1K_V1.value, "url", f"{torchvisions.address}/{file}")
    with pytest.raises(InputError, match=r"squeezenet1_1.*: it has no linear layer$"):
        run(monkeypatch, MOBILE | {"architecture": "squeezenet1_1"})
