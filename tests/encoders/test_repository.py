"""open_clip repositories, on the hub or in a folder, give open_clip's own vectors; every other repository is one line."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from clipstore.core.digests import file_sha256
from clipstore.core.encoders import Encoder as Entry
from clipstore.core.errors import InputError
from clipstore.core.params import check
from clipstore.data import fetching
from clipstore.encoders.encoder import Encoder
from clipstore.encoders.vision import open_clip
from clipstore.tools import plan
from tests.encoders.test_open_clip import TINY_SIGLIP
from tests.mirror import Mirror, serving, use_as_hub
from tests.project import TINY, prepared, save_weights, unigram_tokenizer

CONFIGS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "tiny_clip": (TINY | {"quick_gelu": True}, {"mean": [0.4] * 3, "std": [0.3] * 3, "interpolation": "bilinear"}),
    "tiny_siglip": (TINY_SIGLIP, {"mean": [0.5] * 3, "std": [0.5] * 3, "resize_mode": "longest", "fill_color": 90}),
}
WEIGHTS = {"tiny_clip": "open_clip_pytorch_model.bin", "tiny_siglip": "open_clip_model.safetensors"}


def write(folder: Path, name: str) -> None:
    """Write a repository of random weights."""
    model_cfg, preprocess_cfg = CONFIGS[name]
    folder.mkdir(parents=True)
    kind = open_clip.model.CustomTextCLIP if model_cfg.get("custom_text") else open_clip.CLIP
    state = kind(**{key: value for key, value in model_cfg.items() if key != "custom_text"}).state_dict()
    if name == "tiny_clip":
        torch.save(state, folder / WEIGHTS[name])
    else:
        save_file(state, folder / WEIGHTS[name])
        unigram_tokenizer().save_pretrained(folder)
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": model_cfg, "preprocess_cfg": preprocess_cfg}))


@pytest.fixture
def hub(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Mirror]:
    """A hub with both repositories."""
    monkeypatch.setattr(fetching, "WAITS", (0.0, 0.0))
    with serving(tmp_path / "mirror") as mirror:
        for name in CONFIGS:
            write(mirror.folder / "org" / name / "resolve/main", name)
        use_as_hub(mirror, tmp_path / "hf", monkeypatch)
        yield mirror


def entry(repository: str, **fields: str) -> dict[str, Any]:
    return {"source": "open_clip_repository", "repository": repository} | fields


@pytest.mark.parametrize("place", ["hf-hub:", "local-dir:", ""])
@pytest.mark.parametrize("name", CONFIGS)
def test_vectors_preprocessing_and_tokens_are_those_of_open_clip(hub: Mirror, name: str, place: str) -> None:
    folder = hub.folder / "org" / name / "resolve/main"
    digest = file_sha256(folder / WEIGHTS[name])
    address = f"hf-hub:org/{name}" if place == "hf-hub:" else f"{place}{folder}"
    info = save_weights(entry(address, sha256=digest))
    model, _, transform = open_clip.create_model_and_transforms(f"local-dir:{folder}", require_pretrained=True)
    encoder = Encoder(info, "float32", 2)
    saved = load_file("data/weights/mine/open_clip_model.safetensors")
    assert all(torch.equal(saved[key], value) for key, value in model.state_dict().items())
    photograph = Image.fromarray(np.random.default_rng(0).integers(0, 256, (300, 250, 3), np.uint8))
    assert torch.equal(prepared(encoder, photograph), transform(photograph))
    texts = ["A Photo, of a lily!", "an iris"]
    tokens = open_clip.get_tokenizer(f"local-dir:{folder}")(texts)
    assert torch.equal(encoder.tokenize(texts), tokens)
    views = [photograph, photograph.rotate(90)]
    pixels = torch.stack([transform(view) for view in views])
    crops = torch.stack([encoder.crop(np.asarray(view)) for view in views])
    with torch.inference_mode():
        np.testing.assert_allclose(encoder.encode_images(crops)["embedding"], model.eval().encode_image(pixels), rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(encoder.encode_texts(texts)["embedding"], model.encode_text(tokens), rtol=1e-4, atol=1e-5)
    assert info.activation == {"tiny_clip": "quick_gelu", "tiny_siglip": None}[name]
    assert info.origin == f"{address}, file {WEIGHTS[name]}, SHA-256 {digest}"
    assert info.architecture == (address if place == "hf-hub:" else "main")


def test_the_plan_needs_the_configuration_alone(hub: Mirror) -> None:
    size = plan.size_of_encoder("mine", check(Entry, entry("hf-hub:org/tiny_clip")))
    assert (size.side, size.numbers) == (32, 16 + 32)
    assert [path for _, path, _ in hub.requests if path.endswith((".bin", ".safetensors"))] == []


def one_line(repository: str, **fields: str) -> str:
    with pytest.raises(InputError) as error:
        save_weights(entry(repository, **fields))
    assert "\n" not in str(error.value)
    return str(error.value)


OTHERS: dict[str, tuple[dict[str, Any] | None, str]] = {
    "timm": (
        {"architecture": "resnet10t", "num_classes": 1000, "pretrained_cfg": {"tag": "c3_in1k"}},
        "; it is a timm model: expected source timm with architecture resnet10t.c3_in1k",
    ),
    "transformers": (
        {"model_type": "clip", "architectures": ["CLIPModel"]},
        "; it is a transformers model of type clip, which is not supported",
    ),
    "unknown": ({"layers": 3}, ""),
    "empty": (None, ""),
}


@pytest.mark.parametrize("kind", OTHERS)
@pytest.mark.parametrize("place", ["hf-hub:", "local-dir:"])
def test_another_kind_of_repository_is_named(hub: Mirror, kind: str, place: str) -> None:
    config, end = OTHERS[kind]
    folder = hub.folder / "org/other/resolve/main"
    folder.mkdir(parents=True)
    (folder / "open_clip_model.safetensors").write_bytes(b"weights")
    if config is not None:
        (folder / "config.json").write_text(json.dumps(config))
    address = "hf-hub:org/other" if place == "hf-hub:" else f"{place}{folder}"
    assert one_line(address) == f"{address}: no file open_clip_config.json, so it is not an open_clip repository{end}"


def test_without_a_network_the_missing_file_is_named_even_if_config_json_is_cached(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A tokenizer leaves a config.json in the cache, which says nothing of the rest."""
    with serving(tmp_path / "mirror") as mirror:
        use_as_hub(mirror, tmp_path / "hf", monkeypatch)
    (tmp_path / "cache/hub/org/other").mkdir(parents=True)
    (tmp_path / "cache/hub/org/other/config.json").write_text('{"model_type": "clip"}')
    assert one_line("hf-hub:org/other").startswith("org/other: open_clip_config.json is not cached, and ")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"multimodal_cfg": {}}, "params.yaml: encoders.mine.repository = 'hf-hub:org/tiny_clip': CoCa models are not supported"),
        ({"text_cfg": {"hf_model_name": "roberta-base"}}, "'hf-hub:org/tiny_clip': text towers from transformers are not supported"),
        ({"embed_dim": 24}, "expected weights of hf-hub:org/tiny_clip: 2 tensors of another shape: text_projection, visual.proj"),
    ],
)
def test_a_model_that_is_not_supported_is_one_line(hub: Mirror, change: dict[str, Any], message: str) -> None:
    path = hub.folder / "org/tiny_clip/resolve/main/open_clip_config.json"
    path.write_text(json.dumps({"model_cfg": CONFIGS["tiny_clip"][0] | change, "preprocess_cfg": {}}))
    assert message in one_line("hf-hub:org/tiny_clip")


