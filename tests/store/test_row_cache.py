"""The row cache stores rows by key, for any number of writers, merges small parts, and tolerates damaged ones."""

import fcntl
import hashlib
import os
import signal
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from xxhash import xxh3_64_digest, xxh3_64_intdigest

from clipstore.core import caches
from clipstore.core.errors import InputError
from clipstore.store import parts, row_cache
from clipstore.store.parts import Damage, Keys, Part
from clipstore.store.row_cache import MERGED_PARTS, PART_ROWS, RowCache

WIDTHS = {"embedding": 2, "features": 3}
CONTRACT = {"encoder": "tiny", "vectors": WIDTHS}


def key(number: int) -> bytes:
    return hashlib.sha256(str(number).encode()).digest()


def rows(*numbers: float) -> dict[str, npt.NDArray[np.float32]]:
    return {name: np.repeat(np.array(numbers, np.float32)[:, None], width, 1) for name, width in WIDTHS.items()}


def stored(cache: RowCache) -> list[Path]:
    return sorted(cache.folder.glob("part-*.rows"))


def index_of(part: Path) -> Keys:
    return Part(part, sum(WIDTHS.values())).index()[0]


@pytest.fixture
def cache(project: Path) -> RowCache:
    return RowCache(CONTRACT)


def test_rows_are_returned_in_the_requested_order(cache: RowCache) -> None:
    cache.add([key(1), key(2)], rows(1, 2))
    cache.add([key(3)], rows(3))
    vectors, found = cache.read([key(3), key(4), key(1), key(3)])
    assert found.tolist() == [True, False, True, True]
    assert vectors["embedding"].tolist() == [[3, 3], [0, 0], [1, 1], [3, 3]]
    assert vectors["features"].shape == (4, 3)


def test_an_empty_cache_finds_nothing(cache: RowCache) -> None:
    vectors, found = cache.read([key(1)])
    assert not found.any()
    assert vectors["embedding"].tolist() == [[0, 0]]


def test_of_several_rows_with_one_key_the_smallest_checksum_wins_before_and_after_merging(cache: RowCache) -> None:
    values = [float(value) for value in range(MERGED_PARTS)]
    for value in values[:-1]:
        cache.add([key(1)], rows(value))
    winner = min(values, key=lambda value: xxh3_64_intdigest(np.full(5, value, np.float32).tobytes()))
    assert winner != values[-1]
    assert cache.read([key(1)])[0]["embedding"].tolist() == [[winner, winner]]
    cache.add([key(1)], rows(values[-1]))
    (part,) = stored(cache)
    assert len(index_of(part)) == 1
    assert cache.read([key(1)])[0]["embedding"].tolist() == [[winner, winner]]


def test_each_contract_has_its_own_folder(cache: RowCache) -> None:
    cache.add([key(1)], rows(1))
    assert not RowCache(CONTRACT | {"precision": "bfloat16"}).read([key(1)])[1].any()


def test_a_part_has_the_documented_format(cache: RowCache) -> None:
    cache.add([key(2), key(1)], rows(2, 1))
    (part,) = stored(cache)
    content = part.read_bytes()
    first, second = ([value] * 5 for value in (2.0, 1.0))
    vectors = [np.array(row, "<f4").tobytes() for row in (first, second)]
    entries = sorted(
        [
            key(number) + xxh3_64_digest(vector)[::-1] + position.to_bytes(4, "little")
            for number, vector, position in ((2, vectors[0], 0), (1, vectors[1], 1))
        ]
    )
    index = b"".join(entries)
    assert content == xxh3_64_digest(index) + index + vectors[0] + vectors[1]


def test_temporary_files_are_not_read(cache: RowCache) -> None:
    cache.add([key(1)], rows(1))
    (part,) = cache.folder.glob("part-*.rows")
    part.rename(cache.folder / ".tmp-1-aa")
    assert not cache.read([key(1)])[1].any()


