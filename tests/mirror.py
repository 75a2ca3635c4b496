"""A local server that replaces data hosts and the Hugging Face hub in tests, and fails on demand."""

import hashlib
import importlib.resources
import io
import json
import re
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import unquote

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from huggingface_hub import constants
from PIL import Image
from ruamel.yaml import YAML
from scipy.io import savemat

from tests.workspace import PROJECT

LISTS = json.loads((importlib.resources.files("clip_benchmark") / "datasets/en_classnames.json").read_text())
CATS = {"Abyssinian", "Bengal", "Birman", "Bombay", "British Shorthair", "Egyptian Mau", "Maine Coon", "Persian", "Ragdoll", "Russian Blue"}
CATS |= {"Siamese", "Sphynx"}
PETS = [name if name in CATS else name.lower() for name in LISTS["pets"]]  # as in the file names: only cats are capitalised
WIKITEXT: dict[str, Any] = YAML(typ="safe").load(PROJECT / "params.yaml")["datasets"]["wikitext2"]

COMMIT = "0" * 40  # of main
REVISION = re.compile(r"/resolve/([0-9a-f]{40})/")


@dataclass
class Mirror:
    """Serves the files below ``folder`` at ``address``. Files of a hub repository are at REPOSITORY/resolve/REVISION/FILE.

    REVISION is a branch (main) or a commit; REPOSITORY begins with "datasets/" for a data set.

    Attributes:
        folder: folder to serve.
        address: base URL, without a trailing slash.
        failures: for each path, how its next GET requests fail, in order: "503", or "cut" after half of the response.
        requests: (method, path, first byte requested) of every request so far.
    """

    folder: Path
    address: str = ""
    failures: dict[str, list[str]] = field(default_factory=dict)
    requests: list[tuple[str, str, int]] = field(default_factory=list)

    def put(self, path: str, data: bytes) -> str:
        """Serve ``data`` at ``path``; return its MD5."""
        target = self.folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
        return hashlib.md5(data).hexdigest()

    def asked(self, path: str, method: str = "GET") -> list[int]:
        """Return the first byte of each request for ``path``."""
        return [start for requested_method, requested_path, start in self.requests if (requested_method, requested_path) == (method, path)]


@contextmanager
def serving(folder: Path) -> Iterator[Mirror]:
    """Serve ``folder`` on a free port."""
    mirror = Mirror(folder)

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.answer("HEAD")

        def do_GET(self) -> None:
            self.answer("GET")

        def answer(self, method: str) -> None:
            path = unquote(self.path).lstrip("/")
            start = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").partition("-")[0])
            mirror.requests.append((method, path, start))
            revision = REVISION.search(path)
            commit = revision[1] if revision else COMMIT
            queue = mirror.failures.get(path, [])
            failure = queue.pop(0) if queue and method == "GET" else ""
            file = mirror.folder / path
            if failure == "503" or not file.is_file():
                self.send_response(503 if failure else 404)
                self.send_header("X-Error-Code", "" if failure else "EntryNotFound")
                self.send_header("X-Repo-Commit", commit)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            size = file.stat().st_size
            self.send_response(206 if start else 200)
            self.send_header("Content-Length", str(size - start))
            if start:
                self.send_header("Content-Range", f"bytes {start}-{size - 1}/{size}")
            self.send_header("ETag", f'"{hashlib.sha256(f"{path} {file.stat().st_mtime_ns}".encode()).hexdigest()}"')
            self.send_header("X-Repo-Commit", commit)
            self.end_headers()
            if method == "GET":
                remaining = (size - start) // 2 if failure == "cut" else size - start
                with file.open("rb") as content:
                    content.seek(start)
                    while remaining:
                        remaining -= self.wfile.write(content.read(min(remaining, 1 << 20)))

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        mirror.address = f"http://127.0.0.1:{server.server_port}"
        Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield mirror
        server.shutdown()


def picture(label: int, number: int, side: int = 8) -> bytes:
    """Return a JPEG in the colour of its class, with noise that depends on ``number``."""
    rng = np.random.default_rng([label, number])
    colour = np.random.default_rng(label).integers(40, 216, 3)
    data = io.BytesIO()
    Image.fromarray((colour + rng.integers(-40, 40, (side, side, 3))).astype(np.uint8)).save(data, "JPEG", quality=95)
    return data.getvalue()


def archive(files: dict[str, bytes]) -> bytes:
    """Return a tar.gz archive of the files."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w:gz") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return data.getvalue()


def served(mirror: Mirror, path: str, data: bytes) -> dict[str, str]:
    """Serve ``data`` at ``path``; return its address and checksum in the form of params.yaml."""
    return {"url": f"{mirror.address}/{path}", "md5": mirror.put(path, data)}


def put_flowers(mirror: Mirror, side: int = 8) -> dict[str, dict[str, str]]:
    """Serve Flowers 102 in the official layout, with one image per class and split; return the ``archives`` of its entry."""
    ids = np.arange(1, 307)
    labels = (ids - 1) % 102 + 1  # start at 1, as in the official file
    splits = {"trnid": ids[None, :102], "valid": ids[None, 102:204], "tstid": ids[None, 204:]}
    images = {f"jpg/image_{i:05}.jpg": picture(label - 1, i, side) for i, label in zip(ids.tolist(), labels.tolist(), strict=True)}
    archives = {"images": served(mirror, "flowers/102flowers.tgz", archive(images))}
    for part, name, content in (("labels", "imagelabels.mat", {"labels": labels[None]}), ("splits", "setid.mat", splits)):
        data = io.BytesIO()
        savemat(data, content)
        archives[part] = served(mirror, f"flowers/{name}", data.getvalue())
    return archives


def put_pets(mirror: Mirror, breeds: list[str], side: int = 8) -> dict[str, dict[str, str]]:
    """Serve Oxford-IIIT Pet in the official layout, with three listed images per breed; return the ``archives`` of its entry.

    Two of them are in trainval and one in test. A fourth image per breed is in no list, as happens in the official archive.
    """
    numbers = {"trainval": (1, 100), "test": (23,), "": (9,)}
    images = {
        f"images/{breed}_{number}.jpg": picture(label, number, side)
        for label, breed in enumerate(breeds)
        for numbers_of_split in numbers.values()
        for number in numbers_of_split
    }
    lists = {
        f"annotations/{split}.txt": "".join(
            f"{breed}_{number} {label} {1 + breed.islower()} 1\n" for label, breed in enumerate(breeds, 1) for number in numbers[split]
        ).encode()
        for split in ("trainval", "test")
    }
    return {part: served(mirror, f"pets/{part}.tar.gz", archive(files)) for part, files in (("images", images), ("annotations", lists))}


def at_hub(hub_split: str, version: str = "raw") -> str:
    """Return the path of a split of WikiText-2 on the hub."""
    folder = WIKITEXT["versions"][version]["folder"]
    return f"datasets/{WIKITEXT['repository']}/resolve/{WIKITEXT['revision']}/{folder}/{hub_split}-00000-of-00001.parquet"


def parquet(rows: list[str], column: str = "text") -> bytes:
    """Return a Parquet file with one column."""
    data = io.BytesIO()
    pq.write_table(pa.table({column: rows}), data)
    return data.getvalue()


def text_sha256(lines: list[str]) -> str:
    """Return the SHA-256 of the concatenated lines."""
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def use_as_hub(mirror: Mirror, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Use ``mirror`` as the Hugging Face hub in this process, with ``cache`` as its cache."""
    monkeypatch.setattr(constants, "ENDPOINT", mirror.address)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", mirror.address + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
