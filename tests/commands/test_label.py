"""`clipstore label` as a person runs it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result

from clipstore.commands import cli
from clipstore.data import labels
from clipstore.data.index import Index
from tests.unlabelled import annotation, export, make, sha256_of

NAMES = [f"{number}.png" for number in range(6)]
LABELS = Path("data/labels/own.csv")
DRAWN = Path("data/label_sample/own.csv")


@pytest.fixture
def own(project: Path) -> Index:
    """A project with six images without a class."""
    (project / "params.yaml").write_text("axes: {datasets: [own, later]}\n")
    (project / "dvc.yaml").write_text("stages: {}\n")
    return make(NAMES)


def clipstore(*arguments: object) -> Result:
    """Run the command in this process."""
    return CliRunner().invoke(cli.cli, list(map(str, arguments)), prog_name="clipstore")


def refused(*arguments: object) -> str:
    """Run the command, which must fail with one line and leave the labels as they are; return the line."""
    before = LABELS.read_bytes() if LABELS.exists() else None
    done = clipstore(*arguments)
    assert done.exit_code == 1
    assert (LABELS.read_bytes() if LABELS.exists() else None) == before
    assert len(done.output.splitlines()) == 1
    return done.output


@pytest.mark.usefixtures("own")
def test_a_person_draws_labels_and_imports() -> None:
    done = clipstore("label", "sample", 3, "own", "--seed", 1)
    assert done.stdout == "data/labels/own.csv: 3 drawn with seed 1\ndata/label_sample/own.csv: 3 images without a label\n"
    assert done.stderr == ("next: git add data/labels/own.csv; label them, then clipstore label import data/label_sample/own.csv own\n")
    rows = pd.read_csv(DRAWN)
    assert list(rows) == ["rank", "path", "sha256", "class_name"]
    assert {path.name for path in DRAWN.parent.iterdir()} == {f"own.{suffix}" for suffix in ("csv", "html", "json", "png", "xml")}
    tasks = json.loads(DRAWN.with_suffix(".json").read_text())
    assert [list(task) for task in tasks] == [["data"]] * 3  # without a guess
    assert [task["data"]["sha256"] for task in tasks] == rows["sha256"].tolist()
    rows["class_name"] = ["rose", "none of these", ""]
    rows.to_csv(DRAWN, index=False)
    assert refused("label", "sample", 1, "own") == f"{DRAWN}: 2 class names not imported yet; import the file, or move it away\n"
    done = clipstore("label", "import", DRAWN, "own")
    assert done.stdout.splitlines()[-1] == "data/labels/own.csv: 2 labels added in round 2 (2 test)"
    assert done.stderr == "next: git add data/labels/own.csv; dvc repro\n"
    kept = labels.read(LABELS)
    assert kept[["class_name", "purpose", "round"]].values.tolist() == [["rose", "test", 2], ["none of these", "test", 2], ["", "test", 1]]
    assert clipstore("label", "import", DRAWN, "own").stdout.splitlines()[-1] == "data/labels/own.csv: nothing new, unchanged"
    rows.to_csv(DRAWN, index=False, sep=";")  # as some spreadsheets do
    assert refused("label", "sample", 0, "own").startswith(f"{DRAWN}: the columns are rank;path;sha256;class_name; expected ")
    DRAWN.unlink()
    clipstore("label", "sample", 0, "own")
    assert pd.read_csv(DRAWN)["path"].tolist() == [rows["path"][2]]
    pd.testing.assert_frame_equal(labels.read(LABELS), kept)


def test_label_studio_from_any_folder_of_the_project(own: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Path("data/raw/own")
    tasks = [({"image": "x", "sha256": sha256_of(own, name)}, [annotation("tulip", by=5)]) for name in NAMES[:2]]
    export(folder / "back.json", tasks)
    monkeypatch.chdir(folder)
    done = clipstore("label", "import", "back.json", "own")
    assert done.stdout == "data/labels/own.csv: 2 labels added in round 1 (2 train)\n"
    assert labels.read(LABELS)["source"].tolist() == ["annotator 5", "annotator 5"]  # the command entered the project's root


def test_mistakes_are_one_line_and_change_nothing(own: Index, tmp_path: Path) -> None:
    clipstore("label", "sample", 1, "own")
    missing = tmp_path / "gone.json"
    assert refused("label", "import", missing, "own") == f"{missing}: no such file or folder\n"
    assert refused("label", "import", missing, "other") == (
        "other: no such data set; expected one of axes.datasets in params.yaml: own, later\n"
    )
    Path("params.yaml").write_text("axes: {datasets: [own, later]\n")
    assert (
        refused("label", "sample", 1, "other") == "params.yaml: without a list axes.datasets; `dvc repro -s validate` says what is wrong\n"
    )
    Path("params.yaml").write_text("axes: {datasets: [own, later]}\n")
    assert refused("label", "sample", 1, "later") == "data/index/later.parquet: no such file; run `dvc repro index@later` first\n"
    old = Path("data/index/old.parquet")
    pq.write_table(pq.read_table("data/index/own.parquet").drop_columns(["purpose"]), old)
    assert refused("label", "sample", 1, "old") == f"{old}: written by an earlier version; run `dvc repro index@old` first\n"
    Path("f.csv").write_text("path,class_name\n0.png,rose\n1.png,lily\n")
    assert refused("label", "import", "f.csv", "own") == (
        "f.csv: 1 class name of no class; expected 'rose', 'tulip' or 'none of these': 'lily' (1)\n"
    )
    assert refused("label", "sample", 9, "own") == (
        "own: N = 9: expected at most 5, the number of different images neither labelled nor drawn yet\n"
    )
    clipstore("label", "sample", 5, "own")
    assert refused("label", "sample", 1, "own") == "own: all of its 6 images are labelled or drawn already\n"
    LABELS.write_text("sha256;class_name\n")
    assert refused("label", "sample", 1, "own").startswith("data/labels/own.csv: line 1: the columns are sha256;class_name; expected ")


@pytest.mark.usefixtures("own")
@pytest.mark.parametrize("arguments", [("sample", "-5", "own"), ("sample", "many", "own"), ("sample", "5"), ("import", "own"), ("sort",)])
def test_a_wrong_call_has_status_2(arguments: tuple[str, ...]) -> None:
    done = clipstore("label", *arguments)
    assert done.exit_code == 2
    assert len([line for line in done.stderr.splitlines() if line.startswith("Error: ")]) == 1
    assert not LABELS.exists()


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command in a process of its own."""
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    code = "from clipstore.commands.cli import main; main()"
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


def test_messages_are_on_stderr_without_traceback(own: Index, tmp_path: Path) -> None:
    done = run(tmp_path, "label", "sample", "1", "own")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"{tmp_path}: neither here nor in a folder above are params.yaml and dvc.yaml; run clipstore inside a project\n"
    DRAWN.mkdir(parents=True)  # where the list is to be written
    done = run(Path.cwd(), "label", "sample", "1", "own")
    assert done.returncode == 1
    assert done.stderr.splitlines()[0].startswith(f"{DRAWN.parent}")
    assert len(done.stderr.splitlines()) == 1
