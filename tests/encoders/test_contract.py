"""The contract contains everything that determines the vectors' bits: changing any of it changes the digest."""

import dataclasses
import importlib.metadata
from typing import Any

import pytest

from clipstore.core.digests import json_sha256
from clipstore.data import images
from clipstore.encoders import contract
from clipstore.encoders.info import EncoderInfo

INFO = EncoderInfo(
    name="x",
    library="open_clip",
    architecture="ViT-B-32",
    activation="gelu",
    preprocess={"size": 224, "mean": [0.5] * 3, "std": [0.5] * 3},
    image_vectors={"embedding": 2},
    text_vectors={"embedding": 2},
    logit_scale=100.0,
    origin="somewhere",
    packages={"images": ["open_clip_torch", "torchvision"], "texts": ["open_clip_torch", "ftfy", "regex"]},
    configuration={"model_cfg": {"embed_dim": 2}},
    weights_sha256="aa",
)


def every_contract(info: EncoderInfo) -> list[str]:
    """Return the digests of the contracts of images and texts and of what fine-tuning starts from."""
    of_images, of_texts = contract.of_images(info, "float32", 32, "cpu"), contract.of_texts(info, "float32", 32, "cpu")
    return [json_sha256(terms) for terms in (of_images, of_texts, contract.of_backbone(info))]


def changed(before: list[str], after: list[str]) -> list[bool]:
    return [old != new for old, new in zip(before, after, strict=True)]


@pytest.mark.parametrize(
    "change",
    [
        {"weights_sha256": "bb"},
        {"activation": "quick_gelu"},
        {"preprocess": {"size": 256}},
        {"image_vectors": {"embedding": 2, "features": 3}},
    ],
)
def test_another_encoder_is_another_contract(change: dict[str, Any]) -> None:
    other = dataclasses.replace(INFO, **change)
    assert json_sha256(contract.of_images(INFO, "float32", 32, "cpu")) != json_sha256(contract.of_images(other, "float32", 32, "cpu"))


@pytest.mark.parametrize("terms", [("bfloat16", 32, "cpu"), ("float32", 16, "cpu"), ("float32", 32, "cuda")])
def test_precision_batch_and_device_are_in_it(terms: tuple[str, int, str]) -> None:
    assert contract.of_images(INFO, *terms) != contract.of_images(INFO, "float32", 32, "cpu")
    assert contract.of_texts(INFO, *terms) != contract.of_texts(INFO, "float32", 32, "cpu")


@pytest.mark.parametrize("part", ["decoder", "codecs"])
def test_the_decoder_is_in_it(part: str, monkeypatch: pytest.MonkeyPatch) -> None:
    before = contract.of_images(INFO, "float32", 32, "cpu")
    monkeypatch.setitem(images.DECODING, part, "another")
    assert contract.of_images(INFO, "float32", 32, "cpu") != before


def test_how_images_are_resized_and_scaled_is_in_it() -> None:
    contracts = [
        contract.of_images(INFO, "float32", 32, "cpu", resize=resize, jpeg_scaling=scaling)
        for resize in ("pillow", "torch")
        for scaling in (False, True)
    ]
    assert len({json_sha256(terms) for terms in contracts}) == 4
    assert contracts[0] == contract.of_images(INFO, "float32", 32, "cpu")


def test_a_tokenizers_files_are_in_the_contract_of_texts_alone() -> None:
    with_files = dataclasses.replace(INFO, tokenizer={"tokenizer.json": "aa", "tokenizer_config.json": "cc"})
    for other in ({"tokenizer.json": "bb", "tokenizer_config.json": "cc"}, {"tokenizer.json": "aa", "tokenizer_config.json": "dd"}):
        assert changed(every_contract(with_files), every_contract(dataclasses.replace(INFO, tokenizer=other))) == [False, True, False]


def test_what_the_model_is_built_from_is_in_all_of_them() -> None:
    other = dataclasses.replace(INFO, configuration={"model_cfg": {"embed_dim": 2, "vision_cfg": {"act_layer": "relu"}}})
    assert changed(every_contract(INFO), every_contract(other)) == [True, True, True]


def test_the_version_of_the_encoding_is_in_all_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    before = every_contract(INFO)
    monkeypatch.setattr(contract, "VERSION", contract.VERSION + 1)
    assert changed(before, every_contract(INFO)) == [True, True, True]


@pytest.mark.parametrize(
    ("package", "expected"),
    [
        ("torch", [True, True, True]),
        ("open_clip_torch", [True, True, True]),
        ("torchvision", [True, False, True]),
        ("ftfy", [False, True, False]),
        ("timm", [False, False, False]),
    ],
)
def test_a_packages_version_is_in_the_contracts_whose_vectors_it_decides(
    package: str, expected: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = every_contract(INFO)
    version = importlib.metadata.version
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "another" if name == package else version(name))
    assert changed(before, every_contract(INFO)) == expected


@pytest.mark.parametrize("change", [{"name": "y"}, {"origin": "elsewhere"}, {"architecture": "another name of it"}])
def test_names_are_not_in_it(change: dict[str, Any]) -> None:
    assert every_contract(dataclasses.replace(INFO, **change)) == every_contract(INFO)