def test_a_part_gets_its_name_only_after_it_is_complete_and_synced(cache: RowCache, monkeypatch: pytest.MonkeyPatch) -> None:
    sync, parts_at_sync = os.fsync, []

    def recorded(file: int) -> None:
        sync(file)
        parts_at_sync.append([path.name for path in cache.folder.glob("part-*")])

    monkeypatch.setattr(os, "fsync", recorded)
    cache.add([key(1)], rows(1))
    assert parts_at_sync == [[]]
    assert len(list(cache.folder.glob("part-*"))) == 1


@pytest.mark.parametrize("damage", [b"", b"x", b"PAR1 not a part PAR1", bytes(8 + 44 + 20)])
def test_a_damaged_part_is_renamed_and_the_others_are_used(cache: RowCache, damage: bytes, capsys: pytest.CaptureFixture[str]) -> None:
    cache.add([key(1)], rows(1))
    (part,) = stored(cache)
    cache.add([key(2)], rows(2))
    part.write_bytes(damage)
    assert cache.read([key(1), key(2)])[1].tolist() == [False, True]
    assert capsys.readouterr().err.count(f"warning: {part}: ") == 1
    assert (cache.folder / f"bad-{part.name}").read_bytes() == damage
    cache.read([key(1)])
    assert capsys.readouterr().err == ""


