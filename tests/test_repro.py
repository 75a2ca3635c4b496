"""DVC runs the pipeline on a small sample: what runs again after which change, what an error leaves, what a killed run costs."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

from tests.synthetic import on_axis
from tests.test_docs import blocks
from tests.workspace import FEW, Workspace, ran

pytestmark = pytest.mark.dvc
SMALL = FEW | {
    "axes.download": ["garden", "digits"],
    "axes.corpora": [],
    "axes.finetune": [],  # nets run through DVC in test_rehearsal
    "axes.scratch": [],
    "datasets.garden.train": 2,
    "datasets.garden.val": 2,
    "datasets.garden.test": 3,
    "encoders.garden_clip.drawings": 1,
    "encoders.garden_clip.steps": 1,
    "linear_probe.C": [0.1, 1.0, 10.0],
}
CELL = "garden_clip-garden"


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A workspace in which the small sample has run and is committed."""
    folder = tmp_path_factory.mktemp("finished")
    workspace = Workspace.make(folder / "project", folder / "cache", SMALL)
    workspace.dvc("repro")
    workspace.commit("results")
    return workspace


@pytest.fixture
def workspace(finished: Workspace, tmp_path: Path) -> Workspace:
    """A copy of it, to be changed."""
    shutil.copytree(finished.root, tmp_path / "project", symlinks=True)
    return Workspace(tmp_path / "project", finished.cache)


def test_a_second_run_does_nothing_and_the_lock_is_current(finished: Workspace) -> None:
    assert ran(finished.dvc("repro")) == []
    finished.dvc("repro", "--dry", "--allow-missing")
    metrics = finished.metrics("garden")
    assert metrics["knn"]["garden_clip"]["n"] == 3 * 28
    assert set(metrics) == {"zero_shot", *on_axis("encoders")}
    assert {run["cell"] for run in finished.runs()} >= {f"embed_images@{CELL}", "weights@garden_clip", "score@digits"}


def test_running_stages_again_leaves_the_tree_clean(workspace: Workspace) -> None:
    cells = ["weights@garden_clip", f"linear_probe@{CELL}", "score@garden", "report"]
    assert ran(workspace.dvc("repro", "--force", "--single-item", *cells)) == cells
    assert workspace.git("status", "--porcelain") == ""


def test_an_override_of_knn_runs_knn_and_what_follows(workspace: Workspace) -> None:
    done = workspace.dvc("exp", "run", "-S", "knn.neighbors=[2,4]", "-S", "knn.temperature=0.00001")
    cells = ("knn@garden_clip-", "label_next@garden_clip-", "score@", "answers@")
    assert set(ran(done)) == {"validate", "report", *(f"{cell}{data}" for cell in cells for data in ("garden", "digits"))}
    assert workspace.git("diff", "--stat", "params.yaml").strip().endswith("deletions(-)")
    changed = json.loads(workspace.dvc("metrics", "diff", "--json").stdout)["metrics/garden.json"]
    assert changed["knn.garden_clip.selected.k"]["new"] in {2, 4}
    others = {key for key in changed if not key.startswith("knn.")}
    assert not {
        key for key in others if not key.split(".")[-1].startswith(("gap_to_best", "significant"))
    }  # each is compared with the best
    plots = json.loads(workspace.dvc("plots", "diff", "--json").stdout)["data"]
    assert plots[f"plots/knn/{CELL}.csv"][0]["revisions"] == ["workspace", "HEAD"]


def test_an_axis_narrowed_and_widened_again_leaves_no_stale_figure(workspace: Workspace) -> None:
    before = {name: workspace.metrics(name) for name in ("garden", "digits")}
    per_class = (workspace.root / "plots/score/garden/per_class.csv").read_text()
    workspace.dvc("exp", "run", "-S", "axes.zero_shot=[]", "-S", "axes.datasets=[garden]", "-S", "axes.download=[garden]")
    assert set(workspace.metrics("garden")) == set(on_axis("encoders"))
    assert "zero_shot" not in (workspace.root / "plots/score/garden/per_class.csv").read_text()
    assert not (workspace.root / "plots/score/garden/confusion/zero_shot-garden_clip.csv").exists()
    shown = json.loads(workspace.dvc("metrics", "show", "--json").stdout)
    assert set(shown[""]["data"]) == {"metrics/garden.json", "metrics/audit/garden_clip-garden.json"}
    workspace.git("checkout", "params.yaml")
    workspace.dvc("repro")
    assert {name: workspace.metrics(name) for name in ("garden", "digits")} == before
    assert (workspace.root / "plots/score/garden/per_class.csv").read_text() == per_class


