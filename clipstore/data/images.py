"""Read, check and decode image files. Pillow decodes them and converts them to RGB before any resizing.

Pillow resizes palette images by nearest neighbour, hence the conversion first. Whether the EXIF orientation is applied is a setting of the
data set: open_clip's own loader ignores it, so published results were measured without rotation, but a phone's photographs need it.
"""

import hashlib
import io
import os
import struct
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt
import PIL
from PIL import Image, UnidentifiedImageError, features

from clipstore.core.errors import InputError
from clipstore.core.params import Exif

SUFFIXES = frozenset(
    {
        ".apng", ".avif", ".bmp", ".dib", ".gif", ".heic", ".heif", ".hif", ".j2k", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpf", ".jpg",
        ".jpx", ".mpo", ".pbm", ".pgm", ".png", ".pnm", ".ppm", ".qoi", ".tga", ".tif", ".tiff", ".webp",
    }
)  # fmt: skip
CODECS = ("avif", "jpg", "jpg_2000", "libjpeg_turbo", "libtiff", "webp")  # libraries below Pillow that decide pixels; zlib is lossless
DECODING = {
    "decoder": f"Pillow {PIL.__version__}",
    "codecs": ", ".join(f"{name} {features.version(name)}" for name in CODECS if features.check(name)),
    "mode": "RGB before resizing",
    "grey_of_16_bits": "scaled to 8 from the fewest of 10, 12, 14, 16 bits that hold the maximum",
}
GREY_BITS = (10, 12, 14, 16)
ORIENTATION = 0x0112  # EXIF tag
TRANSPOSITIONS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}  # by the value of the tag; 1 is upright

# How the first bytes of files begin that people take for images and Pillow does not read.
SIGNATURES = (
    (b"%PDF", "a PDF document"),
    (b"8BPS", "a Photoshop document"),
    (b"PK\x03\x04", "a ZIP archive"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"<svg", "an SVG drawing"),
    (b"<!DOCTYPE html", "a web page"),
    (b"<html", "a web page"),
    (b"<?xml", "an XML document"),
    (b"FUJIFILMCCD-RAW", "a raw photograph"),
    (b"version https://git-lfs", "a Git LFS pointer; run `git lfs pull`"),
)
VIDEO_BRANDS = (b"qt  ", b"isom", b"iso2", b"mp41", b"mp42", b"M4V ", b"3gp", b"avc1")
HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
TEXT_CHUNKS = (b"tEXt", b"zTXt", b"iTXt", b"iCCP")  # of PNG: descriptions and colour profiles, which change no pixel here

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

Pixels = npt.NDArray[np.uint8]
Item = TypeVar("Item")
Result = TypeVar("Result")


class Facts(NamedTuple):
    """What the index records of one file.

    ``width`` and ``height`` are in pixels, 0 unless ``status`` is "ok"; ``grey_bits`` is the number of bits that grey of 16 bits was scaled
    from, else 0; ``turned`` is whether the EXIF tag asks for another orientation.
    """

    sha256: str
    width: int
    height: int
    status: str
    grey_bits: int = 0
    turned: bool = False


def has_suffix(path: Path) -> bool:
    """Return whether the file's suffix is an image's."""
    return path.suffix.lower() in SUFFIXES


@cache  # every image asks, and Python looks for a missing package anew each time
def read_heif() -> str | None:
    """Let Pillow read HEIC, if pillow-heif is installed; return the versions of it and its decoders, or None."""
    try:
        import pillow_heif
    except ImportError:
        return None
    pillow_heif.register_heif_opener()
    libraries = pillow_heif.libheif_info()
    return ", ".join([f"pillow-heif {pillow_heif.__version__}", f"libheif {libraries['libheif']}", *libraries["decoders"].values()])


def decoding(exif: Exif) -> dict[str, str]:
    """Return what decides the pixels of an image in addition to its bytes, for the contract of embeddings."""
    terms = DECODING | {"exif_orientation": {"apply": "applied", "ignore": "ignored"}[exif]}
    heif = read_heif()
    return terms | ({"heif": heif} if heif else {})


def decode(data: bytes, exif: Exif) -> Pixels:
    """Return the whole image (the first frame of an animation) as RGB, uint8 (h, w, 3); transparency is dropped, not blended.

    Grey of 16 bits is scaled: Pillow's own conversion cuts it at 255, which leaves a white image. Cameras and scanners store 10, 12 or 14
    bits in 16, so the scale is the smallest of these that holds the image's maximum.

    Args:
        data: the file's bytes.
        exif: whether the EXIF orientation is applied.

    Raises:
        ValueError: pixels of 32 bits, whose range the file does not give.
        Exception: what Pillow and its codecs raise on a damaged image.
    """
    return _decode(data, exif)[0]


def _decode(data: bytes, exif: Exif) -> tuple[Pixels, int, bool]:
    """Return the pixels, the bits that grey of 16 bits was scaled from or 0, and whether its EXIF orientation is not upright."""
    read_heif()
    try:
        return _rgb(data, exif)
    except ValueError:
        shorter = without_text(data)  # Pillow refuses a PNG with more than 1 MB of text, whatever its pixels
        if len(shorter) == len(data):
            raise
        return _rgb(shorter, exif)


