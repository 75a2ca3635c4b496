"""Files for editors, GitHub and readers: they parse, and what they name exists."""

import json
import re
import tomllib
from typing import Any

from ruamel.yaml import YAML

from tests.workspace import PROJECT

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
