"""The benchmarks of training and embedding run on a CPU, without DVC; that of the row cache prints its figures."""

import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from benchmarks import embedding, row_cache, training
from tests.workspace import PROJECT

WITHOUT_DVC = "import sys; sys.modules.update(dvc=None, dvclive=None); from benchmarks.training import main; main(sys.argv[1:])"


@pytest.mark.slow
def test_training_prints_speeds_and_the_share_of_the_bare_step() -> None:
    options = ["--device", "cpu", "--images", "8", "--batch", "4", "--size", "32", "--runs", "1"]
    command = [sys.executable, "-c", WITHOUT_DVC, *options]
    output = subprocess.run(command, cwd=PROJECT, env=os.environ, check=True, capture_output=True, text=True).stdout
    head, *speeds, share = output.splitlines()
    assert head.startswith("resnet34, 32 pixels, batch 4, ")
    assert [line.split("  ")[0] for line in speeds] == ["plain loop", "ours", "bare step"]
    assert all(float(line[12:].split()[0]) > 0 for line in speeds)
    assert share.startswith("ours is ")


def test_a_device_that_is_not_there_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(training, "process_state", lambda: SimpleNamespace(device=torch.device("cpu")))
    with pytest.raises(SystemExit):
        training.main(["--device", "cuda"])
    assert capsys.readouterr().err.splitlines()[-1].endswith("--device cuda: PyTorch finds only cpu")


# What the pipeline needs and a machine with a GPU need not have; None refuses the import, in the benchmark's own processes, too.
ABSENT = (
    "cleanlab",
    "dvc",
    "dvclive",
    "faiss",
    "jinja2",
    "markdown_it",
    "platformdirs",
    "ruamel",
    "selenium",
    "statsmodels",
    "tabulate",
    "torchinfo",
    "vl_convert",
)
TINY = ["--count", "4", "--architecture", "ViT-S-32-alt"]


def bench(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run benchmarks.embedding in Python processes that cannot import ABSENT, with temporary files in ``folder``."""
    (folder / "sitecustomize.py").write_text(f"import sys; sys.modules.update(dict.fromkeys({ABSENT!r}))")
    path = os.pathsep.join([str(folder), str(PROJECT)])
    environment = {**os.environ, "PYTHONPATH": path, "TMPDIR": str(folder), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "benchmarks.embedding", *arguments]
    return subprocess.run(command, cwd=PROJECT, env=environment, capture_output=True, text=True)


@pytest.mark.slow
def test_our_side_of_the_table_is_measured_with_a_missing_peer_named(tmp_path: Path) -> None:
    done = bench(tmp_path, "speed", *TINY, "--runs", "1", "--sides", "encoder,clip_retrieval", "--peers", str(tmp_path / "python"))
    assert done.returncode == 0, done.stderr
    title, table, missing = done.stdout.strip().split("\n\n")
    assert re.match(r"speed: 4 drawn JPEGs, 500 x 375 pixels \(median\), random ViT-S-32-alt, cpu", title)
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines()[2:]]
    assert [row[0] for row in rows] == ["ours", "encoder"]
    assert all(float(row[1]) > 0 and row[3] == "4" for row in rows)
    assert rows[0][2] == "1.00 times"
    assert rows[1][5] == f"`python -m benchmarks.embedding speed {' '.join(TINY)} --runs 1 --peers {tmp_path}/python --sides encoder`"
    assert re.fullmatch(r"clip_retrieval: missing: \S+ has no module 'clip_retrieval'; `make bench-peers` installs the peers", missing)


@pytest.mark.slow
def test_adding_images_computes_only_these(tmp_path: Path) -> None:
    done = bench(tmp_path, "added", *TINY, "--runs", "1")
    assert done.returncode == 0, done.stderr
    head, _, values = done.stdout.strip().splitlines()[-3:]
    assert head.startswith("| 3 images | 1 more |")
    full, more, start, share = (cell.strip() for cell in values.strip("|").split("|"))
    assert min(map(float, (full, more, start))) > 0 and float(share.removesuffix("%")) < 100


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["faster"], "argument PART: invalid choice: 'faster'"),
        (["speed", "--runs", "0"], "argument --runs: '0': expected a whole number of at least 1"),
        (["speed", "--sides", "theirs"], "argument --sides: 'theirs': expected some of ours,encoder,decoding,"),
        (["speed", "--images", "EMPTY"], "EMPTY: expected a folder with images (.bmp, .jpeg, .jpg, .png, .webp), found none"),
        (["memory", "--precision", "float8"], "params.yaml: embed_images.precision = 'float8': input should be"),
    ],
)
def test_bad_input_of_embedding_is_one_line(arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("EMPTY").mkdir()
    with pytest.raises(SystemExit) as stopped:
        embedding.main([*arguments, *(TINY if arguments[0] != "faster" and "EMPTY" not in arguments else [])])
    assert message in str(stopped.value) and "\n" not in str(stopped.value)


def test_the_row_cache_is_measured(project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    row_cache.main(["2000"])
    printed = capsys.readouterr().out
    for line in ("2,000 rows added in", "1,000 rows: ", "all rows in order: ", "memory-mapped files, copied: ", "peak memory "):
        assert line in printed
