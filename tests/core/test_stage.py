"""Stage start-up and the record in data/runs.jsonl."""

import errno
import json
import os
import shutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from clipstore.core.errors import InputError
from clipstore.core.stage import run

Start = Callable[..., None]


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Start:
    """Run a main function as `python -m stages.knn VALUES...` under DVC."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DVC_STAGE", "knn@enc-toy")

    def start_stage(main: Callable[..., Mapping[str, object] | None], *values: str) -> None:
        monkeypatch.setattr(sys, "argv", ["/somewhere/stages/knn.py", *values])
        run(main)

    return start_stage


def lines() -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path("data/runs.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("values", [(), ("enc",), ("enc", "toy", "extra")])
def test_wrong_number_of_arguments_prints_the_usage(start: Start, values: tuple[str, ...]) -> None:
    def main(encoder: str, dataset: str) -> None:
        raise AssertionError("main must not run")

    with pytest.raises(InputError) as caught:
        start(main, *values)
    assert str(caught.value) == "usage: python -m stages.knn ENCODER DATASET"
    assert not Path("data").exists()


def test_usage_of_a_stage_without_arguments(start: Start) -> None:
    with pytest.raises(InputError, match=r"^usage: python -m stages\.knn$"):
        start(lambda: None, "x")


def test_arguments_are_passed_to_main(start: Start) -> None:
    arguments: list[str] = []

    def main(encoder: str, dataset: str) -> None:
        arguments.extend([encoder, dataset])

    start(main, "enc", "toy")
    assert arguments == ["enc", "toy"]


def test_record_contains_cell_seconds_memory_and_facts(start: Start) -> None:
    start(lambda: {"images": 3, "device": "cpu"})
    (line,) = lines()
    assert set(line) == {"cell", "finished", "seconds", "peak_mib", "images", "device"}
    assert (line["cell"], line["images"], line["device"]) == ("knn@enc-toy", 3, "cpu")
    assert 0 <= line["seconds"] < 10
    assert 10 < line["peak_mib"] < 100_000


@pytest.mark.slow
def test_peak_memory_is_the_maximum_over_the_process_lifetime(start: Start) -> None:
    def main() -> None:
        bytearray(size)[:: 2**12] = b"1" * (size // 2**12)  # a byte in every page

    start(lambda: None)
    before = lines()[0]["peak_mib"]
    size = (int(before) + 32) * 2**20
    start(main)
    start(lambda: None)
    _, during, after = (line["peak_mib"] for line in lines())
    assert after == during >= size / 2**20 > before


def test_records_are_appended(start: Start) -> None:
    numbers = iter([0, 1, 2])
    for _ in range(3):
        start(lambda: {"number": next(numbers)})
    assert [line["number"] for line in lines()] == [0, 1, 2]


def test_failed_stage_leaves_no_record(start: Start) -> None:
    def main() -> None:
        raise InputError("params.yaml: no")

    with pytest.raises(InputError, match="no"):
        start(main)
    assert not Path("data").exists()


def fails(error: Exception) -> Callable[[], None]:
    def main() -> None:
        raise error

    return main


def test_a_full_disk_is_one_line(start: Start) -> None:
    with pytest.raises(InputError, match=r"^data/images\.npy: no space left on the disk; free some and run the same command again"):
        start(fails(OSError(errno.ENOSPC, "No space left on device", "data/images.npy")))


def test_a_full_disk_is_noticed_whatever_the_library_raises(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(".")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=4096))
    with pytest.raises(InputError, match="no space left on the disk"):
        start(fails(RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 576 vs 534")))


@pytest.mark.parametrize("number", [errno.EACCES, errno.EPERM, errno.EROFS])
def test_an_output_of_another_user_is_one_line(start: Start, number: int) -> None:
    with pytest.raises(InputError) as caught:
        start(fails(OSError(number, os.strerror(number), "data/index/toy.parquet")))
    assert str(caught.value).startswith(f"data/index/toy.parquet: {os.strerror(number)}; expected write access")


def test_other_errors_are_raised_as_they_are(start: Start) -> None:
    with pytest.raises(OSError, match="Connection reset"):
        start(fails(OSError(errno.ECONNRESET, "Connection reset by peer")))
    with pytest.raises(ZeroDivisionError):
        start(fails(ZeroDivisionError()))
