"""Provenance of a page."""

import json
import subprocess
from pathlib import Path

import pytest

from clipstore.report import provenance


def test_the_last_line_of_each_cell_on_the_axes(tmp_path: Path) -> None:
    lines = [("validate", 1), ("knn@enc-toy", 2), ("knn@enc-gone", 3), ("score@toy", 4), ("knn@enc-toy", 5), ("report", 6)]
    path = tmp_path / "runs.jsonl"
    path.write_text("".join(json.dumps({"cell": cell, "seconds": seconds}) + "\n" for cell, seconds in lines))
    assert [(run["cell"], run["seconds"]) for run in provenance.last_runs(path, {"enc", "toy"})] == [
        ("validate", 1),
        ("score@toy", 4),
        ("knn@enc-toy", 5),
    ]
    assert provenance.last_runs(tmp_path / "none", {"enc"}) == []


def test_commit_and_what_differs_from_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert provenance.commit() == {}
    subprocess.run(["git", "init", "-q"], check=True)
    identity = ["-c", "user.name=test", "-c", "user.email=test@example.org"]
    subprocess.run(["git", *identity, "commit", "-q", "--allow-empty", "-m", "start"], check=True)
    state = provenance.commit()
    assert len(state["commit"]) == 40 and state["changed"] == []
    Path("metrics").mkdir()
    for name in ("new.txt", "dvc.lock", "metrics/toy.json"):  # a run writes the last two
        Path(name).touch()
    assert provenance.commit()["changed"] == ["new.txt"]


def test_every_library_is_installed() -> None:
    assert set(provenance.versions()) == {"Python", *provenance.LIBRARIES}
