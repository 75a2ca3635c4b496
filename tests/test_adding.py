"""docs/adding.md lists every file that has to change to add an approach: a test follows its recipe in a copy of the project."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.workspace import IDENTITY, PROJECT

SUITES = [f"tests/test_{name}.py" for name in ("pipeline", "score", "report", "audit")]


def blocks() -> dict[str, str]:
    """Return the code of the recipe for an approach, by file."""
    recipe = (PROJECT / "docs/adding.md").read_text().split("\n## An approach\n")[1].split("\n## ")[0]
    return dict(re.findall(r"<!-- (\S+) -->\n\n```\w+\n(.*?)```\n", recipe, re.DOTALL))


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A committed copy of the working tree, with the approach of docs/adding.md."""
    root = tmp_path / "project"
    listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=PROJECT, capture_output=True, text=True, check=True)
    for name in listed.stdout.splitlines():
        if (PROJECT / name).is_file():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(PROJECT / name, root / name)
    recipe = blocks()
    (root / "stages/prototype.py").write_text(recipe["stages/prototype.py"])
    for name in ("dvc.yaml", "params.yaml"):
        with (root / name).open("a") as file:
            file.write(f"\n{recipe[name]}")
    table = root / "clipstore/store/approaches.py"
    head, name, tail = table.read_text().partition('    Approach("finetune"')
    table.write_text(f"{head}    {recipe['clipstore/store/approaches.py'].strip()},\n{name}{tail}")
    for command in (["init", "-q"], ["add", "-A"], ["-c", "gc.auto=0", "commit", "-q", "-m", "an approach"]):
        subprocess.run(
            ["git", *command], cwd=root, check=True, env={"PATH": "/usr/bin:/bin:/usr/local/bin", "HOME": str(tmp_path)} | IDENTITY
        )
    return root


@pytest.mark.slow
def test_an_approach_takes_a_module_an_entry_a_section_and_a_row(copy: Path) -> None:
    assert set(blocks()) == {"stages/prototype.py", "dvc.yaml", "params.yaml", "clipstore/store/approaches.py"}
    for check in (
        ["ruff", "check", "stages"],
        ["ruff", "format", "--check", "stages"],
        ["pytest", "-q", *SUITES, "-p", "no:cacheprovider"],
    ):
        process = subprocess.run([sys.executable, "-m", *check], cwd=copy, capture_output=True, text=True, check=False)
        assert process.returncode == 0, process.stdout + process.stderr
