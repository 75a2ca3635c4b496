"""Entries of the table `encoders`."""

import hashlib
from pathlib import Path
from typing import Any

import pytest

from clipstore.core.encoders import Encoder, OpenClipFile, TimmFile, Torchvision
from clipstore.core.errors import InputError
from clipstore.core.params import check

SHA256 = hashlib.sha256(b"weights").hexdigest()


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    path = tmp_path / "weights.pt"
    path.write_bytes(b"weights")
    return path


def message(kind: Any, value: object, where: str) -> str:
    with pytest.raises(InputError) as caught:
        check(kind, value, where)
    return str(caught.value)


def open_clip(weights: Path, **fields: str) -> dict[str, str]:
    return {"source": "open_clip_file", "architecture": "RN50", "file": str(weights), "sha256": SHA256} | fields


def test_problem_of_a_missing_sha256_includes_the_actual_one(weights: Path) -> None:
    entry = {key: value for key, value in open_clip(weights, tag="openai").items() if key != "sha256"}
    assert check(OpenClipFile, entry).problem() == f"sha256 is missing; the SHA-256 of {weights} is {SHA256}"


def test_local_file_that_does_not_exist(weights: Path) -> None:
    weights.unlink()
    assert check(OpenClipFile, open_clip(weights, tag="openai")).problem() == f"no such file: {weights}"


def test_sha256_has_64_digits(weights: Path) -> None:
    line = message(Encoder, open_clip(weights, tag="openai", sha256="abc"), "encoders.mine")
    assert line == "params.yaml: encoders.mine.sha256 = 'abc': string should match pattern '^[0-9a-f]{64}$'"


def test_wrong_sha256_passes_since_the_weights_stage_checks_it(weights: Path) -> None:
    assert check(OpenClipFile, open_clip(weights, tag="openai", sha256="0" * 64), "encoders.mine").sha256 == "0" * 64


@pytest.mark.parametrize("extra", [{}, {"tag": "openai", "activation": "gelu"}])
def test_open_clip_file_needs_exactly_one_of_tag_and_activation(weights: Path, extra: dict[str, str]) -> None:
    line = message(Encoder, open_clip(weights, **extra), "encoders.mine")
    assert line == "params.yaml: encoders.mine: expected either tag or activation: the file does not record the activation"


@pytest.mark.parametrize("extra", [{"tag": "openai"}, {"activation": "quick_gelu"}])
def test_open_clip_file_with_tag_or_activation_passes(weights: Path, extra: dict[str, str]) -> None:
    entry = check(Encoder, open_clip(weights, **extra), "encoders.mine")
    assert isinstance(entry, OpenClipFile)
    assert {"tag": entry.tag, "activation": entry.activation} == {"tag": None, "activation": None} | extra


def test_timm_file_with_preprocessing_passes(weights: Path) -> None:
    preprocess = {"size": 32, "mean": [0, 0, 0], "std": [1, 1, 1], "interpolation": "bilinear", "crop_pct": 0.875}
    entry = check(
        Encoder,
        {"source": "timm_file", "architecture": "resnet18", "file": str(weights), "sha256": SHA256, "preprocess": preprocess},
        "encoders.mine",
    )
    assert isinstance(entry, TimmFile)
    assert (entry.preprocess.crop_pct, dict(entry.arguments)) == (0.875, {})


RESNET34 = {"source": "torchvision", "architecture": "resnet34", "weights": "IMAGENET1K_V1"}


def test_url_of_torchvision_weights_is_optional() -> None:
    url = "https://mirror.example.org/resnet34-b627a593.pth"
    assert check(Torchvision, RESNET34 | {"url": url}).url == url
    assert check(Torchvision, RESNET34).url is None


NO_DIGITS = "the file's name must end in the first digits of its SHA-256, as in resnet34-b627a593.pth"


@pytest.mark.parametrize(
    ("url", "expectation"),
    [
        ("https://mirror.example.org/resnet34.pth", NO_DIGITS),
        ("mirror/resnet34-b627a593.pth", r"string should match pattern '^https?://\S+$'"),
    ],
)
def test_invalid_url_of_torchvision_weights(url: str, expectation: str) -> None:
    assert message(Encoder, RESNET34 | {"url": url}, "encoders.mine") == f"params.yaml: encoders.mine.url = {url!r}: {expectation}"
