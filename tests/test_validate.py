"""All of params.yaml is checked: the tables and the section of every stage."""

import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from clipstore.core.errors import InputError
from clipstore.core.params import Section, check
from stages import validate
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
HEAVY = ("torch", "torchvision", "open_clip", "timm", "faiss")


@pytest.fixture
def values(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The project's params.yaml, with the sample on its axes, in a folder without data/raw."""
    monkeypatch.chdir(tmp_path)
    params: dict[str, Any] = YAML(typ="safe").load(PROJECT / "params.yaml")
    params["axes"] |= AXES
    return params


def message(values: dict[str, Any]) -> str:
    with pytest.raises(InputError) as caught:
        check(validate.whole(), values)
    return str(caught.value)


def test_every_section_of_params_belongs_to_a_stage(values: dict[str, Any]) -> None:
    section_of = validate.sections()
    tables = {"seed", "axes", "datasets", "prompts", "encoders", "nets"}
    assert set(section_of) == set(values) - tables
    assert {name: model.__module__ for name, model in section_of.items()} == {name: f"stages.{name}" for name in section_of}


def test_imported_models_are_not_sections(monkeypatch: pytest.MonkeyPatch) -> None:
    from stages import knn, zero_shot

    monkeypatch.setattr(zero_shot, "Knn", knn.Knn, raising=False)
    assert "zero_shot" not in validate.sections()


def test_a_stage_has_one_section(monkeypatch: pytest.MonkeyPatch) -> None:
    from stages import knn

    other = types.new_class("Other", (Section,), exec_body=lambda namespace: namespace.update(__module__="stages.knn"))
    monkeypatch.setattr(knn, "Other", other, raising=False)
    with pytest.raises(ValueError, match=r"^stages\.knn defines Knn, Other: expected at most one section$"):
        validate.sections()


def test_collecting_the_sections_imports_no_heavy_library() -> None:
    code = f"import sys; from stages import validate; validate.whole(); print([name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_unknown_section_and_missing_section_are_named(values: dict[str, Any]) -> None:
    values["knnn"] = values.pop("knn")
    assert message(values).splitlines() == ["params.yaml: knn is missing", "params.yaml: knnn: extra inputs are not permitted"]


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
        "params.yaml: axes.encoders = 'x' is listed twice",
    }
    assert not (tmp_path / "data").exists()


def test_main_writes_the_same_bytes_whatever_the_values(values: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(validate, "load", lambda: values)
    validate.main()
    first = (tmp_path / "data/params_checked").read_bytes()
    values["seed"] += 1
    validate.main()
    assert (tmp_path / "data/params_checked").read_bytes() == first != b""


def test_what_dvc_would_stop_at_is_named_before(values: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    values["datasets"]["mine"] = {"kind": "folder"}
    values["axes"] |= {"datasets": ["mine"], "zero_shot": []}
    monkeypatch.setattr(validate, "load", lambda: values)
    (tmp_path / "data/raw/mine/rose").mkdir(parents=True)
    (tmp_path / "data/raw/mine/rose/gone.jpg").symlink_to("nowhere.jpg")
    with pytest.raises(InputError, match=r"^data/raw/mine/rose/gone\.jpg: broken link to nowhere\.jpg; "):
        validate.main()
    assert not (tmp_path / "data/params_checked").exists()
    (tmp_path / "data/raw/mine/rose/gone.jpg").unlink()
    validate.main()
    assert (tmp_path / "data/params_checked").exists()


def test_labels_files_that_are_missing_are_created(
    values: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(validate, "load", lambda: values)
    folder = tmp_path / "data/labels"
    folder.mkdir(parents=True)
    (folder / "garden.csv").write_text("a person's work")
    validate.main()
    assert capsys.readouterr().out == "data/labels/digits.csv: created, without labels\n"
    assert {path.name: path.read_text() for path in folder.iterdir()} == {
        "garden.csv": "a person's work",
        "digits.csv": "sha256,class_name,purpose,source,round\n",
    }