def _rgb(data: bytes, exif: Exif) -> tuple[Pixels, int, bool]:
    bits = 0
    with Image.open(io.BytesIO(data)) as image:
        if image.mode.startswith("I;16"):
            grey = np.asarray(image)
            bits = next(bits for bits in GREY_BITS if int(grey.max()) < 2**bits)
            rgb = Image.fromarray((grey >> (bits - 8)).astype(np.uint8)).convert("RGB")
        elif image.mode in ("I", "F"):
            raise ValueError(f"grey of 32 bits (mode {image.mode}) has no defined range")
        else:
            rgb = image.convert("RGB")
        transposition = TRANSPOSITIONS.get(_orientation(image))  # after loading, at which Pillow itself turns a TIFF
    if transposition is not None and exif == "apply":
        rgb = rgb.transpose(transposition)
    return np.array(rgb), bits, transposition is not None


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(ORIENTATION, 1))
    except _DAMAGED:  # of the EXIF block alone: the pixels are whole
        return 1


def without_text(data: bytes) -> bytes:
    """Return a PNG without its text and colour profile, which change no pixel; other data as it is."""
    if not data.startswith(b"\x89PNG\r\n\x1a\n"):
        return data
    kept, position = [data[:8]], 8
    while position + 8 <= len(data):
        end = position + 12 + int.from_bytes(data[position : position + 4])
        if data[position + 4 : position + 8] not in TEXT_CHUNKS:
            kept.append(data[position:end])
        position = end
    return b"".join(kept)


def kind_of(data: bytes) -> str:
    """Return what the bytes of a file are that is not an image that can be read: "not an image", with the kind where it is known."""
    start = data[:64].lstrip(b"\xef\xbb\xbf \t\r\n")
    if data[4:8] == b"ftyp":
        if data[8:12] in HEIF_BRANDS:
            return "a HEIC image, which needs the package pillow-heif: `.venv/bin/pip install pillow-heif`"
        if data[8:12].startswith(VIDEO_BRANDS):
            return "not an image but a video"
        if data[8:12] == b"crx ":
            return "not an image but a raw photograph"
    for signature, kind in SIGNATURES:
        if start.lower().startswith(signature.lower()):
            return f"not an image but {kind}"
    try:
        data[:1000].decode()
    except UnicodeDecodeError as error:
        if error.end < min(len(data), 1000) - 3:
            return "not an image"
    return "not an image but text" if b"\0" not in data[:1000] else "not an image"


def examine(path: Path, exif: Exif) -> Facts:
    """Decode the file once, fully; ``status`` is "ok" or the reason why the image cannot be used, ``sha256`` "" if it cannot be read."""
    try:
        data = path.read_bytes()
    except OSError as error:
        return Facts("", 0, 0, error.strerror or type(error).__name__)
    digest = hashlib.sha256(data).hexdigest()
    if not data:
        return Facts(digest, 0, 0, "empty file")
    try:
        pixels, bits, turned = _decode(data, exif)
    except UnidentifiedImageError:  # its text holds a memory address
        return Facts(digest, 0, 0, kind_of(data))
    except _DAMAGED as error:
        return Facts(digest, 0, 0, str(error) or type(error).__name__)
    height, width, _ = pixels.shape
    if max(width, height) >= THIN * min(width, height):
        return Facts(digest, 0, 0, f"{width} x {height} pixels: too thin to be embedded")
    return Facts(digest, width, height, "ok", bits, turned)


def load(path: str, sha256: str, exif: Exif) -> Pixels:
    """Return the image at ``path`` as RGB, uint8 (h, w, 3), if it is the file that was indexed; see `read`."""
    return decode(read(path, sha256), exif)


def read(path: str, sha256: str) -> bytes:
    """Return the bytes of the file at ``path``, after checking that they are those that were indexed.

    Raises:
        InputError: the file is missing or has changed.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}, although the index lists the file: run `dvc repro` again") from None
    if hashlib.sha256(data).hexdigest() != sha256:
        raise InputError(f"{path}: the file has changed since it was indexed (expected SHA-256 {sha256}): run `dvc repro` again")
    return data


def in_order(
    function: Callable[[Item], Result], items: Iterable[Item], ahead: int = 64, threads: ThreadPoolExecutor | None = None
) -> Iterator[Result]:
    """Yield ``function(item)`` of each item in order, computed by threads, at most ``ahead`` items in advance.

    Pillow and torch release the GIL while they work. The bound keeps memory constant for any number of items. At the end, or after an
    error or Ctrl-C, items that no thread has begun are dropped and the threads are joined.

    Args:
        function: called with one item at a time by each thread.
        items: in the order of the results.
        ahead: items that are computed, or wait, beyond the one that is yielded next.
        threads: by default one per core.
    """
    pool = threads or ThreadPoolExecutor(os.cpu_count())
    try:
        waiting: deque[Future[Result]] = deque()
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) > ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
