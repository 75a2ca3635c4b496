"""The row cache: vectors, keyed by the SHA-256 of the content they were computed from, per user and outside every workspace.

CACHE/v1/DIGEST/ belongs to one contract and contains contract.json and part-HEX.parquet files. A part is written under a temporary name,
synced, renamed and never changed. Any number of writers may therefore add parts at once, the finished parts of a killed writer remain, and
deleting the cache is always safe. CACHE is the environment variable CLIP_FEATURE_STORE_CACHE, or the user's cache folder.
"""

import json
import secrets
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from clipstore.core import atomic
from clipstore.core.caches import VARIABLE, root
from clipstore.core.digests import json_sha256
from clipstore.core.errors import InputError
from clipstore.core.vectors import to_column, to_matrix

PART_ROWS = 4096
FLUSH_SECONDS = 5.0
Vectors = Mapping[str, npt.NDArray[np.float32]]
Add = Callable[[Sequence[bytes], Vectors], None]


class RowCache:
    """The rows of one contract; its entry "vectors" gives the length of each vector in a row.

    Raises:
        InputError: the folder cannot be written to.
    """

    def __init__(self, contract: dict[str, Any]) -> None:
        """Open the folder of ``contract``, and create it if it is missing."""
        self.folder = root() / "v1" / json_sha256(contract)
        self.widths: dict[str, int] = contract["vectors"]
        vectors = [pa.field(name, pa.list_(pa.float32(), width), nullable=False) for name, width in self.widths.items()]
        self.schema = pa.schema([pa.field("sha256", pa.binary(32), nullable=False), *vectors])
        if not (self.folder / "contract.json").exists():
            text = json.dumps(contract, indent=2)
            self._attempt(lambda: atomic.write(self.folder / "contract.json", lambda path: path.write_text(text)))

    def read(self, keys: Sequence[bytes]) -> tuple[dict[str, npt.NDArray[np.float32]], npt.NDArray[np.bool_]]:
        """Return the vectors of ``keys`` and which of them were found.

        Args:
            keys: n SHA-256 digests of 32 bytes.

        Returns:
            For each kind of vector float32 (n, width), zeros where not found; and bool (n,).
        """
        parts = {path: part for path in sorted(self.folder.glob("part-*.parquet")) if (part := self._keys(path)) is not None}
        vectors = {name: np.zeros((len(keys), width), np.float32) for name, width in self.widths.items()}
        present = np.zeros(len(keys), bool)
        if not parts:
            return vectors, present
        all_keys = pa.chunked_array(list(parts.values()))
        position = pc.index_in(pa.array(keys, pa.binary(32)), all_keys).to_numpy(zero_copy_only=False)  # of the first match; NaN if none
        start = 0
        for path, part in parts.items():
            hits = np.flatnonzero((position >= start) & (position < start + len(part)))
            if len(hits):
                table = self._table(path)
                if table is None:  # the keys are readable but the vectors are not: look for them in the other parts
                    return self.read(keys)
                for name, values in vectors.items():
                    values[hits] = to_matrix(table[name])[(position[hits] - start).astype(np.int64)]
                present[hits] = True
            start += len(part)
        return vectors, present

    def add(self, keys: Sequence[bytes], vectors: Vectors) -> None:
        """Add rows as one part.

        Args:
            keys: at most 4,096 SHA-256 digests of 32 bytes.
            vectors: for each kind of vector, float32 (len(keys), width).

        Raises:
            InputError: a vector is not finite, or the folder cannot be written to; existing parts are kept.
        """
        assert 0 < len(keys) <= PART_ROWS, len(keys)
        if not all(np.isfinite(vectors[name]).all() for name in self.widths):
            raise InputError("the encoder returned vectors that are not finite (NaN, or out of range for its precision): try float32")
        columns = [to_column(vectors[name]) for name in self.widths]
        table = pa.Table.from_arrays([pa.array(keys, pa.binary(32)), *columns], schema=self.schema)
        options = {"compression": "none", "use_dictionary": False, "write_page_checksum": True}
        part = self.folder / f"part-{secrets.token_hex(16)}.parquet"
        self._attempt(lambda: atomic.write(part, lambda path: pq.write_table(table, path, **options)))

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

    def _keys(self, path: Path) -> pa.Array | None:
        table = self._table(path, ["sha256"])
        return None if table is None else table["sha256"].combine_chunks()

    def _table(self, path: Path, columns: list[str] | None = None) -> pa.Table | None:
        """Return the part's table; an unreadable part is renamed and gives None."""
        try:
            with pq.ParquetFile(path, page_checksum_verification=True) as file:
                if not file.schema_arrow.equals(self.schema):
                    raise pa.ArrowInvalid(f"unexpected columns {', '.join(file.schema_arrow.names)}")
                return file.read(columns)
        except (pa.ArrowException, OSError) as error:
            if not path.exists():  # another process renamed it first
                return None
            print(
                f"warning: {path}: {str(error).splitlines()[0]}; renamed to bad-{path.name}, its rows will be computed again",
                file=sys.stderr,
            )
            self._attempt(lambda: path.rename(path.with_name("bad-" + path.name)))
            return None

    def _attempt(self, action: Callable[[], object]) -> None:
        try:
            action()
        except OSError as error:
            reason = error.strerror or str(error)
            raise InputError(
                f"cache folder {self.folder}: {reason}; set {VARIABLE} to a writable folder with free space; cached rows are kept"
            ) from None
