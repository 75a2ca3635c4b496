"""Read, check and decode image files. Pillow decodes them, converts them to RGB before any resizing, and ignores the EXIF orientation.

Pillow resizes palette images by nearest neighbour, hence the conversion first. open_clip's own loader does not rotate images by their EXIF
tag either, so published results were measured without rotation.
"""

import hashlib
import io
import os
import struct
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
import PIL
from PIL import Image, UnidentifiedImageError

from clipstore.core.errors import InputError

SUFFIXES = frozenset({".avif", ".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"})
DECODING = {
    "decoder": f"Pillow {PIL.__version__}",
    "mode": "RGB before resizing",
    "grey_of_16_bits": "scaled to 8",
    "exif_orientation": "ignored",
}

THIN = 100  # aspect ratio of images to reject: resized by the shorter side to fit an encoder, they would fill the memory

# Exceptions that Pillow and its codecs raise for damaged files.
_DAMAGED = (
    OSError,
    EOFError,
    RuntimeError,
    SyntaxError,
    ValueError,
    TypeError,
    LookupError,
    OverflowError,
    MemoryError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)

Item = TypeVar("Item")
Result = TypeVar("Result")


class Facts(NamedTuple):
    """The columns of the index that come from the file; ``width`` and ``height`` in pixels, 0 unless ``status`` is "ok"."""

    sha256: str
    width: int
    height: int
    status: str


def decode(data: bytes) -> Image.Image:
    """Return the whole image (the first frame of an animation) in mode RGB; transparency is dropped, not blended.

    16-bit grey is scaled to 8 bits: Pillow's own conversion clips it at 255, which gives an almost white image.

    Raises:
        ValueError: the pixels have 32 bits, and the file does not record their range.
        Exception: whatever Pillow and its codecs raise for a damaged image.
    """
    with Image.open(io.BytesIO(data)) as image:
        if image.mode.startswith("I;16"):
            return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert("RGB")
        if image.mode in ("I", "F"):
            raise ValueError(f"grey of 32 bits (mode {image.mode}) has no defined range")
        return image.convert("RGB")


def examine(path: Path) -> Facts:
    """Decode the whole file; ``status`` is "ok" or the reason why the image cannot be used, ``sha256`` is "" if the file cannot be read."""
    try:
        data = path.read_bytes()
    except OSError as error:
        return Facts("", 0, 0, error.strerror or type(error).__name__)
    digest = hashlib.sha256(data).hexdigest()
    if not data:
        return Facts(digest, 0, 0, "empty file")
    try:
        image = decode(data)
    except UnidentifiedImageError:  # its message contains a memory address
        return Facts(digest, 0, 0, "not an image")
    except _DAMAGED as error:
        return Facts(digest, 0, 0, str(error) or type(error).__name__)
    if max(image.size) >= THIN * min(image.size):
        return Facts(digest, 0, 0, f"{image.width} x {image.height} pixels: too thin to be embedded")
    return Facts(digest, image.width, image.height, "ok")


def load(path: str, sha256: str) -> Image.Image:
    """Return the image at ``path`` in mode RGB, after checking that its bytes are those that were indexed.

    Raises:
        InputError: the file is missing or has changed.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}, although the index lists the file: run `dvc repro` again") from None
    if hashlib.sha256(data).hexdigest() != sha256:
        raise InputError(f"{path}: the file has changed since it was indexed (expected SHA-256 {sha256}): run `dvc repro` again")
    return decode(data)


def in_order(function: Callable[[Item], Result], items: Iterable[Item], ahead: int = 64) -> Iterator[Result]:
    """Yield ``function(item)`` of each item in order, computed by one thread per core, at most ``ahead`` items in advance.

    Pillow and torch release the GIL while they work. The bound keeps memory constant for any number of items.
    """
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        waiting: deque[Future[Result]] = deque()
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) > ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
