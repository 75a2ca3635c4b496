"""Code blocks in README and docs work, every language of a block is known, and the tests that docs/traps.md names exist."""

import ast
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import click
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from markdown_it import MarkdownIt
from ruamel.yaml import YAML

from clipstore.commands.cli import cli
from clipstore.core.params import check
from clipstore.core.schema import problems
from stages import validate
from tests import project
from tests.workspace import PROJECT

PAGES = [PROJECT / "README.md", PROJECT / "CONTRIBUTING.md", *sorted((PROJECT / "docs").glob("*.md"))]
TRAPS = [line for line in (PROJECT / "docs/traps.md").read_text(encoding="utf-8").splitlines() if re.match(r"\| \d+ \|", line)]


@dataclass(frozen=True)
class Block:
    """A fenced block: the page it is on, the first of its lines, its language and its text."""

    page: Path
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        """Return its place, which names the test."""
        return f"{self.page.name}:{self.line}"


def blocks(language: str = "") -> list[Block]:
    """Return the fenced blocks of a language, or of all; those of docs/adding.md are executed by tests/test_adding.py."""
    fences = [
        Block(page, token.map[0] + 2, token.info, token.content)
        for page in PAGES
        if page.name != "adding.md"
        for token in MarkdownIt("commonmark").parse(page.read_text(encoding="utf-8"))
        if token.type == "fence" and token.map
    ]
    return [block for block in fences if language in ("", block.language)]


def commands(block: Block) -> list[list[str]]:
    """Return the commands of a block of shell: on each line, or between ``&&``, without variables set in front of them."""
    lines = [shlex.split(command, comments=True) for line in block.text.splitlines() for command in line.split("&&")]
    return [[word for position, word in enumerate(line) if position or "=" not in word] for line in lines if line]


def merge(values: dict[str, Any], fragment: dict[str, Any]) -> dict[str, Any]:
    """Return ``values`` with those of ``fragment`` over them, at every depth."""
    merged = dict(values)
    for key, value in fragment.items():
        merged[key] = merge(merged[key], value) if isinstance(value, dict) and isinstance(merged.get(key), dict) else value
    return merged


def test_the_language_of_every_block_is_tested_or_plain_text() -> None:
    assert {block.language for block in blocks()} == {"sh", "yaml", "python", "text"}


