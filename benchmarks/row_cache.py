"""Measure the row cache: python -m benchmarks.row_cache [ROWS].

Fills a cache in a temporary folder with rows of 512 numbers, adds 1 % more in steps of 100 rows, and reads 1,000 random rows, then all
rows in the order in which they were added and in random order, from the page cache. Copies as many bytes from memory-mapped files for
comparison. Prints medians of 3 runs, the number of parts, and the process's peak memory, which includes the result. A million rows take
2.2 GB of disk and 5 GB of memory.
"""

import argparse
import os
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from unittest.mock import patch

import numpy as np

from clipstore.core import caches
from clipstore.store.row_cache import PART_ROWS, RowCache

WIDTH = 512
REPEATS = 3
STEP = 100


def seconds(action: Callable[[], object]) -> float:
    """Return how long ``action`` takes."""
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def fill(cache: RowCache, keys: list[bytes], step: int) -> None:
    """Add a row of random numbers for each key."""
    rng = np.random.default_rng(0)
    for start in range(0, len(keys), step):
        some = keys[start : start + step]
        cache.add(some, {"embedding": rng.standard_normal((len(some), WIDTH), np.float32)})


def copy(files: list[Path]) -> None:
    """Copy memory-mapped files to an array, in order."""
    mapped = [np.memmap(file, np.uint8, "r") for file in files]
    copied = np.empty(sum(map(len, mapped)), np.uint8)
    start = 0
    for content in mapped:
        copied[start : start + len(content)] = content
        start += len(content)


def forget(files: list[Path]) -> None:
    """Drop the files from the operating system's cache, so that the next reader waits for the disk."""
    for file in files:
        with file.open("rb") as opened:
            os.fsync(opened.fileno())
            os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def main(arguments: list[str]) -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", nargs="?", type=int, default=1_000_000, metavar="ROWS", help="at least 1,000; default 1,000,000")
    rows = parser.parse_args(arguments).rows
    rng = np.random.default_rng(1)
    keys = [rng.bytes(32) for _ in range(rows)]
    added = [rng.bytes(32) for _ in range(rows // 100)]
    shuffled = [keys[position] for position in rng.permutation(rows)]
    with tempfile.TemporaryDirectory() as folder:
        with patch.dict(os.environ, {caches.VARIABLE: folder}):
            cache = RowCache({"vectors": {"embedding": WIDTH}})
        filling = seconds(lambda: fill(cache, keys, PART_ROWS))
        adding = seconds(lambda: fill(cache, added, STEP))
        files = sorted(cache.folder.glob("part-*"))
        size = sum(file.stat().st_size for file in files)
        print(f"{rows:,} rows added in {filling:.1f} s, {len(added):,} more in steps of {STEP} in {adding:.1f} s")
        print(f"{len(files)} parts, {size / 1e9:.2f} GB")
        reading = {
            "1,000 rows": lambda: cache.read(shuffled[:1000]),
            "all rows in order": lambda: cache.read(keys),
            "all rows in random order": lambda: cache.read(shuffled),
            "memory-mapped files, copied": lambda: copy(files),
        }
        cold = {f"{name}, from the disk": action for name, action in list(reading.items())[1::2]}
        runs = []
        for _ in range(REPEATS):
            runs.append({name: seconds(action) for name, action in reading.items()})
            for name, action in cold.items():
                forget(files)
                runs[-1][name] = seconds(action)
        for name in reading | cold:
            median = statistics.median(run[name] for run in runs)
            speed = "" if name == "1,000 rows" else f", {rows * WIDTH * 4 / 1e9 / median:.2f} GB/s"
            print(f"{name}: {median:.3f} s{speed}")
        print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10:,} MiB")


if __name__ == "__main__":
    main(sys.argv[1:])
