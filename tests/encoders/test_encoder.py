"""Encoders give open_clip's own vectors, and a row's bits depend only on its image."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from clipstore.encoders.encoder import Encoder
from clipstore.encoders.info import read_info
from clipstore.encoders.precision import Precision
from clipstore.encoders.vision import open_clip
from tests.project import TINY, make_weights, random_crops

TEXT = TINY["text_cfg"]
TIMM = {"timm_model_name": "resnet10t", "timm_model_pretrained": False, "timm_pool": "", "image_size": 32}
CONFIGS: dict[str, dict[str, Any]] = {
    "vit": TINY,
    "vit_quickgelu": TINY | {"quick_gelu": True},
    "timm_linear": {"embed_dim": 16, "vision_cfg": TIMM | {"timm_proj": "linear"}, "text_cfg": TEXT},
    "timm_siglip_like": {
        "embed_dim": 192,
        "vision_cfg": {
            "timm_model_name": "vit_tiny_patch16_224",
            "timm_model_pretrained": False,
            "timm_pool": "map",
            "timm_proj": "none",
            "image_size": 224,
        },
        "text_cfg": TEXT,
    },
    "resnet": {"embed_dim": 16, "vision_cfg": {"image_size": 32, "layers": [1, 1, 1, 1], "width": 8}, "text_cfg": TEXT},
}


def load(name: str, precision: Precision = "float32", batch_size: int = 4) -> Encoder:
    return Encoder(read_info(name), precision, batch_size)


@pytest.mark.parametrize("name", CONFIGS)
def test_the_embedding_is_open_clips_own(project: Path, name: str) -> None:
    make_weights(name, CONFIGS[name])
    model, _, _ = open_clip.create_model_and_transforms(f"local-dir:data/weights/{name}", require_pretrained=True)
    encoder, crops = load(name), random_crops(4, CONFIGS[name]["vision_cfg"]["image_size"])
    with torch.inference_mode():
        expected = model.eval().encode_image(encoder.crops.normalized(crops)).numpy()
    vectors = encoder.encode_images(crops)
    np.testing.assert_allclose(vectors["embedding"], expected, rtol=1e-4, atol=1e-5)
    assert {key: value.shape[1] for key, value in vectors.items()} == read_info(name).image_vectors


@pytest.mark.parametrize(("name", "width"), [("vit", 32), ("timm_linear", 512), ("timm_siglip_like", None), ("resnet", None)])
def test_there_are_features_exactly_if_there_is_a_projection(project: Path, name: str, width: int | None) -> None:
    make_weights(name, CONFIGS[name])
    vectors = load(name).encode_images(random_crops(2, CONFIGS[name]["vision_cfg"]["image_size"]))
    assert (vectors["features"].shape[1] if "features" in vectors else None) == width


def test_features_times_the_projection_are_the_embedding(project: Path) -> None:
    make_weights()
    encoder = load("tiny")
    vectors = encoder.encode_images(random_crops(3))
    projection = encoder.model.visual.proj.detach().cpu().numpy()
    np.testing.assert_allclose(vectors["features"] @ projection, vectors["embedding"], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", ["vit", "timm_linear"])
def test_a_rows_bits_do_not_depend_on_the_rows_beside_it(project: Path, name: str, precision: Precision) -> None:
    make_weights(name, CONFIGS[name])
    encoder = load(name, precision)
    together = encoder.encode_images(random_crops(4))
    for row in range(4):
        alone = encoder.encode_images(random_crops(4)[row : row + 1])
        for kind, values in together.items():
            np.testing.assert_array_equal(alone[kind][0], values[row])


def test_a_model_that_threads_share_is_not_changed_while_it_computes(project: Path) -> None:
    make_weights()
    encoder = load("tiny")
    visual, during = encoder.model.visual, []
    visual.transformer.register_forward_pre_hook(lambda *_: during.append(visual.proj is not None))
    encoder.encode_images(random_crops(1))
    assert during == [True]


def test_texts_are_open_clips_own(project: Path) -> None:
    make_weights()
    texts = ["a red flower", "a much longer description of one blue flower that will not fit into the context at all, never"]
    model, _, _ = open_clip.create_model_and_transforms("local-dir:data/weights/tiny", require_pretrained=True)
    with torch.inference_mode():
        expected = model.eval().encode_text(open_clip.get_tokenizer("local-dir:data/weights/tiny")(texts)).numpy()
    np.testing.assert_allclose(load("tiny").encode_texts(texts)["embedding"], expected, rtol=1e-4, atol=1e-5)


def test_models_are_in_eval_mode(project: Path) -> None:
    make_weights("resnet", CONFIGS["resnet"])
    assert not any(module.training for module in load("resnet").model.modules())