def test_readmes_changes_run_what_they_say(workspace: Workspace) -> None:
    (block,) = [block for block in blocks("sh") if block.page.name == "README.md" and "dvc metrics diff" in block.text]
    done = workspace.run("bash", "-e", "-c", block.text)
    after = ("label_next@garden_clip-", "score@", "answers@")
    prompt = {f"{stage}@{CELL}" for stage in ("embed_texts", "zero_shot", "few_shot", "simulation")}
    neighbors = {f"{stage}{dataset}" for stage in ("knn@garden_clip-", *after) for dataset in ("garden", "digits")}
    assert set(ran(done)) == {"validate", "report"} | prompt | neighbors
    assert "knn.garden_clip.selected.k" in done.stdout  # dvc metrics diff
    assert "Stage 'report' didn't change" in done.stdout  # dvc repro --dry


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("knn.neighbors=[0]", "params.yaml: knn.neighbors.0 = 0: input should be greater than or equal to 1"),
        ("+knn.neighbours=[1]", "params.yaml: knn.neighbours = [1]: extra inputs are not permitted"),
        ("axes.encoders=[gardn_clip]", "params.yaml: axes.encoders = 'gardn_clip': expected names in axes.weights: garden_clip"),
        ("embed_images.precision=float64", "params.yaml: embed_images.precision = 'float64': input should be 'auto', 'float32'"),
    ],
)
def test_a_wrong_value_is_stopped_by_validate_before_anything_is_lost(workspace: Workspace, override: str, message: str) -> None:
    files = {
        path: path.stat().st_mtime_ns for path in (workspace.root / "data").rglob("*") if path.is_file() and path.name != "params_checked"
    }
    failed = workspace.dvc("exp", "run", "-S", override, check=False)
    assert failed.returncode != 0
    lines = [line for line in (failed.stdout + failed.stderr).splitlines() if line.startswith("params.yaml: ")]
    assert len(lines) == 1
    assert lines[0].startswith(message)
    assert "Traceback" not in failed.stderr
    assert ran(failed) == ["validate"]
    assert {path: path.stat().st_mtime_ns for path in files} == files
    workspace.git("checkout", "params.yaml")
    assert set(ran(workspace.dvc("repro"))) <= {"validate"}


def test_a_run_in_a_temporary_folder_leaves_the_workspace_as_it_is(workspace: Workspace) -> None:
    before = workspace.metrics("garden")
    workspace.dvc("exp", "run", "--temp", "-S", "score.threshold=0")
    shown = json.loads(workspace.dvc("exp", "show", "--json").stdout)
    assert str(shown).count("'coverage': 1.0") == 2 * (1 + len(on_axis("encoders")))  # data sets, approaches
    assert workspace.metrics("garden") == before
    assert workspace.git("status", "--porcelain") == ""


def test_photographs_of_ones_own_run_beside_the_sample(workspace: Workspace) -> None:
    own = workspace.root / "data/raw/own"
    shutil.copytree(workspace.root / "data/raw/digits", own)
    (own / "manifest.csv").unlink()
    (own / "0/broken.png").write_bytes(b"")
    workspace.dvc("add", "data/raw/own")
    workspace.set("datasets.own", {"kind": "folder", "exif": "ignore"})
    workspace.set("prompts.own", ["A photo of a {}."])
    workspace.set("axes.datasets", ["own"])
    workspace.dvc("repro")
    metrics = workspace.metrics("own")
    assert metrics["knn"]["garden_clip"]["failed"] == 1
    assert workspace.git("status", "--porcelain", "data/raw/own.dvc").startswith("??")
    computed = [run["images"] for run in workspace.runs() if run["cell"] == "embed_images@garden_clip-own"]
    assert computed == [0]  # the same bytes and contract as digits: every row came from the cache


