"""params.schema.json is current, accepts params.yaml, rejects mistakes, and explains every field."""

import copy
import json
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from ruamel.yaml import YAML

from clipstore.tools import schema
from tests.workspace import PROJECT

SCHEMA: dict[str, Any] = json.loads((PROJECT / schema.SCHEMA).read_text(encoding="utf-8"))
PARAMS: dict[str, Any] = YAML(typ="safe").load(PROJECT / "params.yaml")
MODELS = {"params.yaml": SCHEMA} | SCHEMA["$defs"]


def problems(params: dict[str, Any]) -> list[str]:
    """Return the key of each problem that the schema finds."""
    return [".".join(map(str, error.absolute_path)) for error in Draft202012Validator(SCHEMA).iter_errors(params)]


def test_the_committed_file_is_current() -> None:
    message = f"{schema.SCHEMA} is out of date: run `python -m clipstore.tools.schema`"
    assert (PROJECT / schema.SCHEMA).read_text(encoding="utf-8") == schema.text(), message


def test_it_is_a_valid_schema_and_accepts_params_yaml() -> None:
    Draft202012Validator.check_schema(SCHEMA)
    assert problems(PARAMS) == []


def test_params_yaml_names_it_for_editors() -> None:
    first, *_ = (PROJECT / "params.yaml").read_text(encoding="utf-8").splitlines()
    assert first == f"# yaml-language-server: $schema={schema.SCHEMA}"


@pytest.mark.parametrize(
    ("entry", "key", "value", "problem"),
    [
        ("", "sed", 0, ""),
        ("axes", "dataset", [], "axes"),
        ("axes", "encoders", ["My-clip"], "axes.encoders.0"),
        ("knn", "neighbours", [1], "knn"),
        ("knn", "neighbors", [0], "knn.neighbors.0"),
        ("knn", "votes", ["soft"], "knn.votes.0"),
        ("index", "val", 0.5, "index.val"),
        ("datasets", "My-flowers", {"kind": "folder"}, "datasets"),
        ("datasets", "mine", {"kind": "folders"}, "datasets.mine"),
        ("datasets.garden", "size", 64, "datasets.garden"),
        ("encoders", "mine", {"source": "open_clip", "architecture": "ViT-B-32"}, "encoders.mine"),
        ("nets.small", "kind", "finetune", "nets.small"),
        ("tokenizers.entries.bpe", "model", "bpe", "tokenizers.entries.bpe.model"),
    ],
)
def test_a_misspelt_key_and_a_wrong_value_are_rejected(entry: str, key: str, value: object, problem: str) -> None:
    params = copy.deepcopy(PARAMS)
    target = params
    for part in entry.split(".") if entry else []:
        target = target[part]
    target[key] = value
    assert problems(params) == [problem]


@pytest.mark.parametrize("name", MODELS)
def test_every_field_is_explained(name: str) -> None:
    for field, content in MODELS[name].get("properties", {}).items():
        described = content if "description" in content else SCHEMA["$defs"][content["$ref"].rpartition("/")[2]]
        assert described["description"].endswith((".", ":")), field


def test_an_explanation_includes_range_and_default() -> None:
    training = SCHEMA["$defs"]["Scratch"]["properties"]
    assert training["lr"]["description"] == "Peak learning rate of the head. Above 0."
    assert training["dropout"]["description"] == "Dropout probability before the head. At least 0 and below 1. Default: 0."
    assert training["optimizer"]["description"].endswith(' Default: "adamw".')
    assert training["widths"]["description"].endswith(" Each at least 8.")
    assert SCHEMA["$defs"]["TimmTag"]["properties"]["sha256"]["description"].endswith(" Optional.")


def test_every_kind_of_an_entry_is_offered_with_its_model_s_description() -> None:
    (union,) = SCHEMA["properties"]["encoders"]["patternProperties"].values()
    models = [SCHEMA["$defs"][option["$ref"].rpartition("/")[2]] for option in union["oneOf"]]
    assert {model["properties"]["source"]["const"] for model in models} == set(union["discriminator"]["mapping"])
    assert all(model["properties"]["source"]["description"] == model["description"] for model in models)
