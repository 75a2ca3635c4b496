"""Read, check and decode image files to RGB, before any resizing.

simplejpeg decodes the JPEGs whose pixels it is known to give exactly as Pillow does, in half the time; Pillow opens every file, and decodes
the others and all that simplejpeg refuses, so it alone decides whether an image is usable (docs/decisions/0020-decoding.md).

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
import simplejpeg
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
    "decoder": f"Pillow {PIL.__version__}, simplejpeg {simplejpeg.__version__}",
    "codecs": ", ".join(f"{name} {features.version(name)}" for name in CODECS if features.check(name)),
    "mode": "RGB before resizing",
    "grey_of_16_bits": "scaled to 8 from the fewest of 10, 12, 14, 16 bits that hold the maximum",
}
GREY_BITS = (10, 12, 14, 16)
ORIENTATION = 0x0112  # EXIF tag
TURNS = {
    2: (False, True, False),
    3: (True, True, False),
    4: (True, False, False),
    5: (False, False, True),
    6: (True, False, True),
    7: (True, True, True),
    8: (False, True, True),
}  # what turns an image upright, by the value of the tag; 1 is upright: upside down, mirrored, then transposed

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

BAND = 2**20  # pixels that are copied from Pillow at a time: whole photographs would take twice as long

SCALES = (8, 4, 2)  # by which the decoder of JPEGs divides a size at no cost
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
Enough = Callable[[int, int], tuple[int, int]]
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


def decode(data: bytes, exif: Exif, enough: Enough | None = None) -> Pixels:
    """Return the whole image (the first frame of an animation) as RGB, uint8 (h, w, 3); transparency is dropped, not blended.

    Grey of 16 bits is scaled: Pillow's own conversion cuts it at 255, which leaves a white image. Cameras and scanners store 10, 12 or 14
    bits in 16, so the scale is the smallest of these that holds the image's maximum.

    Args:
        data: the file's bytes.
        exif: whether the EXIF orientation is applied.
        enough: lets the decoder scale a JPEG by 1/2, 1/4 or 1/8: of the height and width of an image, the least that it may be decoded to.

    Raises:
        ValueError: pixels of 32 bits, whose range the file does not give.
        Exception: what Pillow and its codecs raise on a damaged image.
    """
    return _decode(data, exif, enough)[0]


def _decode(data: bytes, exif: Exif, enough: Enough | None = None) -> tuple[Pixels, int, bool]:
    """Return the pixels, the bits that grey of 16 bits was scaled from or 0, and whether its EXIF orientation is not upright."""
    read_heif()
    try:
        return _rgb(data, exif, enough)
    except ValueError:
        shorter = without_text(data)  # Pillow refuses a PNG with more than 1 MB of text, whatever its pixels
        if len(shorter) == len(data):
            raise
        return _rgb(shorter, exif, enough)


def _rgb(data: bytes, exif: Exif, enough: Enough | None) -> tuple[Pixels, int, bool]:
    bits = 0
    with Image.open(io.BytesIO(data)) as image:
        if image.mode.startswith("I;16"):
            grey = np.asarray(image)
            bits = next(bits for bits in GREY_BITS if int(grey.max()) < 2**bits)
            pixels = np.repeat((grey >> (bits - 8)).astype(np.uint8)[:, :, None], 3, axis=2)
        elif image.mode in ("I", "F"):
            raise ValueError(f"grey of 32 bits (mode {image.mode}) has no defined range")
        else:
            plain = _plain_jpeg(data, image, exif, enough)
            pixels = _array(image.convert("RGB")) if plain is None else plain
        turn = TURNS.get(orientation(image))  # after loading, at which Pillow itself turns a TIFF
    if turn is not None and exif == "apply":
        pixels = _turned(pixels, turn)
    return pixels, bits, turn is not None


def _plain_jpeg(data: bytes, image: Image.Image, exif: Exif = "ignore", enough: Enough | None = None) -> Pixels | None:
    """Return the pixels of a grey or YCbCr JPEG without damage, whose header Pillow has read, or None: Pillow has to decode it.

    With ``enough``, they may be scaled. Pillow has limited the number of pixels; the header that the decoder reads must give the same size
    before it takes memory.
    """
    if image.format not in ("JPEG", "MPO") or image.mode not in ("L", "RGB"):
        return None
    try:
        height, width, coding, _ = simplejpeg.decode_jpeg_header(data)
        if (width, height) != image.size or coding not in ("Gray", "YCbCr"):
            return None
        if enough:
            turn = TURNS.get(orientation(image)) if exif == "apply" else None
            on_its_side = turn is not None and turn[2]
            least = enough(width, height)[::-1] if on_its_side else enough(height, width)
            height, width = _scaled((height, width), least)
        pixels: Pixels = simplejpeg.decode_jpeg(
            data, "RGB", fastdct=False, fastupsample=False, min_height=height, min_width=width, strict=True
        )
    except (ValueError, KeyError):  # the latter of a subsampling or colour space that it has no name for
        return None
    return pixels


def _scaled(size: tuple[int, int], least: tuple[int, int]) -> tuple[int, int]:
    """Return the size divided by the largest of SCALES, rounded up as by the decoder, that leaves at least ``least``."""
    for scale in SCALES:
        scaled = -(-size[0] // scale), -(-size[1] // scale)
        if scaled[0] >= least[0] and scaled[1] >= least[1]:
            return scaled
    return size


def _array(image: Image.Image) -> Pixels:
    """Return the pixels of an image in mode RGB."""
    pixels = np.empty((image.height, image.width, 3), np.uint8)
    rows = max(1, BAND // image.width)
    for top in range(0, image.height, rows):
        pixels[top : top + rows] = np.asarray(image.crop((0, top, image.width, min(top + rows, image.height))))
    return pixels


def _turned(pixels: Pixels, turn: tuple[bool, bool, bool]) -> Pixels:
    """Return the pixels upside down, mirrored and transposed, in this order and each where ``turn`` says so."""
    down, across, transpose = turn
    whole = pixels.view("V3")[:, :, 0][:: -1 if down else 1, :: -1 if across else 1]  # 3 bytes as one item are moved twice as fast
    turned = np.ascontiguousarray(whole.T if transpose else whole)
    return turned.view(np.uint8).reshape(*turned.shape, 3)


def orientation(image: Image.Image) -> int:
    """Return the value of the EXIF tag, 1 (upright) if there is none or it cannot be read."""
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


def load(path: str, sha256: str, exif: Exif, enough: Enough | None = None) -> Pixels:
    """Return the image at ``path`` as RGB, uint8 (h, w, 3), if it is the file that was indexed; see `read` and `decode`."""
    return decode(read(path, sha256), exif, enough)


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
