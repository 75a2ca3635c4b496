"""Axes and prompts, and the checks of names on the axes against the tables."""

import hashlib
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from clipstore.core.errors import InputError
from clipstore.core.params import check
from clipstore.core.schema import Axes, Prompts, Tables, problems
from tests.workspace import PROJECT

AXES: dict[str, list[str]] = {
    "download": ["garden", "digits", "python_docs"],
    "datasets": ["garden", "digits"],
    "weights": ["garden_clip"],
    "encoders": ["garden_clip"],
    "zero_shot": ["garden_clip"],
    "finetune": ["garden_clip"],
    "scratch": ["small"],
    "corpora": ["python_docs"],
}


PROMPT = "a prompt must contain {} exactly once, in place of the class name, and no other brace"


@pytest.fixture
def values(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The project's params.yaml with the sample's axes, in a working folder without data/raw."""
    monkeypatch.chdir(tmp_path)
    params: dict[str, Any] = YAML(typ="safe").load(PROJECT / "params.yaml")
    params["axes"] |= AXES
    return params


def lines(values: dict[str, Any]) -> list[str]:
    return problems(check(Tables, {name: values[name] for name in Tables.model_fields}))


def image_encoder(folder: Path) -> dict[str, Any]:
    path = folder / "resnet.pt"
    path.write_bytes(b"weights")
    preprocess = {"size": 32, "mean": [0, 0, 0], "std": [1, 1, 1], "interpolation": "bilinear", "crop_pct": 1}
    sha256 = hashlib.sha256(b"weights").hexdigest()
    return {"source": "timm_file", "architecture": "resnet18", "file": str(path), "sha256": sha256, "preprocess": preprocess}


def message(kind: Any, value: object, where: str = "") -> str:
    with pytest.raises(InputError) as caught:
        check(kind, value, where)
    return str(caught.value)


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
def test_prompt_contains_one_placeholder_and_no_other_brace(text: str) -> None:
    assert message(Prompts, ["A {}.", text], "prompts.garden") == f"params.yaml: prompts.garden.1 = {text!r}: {PROMPT}"


def test_prompts_keep_their_order() -> None:
    assert check(Prompts, ["b {}", "a {}"], "prompts.garden") == ("b {}", "a {}")


def test_prompts_are_not_empty() -> None:
    assert message(Prompts, [], "prompts.garden").startswith("params.yaml: prompts.garden = []: ")


def test_the_projects_params_pass() -> None:
    assert lines(YAML(typ="safe").load(PROJECT / "params.yaml")) == []


def test_the_sample_passes(values: dict[str, Any]) -> None:
    assert lines(values) == []


def test_misspelt_encoder(values: dict[str, Any]) -> None:
    values["axes"] |= {"encoders": ["garden_clip", "garden_clop"]}
    assert lines(values) == ["axes.encoders = 'garden_clop': expected names in axes.weights: garden_clip"]


def test_misspelt_weights(values: dict[str, Any]) -> None:
    values["axes"] |= {"weights": ["garden_clip", "garden_clop"]}
    (line,) = lines(values)
    assert line.startswith("axes.weights = 'garden_clop': expected entries of encoders: ")
    assert "garden_clip" in line


def test_repository_in_a_folder_must_exist_and_may_run_zero_shot(values: dict[str, Any], tmp_path: Path) -> None:
    values["encoders"]["mine"] = {"source": "open_clip_repository", "repository": f"local-dir:{tmp_path}/none"}
    values["axes"] |= {"weights": ["garden_clip", "mine"], "encoders": ["mine"], "zero_shot": ["mine"]}
    assert lines(values) == [f"encoders.mine: no such folder: {tmp_path}/none; expected hf-hub:OWNER/NAME for a repository of the hub"]
    values["encoders"]["mine"]["repository"] = "hf-hub:org/none"
    assert lines(values) == []


def test_image_only_encoder_cannot_run_zero_shot(values: dict[str, Any], tmp_path: Path) -> None:
    values["encoders"]["resnet"] = image_encoder(tmp_path)
    values["axes"] |= {"weights": ["garden_clip", "resnet"], "encoders": ["garden_clip", "resnet"], "zero_shot": ["resnet"]}
    assert lines(values) == ["axes.zero_shot = 'resnet': expected names in axes.encoders with a text tower: garden_clip"]


def test_zero_shot_needs_an_encoder_that_embeds_images(values: dict[str, Any]) -> None:
    values["axes"] |= {"encoders": []}
    assert lines(values) == ["axes.zero_shot = 'garden_clip': expected names in axes.encoders with a text tower: none"]


@pytest.mark.parametrize("axis", list(AXES))
def test_name_that_is_listed_twice(values: dict[str, Any], axis: str) -> None:
    name = AXES[axis][0]
    values["axes"][axis] = [*AXES[axis], name]
    assert lines(values) == [f"axes.{axis} = {name!r} is listed twice"]


@pytest.mark.parametrize("name", ["small", "resnet34", "nothing"])  # a net of the other kind; weights that are not on the axis; not a net
def test_name_that_cannot_be_fine_tuned(values: dict[str, Any], name: str) -> None:
    values["axes"] |= {"finetune": [name]}
    assert lines(values) == [f"axes.finetune = {name!r}: expected nets of kind finetune with weights in axes.weights: garden_clip"]


def test_fine_tuning_weights_without_a_net(values: dict[str, Any]) -> None:
    del values["nets"]["garden_clip"]
    assert lines(values) == ["axes.finetune = 'garden_clip': expected nets of kind finetune with weights in axes.weights: none"]


@pytest.mark.parametrize("name", ["garden_clip", "nothing"])
def test_name_that_cannot_be_trained_from_scratch(values: dict[str, Any], name: str) -> None:
    values["axes"] |= {"scratch": [name]}
    own = ", ".join(key for key, net in values["nets"].items() if net["kind"] == "scratch")
    assert lines(values) == [f"axes.scratch = {name!r}: expected nets of kind scratch: {own}"]
    assert "small" in own


def test_missing_prompts(values: dict[str, Any]) -> None:
    del values["prompts"]["digits"]
    assert lines(values) == ["prompts.digits is missing; axes.zero_shot needs a list of prompts such as 'A photo of a {}.'"]


def test_prompts_are_not_needed_without_zero_shot(values: dict[str, Any]) -> None:
    del values["prompts"]["digits"]
    values["axes"] |= {"zero_shot": []}
    assert lines(values) == []


def test_users_image_folder_must_exist(values: dict[str, Any], tmp_path: Path) -> None:
    values["datasets"]["mine"] = {"kind": "folder"}
    values["prompts"]["mine"] = ["A photo of a {}."]
    values["axes"] |= {"datasets": ["mine"]}
    assert lines(values) == [
        "axes.datasets = 'mine': no folder data/raw/mine; put class folders or a manifest.csv there, or add it to axes.download"
    ]
    (tmp_path / "data/raw/mine").mkdir(parents=True)
    assert lines(values) == []


def test_users_image_folder_cannot_be_downloaded(values: dict[str, Any]) -> None:
    values["datasets"]["mine"] = {"kind": "folder"}
    values["axes"] |= {"download": [*AXES["download"], "mine"]}
    (line,) = lines(values)
    assert line.startswith("axes.download = 'mine': expected data sets that can be downloaded: ")
    known = line.rpartition(": ")[2].split(", ")
    assert {"garden", "digits"} <= set(known)
    assert "mine" not in known


def test_unknown_data_set(values: dict[str, Any]) -> None:
    values["axes"] |= {"download": ["gardn"], "datasets": ["gardn"]}
    (line,) = lines(values)
    assert line.startswith("axes.download = 'gardn': expected data sets that can be downloaded: ")
    values["axes"] |= {"download": []}
    (line,) = lines(values)
    assert line.startswith("axes.datasets = 'gardn': expected entries of datasets with images: ")


@pytest.mark.parametrize("name", ["garden", "nothing"])
def test_image_data_set_is_not_a_corpus(values: dict[str, Any], name: str) -> None:
    values["axes"] |= {"corpora": [name]}
    assert lines(values) == [f"axes.corpora = {name!r}: expected entries of datasets with text: python_docs, wikitext2"]


@pytest.mark.parametrize("name", ["python_docs", "wikitext2"])
def test_corpus_is_not_an_image_data_set(values: dict[str, Any], name: str) -> None:
    values["axes"] |= {"datasets": ["garden", name]}
    (line,) = lines(values)
    assert line.startswith(f"axes.datasets = {name!r}: expected entries of datasets with images: garden, ")
    assert name not in line.rpartition(": ")[2]


def test_users_text_folder_must_exist(values: dict[str, Any], tmp_path: Path) -> None:
    values["datasets"]["mine"] = {"kind": "text"}
    values["axes"] |= {"corpora": ["python_docs", "mine"]}
    assert lines(values) == ["axes.corpora = 'mine': no folder data/raw/mine; put .txt or .parquet files there, or add it to axes.download"]
    (tmp_path / "data/raw/mine").mkdir(parents=True)
    assert lines(values) == []


def test_users_text_cannot_be_downloaded(values: dict[str, Any]) -> None:
    values["datasets"]["mine"] = {"kind": "text"}
    values["axes"] |= {"download": [*AXES["download"], "mine"]}
    (line,) = lines(values)
    assert line.startswith("axes.download = 'mine': expected data sets that can be downloaded: ")
    assert "mine" not in line.rpartition(": ")[2].split(", ")


def test_corpus_that_is_not_downloaded_must_exist(values: dict[str, Any]) -> None:
    values["axes"] |= {"corpora": ["wikitext2"]}
    (line,) = lines(values)
    assert line.startswith("axes.corpora = 'wikitext2': no folder data/raw/wikitext2; ")


def test_weights_file_must_exist_only_if_an_axis_lists_its_encoder(values: dict[str, Any], tmp_path: Path) -> None:
    values["encoders"]["mine"] = image_encoder(tmp_path)
    path = tmp_path / "resnet.pt"
    path.unlink()
    assert lines(values) == []
    values["axes"]["weights"] = ["garden_clip", "mine"]
    assert lines(values) == [f"encoders.mine: no such file: {path}"]
