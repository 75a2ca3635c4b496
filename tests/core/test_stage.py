"""The start of a stage and its line in data/runs.jsonl."""

import json
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

    def called(main: Callable[..., Mapping[str, object] | None], *values: str) -> None:
        monkeypatch.setattr(sys, "argv", ["/somewhere/stages/knn.py", *values])
        run(main)

    return called


def lines() -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path("data/runs.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("values", [(), ("enc",), ("enc", "toy", "more")])
def test_wrong_number_of_values_gives_a_usage_line(start: Start, values: tuple[str, ...]) -> None:
    def main(encoder: str, dataset: str) -> None:
        raise AssertionError("not to be called")

    with pytest.raises(InputError) as caught:
        start(main, *values)
    assert str(caught.value) == "usage: python -m stages.knn ENCODER DATASET"
    assert not Path("data").exists()


def test_usage_of_a_stage_without_values(start: Start) -> None:
    with pytest.raises(InputError, match=r"^usage: python -m stages\.knn$"):
        start(lambda: None, "x")


def test_values_reach_main(start: Start) -> None:
    seen: list[str] = []

    def main(encoder: str, dataset: str) -> None:
        seen.extend([encoder, dataset])

    start(main, "enc", "toy")
    assert seen == ["enc", "toy"]


def test_line_has_cell_seconds_memory_and_facts(start: Start) -> None:
    start(lambda: {"images": 3, "device": "cpu"})
    (line,) = lines()
    assert set(line) == {"cell", "finished", "seconds", "peak_mib", "images", "device"}
    assert (line["cell"], line["images"], line["device"]) == ("knn@enc-toy", 3, "cpu")
    assert 0 <= line["seconds"] < 10
    assert 10 < line["peak_mib"] < 100_000


@pytest.mark.slow
def test_peak_memory_is_the_most_that_was_ever_held(start: Start) -> None:
    def main() -> None:
        bytearray(size)[:: 2**12] = b"1" * (size // 2**12)  # a byte in every page

    start(lambda: None)
    before = lines()[0]["peak_mib"]
    size = (int(before) + 32) * 2**20
    start(main)
    start(lambda: None)
    _, during, after = (line["peak_mib"] for line in lines())
    assert after == during >= size / 2**20 > before


def test_lines_are_appended(start: Start) -> None:
    numbers = iter([0, 1, 2])
    for _ in range(3):
        start(lambda: {"number": next(numbers)})
    assert [line["number"] for line in lines()] == [0, 1, 2]


def test_stage_that_fails_leaves_no_line(start: Start) -> None:
    def main() -> None:
        raise InputError("params.yaml: no")

    with pytest.raises(InputError, match="no"):
        start(main)
    assert not Path("data").exists()
