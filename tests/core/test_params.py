"""Parameters are validated, and errors identify the invalid ones."""

import subprocess
import sys
from typing import Any

import pytest
from pydantic import Field

from clipstore.core import params
from clipstore.core.datasets import Dataset
from clipstore.core.encoders import Encoder, TimmPreprocess
from clipstore.core.errors import InputError
from clipstore.core.params import Section, Slug, check, check_names, load, section
from clipstore.core.schema import Prompts
from stages.index import Index
from stages.knn import Knn
from stages.linear_probe import LinearProbe
from tests.synthetic import use
from tests.workspace import PROJECT

INDEX = {"seed": 0, "val": 0.2, "test": 0.3, "max_unusable": 0.01}
GARDEN = {"kind": "garden", "image_size": 64, "train": 1, "val": 1, "test": 1, "seed": 0}
KNN = {"neighbors": [1, 3], "votes": ["uniform"], "temperature": 0.07}


def lines(kind: Any, value: object, where: str = "") -> list[str]:
    with pytest.raises(InputError) as caught:
        check(kind, value, where)
    return str(caught.value).splitlines()


def test_valid_values_are_returned_as_a_section() -> None:
    assert check(Index, INDEX, "index") == Index(seed=0, val=0.2, test=0.3, max_unusable=0.01)


def test_error_contains_key_value_and_expectation() -> None:
    assert lines(Index, INDEX | {"val": 0.7}, "index") == ["params.yaml: index.val = 0.7: input should be less than 0.5"]


def test_every_wrong_value_has_a_line() -> None:
    assert lines(Index, INDEX | {"val": 0.7, "seed": -1}, "index") == [
        "params.yaml: index.seed = -1: input should be greater than or equal to 0",
        "params.yaml: index.val = 0.7: input should be less than 0.5",
    ]


def test_wrong_type() -> None:
    (line,) = lines(LinearProbe, {"C": [1.0], "max_iter": "many"}, "linear_probe")
    assert line.startswith("params.yaml: linear_probe.max_iter = 'many': input should be a valid integer")


def test_unknown_key() -> None:
    assert lines(Index, INDEX | {"vall": 0.1}, "index") == ["params.yaml: index.vall = 0.1: extra inputs are not permitted"]


def test_missing_key() -> None:
    assert lines(Index, {"seed": 0, "val": 0.2, "max_unusable": 0}, "index") == ["params.yaml: index.test is missing"]


def test_position_in_a_list_is_part_of_the_key() -> None:
    assert lines(Knn, KNN | {"neighbors": [0]}, "knn") == ["params.yaml: knn.neighbors.0 = 0: input should be greater than or equal to 1"]
    assert lines(Knn, KNN | {"votes": ["uniform", "soft"]}, "knn") == [
        "params.yaml: knn.votes.1 = 'soft': input should be 'uniform' or 'softmax'"
    ]


def test_infinity_is_rejected() -> None:
    assert lines(LinearProbe, {"C": [float("inf")], "max_iter": 1}, "linear_probe") == [
        "params.yaml: linear_probe.C.0 = inf: input should be a finite number"
    ]


def test_kind_of_an_entry_is_not_part_of_the_key() -> None:
    expected = ["params.yaml: datasets.garden.image_size = 3: input should be greater than or equal to 32"]
    wrong = GARDEN | {"image_size": 3}
    assert lines(dict[Slug, Dataset], {"garden": wrong}, "datasets") == expected
    assert lines(Dataset, wrong, "datasets.garden") == expected
    assert lines(Dataset, wrong, "datasets.mine") == [
        "params.yaml: datasets.mine.image_size = 3: input should be greater than or equal to 32"
    ]


def test_keys_in_errors_do_not_include_the_kind_of_the_entry() -> None:
    entry = {key: value for key, value in GARDEN.items() if key != "seed"} | {"sed": 0}
    assert lines(dict[Slug, Dataset], {"garden": entry}, "datasets") == [
        "params.yaml: datasets.garden.seed is missing",
        "params.yaml: datasets.garden.sed = 0: extra inputs are not permitted",
    ]


