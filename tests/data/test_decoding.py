"""simplejpeg decodes JPEGs to Pillow's pixels, and what it might decode otherwise is left to Pillow, with Pillow's answer."""

import base64
import io
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import simplejpeg
from PIL import Image

from clipstore.core.params import Exif
from clipstore.data import images
from tests.odd import ORIENTATION, drawn
from tests.synthetic import encoded

SIZES = [(1, 1), (1, 19), (31, 1), (17, 11), (64, 48), (173, 131)]
# 17 x 11 pixels with arithmetic coding, by libjpeg-turbo's cjpeg.
ARITHMETIC = base64.b64decode(
    "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDAA0JCgsKCA0LCgsODg0PEyAVExISEyccHhcgLikxMC4pLSwzOko+MzZGNywtQFdBRkxOUlNSMj5aYVpQYEpRUk//2wBDAQ4O"
    "DhMREyYVFSZPNS01T09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT0//yQARCAALABEDASIAAhEBAxEB/8wACgAQEAUBEBEF/9oADAMB"
    "AAIRAxEAPwDI8hQmKYIn+dCR8fXIFrzqjHoZm5x1XtgGGcJZhSj4q+wvdQ2pSUOI4ea5wa5xCAmJe2F/4DGjA1RO0la+Z+kHQiX4qU5DNqAX/YyduAupc9tVW/AsQwpo"
    "+WjC/9k="
)  # fmt: skip


def frame(data: bytes) -> int:
    """Return the position of the first frame header's contents: bits, height, width, components."""
    return max(data.find(b"\xff\xc0"), data.find(b"\xff\xc2")) + 4


def changed(data: bytes, position: int, *values: int) -> bytes:
    return data[:position] + bytes(values) + data[position + len(values) :]


def sampled(image: Image.Image, subsampling: str) -> bytes:
    """Return a YCbCr JPEG with this subsampling of its colours."""
    return bytes(simplejpeg.encode_jpeg(np.array(image), 90, "RGB", subsampling))


def jpeg(image: Image.Image, **options: Any) -> bytes:
    return encoded(image, "JPEG", **options)


def ycck(image: Image.Image) -> bytes:
    """Return a CMYK file whose Adobe marker says YCCK."""
    data = jpeg(image.convert("CMYK"))
    return changed(data, data.index(b"Adobe") + 11, 2)


def exif(image: Image.Image, orientation: int) -> bytes:
    tags = Image.Exif()
    tags[ORIENTATION] = orientation
    return jpeg(image, exif=tags)


