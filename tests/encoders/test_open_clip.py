"""open_clip weights, by tag or from a file, give open_clip's own vectors once saved; a wrong entry is reported in one line."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from clipstore.core.digests import file_sha256
from clipstore.core.errors import InputError
from clipstore.data import fetching
from clipstore.encoders.encoder import Encoder
from clipstore.encoders.info import read_info
from clipstore.encoders.open_clip import backbone
from clipstore.encoders.vision import open_clip
from tests.mirror import Mirror, serving, use_as_hub
from tests.project import TINY, make_weights, prepared, save_weights, unigram_tokenizer


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of random ViT-B-32 weights, in the format of open_clip's trainer."""
    path = tmp_path_factory.mktemp("checkpoint") / "vit.pt"
    torch.save({"state_dict": open_clip.create_model("ViT-B-32", pretrained=None).state_dict()}, path)
    return path


def local(path: Path, **fields: Any) -> dict[str, Any]:
    return {"source": "open_clip_file", "file": str(path), "sha256": file_sha256(path)} | fields


@pytest.mark.slow
def test_an_open_clip_checkpoint(project: Path, checkpoint: Path) -> None:
    info = save_weights(local(checkpoint, architecture="ViT-B-32-quickgelu", tag="openai"))
    assert (info.library, info.architecture, info.activation) == ("open_clip", "ViT-B-32-quickgelu", "quick_gelu")
    assert info.image_vectors == {"embedding": 512, "features": 768}
    assert info.logit_scale == pytest.approx(1 / 0.07, rel=1e-4)
    assert info.weights_sha256 == file_sha256(Path("data/weights/mine/open_clip_model.safetensors"))
    assert {path.name for path in Path("data/weights/mine").iterdir()} == {
        "encoder.json",
        "open_clip_config.json",
        "open_clip_model.safetensors",
    }
    saved = load_file("data/weights/mine/open_clip_model.safetensors")
    given = torch.load(checkpoint, weights_only=True)["state_dict"]
    assert all(torch.equal(saved[name], value) for name, value in given.items())
    encoder = Encoder(info, "float32", 1)
    assert isinstance(encoder.model.visual.transformer.resblocks[0].mlp.gelu, open_clip.transformer.QuickGELU)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"architecture": "ViT-B-32", "tag": "openai"},
            "'ViT-B-32': its activation is gelu, but the weights were trained with quick_gelu; expected 'ViT-B-32-quickgelu'",
        ),
        (
            {"architecture": "ViT-B-32-quickgelu", "activation": "gelu"},
            "is quick_gelu, but the weights were trained with gelu; expected 'ViT-B-32'",
        ),
        ({"architecture": "ViT-B-33", "activation": "gelu"}, "'ViT-B-33': open_clip has no such model; did you mean 'ViT-B-32'"),
        ({"architecture": "ViT-B-32", "tag": "opnai"}, "tag = 'opnai': open_clip's tags for ViT-B-32 are openai, "),
        ({"architecture": "roberta-ViT-B-32", "tag": "laion2b_s12b_b32k"}, "text towers from transformers are not supported"),
        ({"architecture": "coca_ViT-B-32", "activation": "gelu"}, "CoCa models are not supported"),
        ({"architecture": "ViT-B-16", "tag": "laion2b_s34b_b88k"}, "vit.pt: expected weights of ViT-B-16"),
        ({"architecture": "ViT-B-32", "activation": "gelu", "sha256": "0" * 64}, "sha256 = '000"),
    ],
)
def test_a_wrong_entry_is_one_line(project: Path, checkpoint: Path, fields: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as error:
        save_weights(local(checkpoint) | fields)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_file_that_is_not_a_checkpoint_is_one_line(project: Path) -> None:
    path = project / "notes.pt"
    path.write_text("not weights")
    with pytest.raises(InputError, match=r"notes\.pt: expected weights of ViT-B-32"):
        save_weights(local(path, architecture="ViT-B-32", activation="gelu"))


TINY_SIGLIP: dict[str, Any] = {
    "embed_dim": 192,
    "init_logit_bias": -10,
    "custom_text": True,
    "vision_cfg": {"image_size": 224, "timm_model_name": "vit_tiny_patch16_224", "timm_model_pretrained": False, "timm_pool": "map"}
    | {"timm_proj": "none"},
    "text_cfg": {"context_length": 16, "vocab_size": 64, "width": 64, "heads": 1, "layers": 1, "hf_tokenizer_name": "org/tiny_siglip"}
    | {"tokenizer_kwargs": {"clean": "canonicalize"}, "no_causal_mask": True, "proj_bias": True, "pool_type": "last"},
}
# As in open_clip's own table: a CLIP with a different mean and file name, and a SigLIP that squashes images.
PUBLISHED: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "tiny_clip": (TINY | {"quick_gelu": True}, {"hf_hub": "org/tiny_clip/weights.bin", "quick_gelu": True, "mean": (0.4,) * 3}),
    "tiny_siglip": (TINY_SIGLIP, {"hf_hub": "org/tiny_siglip/", "resize_mode": "squash", "std": (0.5, 0.5, 0.5)}),
}


