"""The contract contains everything that determines the vectors' bits: changing any of it changes the digest."""

import dataclasses
from typing import Any

import pytest

from clipstore.core.digests import json_sha256
from clipstore.data import images
from clipstore.encoders import contract
from clipstore.encoders.info import EncoderInfo

INFO = EncoderInfo(
    "x", "open_clip", "ViT-B-32", "gelu", {"size": 224}, {"embedding": 2}, {"embedding": 2}, 100.0, "somewhere", None, "aa", 0.9999
)


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


def test_the_decoder_is_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    before = contract.of_images(INFO, "float32", 32, "cpu")
    monkeypatch.setitem(images.DECODING, "decoder", "another")
    assert contract.of_images(INFO, "float32", 32, "cpu") != before


def test_a_tokenizer_with_files_is_in_the_contract_of_texts() -> None:
    with_files = dataclasses.replace(INFO, tokenizer="aa")
    other = dataclasses.replace(INFO, tokenizer="bb")
    assert "tokenizer" not in contract.of_texts(INFO, "float32", 32, "cpu")
    assert contract.of_texts(with_files, "float32", 32, "cpu") != contract.of_texts(other, "float32", 32, "cpu")
    assert {"tokenizers", "transformers"} <= contract.of_texts(with_files, "float32", 32, "cpu")["versions"].keys()
    assert contract.of_images(with_files, "float32", 32, "cpu") == contract.of_images(other, "float32", 32, "cpu")


def test_the_origin_of_the_weights_is_not_in_it() -> None:
    other = dataclasses.replace(INFO, origin="elsewhere", bfloat16_cosine=0.5)
    assert contract.of_images(other, "float32", 32, "cpu") == contract.of_images(INFO, "float32", 32, "cpu")
