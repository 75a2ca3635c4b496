"""Download files: interrupted downloads resume, checksums are verified, and failures give a one-line message."""

import http.client
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path
from typing import Literal, TypeVar
from urllib.parse import urlsplit

from tqdm import tqdm

from clipstore.core.caches import root
from clipstore.core.digests import file_md5, file_sha256
from clipstore.core.errors import InputError

Result = TypeVar("Result")

WAITS = (1.0, 2.0, 4.0, 8.0)  # seconds before each retry
ANSWER_WITHIN = 3.0  # timeout in seconds for the first response
READ_WITHIN = 60.0  # timeout in seconds between two chunks of a file
CHUNK = 1 << 20


class BrokenOffError(Exception):
    """An attempt failed for a possibly temporary reason; ``progress`` states whether any bytes arrived."""

    def __init__(self, problem: object, progress: bool = False) -> None:
        """Use ``problem`` as the message."""
        super().__init__(str(problem))
        self.progress = progress


def silence(address: str) -> str | None:
    """Return why no server responds at ``address``, or None if one does, even with an error status; takes a few seconds at most."""
    try:
        urllib.request.urlopen(urllib.request.Request(address, method="HEAD"), timeout=ANSWER_WITHIN).close()
    except urllib.error.HTTPError as error:
        error.close()
    except (OSError, http.client.HTTPException) as error:
        return str(getattr(error, "reason", error))
    return None


def patiently(attempt: Callable[[], Result], what: str) -> Result:
    """Return the result of ``attempt``, retrying after `BrokenOffError` with growing waits, which start over after progress.

    Raises:
        InputError: the last attempt failed.
    """
    waits = iter(WAITS)
    while True:
        try:
            return attempt()
        except BrokenOffError as error:
            if error.progress:
                waits = iter(WAITS)
            wait = next(waits, None)
            if wait is None:
                raise InputError(f"{what}: {error}; run the same command again to resume") from None
            print(f"{what}: {error}; retrying in {wait:g} s", flush=True)
            time.sleep(wait)


def fetch(url: str, digest: str, algorithm: Literal["md5", "sha256"] = "md5") -> Path:
    """Return the file at ``url``, from the user's cache folder or else from the network.

    An interrupted download resumes. A file gets its final name only once its digest is known to begin with ``digest``, which may be only a
    prefix, as torchvision publishes it.

    Raises:
        InputError: no server responds, it refuses, the connection keeps breaking, or the digest differs.
    """
    target = root() / "downloads" / digest / Path(urlsplit(url).path).name
    digest_of = {"md5": file_md5, "sha256": file_sha256}[algorithm]
    if target.is_file() and digest_of(target).startswith(digest):
        return target
    reason = silence(url)
    if reason:
        raise InputError(f"{url}: cannot be reached ({reason}); alternatively, put a copy of the file at {target}")
    partial = target.with_name(target.name + ".part")
    try:
        partial.parent.mkdir(parents=True, exist_ok=True)
        patiently(lambda: _append(url, partial), url)
        actual = digest_of(partial)
        if not actual.startswith(digest):
            partial.unlink()
            raise InputError(
                f"{url}: {algorithm.upper()} is {actual}, expected {digest}: an error page, another version or damaged; removed"
            )
        return partial.rename(target)
    except OSError as error:
        raise InputError(f"{partial}: {error.strerror or error}") from None


def _append(url: str, partial: Path) -> None:
    """Download the missing rest of ``partial``."""
    start = partial.stat().st_size if partial.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={start}-"} if start else {})
    received = 0
    try:
        with urllib.request.urlopen(request, timeout=READ_WITHIN) as response:
            if response.status != HTTPStatus.PARTIAL_CONTENT:
                start = 0
            size = start + int(response.headers["Content-Length"] or 0)
            bar = tqdm(desc=partial.stem, total=size or None, initial=start, unit="B", unit_scale=True, mininterval=1)
            with partial.open("ab" if start else "wb") as file, bar:
                while chunk := response.read(CHUNK):
                    file.write(chunk)
                    received += len(chunk)
                    bar.update(len(chunk))
        if start + received < size:
            raise BrokenOffError(f"the connection broke after {start + received} of {size} bytes", progress=received > 0)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            return  # nothing is missing
        if error.code < 500 and error.code != HTTPStatus.TOO_MANY_REQUESTS:
            raise InputError(f"{url}: the server responded {error.code} {error.reason}") from None
        raise BrokenOffError(f"the server responded {error.code} {error.reason}") from None
    except (urllib.error.URLError, ConnectionError, TimeoutError, ssl.SSLError, http.client.HTTPException) as error:
        raise BrokenOffError(error, progress=received > 0) from None