@pytest.mark.parametrize("text", ["<html>", "[]", '{"embed_dim": 16}', '{"model_cfg": {"embed_dim": 16}}'])
def test_a_configuration_of_another_form_is_one_line(hub: Mirror, text: str) -> None:
    (hub.folder / "org/tiny_clip/resolve/main/open_clip_config.json").write_text(text)
    assert one_line("hf-hub:org/tiny_clip").startswith("hf-hub:org/tiny_clip: open_clip_config.json: ")


def test_another_digest_and_missing_weights_are_one_line(hub: Mirror) -> None:
    assert one_line("hf-hub:org/tiny_clip", sha256="0" * 64).startswith("params.yaml: encoders.mine.sha256 = '000")
    (hub.folder / "org/tiny_siglip/resolve/main/open_clip_model.safetensors").unlink()
    assert "has no file open_clip_model.safetensors or open_clip_pytorch_model.bin" in one_line("hf-hub:org/tiny_siglip")


def test_a_local_folder_needs_a_digest_and_must_exist(hub: Mirror) -> None:
    folder = hub.folder / "org/tiny_clip/resolve/main"
    weights = folder / WEIGHTS["tiny_clip"]
    assert one_line(str(folder)) == f"params.yaml: encoders.mine: sha256 is missing; the SHA-256 of {weights} is {file_sha256(weights)}"
    assert one_line("org/tiny_clip") == (
        "org/tiny_clip: no such folder: org/tiny_clip; expected hf-hub:OWNER/NAME for a repository of the hub"
    )


def test_an_address_of_another_form_is_one_line() -> None:
    with pytest.raises(InputError, match=r"repository = 'hf-hub:bioclip': expected hf-hub:OWNER/NAME, local-dir:PATH or a path$"):
        check(Entry, entry("hf-hub:bioclip"), "encoders.mine")
