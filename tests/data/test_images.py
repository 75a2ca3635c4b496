"""Image files, odd, whole and damaged: what becomes of each, and why."""

import hashlib
import io
import os
import random
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clipstore.core.errors import InputError
from clipstore.data import images
from tests import odd
from tests.synthetic import encoded, picture, put
from tests.workspace import PROJECT

FORMS = ("JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP", "PPM", "AVIF")


def pixels(image: Image.Image) -> list[list[list[int]]]:
    found: list[list[list[int]]] = np.asarray(image).tolist()
    return found


def test_palette_becomes_its_colours() -> None:
    """Numbers of colours can't be averaged: resized as they are, they would be resized by nearest neighbour."""
    image = Image.new("P", (2, 1))
    image.putpalette([0, 0, 0, 250, 10, 20, 30, 40, 50])
    image.putdata([1, 2])
    decoded = images.decode(encoded(image, "PNG"))
    assert decoded.mode == "RGB"
    assert pixels(decoded) == [[[250, 10, 20], [30, 40, 50]]]


def test_alpha_is_dropped() -> None:
    """The published numbers were made so: blended with some ground, a transparent image would have other pixels."""
    decoded = images.decode(encoded(Image.new("RGBA", (1, 1), (1, 2, 3, 0)), "PNG"))
    assert (decoded.mode, pixels(decoded)) == ("RGB", [[[1, 2, 3]]])


@pytest.mark.parametrize("mode", ["L", "1", "LA"])
def test_grey_becomes_three_equal_channels(mode: str) -> None:
    """Encoders take three channels, and no colour is one colour."""
    decoded = images.decode(encoded(Image.new("L", (1, 1), 255).convert(mode), "PNG"))
    assert (decoded.mode, pixels(decoded)) == ("RGB", [[[255, 255, 255]]])


@pytest.mark.parametrize("form", ["PNG", "TIFF"])
def test_grey_of_16_bits_is_scaled_not_cut(form: str) -> None:
    """Pillow's own conversion cuts at 255: nearly every pixel would be white."""
    levels = np.array([[0, 255, 256, 32768, 65535]], np.uint16)
    assert np.asarray(images.decode(encoded(Image.fromarray(levels), form)))[0, :, 0].tolist() == [0, 0, 1, 128, 255]


@pytest.mark.parametrize("kind", [np.int32, np.float32])
def test_grey_of_32_bits_is_refused_since_its_range_is_unknown(tmp_path: Path, kind: type[np.generic]) -> None:
    path = tmp_path / "deep.tif"
    path.write_bytes(encoded(Image.fromarray(np.zeros((2, 2), kind)), "TIFF"))
    assert images.examine(path).status.startswith("grey of 32 bits (mode ")


