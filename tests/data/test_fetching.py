"""Downloads are complete or absent, resume after an interruption, and report every failure in one line."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from clipstore.core.errors import InputError
from clipstore.data import fetching
from tests.mirror import Mirror, serving

DATA = bytes(range(256)) * 4000


@pytest.fixture
def mirror(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Mirror]:
    monkeypatch.setattr(fetching, "WAITS", (0.0, 0.0))
    with serving(tmp_path / "mirror") as mirror:
        yield mirror


def cached(tmp_path: Path) -> list[str]:
    return sorted(path.name for path in (tmp_path / "cache/downloads").rglob("*") if path.is_file())


def test_a_file_is_fetched_once_and_cached(mirror: Mirror, tmp_path: Path) -> None:
    md5 = mirror.put("a/data.bin", DATA)
    for _ in range(2):
        assert fetching.fetch(f"{mirror.address}/a/data.bin", md5).read_bytes() == DATA
    assert mirror.asked("a/data.bin") == [0]
    assert cached(tmp_path) == ["data.bin"]


def test_a_damaged_cached_file_is_fetched_again(mirror: Mirror) -> None:
    md5 = mirror.put("a/data.bin", DATA)
    fetching.fetch(f"{mirror.address}/a/data.bin", md5).write_bytes(b"damaged")
    assert fetching.fetch(f"{mirror.address}/a/data.bin", md5).read_bytes() == DATA


def test_two_server_errors_are_retried(mirror: Mirror, capsys: pytest.CaptureFixture[str]) -> None:
    md5 = mirror.put("data.bin", DATA)
    mirror.failures["data.bin"] = ["503", "503"]
    assert fetching.fetch(f"{mirror.address}/data.bin", md5).read_bytes() == DATA
    assert capsys.readouterr().out.count("data.bin: the server responded 503 Service Unavailable; retrying in 0 s") == 2


def test_a_broken_connection_is_resumed(mirror: Mirror) -> None:
    md5 = mirror.put("data.bin", DATA)
    mirror.failures["data.bin"] = ["cut", "cut", "503", "cut", "503"]
    assert fetching.fetch(f"{mirror.address}/data.bin", md5).read_bytes() == DATA
    assert mirror.asked("data.bin") == [0, *(len(DATA) * share // 4 for share in (2, 3, 3)), *[len(DATA) * 7 // 8] * 2]


def test_a_server_that_keeps_failing_is_reported_and_the_next_run_resumes(mirror: Mirror, tmp_path: Path) -> None:
    md5 = mirror.put("data.bin", DATA)
    mirror.failures["data.bin"] = ["cut", "503", "503", "503"]
    with pytest.raises(InputError, match=r"data\.bin: the server responded 503 Service Unavailable; run the same command again") as error:
        fetching.fetch(f"{mirror.address}/data.bin", md5)
    assert "\n" not in str(error.value)
    assert cached(tmp_path) == ["data.bin.part"]
    assert fetching.fetch(f"{mirror.address}/data.bin", md5).read_bytes() == DATA
    assert mirror.asked("data.bin")[-1] == len(DATA) // 2


def test_a_complete_file_that_was_not_yet_renamed_is_used(mirror: Mirror, tmp_path: Path) -> None:
    md5 = mirror.put("data.bin", DATA)
    path = fetching.fetch(f"{mirror.address}/data.bin", md5)
    path.rename(path.with_name("data.bin.part"))
    assert fetching.fetch(f"{mirror.address}/data.bin", md5).read_bytes() == DATA


def test_a_file_with_another_digest_is_removed(mirror: Mirror, tmp_path: Path) -> None:
    md5 = mirror.put("data.bin", DATA)
    mirror.put("data.bin", b"<html>moved</html>")
    with pytest.raises(InputError, match=f"MD5 is [0-9a-f]+, expected {md5}: an error page"):
        fetching.fetch(f"{mirror.address}/data.bin", md5)
    assert cached(tmp_path) == []


def test_a_refused_request_is_not_retried(mirror: Mirror) -> None:
    with pytest.raises(InputError, match=r"gone\.bin: the server responded 404 Not Found$"):
        fetching.fetch(f"{mirror.address}/gone.bin", "0" * 32)
    assert mirror.asked("gone.bin") == [0]


def test_without_a_server_the_error_names_the_path_for_a_copy(project: Path, tmp_path: Path) -> None:
    with serving(tmp_path / "mirror") as mirror:
        address = mirror.address
    with pytest.raises(
        InputError, match=r"data\.bin: cannot be reached \(.*\); alternatively, put a copy of the file at .*/downloads/0{32}/data\.bin$"
    ):
        fetching.fetch(f"{address}/data.bin", "0" * 32)


def test_a_full_disk_is_reported(mirror: Mirror, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(fetching, "_append", full)
    with pytest.raises(InputError, match=r"data\.bin\.part: No space left on device"):
        fetching.fetch(f"{mirror.address}/data.bin", "0" * 32)