FAST: dict[str, Callable[[Image.Image], bytes]] = {
    **{name: partial(sampled, subsampling=name) for name in ("444", "422", "420", "440", "411")},
    "grey": lambda image: jpeg(image.convert("L")),
    "grey with sampling factors": lambda image: changed(data := jpeg(image.convert("L")), frame(data) + 7, 0x22),
    "progressive": lambda image: jpeg(image, progressive=True),
    "restart markers": lambda image: jpeg(image, restart_marker_blocks=1),
    "coarse": lambda image: jpeg(image, quality=3),
    "fine": lambda image: jpeg(image, quality=100, subsampling=0),
    "colour profile": lambda image: jpeg(image, icc_profile=bytes(70_000)),
    "trailing bytes": lambda image: jpeg(image) + b"\xff\xd8\xff\xe1trailing",
    "two pictures": lambda image: encoded(image, "MPO", save_all=True, append_images=[drawn(9, (40, 30))]),
    **{f"orientation {tag}": partial(exif, orientation=tag) for tag in range(1, 9)},
}
SLOW: dict[str, Callable[[Image.Image], bytes]] = {
    "cmyk": lambda image: jpeg(image.convert("CMYK")),
    "ycck": ycck,
    "coded as RGB": lambda image: jpeg(image, keep_rgb=True),
    "png": lambda image: encoded(image, "PNG"),
}


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Whether simplejpeg decoded each image, in order."""
    log: list[bool] = []
    plain_jpeg = images._plain_jpeg

    def logged(*arguments: Any) -> images.Pixels | None:
        pixels = plain_jpeg(*arguments)
        log.append(pixels is not None)
        return pixels

    monkeypatch.setattr(images, "_plain_jpeg", logged)
    return log


def by_pillow(data: bytes) -> images.Pixels:
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("RGB"))


def outcome(data: bytes) -> tuple[object, ...]:
    """Return shape, pixels and facts of an image, or the error."""
    try:
        pixels, bits, turned = images._decode(data, "apply")
    except Exception as error:
        return type(error).__name__, str(error).partition(" at 0x")[0]
    return pixels.shape, pixels.tobytes(), bits, turned


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", FAST | SLOW)
def test_pixels_are_pillows(kind: str, size: tuple[int, int], taken: list[bool]) -> None:
    data = (FAST | SLOW)[kind](drawn(0, size))
    pixels = images.decode(data, "ignore")
    np.testing.assert_array_equal(pixels, by_pillow(data))
    assert pixels.flags.c_contiguous and pixels.flags.writeable
    assert taken == [kind in FAST]


def test_arithmetic_coding(taken: list[bool]) -> None:
    np.testing.assert_array_equal(images.decode(ARITHMETIC, "ignore"), by_pillow(ARITHMETIC))
    assert taken == [True]


def test_twelve_bits_are_refused_as_by_pillow(tmp_path: Path) -> None:
    data = jpeg(drawn(0, (17, 11)))
    (tmp_path / "a.jpg").write_bytes(changed(data, frame(data), 12))
    assert images.examine(tmp_path / "a.jpg", "ignore").status == "not an image"


def damaged(random: np.random.Generator, data: bytes) -> bytes:
    """Return the file with a few bytes changed, inserted or removed, or a part missing at the end."""
    at, some = int(random.integers(2, len(data))), random.bytes(int(random.integers(1, 5)))
    kinds = (changed(data, at, *some), data[:at] + some + data[at:], data[:at] + data[at + len(some) :], data[:at])
    return kinds[random.integers(4)]


def outcomes(files: list[bytes], monkeypatch: pytest.MonkeyPatch) -> tuple[list[tuple[object, ...]], list[tuple[object, ...]]]:
    """Return the outcomes with simplejpeg and by Pillow alone."""
    ours = [outcome(data) for data in files]
    monkeypatch.setattr(images, "_plain_jpeg", lambda *_: None)
    return ours, [outcome(data) for data in files]


@pytest.mark.parametrize("kind", ["420", "progressive", "restart markers", "grey", "cmyk", "orientation 6", "two pictures"])
def test_damaged_files_have_the_outcome_that_they_have_with_pillow(kind: str, taken: list[bool], monkeypatch: pytest.MonkeyPatch) -> None:
    random, data = np.random.default_rng(0), (FAST | SLOW)[kind](drawn(0, (40, 31)))
    ours, pillows = outcomes([damaged(random, data) for _ in range(150)], monkeypatch)
    assert ours == pillows
    refused = sum(len(each) == 2 for each in pillows)
    assert 20 < refused < 130
    assert (sum(taken) > 10) is (kind in FAST)
    assert sum(taken) < 150 - refused  # Pillow accepts some at which simplejpeg stops


def test_files_cut_anywhere_near_their_end_have_the_outcome_that_they_have_with_pillow(monkeypatch: pytest.MonkeyPatch) -> None:
    data = sampled(drawn(0, (40, 31)), "420")
    ours, pillows = outcomes([data[:-missing] for missing in range(1, 60)], monkeypatch)
    assert ours == pillows


@pytest.mark.parametrize(("height", "width"), [(30, 40), (31, 39), (32, 40), (62, 40), (8, 40), (31, 48), (31, 80)])
@pytest.mark.parametrize("kind", ["420", "progressive"])
def test_a_header_with_another_size_than_the_data_has_the_outcome_that_it_has_with_pillow(
    kind: str, height: int, width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = FAST[kind](drawn(0, (40, 31)))
    other = changed(data, frame(data) + 1, height >> 8, height & 255, width >> 8, width & 255)
    ours, pillows = outcomes([other], monkeypatch)
    assert ours == pillows


def test_of_two_headers_the_one_that_pillow_limits_is_the_one_that_takes_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """simplejpeg is asked for its own reading of the size first."""
    data = jpeg(drawn(0, (40, 31)))
    monkeypatch.setattr(simplejpeg, "decode_jpeg_header", lambda _: (60_000, 60_000, "YCbCr", "420"))
    monkeypatch.setattr(simplejpeg, "decode_jpeg", None)
    np.testing.assert_array_equal(images.decode(data, "ignore"), by_pillow(data))


def test_a_decompression_bomb_is_refused_before_it_is_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = jpeg(drawn(0, (40, 31)))
    (tmp_path / "a.jpg").write_bytes(changed(data, frame(data) + 1, 0xEA, 0x60, 0xEA, 0x60))
    monkeypatch.setattr(simplejpeg, "decode_jpeg_header", None)
    assert "could be decompression bomb" in images.examine(tmp_path / "a.jpg", "ignore").status


def test_decoding_leaves_python_to_other_threads() -> None:
    """Else no number of threads would decode faster than one."""
    data = jpeg(drawn(0, (3000, 3000)), quality=95)
    decoding, turns = threading.Thread(target=images.decode, args=(data, "ignore")), 0
    decoding.start()
    while decoding.is_alive():
        time.sleep(0.001)
        turns += 1
    assert turns > 10


@pytest.mark.parametrize("size", [(37, 1), (1, 37), (2000, 1500)])
def test_all_bands_of_a_large_image_are_copied_from_pillow(size: tuple[int, int]) -> None:
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), np.uint8))
    np.testing.assert_array_equal(images._array(image), np.asarray(image))


@pytest.mark.parametrize(
    ("size", "least", "expected"),
    [
        ((1600, 800), (100, 50), (200, 100)),
        ((1600, 800), (201, 50), (400, 200)),
        ((1600, 800), (400, 201), (800, 400)),
        ((1600, 800), (801, 50), (1600, 800)),
        ((1601, 801), (201, 101), (201, 101)),
        ((10, 10), (20, 20), (10, 10)),
    ],
)
def test_a_large_jpeg_is_scaled_to_no_less_than_enough(size: tuple[int, int], least: tuple[int, int], expected: tuple[int, int]) -> None:
    data = jpeg(drawn(0, size[::-1]))
    pixels = images.decode(data, "ignore", lambda height, width: least if (height, width) == size else (0, 0))
    assert pixels.shape[:2] == expected
    blocks = np.asarray(Image.fromarray(by_pillow(data)).resize(expected[::-1], Image.Resampling.BOX)).astype(int)
    assert np.abs(pixels - blocks).mean() < 2


@pytest.mark.parametrize("orientation", range(1, 9))
def test_enough_is_asked_about_the_upright_image(orientation: int) -> None:
    data = exif(drawn(0, (96, 64)), orientation)
    asked: list[tuple[int, int]] = []

    def enough(height: int, width: int) -> tuple[int, int]:
        asked.append((height, width))
        return height // 4, width // 8  # would be another size on its side

    choices: tuple[Exif, ...] = ("apply", "ignore")
    for choice in choices:
        pixels, upright = images.decode(data, choice, enough), images.decode(data, choice)
        assert asked[-1] == upright.shape[:2]
        assert pixels.shape[:2] == (upright.shape[0] // 4, upright.shape[1] // 4)


@pytest.mark.parametrize("kind", SLOW)
def test_what_pillow_decodes_is_not_scaled(kind: str) -> None:
    assert images.decode(SLOW[kind](drawn(0, (64, 48))), "ignore", lambda *_: (1, 1)).shape == (48, 64, 3)
