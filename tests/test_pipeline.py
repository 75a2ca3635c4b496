"""dvc.yaml tells the truth about stages/, and dvc.lock, metrics and README about the sample."""

import ast
import io
import json
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from ruamel.yaml import YAML

from clipstore.tools import results
from tests.committed import at_head
from tests.workspace import PROJECT

STAGES: dict[str, Any] = YAML(typ="safe").load(PROJECT / "dvc.yaml")["stages"]
PARAMS: dict[str, Any] = YAML(typ="safe").load(PROJECT / "params.yaml")


FLOORS = (  # from the lowest; a room imports rooms on lower floors alone
    {"core", "measure"},
    {"store"},
    {"data", "probes"},
    {"encoders", "audit", "text", "report"},
    {"training", "labelling"},
    {"tools"},
)
EXPENSIVE = {"weights", "finetune", "scratch"}  # stages that take minutes to hours: no unrelated edit may run them again


def modules_of(path: Path) -> set[Path]:
    """Return the files of this project that ``path`` itself imports, at the top or in a function."""
    files = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        files |= {PROJECT / (name.replace(".", "/") + ".py") for name in names if name.startswith(("stages.", "clipstore."))}
    return {file for file in files if file.exists()}


@cache
def imported(path: Path) -> frozenset[Path]:
    """Return ``path`` and every file of this project that it imports, directly or not."""
    reached, waiting = {path}, [path]
    while waiting:
        found = modules_of(waiting.pop()) - reached
        reached |= found
        waiting += found
    return frozenset(reached)


def in_room(room: str) -> set[Path]:
    """Return the modules of a room, or the one module if ``room`` is a file."""
    path = PROJECT / room
    return {path} if path.suffix else {file for file in path.rglob("*.py") if file.name != "__init__.py"}


def sections_read(path: Path) -> set[str]:
    """Return the keys of params.yaml that a stage's module asks for, as written: the literal's part before the first "." or "{"."""
    keys = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "section":
            literal = node.args[1]
            first = literal.values[0] if isinstance(literal, ast.JoinedStr) else literal
            assert isinstance(first, ast.Constant) and isinstance(first.value, str)
            keys.add(first.value.split(".")[0])
        if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Call) and ast.unparse(node.value) == "load()":
            assert isinstance(node.slice, ast.Constant)
            keys.add(str(node.slice.value))
    return keys


def test_every_stage_is_a_module_and_every_module_a_stage() -> None:
    assert set(STAGES) == {path.stem for path in (PROJECT / "stages").glob("[!_]*.py")}


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_runs_its_own_module(name: str) -> None:
    assert STAGES[name]["cmd"].split()[:3] == ["python", "-m", f"stages.{name}"]


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_says_what_it_does(name: str) -> None:
    assert STAGES[name]["desc"]


@pytest.mark.parametrize("name", [name for name in STAGES if name != "validate"])
def test_a_stage_depends_on_exactly_the_code_it_imports(name: str) -> None:
    """Each room or file that is declared holds an import, each import is in one of them, and in one alone."""
    declared = [dep for dep in STAGES[name]["deps"] if dep.startswith(("stages/", "clipstore/"))]
    needed = set(imported(PROJECT / f"stages/{name}.py"))
    covered = [file for dep in declared for file in in_room(dep)]
    assert needed <= set(covered)
    assert [dep for dep in declared if not in_room(dep) & needed] == []
    assert len(covered) == len(set(covered))


@pytest.mark.parametrize("name", sorted(EXPENSIVE))
def test_an_expensive_stage_depends_on_no_code_that_it_does_not_import(name: str) -> None:
    covered = {file for dep in STAGES[name]["deps"] if dep.startswith(("stages/", "clipstore/")) for file in in_room(dep)}
    assert covered == imported(PROJECT / f"stages/{name}.py")


def test_validate_depends_on_all_code_since_it_checks_the_sections_of_all_stages() -> None:
    assert STAGES["validate"]["deps"] == ["clipstore", "params.yaml", "stages"]


def test_the_report_depends_on_every_template() -> None:
    templates = {f".dvc/plots/{path.name}" for path in (PROJECT / ".dvc/plots").iterdir()}
    assert {dep for dep in STAGES["report"]["deps"] if dep.startswith(".dvc")} == templates


