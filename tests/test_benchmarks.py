"""The benchmark of training runs on a CPU, without DVC; that of the row cache prints its figures."""

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from benchmarks import row_cache, training
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


def test_the_row_cache_is_measured(project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    row_cache.main(["2000"])
    printed = capsys.readouterr().out
    for line in ("2,000 rows added in", "1,000 rows: ", "all rows in order: ", "memory-mapped files, copied: ", "peak memory "):
        assert line in printed
