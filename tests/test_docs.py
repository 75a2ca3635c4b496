"""The tests that docs/traps.md names exist."""

import ast
import re
from pathlib import Path

from tests.workspace import PROJECT

LINES = [line for line in (PROJECT / "docs/traps.md").read_text(encoding="utf-8").splitlines() if re.match(r"\| \d+ \|", line)]


def names_in(path: Path) -> set[str]:
    """Return the names of a file's tests."""
    return {node.name for node in ast.parse(path.read_text(encoding="utf-8")).body if isinstance(node, ast.FunctionDef)}


def test_every_trap_names_a_test_or_why_it_cannot_occur() -> None:
    for line in LINES:
        _, _, _, done, proof, _ = line.split("|")
        assert "tests/" in proof or "cannot occur" in done or "not done" in done, line


def test_every_test_that_a_trap_names_exists() -> None:
    named = [pair for line in LINES for pair in re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", line)]
    assert named
    assert [f"{path}::{name}" for path, name in named if name not in names_in(PROJECT / path)] == []
    assert sum(line.count("tests/") for line in LINES) == len(named)  # none is written in another way