def test_every_flipped_byte_is_detected_and_costs_at_most_the_rows_it_concerns(cache: RowCache, capsys: pytest.CaptureFixture[str]) -> None:
    keys = [key(number) for number in range(3)]
    cache.add(keys, rows(1, 2, 3))
    (part,) = stored(cache)
    content = part.read_bytes()
    rows_start = 8 + 3 * 44
    for position in range(len(content)):
        for file in cache.folder.glob("*.rows"):
            file.unlink()
        part.write_bytes(content[:position] + bytes([content[position] ^ 16]) + content[position + 1 :])
        vectors, found = cache.read(keys)
        lost = {0, 1, 2} if position < rows_start else {(position - rows_start) // 20}
        assert found.tolist() == [number not in lost for number in range(3)], position
        assert vectors["features"][:, 0].tolist() == [0 if number in lost else number + 1 for number in range(3)]
        assert "will be computed again" in capsys.readouterr().err
        assert (cache.folder / f"bad-{part.name}").exists()
        assert cache.read(keys)[1].tolist() == found.tolist()  # the other rows were kept
        assert capsys.readouterr().err == ""


def test_a_part_that_the_disk_cannot_read_is_renamed(
    cache: RowCache, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cache.add([key(1)], rows(1))
    (part,) = stored(cache)

    def fail(*_: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(Part, "rows", fail)
    assert not cache.read([key(1)])[1].any()
    assert "Input/output error; renamed to bad-" in capsys.readouterr().err
    assert not part.exists()


def test_too_many_open_files_are_no_damage(cache: RowCache, monkeypatch: pytest.MonkeyPatch) -> None:
    cache.add([key(1)], rows(1))

    def fail(*_: object) -> None:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(Part, "index", fail)
    with pytest.raises(InputError, match="Too many open files"):
        cache.read([key(1)])
    assert len(stored(cache)) == 1


def test_a_part_that_becomes_shorter_while_it_is_read_is_damaged(cache: RowCache) -> None:
    cache.add([key(1), key(2)], rows(1, 2))
    (path,) = stored(cache)
    part = Part(path, 5)
    _, checksums, positions = part.index()
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(Damage):
        list(part.rows(np.sort(positions), checksums))


def test_only_the_rows_that_are_asked_for_are_read(cache: RowCache, monkeypatch: pytest.MonkeyPatch) -> None:
    numbers = range(PART_ROWS)
    cache.add([key(number) for number in numbers], rows(*numbers))
    (part,) = stored(cache)
    content = bytearray(part.read_bytes())
    content[-1] ^= 1  # the last row's
    part.write_bytes(content)
    read: list[int] = []
    original = parts._checksums

    def counted(values: parts.Matrix) -> parts.Checksums:
        read.append(len(values))
        return original(values)

    monkeypatch.setattr(parts, "_checksums", counted)
    vectors, found = cache.read([key(3000), key(5), key(7)])
    assert found.all()
    assert vectors["embedding"][:, 0].tolist() == [3000, 5, 7]
    assert sum(read) == 3
    assert part.exists()  # the damage was not noticed
    cache.read([key(PART_ROWS - 1)])
    assert not part.exists()


def test_reading_takes_little_more_memory_than_the_result(project: Path) -> None:
    cache = RowCache({"vectors": {"embedding": 512}})
    keys = [key(number) for number in range(3 * PART_ROWS)]
    for start in range(0, len(keys), PART_ROWS):
        cache.add(keys[start : start + PART_ROWS], {"embedding": np.ones((PART_ROWS, 512), np.float32)})
    tracemalloc.start()
    try:
        vectors, _ = cache.read(keys)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < vectors["embedding"].nbytes + len(keys) * 300 + 4 * parts.CHUNK_BYTES + 2**20


def test_keys_with_the_same_start_are_told_apart(cache: RowCache) -> None:
    keys = [number.to_bytes(32, "big") for number in range(1, 40)]
    cache.add(keys[:20], rows(*range(20)))
    cache.add(keys[20:30], rows(*range(20, 30)))
    vectors, found = cache.read([keys[35], *reversed(keys[:30]), keys[3]])
    assert found.tolist() == [False, *[True] * 31]
    assert vectors["embedding"][:, 0].tolist() == [0, *reversed(range(30)), 3]


def test_a_part_merged_by_another_process_while_it_is_read_is_found(cache: RowCache, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(MERGED_PARTS - 1):
        cache.add([key(number)], rows(number))
    original = Part.index
    merged: list[bool] = []

    def after_merging(part: Part) -> tuple[Keys, parts.Checksums, parts.Positions]:
        if not merged:
            merged.append(True)
            RowCache(CONTRACT).add([key(99)], rows(99))
        return original(part)

    monkeypatch.setattr(Part, "index", after_merging)
    vectors, found = cache.read([key(number) for number in range(MERGED_PARTS - 1)])
    assert found.all()
    assert vectors["embedding"][:, 0].tolist() == list(range(MERGED_PARTS - 1))
    assert len(stored(cache)) == 1


def test_many_small_additions_leave_few_parts(cache: RowCache) -> None:
    for number in range(300):
        cache.add([key(number)], rows(number))
    assert len(stored(cache)) < 3 * MERGED_PARTS
    vectors, found = cache.read([key(number) for number in range(300)])
    assert found.all()
    assert vectors["features"][:, 2].tolist() == list(range(300))


def test_full_parts_are_not_merged(cache: RowCache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(row_cache, "FULL_BYTES", 1000)
    for start in range(0, 20 * 64, 20):
        cache.add([key(number) for number in range(start, start + 20)], rows(*range(start, start + 20)))  # 1,288 bytes
    assert len(stored(cache)) == 64
    for number in range(2000, 2200):
        cache.add([key(number)], rows(number))
    assert max(part.stat().st_size for part in stored(cache)) < 2000


def test_a_damaged_part_is_not_merged(cache: RowCache, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(MERGED_PARTS - 1):
        cache.add([key(number), key(100 + number)], rows(number, number))
    victim, other = stored(cache)[:2]
    content = bytearray(victim.read_bytes())
    content[-1] ^= 1
    victim.write_bytes(content)
    other.write_bytes(other.read_bytes()[:-1])
    cache.add([key(99), key(199)], rows(99, 99))
    assert {path.name for path in cache.folder.glob("bad-*")} == {f"bad-{path.name}" for path in (victim, other)}
    assert f"warning: {victim}: 1 of its rows changed" in capsys.readouterr().err
    (part,) = stored(cache)
    assert len(index_of(part)) == 2 * MERGED_PARTS - 3


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), OSError(30, "Read-only file system")])
def test_a_merge_that_fails_loses_nothing_and_is_reported_once(
    cache: RowCache, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: OSError
) -> None:
    original = parts.write

    def full(path: Path, keys: parts.Names, values: parts.Matrix) -> None:
        original(path, keys, values)
        if len(keys) > 1:
            raise error

    monkeypatch.setattr(parts, "write", full)
    numbers = range(MERGED_PARTS + 2)
    for number in numbers:
        cache.add([key(number)], rows(number))
    assert capsys.readouterr().err == f"warning: cache folder {cache.folder}: {error.strerror}; its small parts are not merged\n"
    assert cache.read([key(number) for number in numbers])[1].all()
    assert not list(cache.folder.glob(".tmp-*"))


def test_while_another_process_merges_parts_are_only_added(cache: RowCache) -> None:
    with (cache.folder / "merge.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for number in range(MERGED_PARTS + 1):
            cache.add([key(number)], rows(number))
        assert len(stored(cache)) == MERGED_PARTS + 1
    cache.add([key(99)], rows(99))
    assert len(stored(cache)) == 1


def test_merging_removes_what_killed_writers_left(cache: RowCache) -> None:
    old, new = cache.folder / ".tmp-1-aa", cache.folder / ".tmp-2-bb"
    for path in (old, new):
        path.write_bytes(b"half a part")
    os.utime(old, (time.time() - 2 * row_cache.DAY_SECONDS,) * 2)
    for number in range(MERGED_PARTS):
        cache.add([key(number)], rows(number))
    assert (old.exists(), new.exists()) == (False, True)


def test_rows_in_the_former_format_are_left_alone(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    former = caches.root() / "v1" / RowCache(CONTRACT).folder.name
    former.mkdir(parents=True)
    (former / "part-00.parquet").write_bytes(b"rows")
    (RowCache(CONTRACT).folder / "contract.json").unlink()
    RowCache(CONTRACT)
    assert f"note: {former}: rows in the format of an earlier release are not read" in capsys.readouterr().err
    RowCache(CONTRACT)
    assert capsys.readouterr().err == ""
    assert (former / "part-00.parquet").exists()


WRITER = """
import os, signal, sys
from pathlib import Path
from clipstore.store import row_cache
from tests.store.test_row_cache import CONTRACT, key, rows
first, last, step, kill = *map(int, sys.argv[1:4]), sys.argv[4]
calls = 0
def killed(owner, name, at, first_then):
    original = getattr(owner, name)
    def wrapped(*arguments, **options):
        global calls
        if merging:
            calls += 1
            if calls == at:
                if first_then:
                    original(*arguments, **options)
                os.kill(os.getpid(), signal.SIGKILL)
        return original(*arguments, **options)
    setattr(owner, name, wrapped)
merging = False
original_rewrite = row_cache.RowCache._rewrite
def rewrite(self, paths):
    global merging
    merging = True
    original_rewrite(self, paths)
    merging = False
row_cache.RowCache._rewrite = rewrite
if kill != "never":
    owner, name, at, then = kill.split()
    killed({"os": os, "Path": Path, "parts": row_cache.parts}[owner], name, int(at), then == "after")
cache = row_cache.RowCache(CONTRACT)
for number in range(first, last, step):
    cache.add([key(number)], rows(number))
"""


def start_writer(first: int, last: int, step: int, kill: str = "never") -> subprocess.Popen[bytes]:
    """Start a process that adds the rows of range(first, last, step) one by one, and is killed at a point of its first merge."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[2]), *sys.path])}
    return subprocess.Popen([sys.executable, "-c", WRITER, str(first), str(last), str(step), kill], env=environment)


@pytest.mark.parametrize(
    ("point", "left"),
    [
        ("parts write 1 before", MERGED_PARTS),
        ("os fsync 1 before", MERGED_PARTS),
        ("Path replace 1 before", MERGED_PARTS),
        ("Path replace 1 after", MERGED_PARTS + 1),
        ("Path unlink 1 before", MERGED_PARTS + 1),
        ("Path unlink 5 before", MERGED_PARTS - 3),
        ("Path unlink 16 after", 1),
    ],
)
def test_a_merge_killed_at_any_moment_loses_nothing(cache: RowCache, point: str, left: int) -> None:
    assert start_writer(0, 100, 1, point).wait() == -signal.SIGKILL
    assert len(stored(cache)) == left
    vectors, found = cache.read([key(number) for number in range(MERGED_PARTS + 1)])
    assert found.tolist() == [True] * MERGED_PARTS + [False]
    assert vectors["embedding"][:MERGED_PARTS, 0].tolist() == list(range(MERGED_PARTS))
    for number in range(MERGED_PARTS, 3 * MERGED_PARTS):
        cache.add([key(number)], rows(number))
    assert len(stored(cache)) <= MERGED_PARTS + 2
    assert cache.read([key(number) for number in range(3 * MERGED_PARTS)])[1].all()


@pytest.mark.slow
def test_writers_that_merge_and_readers_do_not_disturb_each_other(cache: RowCache) -> None:
    writers = [start_writer(first, 300, 3) for first in range(3)]
    keys = [key(number) for number in range(300)]
    before = np.zeros(300, bool)
    try:
        while any(writer.poll() is None for writer in writers):
            vectors, found = cache.read(keys)
            assert found[before].all()
            assert (vectors["embedding"][found, 0] == np.flatnonzero(found)).all()
            before = found
    finally:
        codes = [writer.wait() for writer in writers]
    assert codes == [0, 0, 0]
    assert cache.read(keys)[1].all()
    assert len(stored(cache)) < 3 * MERGED_PARTS
    assert not list(cache.folder.glob("bad-*"))


def test_writing_collects_rows_into_parts_of_limited_size(cache: RowCache) -> None:
    with cache.writing() as add:
        for start in range(0, PART_ROWS + 100, 100):
            add([key(number) for number in range(start, start + 100)], rows(*range(start, start + 100)))
    sizes = sorted(len(index_of(part)) for part in stored(cache))
    assert sizes == [200, 4000]  # the limit is 4,096
    assert cache.read([key(4100)])[0]["embedding"].tolist() == [[4100, 4100]]


def test_rows_added_before_an_exception_are_stored(cache: RowCache) -> None:
    with pytest.raises(KeyboardInterrupt), cache.writing() as add:
        add([key(1)], rows(1))
        raise KeyboardInterrupt
    assert cache.read([key(1)])[1].all()


def test_vectors_that_are_not_finite_are_rejected(cache: RowCache) -> None:
    with pytest.raises(InputError, match="not finite"):
        cache.add([key(1)], rows(float("nan")))


@pytest.mark.skipif(os.geteuid() == 0, reason="root can write to read-only folders")
def test_a_read_only_folder_is_reported(cache: RowCache) -> None:
    cache.folder.chmod(0o500)
    with pytest.raises(InputError, match="Permission denied"):
        cache.add([key(1)], rows(1))


def test_a_full_disk_is_reported_and_leaves_no_temporary_file(cache: RowCache, monkeypatch: pytest.MonkeyPatch) -> None:
    cache.add([key(1)], rows(1))

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InputError, match="No space left on device; set CLIP_FEATURE_STORE_CACHE to a writable folder with free space"):
        cache.add([key(2)], rows(2))
    assert sorted(path.name[:5] for path in cache.folder.iterdir()) == ["contr", "part-"]
    assert cache.read([key(1), key(2)])[1].tolist() == [True, False]