@pytest.fixture
def hub(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Mirror]:
    """A hub with random weights of two small models that open_clip lists as published."""
    monkeypatch.setattr(fetching, "WAITS", (0.0, 0.0))
    with serving(tmp_path / "mirror") as mirror:
        for name, (config, published) in PUBLISHED.items():
            monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, name, config)
            monkeypatch.setitem(open_clip.pretrained._PRETRAINED, name, {"made": published})
            folder = mirror.folder / "org" / name / "resolve/main"
            folder.mkdir(parents=True)
            state = open_clip.create_model(name, pretrained=None).state_dict()
            if name == "tiny_clip":
                torch.save(state, folder / "weights.bin")
            else:
                save_file(state, folder / "open_clip_model.safetensors")
                unigram_tokenizer().save_pretrained(folder)
        use_as_hub(mirror, tmp_path / "hf", monkeypatch)
        yield mirror


def tag(name: str, **fields: Any) -> dict[str, Any]:
    return {"source": "open_clip", "architecture": name, "tag": "made"} | fields


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_weights_are_those_that_open_clip_loads_by_tag(hub: Mirror, name: str) -> None:
    info = save_weights(tag(name))
    model, _, transform = open_clip.create_model_and_transforms(name, pretrained="made", require_pretrained=True)
    encoder = Encoder(info, "float32", 2)
    expected = model.eval().state_dict()
    saved = load_file("data/weights/mine/open_clip_model.safetensors")
    assert saved.keys() == expected.keys()
    assert all(torch.equal(saved[key], value) for key, value in expected.items())
    photograph = Image.fromarray(np.random.default_rng(0).integers(0, 256, (300, 250, 3), np.uint8))
    assert torch.equal(prepared(encoder, photograph), transform(photograph))
    texts = ["A Photo, of a lily!", "an iris"]
    tokens = open_clip.get_tokenizer(name)(texts)
    assert torch.equal(encoder.tokenize(texts), tokens)
    with torch.inference_mode():
        np.testing.assert_allclose(encoder.encode_texts(texts)["embedding"], model.encode_text(tokens), rtol=1e-4, atol=1e-5)
    assert (info.tokenizer == {}) == (name == "tiny_clip")
    assert info.activation == {"tiny_clip": "quick_gelu", "tiny_siglip": None}[name]
    file = hub.folder / "org" / name / "resolve/main" / {"tiny_clip": "weights.bin"}.get(name, "open_clip_model.safetensors")
    assert info.origin == f"tag made, org/{name}, file {file.name}, SHA-256 {file_sha256(file)}"


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (tag("tiny_clip", sha256="0" * 64), "params.yaml: encoders.mine.sha256 = '000"),
        (
            {"source": "open_clip", "architecture": "ViT-B-32", "tag": "openai"},
            "weights were trained with quick_gelu; expected 'ViT-B-32-quickgelu'",
        ),
    ],
)
def test_a_wrong_published_entry_is_one_line(hub: Mirror, entry: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as error:
        save_weights(entry)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_damaged_file_from_the_hub_is_one_line(hub: Mirror) -> None:
    hub.put("org/tiny_siglip/resolve/main/open_clip_model.safetensors", b"<html>")
    with pytest.raises(InputError, match=r"open_clip_model\.safetensors: expected weights of tiny_siglip: "):
        save_weights(tag("tiny_siglip"))


def test_a_tokenizer_that_cannot_be_fetched_is_one_line(hub: Mirror) -> None:
    file = hub.folder / "org/tiny_siglip/resolve/main/tokenizer.json"
    whole = file.read_text()
    file.unlink()
    with pytest.raises(InputError, match=r"^org/tiny_siglip on .* has no file tokenizer\.json$"):
        save_weights(tag("tiny_siglip"))
    file.write_text(whole.replace("Unigram", "Bigram"))
    with pytest.raises(InputError, match=r"^org/tiny_siglip: not a tokenizer: ") as error:
        save_weights(tag("tiny_siglip"))
    assert "\n" not in str(error.value)


@torch.inference_mode()
def test_the_backbone_gives_the_embedding_bit_for_bit(project: Path) -> None:
    make_weights()
    tower, length = backbone(read_info("tiny"))
    model = open_clip.create_model("local-dir:data/weights/tiny", require_pretrained=True).eval()
    pixels = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    embedding = tower.eval()(pixels)
    assert torch.equal(embedding, model.encode_image(pixels))
    assert embedding.shape == (3, length)
    assert length == 16
