"""The row cache stores rows by key, for any number of writers, and tolerates damaged parts."""

import hashlib
import os
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from clipstore.core.errors import InputError
from clipstore.store.row_cache import PART_ROWS, RowCache

WIDTHS = {"embedding": 2, "features": 3}
CONTRACT = {"encoder": "tiny", "vectors": WIDTHS}


def key(number: int) -> bytes:
    return hashlib.sha256(str(number).encode()).digest()


def rows(*numbers: float) -> dict[str, npt.NDArray[np.float32]]:
    return {name: np.repeat(np.array(numbers, np.float32)[:, None], width, 1) for name, width in WIDTHS.items()}


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


def test_for_a_key_in_several_parts_the_first_part_wins(cache: RowCache) -> None:
    for value in range(5):
        cache.add([key(1)], rows(value))
    first = pq.read_table(min(cache.folder.glob("part-*.parquet")))["embedding"].to_pylist()
    assert cache.read([key(1)])[0]["embedding"].tolist() == first


def test_each_contract_has_its_own_folder(cache: RowCache) -> None:
    cache.add([key(1)], rows(1))
    assert not RowCache(CONTRACT | {"precision": "bfloat16"}).read([key(1)])[1].any()


def test_a_part_has_the_documented_format(cache: RowCache) -> None:
    cache.add([key(1)], rows(1))
    (part,) = cache.folder.glob("part-*.parquet")
    metadata = pq.read_metadata(part)
    assert pq.read_schema(part).field("sha256").type == pa.binary(32)
    assert pq.read_schema(part).field("embedding").type == pa.list_(pa.float32(), 2)
    assert {metadata.row_group(0).column(i).compression for i in range(metadata.num_columns)} == {"UNCOMPRESSED"}
    assert not any("DICTIONARY" in encoding for i in range(3) for encoding in str(metadata.row_group(0).column(i).encodings).split())


def test_temporary_files_are_not_read(cache: RowCache) -> None:
    cache.add([key(1)], rows(1))
    (part,) = cache.folder.glob("part-*.parquet")
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


@pytest.mark.parametrize("damage", [b"", b"PAR1 not a parquet file PAR1"])
def test_a_damaged_part_is_renamed_and_the_others_are_used(cache: RowCache, damage: bytes, capsys: pytest.CaptureFixture[str]) -> None:
    cache.add([key(1)], rows(1))
    (part,) = cache.folder.glob("part-*.parquet")
    cache.add([key(2)], rows(2))
    part.write_bytes(damage)
    assert cache.read([key(1), key(2)])[1].tolist() == [False, True]
    assert str(part) in capsys.readouterr().err
    assert (cache.folder / f"bad-{part.name}").read_bytes() == damage


def test_a_part_with_another_schema_is_renamed(cache: RowCache) -> None:
    foreign = cache.folder / "part-00.parquet"
    pq.write_table(pa.table({"sha256": [key(1)]}), foreign)
    assert not cache.read([key(1)])[1].any()
    assert not foreign.exists()


def test_writing_collects_rows_into_parts_of_limited_size(cache: RowCache) -> None:
    with cache.writing() as add:
        for start in range(0, PART_ROWS + 100, 100):
            add([key(number) for number in range(start, start + 100)], rows(*range(start, start + 100)))
    sizes = sorted(pq.read_metadata(part).num_rows for part in cache.folder.glob("part-*.parquet"))
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
