"""The command's help is fast and complete."""

import subprocess
import sys

import click
import pytest

from clipstore.commands import cli
from tests.workspace import PROJECT


def commands(command: click.Command) -> list[click.Command]:
    """Return the command and all below it."""
    below = command.commands.values() if isinstance(command, click.Group) else []
    return [command, *(found for one in below for found in commands(one))]


def test_help_imports_no_heavy_library() -> None:
    heavy = ("torch", "pandas", "numpy", "pyarrow", "dvc", "PIL")
    code = (
        "import sys; from clipstore.commands.cli import cli; cli(['--help'], standalone_mode=False); "
        f"print([name for name in {heavy} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("command", [one for one in commands(cli.cli) if not isinstance(one, click.Group)], ids=lambda one: str(one.name))
def test_every_command_has_an_example(command: click.Command) -> None:
    assert "Example" in (command.help or "")
    assert "clipstore " in (command.help or "")
