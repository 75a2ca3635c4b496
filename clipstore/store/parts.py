"""Parts, the files of the row cache. A part is written once and never changed, and checksums cover every byte of it.

    8 bytes                 XXH3 of the index
    n * (32 + 8 + 4) bytes  the index, sorted by key: the key, the XXH3 of its row, the position of its row
    n * 4 * width bytes     the rows, float32, in the order in which they were added: reading them in this order is fastest

All numbers are little-endian. The number of rows, n, follows from the size of the file. A part is read, not memory-mapped: an unreadable
disk, or a part that another machine removes from a network folder, is then an error and not the end of the process.
"""

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
from xxhash import xxh3_64_digest, xxh3_64_intdigest

INDEX = np.dtype([("key", "S32"), ("checksum", "<u8"), ("row", "<u4")])
CHUNK_BYTES = 1 << 20  # rows are read and written in pieces of this size
GAP = 16  # rows that are read along instead of starting another read
Names = npt.NDArray[np.bytes_]
Checksums = npt.NDArray[np.uint64]
Positions = npt.NDArray[np.intp]
Matrix = npt.NDArray[np.float32]


class Damage(Exception):
    """A part differs from what was written."""


class Keys:
    """Distinct keys, sorted. Comparing their first 8 bytes, as numbers, takes a fifth of the time; SHA-256s rarely share them."""

    def __init__(self, keys: Names) -> None:
        """Keep the keys and their first 8 bytes."""
        self.keys, self.starts = keys, _starts(keys)

    def __len__(self) -> int:
        """Return the number of keys."""
        return len(self.keys)

    def common(self, other: "Keys") -> tuple[Positions, Positions]:
        """Return the positions, here and in ``other``, of the keys that both have."""
        if len(self) > len(other):
            there, here = other.common(self)
            return here, there
        if not len(self):
            return np.empty(0, np.intp), np.empty(0, np.intp)
        found = np.minimum(np.searchsorted(other.starts, self.starts), len(other) - 1)
        same = other.keys[found] == self.keys
        if (~same & (other.starts[found] == self.starts)).any():  # different keys with the same start
            found = np.minimum(np.searchsorted(other.keys, self.keys), len(other) - 1)
            same = other.keys[found] == self.keys
        return np.flatnonzero(same), found[same]


class Part:
    """A part with rows of ``width`` numbers. Its methods raise Damage if it is not as written, and OSError if it cannot be read."""

    def __init__(self, path: Path, width: int) -> None:
        """Refer to the file, which is not opened yet."""
        self.path, self.width = path, width

    def index(self) -> tuple[Keys, Checksums, Positions]:
        """Read the keys (n,), the checksums (n,) of their rows and the positions (n,) of their rows."""
        with self.path.open("rb") as file:
            count = self._count(file)
            checksum, index = file.read(8), file.read(count * INDEX.itemsize)
        if checksum != xxh3_64_digest(index):
            raise Damage("the checksum of its index is wrong")
        table = np.frombuffer(index, INDEX)
        return Keys(np.ascontiguousarray(table["key"])), np.ascontiguousarray(table["checksum"]), table["row"].astype(np.intp)

    def rows(self, wanted: Positions, checksums: Checksums) -> Iterator[tuple[slice, Matrix, npt.NDArray[np.bool_]]]:
        """Read the rows at the positions ``wanted``, which ascend and have these checksums, in pieces of at most 1 MB.

        Yields:
            Which of ``wanted``, their rows (m, width), which are overwritten by the next piece, and bool (m,): the checksum is right.
        """
        length = max(1, CHUNK_BYTES // (4 * self.width))
        buffer = np.empty((length, self.width), "<f4")
        if not len(wanted):
            return
        breaks = np.flatnonzero((np.diff(wanted) > GAP) | (np.diff(wanted // length) > 0)) + 1
        with self.path.open("rb") as file:
            start = 8 + self._count(file) * INDEX.itemsize
            for begin, end in pairwise([0, *breaks.tolist(), len(wanted)]):
                first, last = int(wanted[begin]), int(wanted[end - 1])
                read = buffer[: last + 1 - first]
                file.seek(start + first * 4 * self.width)
                if file.readinto(read.data.cast("B")) != read.nbytes:
                    raise Damage("it became shorter")
                rows = read if len(read) == end - begin else read[wanted[begin:end] - first]
                yield slice(begin, end), rows, _checksums(rows) == checksums[begin:end]

    def _count(self, file: BinaryIO) -> int:
        """Return the number of rows; the file is then at its start."""
        size = file.seek(0, 2)
        file.seek(0)
        count = row_count(size, self.width)
        if not count or size != 8 + count * (INDEX.itemsize + 4 * self.width):
            raise Damage(f"{size} bytes, expected 8 and a multiple of {INDEX.itemsize + 4 * self.width}")
        return count


def write(path: Path, keys: Names, rows: Matrix) -> None:
    """Write a part of rows (n, width). Of several rows with the same key, the one with the smallest checksum is written."""
    checksums = _checksums(rows)
    chosen = np.argsort(checksums, kind="stable")
    chosen = chosen[order(keys[chosen])]
    chosen = chosen[np.append(True, keys[chosen][1:] != keys[chosen][:-1])]
    kept = np.sort(chosen)
    index = np.empty(len(chosen), INDEX)
    index["key"], index["checksum"], index["row"] = keys[chosen], checksums[chosen], np.searchsorted(kept, chosen)
    length = max(1, CHUNK_BYTES // rows[:1].nbytes)
    with path.open("wb") as file:
        file.write(xxh3_64_digest(index.tobytes()))
        file.write(index.tobytes())
        for start in range(0, len(kept), length):
            file.write(rows[kept[start : start + length]].astype("<f4", copy=False).tobytes())


def row_count(size: int, width: int) -> int:
    """Return the number of rows, each of ``width`` numbers, in a part of ``size`` bytes."""
    return max(0, (size - 8) // (INDEX.itemsize + 4 * width))


def order(keys: Names) -> Positions:
    """Return the positions that sort ``keys``; equal keys stay in their order."""
    by_start = np.argsort(_starts(keys), kind="stable")
    ordered = keys[by_start]
    return by_start if (ordered[:-1] <= ordered[1:]).all() else np.argsort(keys, kind="stable")


def _starts(keys: Names) -> Checksums:
    return keys.view(">u8")[::4].astype(np.uint64)


def _checksums(rows: Matrix) -> Checksums:
    return np.fromiter(map(xxh3_64_intdigest, rows), np.uint64, len(rows))
