"""Names on the axes are borne out by the tables."""

import hashlib
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from clipstore.core.errors import InputError
from clipstore.core.params import check
from stages import validate
from stages.validate import Params, problems
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


@pytest.fixture
def values(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The project's params.yaml with the sample on its axes, in a folder without data/raw."""
    monkeypatch.chdir(tmp_path)
    found: dict[str, Any] = YAML(typ="safe").load(PROJECT / "params.yaml")
    found["axes"] |= AXES
    return found


def lines(values: dict[str, Any]) -> list[str]:
    return problems(check(Params, values))


def image_encoder(folder: Path) -> dict[str, Any]:
    path = folder / "resnet.pt"
    path.write_bytes(b"weights")
    preprocess = {"size": 32, "mean": [0, 0, 0], "std": [1, 1, 1], "interpolation": "bilinear", "crop_pct": 1}
    sha256 = hashlib.sha256(b"weights").hexdigest()
    return {"source": "timm_file", "architecture": "resnet18", "file": str(path), "sha256": sha256, "preprocess": preprocess}


def test_the_projects_own_params_pass() -> None:
    assert problems(check(Params, YAML(typ="safe").load(PROJECT / "params.yaml"))) == []


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


def test_image_only_encoder_has_no_zero_shot(values: dict[str, Any], tmp_path: Path) -> None:
    values["encoders"]["resnet"] = image_encoder(tmp_path)
    values["axes"] |= {"weights": ["garden_clip", "resnet"], "encoders": ["garden_clip", "resnet"], "zero_shot": ["resnet"]}
    assert lines(values) == ["axes.zero_shot = 'resnet': expected names in axes.encoders with a text tower: garden_clip"]


def test_zero_shot_of_an_encoder_that_embeds_no_images(values: dict[str, Any]) -> None:
    values["axes"] |= {"encoders": []}
    assert lines(values) == ["axes.zero_shot = 'garden_clip': expected names in axes.encoders with a text tower: none"]


@pytest.mark.parametrize("axis", list(AXES))
def test_name_that_stands_twice(values: dict[str, Any], axis: str) -> None:
    name = AXES[axis][0]
    values["axes"][axis] = [*AXES[axis], name]
    assert lines(values) == [f"axes.{axis} = {name!r} stands there twice"]


@pytest.mark.parametrize("name", ["small", "resnet34", "nothing"])  # a net of the other kind; weights off the axis; no net at all
def test_what_cannot_be_fine_tuned(values: dict[str, Any], name: str) -> None:
    values["axes"] |= {"finetune": [name]}
    assert lines(values) == [f"axes.finetune = {name!r}: expected nets of kind finetune with weights in axes.weights: garden_clip"]


def test_fine_tuning_without_any_net_of_its_weights(values: dict[str, Any]) -> None:
    del values["nets"]["garden_clip"]
    assert lines(values) == ["axes.finetune = 'garden_clip': expected nets of kind finetune with weights in axes.weights: none"]


@pytest.mark.parametrize("name", ["garden_clip", "nothing"])
def test_what_cannot_be_trained_from_scratch(values: dict[str, Any], name: str) -> None:
    values["axes"] |= {"scratch": [name]}
    own = ", ".join(key for key, net in values["nets"].items() if net["kind"] == "scratch")
    assert lines(values) == [f"axes.scratch = {name!r}: expected nets of kind scratch: {own}"]
    assert "small" in own


def message(values: dict[str, Any]) -> str:
    with pytest.raises(InputError) as caught:
        check(Params, values)
    return str(caught.value)


def test_batch_is_shared_out_evenly(values: dict[str, Any]) -> None:
    values["nets"]["small"] |= {"batch_size": 32, "processes": 3}
    assert message(values) == "params.yaml: nets.small: batch = 32 is not a multiple of processes = 3"


def test_every_stage_of_our_own_network_has_a_width_and_a_depth(values: dict[str, Any]) -> None:
    values["nets"]["small"] |= {"widths": [32, 64, 128], "depths": [1, 1]}
    assert message(values) == "params.yaml: nets.small: 3 widths and 2 depths: one of each for every stage"


def test_unknown_kind_of_net(values: dict[str, Any]) -> None:
    values["nets"]["small"] |= {"kind": "scrath"}
    assert message(values).startswith("params.yaml: nets.small: ")
    assert "'finetune', 'scratch'" in message(values)


def test_missing_prompts(values: dict[str, Any]) -> None:
    del values["prompts"]["digits"]
    assert lines(values) == ["prompts.digits is missing; a list of prompts such as 'A photo of a {}.' is needed for axes.zero_shot"]


def test_prompts_are_not_needed_without_zero_shot(values: dict[str, Any]) -> None:
    del values["prompts"]["digits"]
    values["axes"] |= {"zero_shot": []}
    assert lines(values) == []


def test_folder_of_ones_own_must_be_there(values: dict[str, Any], tmp_path: Path) -> None:
    values["datasets"]["mine"] = {"kind": "folder"}
    values["prompts"]["mine"] = ["A photo of a {}."]
    values["axes"] |= {"datasets": ["mine"]}
    assert lines(values) == [
        "axes.datasets = 'mine': no folder data/raw/mine; put class folders or a manifest.csv there, or name it in axes.download"
    ]
    (tmp_path / "data/raw/mine").mkdir(parents=True)
    assert lines(values) == []


def test_folder_of_ones_own_is_not_downloaded(values: dict[str, Any]) -> None:
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
def test_images_are_no_corpus(values: dict[str, Any], name: str) -> None:
    values["axes"] |= {"corpora": [name]}
    assert lines(values) == [f"axes.corpora = {name!r}: expected entries of datasets with text: python_docs, wikitext2"]


@pytest.mark.parametrize("name", ["python_docs", "wikitext2"])
def test_text_is_no_data_set_of_images(values: dict[str, Any], name: str) -> None:
    values["axes"] |= {"datasets": ["garden", name]}
    (line,) = lines(values)
    assert line.startswith(f"axes.datasets = {name!r}: expected entries of datasets with images: garden, ")
    assert name not in line.rpartition(": ")[2]


def test_text_of_ones_own_must_be_there(values: dict[str, Any], tmp_path: Path) -> None:
    values["datasets"]["mine"] = {"kind": "text"}
    values["axes"] |= {"corpora": ["python_docs", "mine"]}
    assert lines(values) == [
        "axes.corpora = 'mine': no folder data/raw/mine; put .txt or .parquet files there, or name it in axes.download"
    ]
    (tmp_path / "data/raw/mine").mkdir(parents=True)
    assert lines(values) == []


def test_text_of_ones_own_is_not_downloaded(values: dict[str, Any]) -> None:
    values["datasets"]["mine"] = {"kind": "text"}
    values["axes"] |= {"download": [*AXES["download"], "mine"]}
    (line,) = lines(values)
    assert line.startswith("axes.download = 'mine': expected data sets that can be downloaded: ")
    assert "mine" not in line.rpartition(": ")[2].split(", ")


def test_a_corpus_that_is_not_downloaded_must_be_there(values: dict[str, Any]) -> None:
    values["axes"] |= {"corpora": ["wikitext2"]}
    (line,) = lines(values)
    assert line.startswith("axes.corpora = 'wikitext2': no folder data/raw/wikitext2; ")


def test_wrong_tokenizer_stops_before_any_work(values: dict[str, Any]) -> None:
    values["tokenizers"]["entries"]["bpe"]["trainer"] = {"min_freq": 2}
    assert message(values).startswith("params.yaml: tokenizers.entries.bpe: trainer.min_freq: expected one of min_frequency, ")


def test_wrong_digest_of_wikitext_is_named(values: dict[str, Any]) -> None:
    values["datasets"]["wikitext2"]["versions"]["raw"]["test"] = "173c"
    assert message(values).startswith("params.yaml: datasets.wikitext2.versions.raw.test = '173c': ")


def test_main_names_every_problem_and_writes_nothing(values: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    values["axes"] |= {"encoders": ["x", "garden_clip", "x"]}
    monkeypatch.setattr(validate, "load", lambda: values)
    with pytest.raises(InputError) as caught:
        validate.main()
    assert set(str(caught.value).splitlines()) == {
        "params.yaml: axes.encoders = 'x': expected names in axes.weights: garden_clip",
        "params.yaml: axes.encoders = 'x' stands there twice",
    }
    assert not (tmp_path / "data").exists()


def test_main_writes_the_same_bytes_whatever_the_values(values: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(validate, "load", lambda: values)
    validate.main()
    first = (tmp_path / "data/params_checked").read_bytes()
    values["seed"] += 1
    validate.main()
    assert (tmp_path / "data/params_checked").read_bytes() == first != b""


def test_a_file_is_asked_for_where_an_axis_names_it_only(values: dict[str, Any], tmp_path: Path) -> None:
    values["encoders"]["mine"] = image_encoder(tmp_path)
    path = tmp_path / "resnet.pt"
    path.unlink()
    assert lines(values) == []
    values["axes"]["weights"] = ["garden_clip", "mine"]
    assert lines(values) == [f"encoders.mine: no such file: {path}"]
