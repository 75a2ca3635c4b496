"""A separate copy of the project, with its own row cache, in which tests run DVC."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

PROJECT = Path(__file__).parent.parent
IDENTITY = {
    f"GIT_{who}_{what}": f"test{suffix}" for who in ("AUTHOR", "COMMITTER") for what, suffix in (("NAME", ""), ("EMAIL", "@example.org"))
}


FEW = {
    "few_shot.shots": [1],
    "few_shot.seeds": [0],
    "few_shot.C": [1.0],
    "few_shot.alpha": [1.0],
    "few_shot.beta": [1.0],
    "audit.folds": 2,
    "simulation.labels": [0, 1],
    "simulation.strategies": [],
    "simulation.seeds": 1,
    "simulation.draws": 2,
}  # quick runs with poor results


class Workspace:
    """A copy of the project in ``root``, as a git repository, with the row cache ``cache``."""

    def __init__(self, root: Path, cache: Path, **variables: str) -> None:
        """Use ``root`` as it is; ``variables`` are added to the environment."""
        self.root = root
        self.cache = cache
        self.variables = variables

    @classmethod
    def make(cls, root: Path, cache: Path, overrides: dict[str, Any]) -> "Workspace":
        """Copy the project into ``root``, apply ``overrides`` ({"knn.neighbors": [1]}) to params.yaml and commit."""
        files = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=PROJECT, capture_output=True, text=True, check=True)
        for name in files.stdout.splitlines():
            if (PROJECT / name).is_file() and not name.startswith(("metrics/", "plots/")) and name != "dvc.lock":
                (root / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(PROJECT / name, root / name)
        workspace = cls(root, cache)
        for key, value in overrides.items():
            workspace.set(key, value)
        workspace.git("init", "-q")
        workspace.commit("start")
        return workspace

    def set(self, key: str, value: Any) -> None:
        """Set one value of params.yaml."""
        yaml = YAML()
        path = self.root / "params.yaml"
        document = yaml.load(path)
        *parents, last = key.split(".")
        entry = document
        for parent in parents:
            entry = entry[parent]
        entry[last] = value
        yaml.dump(document, path)

    def git(self, *arguments: str) -> str:
        """Run git."""
        command = ["git", *arguments]
        return subprocess.run(command, cwd=self.root, env=self.environment(), capture_output=True, text=True, check=True).stdout

    def commit(self, message: str) -> None:
        """Commit everything."""
        self.git("add", "-A")
        self.git("commit", "-q", "-m", message)

    def environment(self) -> dict[str, str]:
        """Return the environment for DVC and the stages: this Python, the row cache, a user name for git."""
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        return os.environ | IDENTITY | {"PATH": path, "CLIP_FEATURE_STORE_CACHE": str(self.cache)} | self.variables

    def dvc(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run DVC; with ``check``, a failure fails the test and shows the output."""
        return self.run(sys.executable, "-m", "dvc", *arguments, check=check)

    def run(self, *command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a command; with ``check``, a failure fails the test and shows the output.

        There is no separate time limit. When the test's time limit expires, the command and all its child processes are killed.
        """
        process = subprocess.Popen(
            command,
            cwd=self.root,
            env=self.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        try:
            output, errors = process.communicate()
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            raise
        assert not check or process.returncode == 0, output + errors
        return subprocess.CompletedProcess(command, process.returncode, output, errors)

    def metrics(self, dataset: str) -> dict[str, Any]:
        """Return metrics/DATASET.json."""
        metrics: dict[str, Any] = json.loads((self.root / f"metrics/{dataset}.json").read_text())
        return metrics

    def runs(self) -> list[dict[str, Any]]:
        """Return the lines of data/runs.jsonl."""
        return [json.loads(line) for line in (self.root / "data/runs.jsonl").read_text().splitlines()]


def ran(process: subprocess.CompletedProcess[str]) -> list[str]:
    """Return the cells that DVC ran, in order."""
    marks = [line for line in process.stdout.splitlines() if line.startswith("Running stage '")]
    return [line.split("'")[1] for line in marks]