@pytest.mark.parametrize("block", blocks("yaml"), ids=str)
def test_yaml_is_a_valid_part_of_params(block: Block, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    yaml = YAML(typ="safe")
    params = yaml.load(PROJECT / "params.yaml")
    fragment = yaml.load(block.text.replace("sha256: ...", f"sha256: {'a' * 64}"))
    merged = merge(params, fragment)
    assert merged != params
    for name in merged["axes"]["datasets"] + merged["axes"]["corpora"]:
        (tmp_path / "data/raw" / name).mkdir(parents=True)
    assert problems(check(validate.whole(), merged)) == []


@pytest.mark.parametrize("block", blocks("sh"), ids=str)
def test_commands_exist_and_their_overrides_are_valid(block: Block, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from dvc.cli import parse_args
    from dvc.utils.hydra import apply_overrides

    monkeypatch.chdir(tmp_path)
    targets = set(re.findall(r"^([\w./$()-]+):", (PROJECT / "Makefile").read_text(), re.MULTILINE)) | {".venv/.installed"}
    for command in commands(block):
        match command:
            case ["git", "clone" | "add", *_] | ["cd", _] | ["source", ".venv/bin/activate"] | ["pre-commit", "install"] | [".ci/run"]:
                pass
            case ["make", target, *variables]:
                assert target in targets
                assert all("=" in variable for variable in variables)
            case ["clipstore", *words]:
                called: click.Command | None = cli
                while isinstance(called, click.Group):
                    _, called, words = called.resolve_command(click.Context(called), words)
                assert called
                called.make_context(None, words)  # a wrong call raises
            case ["dvc", *arguments]:
                parsed = parse_args(arguments)  # an unknown argument exits
                overrides = getattr(parsed, "set_param", None) or []
                Path("params.yaml").write_text((PROJECT / "params.yaml").read_text())
                apply_overrides("params.yaml", overrides)
                values = YAML(typ="safe").load(Path("params.yaml"))
                assert problems(check(validate.whole(), values)) == []
            case ["python" | ".venv/bin/python", "-m", module, *paths]:
                assert find_spec(module)
                assert module != "pytest" or all((PROJECT / path).exists() for path in paths)
            case _:
                pytest.fail(f"{block}: no test knows how to check {shlex.join(command)}")


@pytest.mark.parametrize("block", blocks("python"), ids=str)
def test_python_runs_on_the_embeddings_of_a_project(block: Block, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    project.prepare(8)
    project.embed(monkeypatch)
    Path("data/embeddings/tiny-own").rename("data/embeddings/garden_clip-garden")
    done = subprocess.run([sys.executable, "-c", block.text], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout


def query(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run docs/query_embeddings.py."""
    command = [sys.executable, str(PROJECT / "docs/query_embeddings.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_query_runs_on_the_embeddings_of_a_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    project.prepare(24)
    project.embed(monkeypatch)
    Path("data/embeddings/tiny-own").rename("data/embeddings/garden_clip-garden")
    done = query()
    assert done.returncode == 0, done.stderr
    assert "\nmost confused: even / odd, " in done.stdout


def test_the_query_answers_with_the_pair_confused_most_and_the_largest_margins(tmp_path: Path) -> None:
    images = [  # image_id, class_name, split, embedding; the means are the axes
        ("a0", "a", "train", (1.0, 0.0, 0.0)),
        ("b0", "b", "train", (0.0, 1.0, 0.0)),
        ("c0", "c", "train", (0.0, 0.0, 1.0)),
        ("a1", "a", "val", (0.6, 0.8, 0.0)),
        ("b1", "b", "test", (1.0, 0.0, 0.0)),
        ("c1", "c", "test", (0.0, 0.8, 0.6)),
        ("c2", "c", "test", (0.0, 0.6, 0.8)),
    ]
    names = ("image_id", "class_name", "split", "embedding")
    pq.write_table(pa.Table.from_pylist([dict(zip(names, image, strict=True)) for image in images]), tmp_path / "images.parquet")
    assert query(str(tmp_path)).stdout.splitlines() == [
        f"{tmp_path}: 4 images of val and test, accuracy 0.250",
        "most confused: a / b, 2 images; those nearest to the other class's mean:",
        "image_id class_name  margin",
        "      b1          b     1.0",
        "      a1          a     0.2",
    ]


def test_every_link_leads_to_a_file_and_its_heading() -> None:
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for target in re.findall(r"\]\((?!https?:)([^)\s]+)\)", text):
            name, _, heading = target.partition("#")
            path = (page.parent / name) if name else page
            assert path.exists(), f"{page.name}: {target}"
            headings = (
                [line.lstrip("# ").lower().replace(" ", "-") for line in path.read_text().splitlines() if line.startswith("#")]
                if heading
                else []
            )
            assert not heading or heading in headings, f"{page.name}: {target}"


def test_readme_has_at_most_250_lines() -> None:
    assert len((PROJECT / "README.md").read_text(encoding="utf-8").splitlines()) <= 250


def names_in(path: Path) -> set[str]:
    """Return the names of a file's tests."""
    return {node.name for node in ast.parse(path.read_text(encoding="utf-8")).body if isinstance(node, ast.FunctionDef)}


def test_every_trap_names_a_test_or_why_it_cannot_occur() -> None:
    for line in TRAPS:
        _, _, _, done, proof, _ = line.split("|")
        assert "tests/" in proof or "cannot occur" in done or "not done" in done, line


def test_every_test_that_a_trap_names_exists() -> None:
    named = [pair for line in TRAPS for pair in re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", line)]
    assert named
    assert [f"{path}::{name}" for path, name in named if name not in names_in(PROJECT / path)] == []
    assert sum(line.count("tests/") for line in TRAPS) == len(named)  # none is written in another way
