"""Library versions, and what differs between equal runs: commit, time and memory of each stage. No stage depends on any of it."""

import importlib.metadata
import json
import platform
import subprocess
from pathlib import Path
from typing import Any

LIBRARIES = (
    "torch",
    "torchvision",
    "open_clip_torch",
    "timm",
    "transformers",
    "tokenizers",
    "scikit-learn",
    "scipy",
    "statsmodels",
    "cleanlab",
    "faiss-cpu",
    "numpy",
    "pandas",
    "pyarrow",
    "pillow",
    "vl-convert-python",
    "jinja2",
    "dvc",
)


RESULTS = ("dvc.lock", "metrics", "plots")  # written by every run


def commit() -> dict[str, Any]:
    """Return the current commit and the changed files except `RESULTS`; {} without a repository or a commit."""

    def git(*arguments: str) -> str:
        return subprocess.run(["git", *arguments], capture_output=True, text=True, check=True).stdout

    try:
        status = git("status", "--porcelain", "--", ".", *(f":!{name}" for name in RESULTS))
        return {"commit": git("rev-parse", "HEAD").strip(), "changed": [line[3:] for line in status.splitlines()]}
    except (OSError, subprocess.CalledProcessError):
        return {}


def versions() -> dict[str, str]:
    """Return the installed versions of Python and of the libraries that compute the results."""
    return {"Python": platform.python_version()} | {name: importlib.metadata.version(name) for name in LIBRARIES}


def last_runs(path: Path, names: set[str]) -> list[dict[str, Any]]:
    """Return the last line of each cell in data/runs.jsonl, in the order in which they finished; [] without such a file.

    Args:
        path: of the file.
        names: on the axes; cells with other names are left out, since the report shows none of their results.
    """
    if not path.exists():
        return []
    runs: dict[str, dict[str, Any]] = {}
    for line in path.read_text().splitlines():
        run = json.loads(line)
        runs.pop(run["cell"], None)  # so that the later line is last
        runs[run["cell"]] = run
    return [run for cell, run in runs.items() if cell != "report" and set(cell.partition("@")[2].split("-")) <= {"", *names}]