def test_cmyk_becomes_rgb() -> None:
    """What was made for print is a photograph like any other."""
    red, green, blue = pixels(images.decode(encoded(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG")))[0][0]
    assert red > 250 and green < 5 and blue < 5


def test_a_name_with_spaces_and_letters_of_any_script_is_a_name(tmp_path: Path) -> None:
    """Users' folders have them; nothing here goes through a shell or ASCII."""
    assert images.examine(put(tmp_path / "Hibiskus blüte 花.png", 0)).status == "ok"


def test_exif_orientation_is_ignored() -> None:
    """The published numbers were made so: torchvision's and open_clip's loading turn no image either."""
    image = picture(0, (6, 4))
    data = odd.turned(image, "PNG")
    with Image.open(io.BytesIO(data)) as stored:
        assert stored.getexif()[odd.ORIENTATION] == 6
    assert pixels(images.decode(data)) == pixels(image)


def test_animation_gives_its_first_frame() -> None:
    """An image has one vector, and the first frame is what every loader shows."""
    first, second = Image.new("RGB", (2, 2), (255, 0, 0)), Image.new("RGB", (2, 2), (0, 0, 255))
    decoded = images.decode(encoded(first, "GIF", save_all=True, append_images=[second]))
    assert pixels(decoded)[0][0] == [255, 0, 0]


def test_good_file_has_its_digest_and_size(tmp_path: Path) -> None:
    path = put(tmp_path / "a.png", 0)
    assert images.examine(path) == (hashlib.sha256(path.read_bytes()).hexdigest(), 6, 4, "ok")


def test_suffix_does_not_decide(tmp_path: Path) -> None:
    assert images.examine(put(tmp_path / "a.jpg", 0)).status == "ok"


def test_bytes_after_the_end_of_a_jpeg_do_no_harm(tmp_path: Path) -> None:
    """Cameras and editors append their own: the image before them is whole."""
    path = tmp_path / "a.jpg"
    path.write_bytes(encoded(picture(0), "JPEG") + b"previews and the like")
    assert images.examine(path).status == "ok"


def truncated(path: Path) -> None:
    path.write_bytes(odd.truncated())


def empty(path: Path) -> None:
    path.write_bytes(b"")


def text(path: Path) -> None:
    path.write_text("I am not an image.")


def thin(path: Path) -> None:
    Image.new("RGB", (400, 4)).save(path, "PNG")


def missing(path: Path) -> None:
    path.unlink(missing_ok=True)


def directory(path: Path) -> None:
    path.mkdir(exist_ok=True)


@pytest.mark.parametrize(
    ("make", "status"),
    [
        (truncated, "image file is truncated"),
        (empty, "empty file"),
        (thin, "400 x 4 pixels: too thin to be embedded"),
        (text, "not an image"),
        (missing, "No such file or directory"),
        (directory, "Is a directory"),
    ],
)
def test_unusable_file_has_a_status_that_repeats(tmp_path: Path, make: Callable[[Path], None], status: str) -> None:
    """One bad file must neither stop a run nor vanish from the count, nor become a grey rectangle; and the index must be reproducible."""
    path = tmp_path / "a.jpg"
    make(path)
    found = images.examine(path)
    assert found.status.startswith(status)
    assert "0x" not in found.status
    assert (found.width, found.height) == (0, 0)
    assert found.sha256 == (hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "")
    make(path)
    assert images.examine(path) == found


EXAMINE = """
import sys
from pathlib import Path
from clipstore.core import stage
from clipstore.data import images
before = stage._peak_mib()
print(images.examine(Path(sys.argv[1])).status, stage._peak_mib() - before, sep="|")
"""


def test_a_bomb_of_30000_pixels_square_is_refused_before_it_takes_memory(tmp_path: Path) -> None:
    """A file of 107 KiB would take gigabytes as pixels: Pillow refuses by the size in the header, above 179 million pixels."""
    path = tmp_path / "bomb.png"
    path.write_bytes(odd.blank(30_000, 30_000))
    assert path.stat().st_size < 200_000
    done = subprocess.run([sys.executable, "-c", EXAMINE, path], cwd=PROJECT, capture_output=True, text=True, check=True)
    status, grown = done.stdout.split("|")
    assert status.startswith("Image size (900000000 pixels) exceeds limit of 178956970 pixels")
    assert float(grown) < 20  # MiB


def test_an_image_between_pillows_limit_and_twice_that_is_kept_with_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cameras make images of 100 million pixels: Pillow remarks on them on stderr, and they are used."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 20)
    with pytest.warns(Image.DecompressionBombWarning, match=r"Image size \(24 pixels\) exceeds limit of 20 pixels"):
        found = images.examine(put(tmp_path / "a.png", 0))
    assert (found.width, found.height, found.status) == (6, 4, "ok")


@pytest.mark.filterwarnings("ignore")  # Pillow's remarks on what it reads all the same
@pytest.mark.parametrize("form", FORMS)
def test_damaged_bytes_never_raise(tmp_path: Path, form: str) -> None:
    """Whatever a codec says of them becomes the status: a run of hours must not die of one file."""
    chance = random.Random(0)
    path = tmp_path / "damaged"
    whole = encoded(picture(0, (24, 16)), form)
    statuses = []
    for _ in range(80):
        data = bytearray(whole[: chance.randrange(len(whole))] if chance.random() < 0.4 else whole)
        for _ in range(min(len(data), chance.randrange(1, 5))):
            data[chance.randrange(min(len(data), chance.choice([40, 4000])))] = chance.randrange(256)
        path.write_bytes(data)
        found = images.examine(path)
        assert images.examine(path) == found
        assert "0x" not in found.status
        assert (found.width > 0 and found.height > 0) == (found.status == "ok")
        statuses.append(found.status)
    assert 0 < statuses.count("ok") < len(statuses)  # both outcomes were put to the test


def test_load_gives_the_indexed_image(tmp_path: Path) -> None:
    path = put(tmp_path / "a.png", 0)
    assert pixels(images.load(str(path), images.examine(path).sha256)) == pixels(picture(0))


def test_load_refuses_changed_bytes(tmp_path: Path) -> None:
    path = put(tmp_path / "a.png", 0)
    indexed = images.examine(path).sha256
    put(path, 1)
    with pytest.raises(InputError, match=f"^{path}: the file has changed since it was indexed .*{indexed}"):
        images.load(str(path), indexed)


def test_load_names_a_vanished_file(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    with pytest.raises(InputError, match=f"^{path}: No such file or directory, although the index lists the file"):
        images.load(str(path), "0" * 64)


def test_results_come_in_the_order_of_the_items(monkeypatch: pytest.MonkeyPatch) -> None:
    later = threading.Event()

    def square(item: int) -> int:
        if item == 0:
            assert later.wait(60)  # until another one is done
        else:
            later.set()
        return item * item

    monkeypatch.setattr(os, "cpu_count", lambda: 2)  # one thread would wait in vain
    assert list(images.in_order(square, range(50), ahead=5)) == [item * item for item in range(50)]


def test_fewer_items_than_the_bound() -> None:
    assert list(images.in_order(str, [1, 2], ahead=64)) == ["1", "2"]
    assert list(images.in_order(str, [], ahead=64)) == []


def test_items_are_taken_at_most_one_more_than_the_bound_early() -> None:
    taken = 0

    def items() -> Iterator[int]:
        nonlocal taken
        for item in range(100):
            taken += 1
            yield item

    early = []
    for given, result in enumerate(images.in_order(lambda item: item, items(), ahead=7)):
        assert result == given
        early.append(taken - given)
    assert max(early) == 7 + 1


def test_error_of_a_worker_is_raised_after_the_results_before_it() -> None:
    def fail(item: int) -> int:
        if item == 3:
            raise InputError("photo.jpg: gone")
        return item

    results = images.in_order(fail, range(10), ahead=2)
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(InputError, match=r"^photo.jpg: gone$"):
        next(results)
