"""Entries of the tables of params.yaml."""

import hashlib
from pathlib import Path
from typing import Any

import pytest

from clipstore.core.errors import InputError
from clipstore.core.params import check
from clipstore.core.schema import Axes, Dataset, Encoder, OpenClipFile, Prompts, TimmFile

PROMPT = "a prompt holds {} exactly once, where the class name goes"


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    path = tmp_path / "weights.pt"
    path.write_bytes(b"weights")
    return path


SHA256 = hashlib.sha256(b"weights").hexdigest()


def message(kind: Any, value: object, where: str) -> str:
    with pytest.raises(InputError) as caught:
        check(kind, value, where)
    return str(caught.value)


def open_clip(weights: Path, **more: str) -> dict[str, str]:
    return {"source": "open_clip_file", "architecture": "RN50", "file": str(weights), "sha256": SHA256} | more


@pytest.mark.parametrize("name", ["my-flowers", "Flowers", "", "a/b", "flowers\n"])
def test_name_on_an_axis_is_a_slug(name: str) -> None:
    axes = {
        "download": [],
        "datasets": [name],
        "weights": [],
        "encoders": [],
        "zero_shot": [],
        "finetune": [],
        "scratch": [],
        "corpora": [],
    }
    assert message(Axes, axes, "axes") == f"params.yaml: axes.datasets.0 = {name!r}: string should match pattern '^[a-z0-9_]+$'"


@pytest.mark.parametrize("text", ["no name", "{} and {}", "a {} of {kind}", "a {} }", "{ {} }", "a {name}", "{0}"])
def test_prompt_holds_the_name_once_and_no_other_brace(text: str) -> None:
    assert message(Prompts, ["A {}.", text], "prompts.garden") == f"params.yaml: prompts.garden.1 = {text!r}: {PROMPT}"


def test_prompts_keep_their_order() -> None:
    assert check(Prompts, ["b {}", "a {}"], "prompts.garden") == ("b {}", "a {}")


def test_prompts_are_not_empty() -> None:
    assert message(Prompts, [], "prompts.garden").startswith("params.yaml: prompts.garden = []: ")


def test_local_file_without_sha256_says_the_one_it_has(weights: Path) -> None:
    entry = {key: value for key, value in open_clip(weights, tag="openai").items() if key != "sha256"}
    assert check(OpenClipFile, entry).problem() == f"sha256 is missing; for {weights} it is {SHA256}"


def test_local_file_that_is_not_there(weights: Path) -> None:
    weights.unlink()
    assert check(OpenClipFile, open_clip(weights, tag="openai")).problem() == f"no such file: {weights}"


def test_sha256_has_64_digits(weights: Path) -> None:
    found = message(Encoder, open_clip(weights, tag="openai", sha256="abc"), "encoders.mine")
    assert found == "params.yaml: encoders.mine.sha256 = 'abc': string should match pattern '^[0-9a-f]{64}$'"


def test_another_sha256_passes_here_since_the_weights_stage_reads_the_file(weights: Path) -> None:
    assert check(OpenClipFile, open_clip(weights, tag="openai", sha256="0" * 64), "encoders.mine").sha256 == "0" * 64


@pytest.mark.parametrize("more", [{}, {"tag": "openai", "activation": "gelu"}])
def test_open_clip_file_names_either_tag_or_activation(weights: Path, more: dict[str, str]) -> None:
    found = message(Encoder, open_clip(weights, **more), "encoders.mine")
    assert found == "params.yaml: encoders.mine: name either the tag or the activation: it cannot be told from the file"


@pytest.mark.parametrize("more", [{"tag": "openai"}, {"activation": "quick_gelu"}])
def test_open_clip_file_with_one_of_both_passes(weights: Path, more: dict[str, str]) -> None:
    entry = check(Encoder, open_clip(weights, **more), "encoders.mine")
    assert isinstance(entry, OpenClipFile)
    assert {"tag": entry.tag, "activation": entry.activation} == {"tag": None, "activation": None} | more


def test_timm_file_passes_with_its_preprocessing(weights: Path) -> None:
    preprocess = {"size": 32, "mean": [0, 0, 0], "std": [1, 1, 1], "interpolation": "bilinear", "crop_pct": 0.875}
    entry = check(
        Encoder,
        {"source": "timm_file", "architecture": "resnet18", "file": str(weights), "sha256": SHA256, "preprocess": preprocess},
        "encoders.mine",
    )
    assert isinstance(entry, TimmFile)
    assert (entry.preprocess.crop_pct, dict(entry.arguments)) == (0.875, {})


def test_folder_needs_nothing_but_its_kind() -> None:
    assert check(Dataset, {"kind": "folder"}, "datasets.mine").kind == "folder"
    assert message(Dataset, {"kind": "folder", "path": "x"}, "datasets.mine") == (
        "params.yaml: datasets.mine.path = 'x': extra inputs are not permitted"
    )
