"""The row cache: vectors, keyed by the SHA-256 of the content they were computed from, per user and outside every workspace.

CACHE/v2/DIGEST/ belongs to one contract and contains contract.json and part-HEX.rows files (see `parts`). A part is written under a
temporary name, synced, renamed and never changed. Any number of writers may therefore add parts at once, the finished parts of a killed
writer remain, and deleting the cache is always safe. Small parts are merged: the merged part is complete before the small ones are removed,
so a killed merge leaves rows twice, never none. CACHE is the environment variable CLIP_FEATURE_STORE_CACHE, or the user's cache folder.
"""

import errno
import fcntl
import json
import math
import os
import secrets
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from clipstore.core import atomic, caches
from clipstore.core.digests import json_sha256
from clipstore.core.errors import InputError
from clipstore.store import parts
from clipstore.store.parts import Damage, Keys, Part

PART_ROWS = 4096
FLUSH_SECONDS = 5.0
FULL_BYTES = 64 << 20  # a part of this size is merged no more; a merged part has less than twice as much
MERGED_PARTS = 16  # as many parts of about the same size are merged
DAY_SECONDS = 86400
Vectors = Mapping[str, npt.NDArray[np.float32]]
Add = Callable[[Sequence[bytes], Vectors], None]


class RowCache:
    """The rows of one contract; its entry "vectors" gives the length of each vector in a row.

    Raises:
        InputError: the folder cannot be written to.
    """

    def __init__(self, contract: dict[str, Any]) -> None:
        """Open the folder of ``contract``, and create it if it is missing."""
        self.folder = caches.root() / "v2" / json_sha256(contract)
        self.widths: dict[str, int] = contract["vectors"]
        self.width = sum(self.widths.values())
        self.merging = True
        if not (self.folder / "contract.json").exists():
            text = json.dumps(contract, indent=2)
            with caches.writable(self.folder):
                atomic.write(self.folder / "contract.json", lambda path: path.write_text(text))
            former = caches.root() / "v1" / self.folder.name
            if former.exists():
                print(f"note: {former}: rows in the format of an earlier release are not read; the folder can be deleted", file=sys.stderr)

    def read(self, keys: Sequence[bytes]) -> tuple[dict[str, npt.NDArray[np.float32]], npt.NDArray[np.bool_]]:
        """Return the vectors of ``keys`` and which of them were found.

        Reads the index of each part, and only those rows that are asked for. Of several rows with the same key, it returns the one with
        the smallest checksum, so that merging parts does not change the result.

        Args:
            keys: n SHA-256 digests of 32 bytes.

        Returns:
            For each kind of vector float32 (n, width), zeros where not found; and bool (n,).

        Raises:
            InputError: a damaged part cannot be set aside, since the folder cannot be written to.
        """
        asked: parts.Names = np.frombuffer(b"".join(keys), "S32")
        order = parts.order(asked)
        ordered = asked[order]
        is_first = np.append(True, ordered[1:] != ordered[:-1])[: len(keys)]
        first = order[is_first]  # where each distinct key is asked for first, in the order of the keys
        vectors = {name: np.empty((len(keys), width), np.float32) for name, width in self.widths.items()}
        present = np.zeros(len(keys), bool)
        missing = np.ones(len(first), bool)
        with caches.writable(self.folder):
            while missing.any() and not self._fill(Keys(ordered[is_first][missing]), first[missing], vectors, present):
                missing = ~present[first]
        copied = first[np.cumsum(is_first) - 1]
        present[order] = present[copied]
        for values in vectors.values():
            values[order[~is_first]] = values[copied[~is_first]]
            values[~present] = 0
        return vectors, present

    def _fill(self, keys: Keys, positions: parts.Positions, vectors: Vectors, present: npt.NDArray[np.bool_]) -> bool:
        """Copy the vectors of ``keys`` to ``positions``.

        Returns:
            False if a part was damaged or removed meanwhile, so that its rows may now be in another one.
        """
        checksums = np.full(len(keys), np.iinfo(np.uint64).max, np.uint64)
        owners = np.full(len(keys), -1)  # the number of the part that has the row
        rows = np.zeros(len(keys), np.intp)  # the row's position in that part
        paths = sorted(self.folder.glob("part-*.rows"))
        damaged: set[Path] = set()
        removed: set[Path] = set()

        def search(number: int) -> None:
            part_keys, part_checksums, part_rows = Part(paths[number], self.width).index()
            here, there = keys.common(part_keys)
            smaller = part_checksums[there] < checksums[here]
            here, there = here[smaller], there[smaller]
            owners[here], rows[here], checksums[here] = number, part_rows[there], part_checksums[there]

        def copy(number: int) -> None:
            of_part = np.flatnonzero(owners == number)
            of_part = of_part[np.argsort(rows[of_part])]
            for piece, values, right in Part(paths[number], self.width).rows(rows[of_part], checksums[of_part]):
                targets = positions[of_part[piece]]
                if not right.all():
                    damaged.add(paths[number])
                    values, targets = values[right], targets[right]
                self._separate(values, vectors, targets)
                present[targets] = True

        def attempt(action: Callable[[int], None], number: int) -> None:
            try:
                with _damage():
                    action(number)
            except FileNotFoundError:
                removed.add(paths[number])
            except Damage:
                damaged.add(paths[number])

        for number in range(len(paths)):
            attempt(search, number)
        with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
            list(pool.map(lambda number: attempt(copy, number), np.unique(owners[owners >= 0]).tolist()))
        for path in sorted(damaged):
            self._rewrite([path])
        return not damaged and not removed

    def add(self, keys: Sequence[bytes], vectors: Vectors) -> None:
        """Add rows as one part, and merge small parts if there are many.

        Args:
            keys: at most 4,096 SHA-256 digests of 32 bytes.
            vectors: for each kind of vector, float32 (len(keys), width).

        Raises:
            InputError: a vector is not finite, or the folder cannot be written to; existing parts are kept.
        """
        assert 0 < len(keys) <= PART_ROWS, len(keys)
        if not all(np.isfinite(vectors[name]).all() for name in self.widths):
            raise InputError("the encoder returned vectors that are not finite (NaN, or out of range for its precision): try float32")
        rows = np.concatenate([vectors[name] for name in self.widths], axis=1)
        with caches.writable(self.folder):
            self._write(np.array(keys, "S32"), rows)
        if self.merging:
            try:
                self._merge()
            except OSError as error:
                self.merging = False
                print(f"warning: cache folder {self.folder}: {error.strerror or error}; its small parts are not merged", file=sys.stderr)

    @contextmanager
    def writing(self) -> Iterator[Add]:
        """Yield a function that takes rows as `add` does and collects them into parts of a few seconds' work or 4,096 rows each.

        When the block ends, even by an exception, the collected rows are added.
        """
        keys: list[bytes] = []
        collected: list[Vectors] = []
        last_flush = time.monotonic()

        def flush() -> None:
            nonlocal last_flush
            if keys:
                self.add(keys, {name: np.concatenate([vectors[name] for vectors in collected]) for name in self.widths})
            keys.clear()
            collected.clear()
            last_flush = time.monotonic()

        def collect(new: Sequence[bytes], vectors: Vectors) -> None:
            if len(keys) + len(new) > PART_ROWS or time.monotonic() - last_flush > FLUSH_SECONDS:
                flush()
            keys.extend(new)
            collected.append(vectors)

        try:
            yield collect
        finally:
            flush()

    def _separate(self, rows: npt.NDArray[np.float32], vectors: Vectors, positions: npt.NDArray[np.intp]) -> None:
        """Copy the vectors of each row to ``positions``."""
        start = 0
        for name, width in self.widths.items():
            vectors[name][positions] = rows[:, start : start + width]
            start += width

    def _write(self, keys: parts.Names, rows: npt.NDArray[np.float32]) -> None:
        part = self.folder / f"part-{secrets.token_hex(16)}.rows"
        atomic.write(part, lambda path: parts.write(path, keys, rows))

    def _merge(self) -> None:
        """Merge the parts of about the same size once there are 16 of them, unless another process does. Remove what killed writers left.

        Each row is therefore rewritten a few times at most.
        """
        if not self._mergeable():
            return
        with (self.folder / "merge.lock").open("a") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return
            for paths in self._mergeable():
                self._rewrite(paths)
            for temporary in self.folder.glob(".tmp-*"):
                with suppress(FileNotFoundError):
                    if time.time() - temporary.stat().st_mtime > DAY_SECONDS:
                        temporary.unlink()

    def _mergeable(self) -> list[list[Path]]:
        """Return groups of parts to merge, each of less than twice FULL_BYTES."""
        sizes = _sizes(self.folder.glob("part-*.rows"))
        tiers = defaultdict(list)
        for path in sorted(sizes, key=sizes.__getitem__):
            if 0 < sizes[path] < FULL_BYTES:
                tiers[int(math.log(FULL_BYTES / sizes[path], MERGED_PARTS))].append(path)
        groups = []
        for paths in tiers.values():
            if len(paths) >= MERGED_PARTS:
                before = np.cumsum([0, *(sizes[path] for path in paths[:-1])])  # bytes of the smaller parts
                groups.append(paths[: int((before < FULL_BYTES).sum())])
        return groups

    def _rewrite(self, paths: list[Path]) -> None:
        """Write the rows of the parts as one part, then remove the parts. Damaged ones lose their damaged rows and are renamed instead.

        Raises:
            OSError: the folder cannot be written to; no row is lost.
        """
        sizes = _sizes(paths)
        total = sum(parts.row_count(size, self.width) for size in sizes.values())
        keys, rows = np.empty(total, "S32"), np.empty((total, self.width), np.float32)
        count = 0
        damaged = {}
        for path in sizes:
            wrong = 0
            try:
                with _damage():
                    part = Part(path, self.width)
                    part_keys, checksums, positions = part.index()
                    order = np.argsort(positions)
                    for piece, values, right in part.rows(positions[order], checksums[order]):
                        good = int(right.sum())
                        keys[count : count + good], rows[count : count + good] = part_keys.keys[order[piece]][right], values[right]
                        count += good
                        wrong += len(right) - good
            except FileNotFoundError:  # set aside by a reader
                continue
            except Damage as error:
                damaged[path] = f"{error}; renamed to bad-{path.name}, its rows will be computed again"
            if wrong:
                damaged[path] = f"{wrong} of its rows changed; renamed to bad-{path.name}, these rows will be computed again"
        if count:
            self._write(keys[:count], rows[:count])
            atomic.sync(self.folder)
        for path in sizes:
            if path in damaged:
                with suppress(FileNotFoundError):  # another process renamed it first
                    path.rename(path.with_name("bad-" + path.name))
                    print(f"warning: {path}: {damaged[path]}", file=sys.stderr)
            else:
                path.unlink(missing_ok=True)


def _sizes(paths: Iterable[Path]) -> dict[Path, int]:
    """Return the bytes of those files that still exist."""
    sizes = {}
    for path in paths:
        with suppress(FileNotFoundError):
            sizes[path] = path.stat().st_size
    return sizes


@contextmanager
def _damage() -> Iterator[None]:
    """Treat a part that the disk or the file system cannot read as damaged, and one that another machine removed as removed."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.EIO, errno.EACCES, errno.EISDIR):
            raise Damage(error.strerror) from None
        if error.errno == errno.ESTALE:
            raise FileNotFoundError(errno.ENOENT, error.strerror) from None
        raise
