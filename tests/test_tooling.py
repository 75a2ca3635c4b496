"""Files for editors, GitHub and readers: they parse, and what they name exists."""

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from tests.workspace import IDENTITY, PROJECT

VERSION = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]["version"]
PYTHON = "3.11"


def test_the_container_for_editors_names_what_exists() -> None:
    container = json.loads((PROJECT / ".devcontainer.json").read_text())
    assert container["image"].startswith(f"mcr.microsoft.com/devcontainers/python:{PYTHON}-")
    command, target = container["postCreateCommand"].split()
    assert command == "make"
    makefile = (PROJECT / "Makefile").read_text()
    assert f"VENV := {target.split('/')[0]}\n" in makefile
    assert f"INSTALLED := $(VENV)/{target.split('/')[1]}\n" in makefile
    editor = container["customizations"]["vscode"]
    assert set(editor["extensions"]) == {"iterative.dvc", "redhat.vscode-yaml", "ms-python.python"}
    assert editor["settings"]["python.defaultInterpreterPath"] == "${workspaceFolder}/.venv/bin/python"


def test_the_changelog_begins_with_the_version() -> None:
    versions = re.findall(r"^## \[(\S+)\] - \d{4}-\d\d-\d\d$", (PROJECT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert versions[0] == VERSION
    assert versions[-1] == "0.1.0"


def test_the_workflow_runs_files_that_exist_without_secrets() -> None:
    text = (PROJECT / ".github/workflows/ci.yml").read_text()
    assert "secrets." not in text
    jobs: dict[str, Any] = YAML(typ="safe").load(text)["jobs"]
    assert jobs["gate"]["timeout-minutes"] == 60
    assert jobs["changes"]["permissions"] == {"contents": "read", "pull-requests": "write"}
    steps = [step for job in jobs.values() for step in job["steps"]]
    assert {step["with"]["python-version"] for step in steps if "setup-python" in step.get("uses", "")} == {PYTHON}
    scripts = [word for step in steps for word in step.get("run", "").split() if word.startswith(".ci/")]
    assert scripts == [".ci/run", ".ci/changes"]
    assert all(os.access(PROJECT / script, os.X_OK) for script in scripts)


@pytest.mark.dvc
def test_changes_of_metrics_and_parameters_are_printed_as_tables(tmp_path: Path) -> None:
    def run(*command: str) -> str:
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        environment = os.environ | IDENTITY | {"PATH": path}
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True).stdout

    run("git", "init", "-q")
    run("dvc", "init", "-q")
    (tmp_path / "dvc.yaml").write_text("metrics: [metrics.json]\nparams: [params.yaml]\n")
    for k, top1 in ((1, 0.5), (3, 0.75)):
        (tmp_path / "params.yaml").write_text(f"k: {k}\nseed: 0\n")
        (tmp_path / "metrics.json").write_text(json.dumps({"top1": top1}))
        run("git", "add", "-A")
        run("git", "commit", "-q", "-m", f"k = {k}")
    script = str(PROJECT / ".ci/changes")
    lines = run(script, "HEAD^1", "HEAD").splitlines()
    assert [line for line in lines if "json" in line or "yaml" in line] == [
        "| metrics.json | top1 | 0.5 | 0.75 | 0.25 |",
        "| params.yaml | k | 1 | 3 |",
    ]
    assert run(script, "HEAD", "HEAD").count("No changes.") == 2