def test_a_killed_run_goes_on_when_it_is_repeated(workspace: Workspace, tmp_path: Path) -> None:
    workspace.cache = tmp_path / "cache"
    command = [sys.executable, "-m", "dvc", "repro", "-f"]
    running = subprocess.Popen(
        command,
        cwd=workspace.root,
        env=workspace.environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        while not list(workspace.cache.glob("v2/*/part-*")):
            assert running.poll() is None
            time.sleep(0.05)
    finally:
        os.killpg(running.pid, signal.SIGKILL)
        running.wait()  # DVC takes an unreaped process for a living one and waits for its lock
    before = json.loads(workspace.git("show", "HEAD:metrics/garden.json"))
    workspace.dvc("repro")
    assert workspace.metrics("garden") == before


def test_a_folder_without_labels_gets_answers_then_labels_then_better_answers(workspace: Workspace) -> None:
    """The loop of docs/photographs.md: zero-shot answers first, then 28 labels that were asked for and some drawn at random."""
    manifest = pd.read_csv(workspace.root / "data/raw/garden/manifest.csv")
    photographs = workspace.root / "data/raw/walk"
    photographs.mkdir()
    class_of: dict[str, str] = {}
    for path, class_name in zip(manifest["path"], manifest["class_name"], strict=True):
        name = f"{len(class_of):04}.png"
        class_of[name] = class_name
        shutil.copy(workspace.root / "data/raw/garden" / path, photographs / name)
    prompt = "a drawing of {}."
    workspace.set("datasets.walk", {"kind": "folder", "class_names": sorted(set(class_of.values()))})
    workspace.set("prompts.walk", [prompt])
    for axis, names in {"download": [], "datasets": ["walk"]}.items():
        workspace.set(f"axes.{axis}", names)
    workspace.dvc("repro")
    answers = pd.read_csv(workspace.root / "data/answers/walk.csv")
    assert len(answers) == len(class_of)
    assert set(answers["approach"]) == {"zero_shot garden_clip"}
    assert not answers["calibrated"].any()
    assert workspace.metrics("walk")["knn"]["garden_clip"] == {"not_yet": "needs labelled images of at least 2 classes, found 0"}
    assert "not yet" in (workspace.root / "report/index.html").read_text()

    asked = pd.read_csv(workspace.root / "data/label_next/garden_clip-walk.csv")
    assert len(asked) == 28
    workspace.run("clipstore", "label", "sample", "40", "walk")
    drawn = pd.read_csv(workspace.root / "data/label_sample/walk.csv")
    for rows, file in ((asked, "asked.csv"), (drawn, "drawn.csv")):
        labelled = rows[["path", "sha256"]].assign(class_name=[class_of[Path(path).name] for path in rows["path"]])
        labelled = labelled[~labelled["sha256"].isin(drawn["sha256"])] if file == "asked.csv" else labelled
        labelled.to_csv(workspace.root / file, index=False)
        workspace.run("clipstore", "label", "import", file, "walk")
    workspace.commit("labels")
    workspace.dvc("repro")
    metrics = workspace.metrics("walk")
    assert metrics["linear_probe"]["garden_clip"]["n"] == 40
    answers = pd.read_csv(workspace.root / "data/answers/walk.csv")
    assert len(answers) == len(class_of) - len(pd.read_csv(workspace.root / "data/labels/walk.csv"))
    next_asked = pd.read_csv(workspace.root / "data/label_next/garden_clip-walk.csv")
    assert not set(next_asked["sha256"]) & {*asked["sha256"], *drawn["sha256"]}
    assert "of 40 random photographs" in (workspace.root / "report/index.html").read_text().lower()

    workspace.commit("results")
    assert ran(workspace.dvc("repro")) == []
