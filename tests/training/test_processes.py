"""A stage is started in several processes once, and only if there is a GPU for each process or no GPU at all."""

import os
import subprocess

import pytest
import torch

from clipstore.core.errors import InputError
from clipstore.training import processes


def test_a_single_process_and_one_of_several_are_not_launched_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("subprocess.run", None)
    monkeypatch.delenv("RANK", raising=False)
    assert not processes.launched(1, "stages.finetune", ["tiny", "own"])
    monkeypatch.setenv("RANK", "0")
    assert not processes.launched(2, "stages.finetune", ["tiny", "own"])


def test_a_process_that_fails_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    commands: list[list[str]] = []

    def failing(command: list[str], env: dict[str, str], check: bool) -> subprocess.CompletedProcess[bytes]:
        commands.append(command)
        assert env["OMP_NUM_THREADS"] == str(max(1, (os.cpu_count() or 1) // 3))
        return subprocess.CompletedProcess(command, 1)

    monkeypatch.setattr("subprocess.run", failing)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(InputError, match=r"^tiny own: one of 3 processes failed$"):
        processes.launched(3, "stages.finetune", ["tiny", "own"])
    expected = [*("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=3", "-m", "stages.finetune", "tiny", "own")]
    assert [command[1:] for command in commands] == [expected]


@pytest.mark.parametrize(("gpus", "unit"), [(1, "GPU"), (2, "GPUs")])
def test_more_processes_than_gpus_are_one_line_before_anything_starts(monkeypatch: pytest.MonkeyPatch, gpus: int, unit: str) -> None:
    monkeypatch.setattr("subprocess.run", None)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    line = rf"^params\.yaml: nets\.tiny\.processes = 4: this machine has {gpus} {unit}; expected at most {gpus}$"
    with pytest.raises(InputError, match=line):
        processes.launched(4, "stages.finetune", ["tiny", "own"])


def test_a_process_for_each_gpu_is_launched_with_unchanged_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    environments: list[dict[str, str]] = []

    def succeeding(command: list[str], env: dict[str, str], check: bool) -> subprocess.CompletedProcess[bytes]:
        environments.append(env)
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr("subprocess.run", succeeding)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert processes.launched(2, "stages.finetune", ["tiny", "own"])
    assert environments == [dict(os.environ)]