def test_error_for_an_unknown_kind_lists_the_known_kinds() -> None:
    (line,) = lines(Dataset, {"kind": "gardn"}, "datasets.garden")
    assert line.startswith("params.yaml: datasets.garden: ")
    assert "'gardn' found using 'kind' does not match any of the expected tags: 'garden', 'digits', " in line


def test_errors_in_nested_models_contain_the_full_key() -> None:
    class Whole(Section):
        index: Index
        encoders: dict[Slug, Encoder]

    wrong = {"index": INDEX | {"test": 0}, "encoders": {"mine": {"source": "garden", "image_size": 64, "drawings": 0, "steps": 1}}}
    assert lines(Whole, wrong) == [
        "params.yaml: index.test = 0: input should be greater than 0",
        "params.yaml: encoders.mine.drawings = 0: input should be greater than or equal to 1",
    ]


@pytest.mark.parametrize("name", ["my-flowers", "My", "", "a b"])
def test_invalid_name_of_a_section_entry(name: str) -> None:
    assert lines(dict[Slug, Dataset], {name: {"kind": "digits"}}, "datasets") == [
        f"params.yaml: datasets.{name} = {name!r}: string should match pattern '^[a-z0-9_]+$'"
    ]


def test_invalid_name_of_a_list_entry() -> None:
    (line,) = lines(dict[Slug, Prompts], {"my-flowers": ["A photo of {}."]}, "prompts")
    assert line.startswith("params.yaml: prompts.my-flowers = 'my-flowers': ")


def test_list_shorter_than_its_fixed_length() -> None:
    value = {"size": 32, "mean": [0.5, 0.5], "std": [1, 1, 1], "interpolation": "bicubic", "crop_pct": 1}
    (line,) = lines(TimmPreprocess, value, "encoders.mine.preprocess")
    assert line.startswith("params.yaml: encoders.mine.preprocess.mean")


def test_error_of_a_validator_has_no_prefix() -> None:
    class Validated(Section):
        prompts: Prompts = Field()

    assert lines(Validated, {"prompts": ["no braces", "A {}."]}, "x") == [
        "params.yaml: x.prompts.0 = 'no braces': a prompt must contain {} exactly once, in place of the class name, and no other brace"
    ]


def test_input_error_exits_with_status_1_and_prints_only_its_message() -> None:
    code = "from clipstore.core.errors import InputError; raise InputError('params.yaml: seed = -1: no')"
    process = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=False)
    assert (process.returncode, process.stdout, process.stderr) == (1, "", "params.yaml: seed = -1: no\n")


def test_sections_are_immutable() -> None:
    settings = check(Index, INDEX, "index")
    with pytest.raises(ValueError, match="frozen"):
        settings.seed = 1


def test_load_outside_dvc_explains_how_to_run_a_stage(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DVC_STAGE", raising=False)
    with pytest.raises(InputError, match=r"dvc repro -s STAGE"):
        load()


def test_section_is_looked_up_by_its_dotted_name(monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, {"datasets": {"digits": {"kind": "digits"}}, "index": INDEX})
    assert section(Index, "index").val == 0.2
    assert section(Dataset, "datasets.digits").kind == "digits"


def test_section_that_the_stage_does_not_declare_is_a_key_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(params, "load", lambda: {"index": INDEX})
    with pytest.raises(KeyError, match="knn"):
        section(Knn, "knn")


def test_names_are_text() -> None:
    check_names({"seed": 0, "datasets": {"2024": {}, "birds": {}}, "prompts": None, "axes": {"datasets": ["2024"], "encoders": "enc"}})


@pytest.mark.parametrize(("name", "quoted"), [(2024, "'2024'"), (None, "'None'"), (True, "'True'"), (1.5, "'1.5'")])
def test_names_that_yaml_does_not_read_as_text_are_to_be_quoted(name: object, quoted: str) -> None:
    tables: tuple[tuple[str, dict[str, Any]], ...] = (
        ("datasets", {"datasets": {name: {}, "birds": {}}}),
        ("axes.encoders", {"axes": {"encoders": [name]}}),
    )
    for where, values in tables:
        with pytest.raises(InputError) as caught:
            check_names(values)
        assert str(caught.value) == f"params.yaml: {where}: the name {name!r} is not text for YAML; put it in quotes: {quoted}"