def test_rooms_import_rooms_on_lower_floors_alone() -> None:
    floor = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
    assert {path.name for path in (PROJECT / "clipstore").iterdir() if path.is_dir() and path.name != "__pycache__"} == set(floor)
    upward = [
        f"{path.relative_to(PROJECT)} imports {module.relative_to(PROJECT)}"
        for room, number in floor.items()
        for path in in_room(f"clipstore/{room}")
        for module in modules_of(path)
        if module.parent.parent == PROJECT / "clipstore" and module.parent.name != room and floor[module.parent.name] >= number
    ]
    assert upward == []


@pytest.mark.parametrize("name", [name for name in STAGES if name != "validate"])
def test_a_stage_declares_exactly_the_parameters_it_reads(name: str) -> None:
    declared = {key.split(".")[0] for key in STAGES[name].get("params", [])}
    assert declared == sections_read(PROJECT / f"stages/{name}.py")


def test_no_stage_and_no_room_imports_a_stage() -> None:
    paths = [path for folder in ("stages", "clipstore") for path in (PROJECT / folder).rglob("*.py")]
    stages = {path: [module.name for module in modules_of(path) if module.parent == PROJECT / "stages"] for path in paths}
    assert {path: names for path, names in stages.items() if names} == {}  # validate asks importlib for all of them


def test_only_vision_imports_the_vision_libraries() -> None:
    for path in [path for folder in ("stages", "clipstore") for path in (PROJECT / folder).rglob("*.py")]:
        roots = {
            name.split(".")[0]
            for node in ast.walk(ast.parse(path.read_text()))
            for name in ([alias.name for alias in node.names] if isinstance(node, ast.Import) else [getattr(node, "module", None) or ""])
        }
        assert path.name == "vision.py" or not roots & {"torchvision", "timm", "open_clip"}, path


@pytest.mark.parametrize("name", STAGES)
def test_results_in_git_keep_the_run_cache(name: str) -> None:
    # `cache: false` under outs, and persist, switch DVC's run cache off; under metrics and plots it does not.
    assert all(isinstance(out, str) for out in STAGES[name].get("outs", []))


def test_params_are_laid_out_so_that_an_override_changes_its_own_line_only(tmp_path: Path) -> None:
    from dvc.utils.serialize import modify_yaml

    path = tmp_path / "params.yaml"
    text = (PROJECT / "params.yaml").read_text()
    path.write_text(text)
    with modify_yaml(path) as params:  # what `dvc exp run -S` does
        params["knn"]["temperature"] = 0.08
    assert path.read_text() == text.replace("temperature: 0.07", "temperature: 0.08")


def test_readme_shows_the_committed_results() -> None:
    metrics = {name: json.loads(at_head(f"metrics/{name}.json")) for name in PARAMS["axes"]["datasets"]}
    assert results.table(metrics) in at_head("README.md")


def test_the_best_on_test_is_never_below_what_it_is_compared_with() -> None:
    for name in PARAMS["axes"]["datasets"]:
        for approaches in json.loads(at_head(f"metrics/{name}.json")).values():
            for measures in approaches.values():
                best = measures.get("best_on_test", {"trained_on": "nothing"})
                compared = {"train": measures.get("train_only"), "train + val": measures}.get(best["trained_on"])
                assert compared is None or best["mean_per_class"] >= compared["mean_per_class"] - 1e-6


def test_docs_show_the_committed_few_shot_results() -> None:
    page = at_head("docs/few_shot.md")
    for encoder, name in product(PARAMS["axes"]["encoders"], PARAMS["axes"]["datasets"]):
        rows = pd.read_csv(io.StringIO(at_head(f"plots/few_shot/{encoder}-{name}.csv")), dtype={"shots": str})
        assert results.few_shot_table(rows) in page


def test_docs_show_the_committed_tokenizers() -> None:
    page = at_head("docs/tokenizers.md")
    for corpus in PARAMS["axes"]["corpora"]:
        assert results.tokenizers_table({corpus: json.loads(at_head(f"metrics/tokenizers-{corpus}.json"))}) in page
        rows = pd.read_csv(io.StringIO(at_head(f"plots/tokenizers/{corpus}/sentences.csv")), keep_default_na=False)
        lines = [line for name in ("given", "most disputed") for line in results.sentence(rows, name).splitlines()]
        assert [line for line in lines if " ".join(line.split()) not in " ".join(page.split())] == []
