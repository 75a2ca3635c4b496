"""How unusual and damaged image files are handled, and why."""

import hashlib
import importlib.util
import io
import os
import random
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps, PngImagePlugin, features

from clipstore.core.errors import InputError
from clipstore.data import images
from tests import odd
from tests.synthetic import encoded, picture, put
from tests.workspace import PROJECT

FORMS = ("JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP", "PPM", "AVIF")


def pixels(image: Image.Image | images.Pixels) -> list[list[list[int]]]:
    rows: list[list[list[int]]] = np.asarray(image).tolist()
    return rows


def test_palette_images_become_rgb() -> None:
    """Palette indices cannot be interpolated, so a palette image would be resized by nearest neighbour."""
    image = Image.new("P", (2, 1))
    image.putpalette([0, 0, 0, 250, 10, 20, 30, 40, 50])
    image.putdata([1, 2])
    decoded = images.decode(encoded(image, "PNG"), "ignore")
    assert pixels(decoded) == [[[250, 10, 20], [30, 40, 50]]]


def test_alpha_is_dropped() -> None:
    """Published results were measured this way; blending with a background would give other pixels."""
    decoded = images.decode(encoded(Image.new("RGBA", (1, 1), (1, 2, 3, 0)), "PNG"), "ignore")
    assert pixels(decoded) == [[[1, 2, 3]]]


@pytest.mark.parametrize("mode", ["L", "1", "LA"])
def test_grey_becomes_three_equal_channels(mode: str) -> None:
    """Encoders expect three channels."""
    decoded = images.decode(encoded(Image.new("L", (1, 1), 255).convert(mode), "PNG"), "ignore")
    assert pixels(decoded) == [[[255, 255, 255]]]


@pytest.mark.parametrize("form", ["PNG", "TIFF"])
def test_16_bit_grey_is_scaled_not_clipped(form: str) -> None:
    """Pillow's own conversion clips at 255, so nearly every pixel would be white."""
    levels = np.array([[0, 255, 256, 32768, 65535]], np.uint16)
    assert images.decode(encoded(Image.fromarray(levels), form), "ignore")[0, :, 0].tolist() == [0, 0, 1, 128, 255]


@pytest.mark.parametrize("kind", [np.int32, np.float32])
def test_32_bit_grey_is_rejected_since_its_range_is_unknown(tmp_path: Path, kind: type[np.generic]) -> None:
    path = tmp_path / "deep.tif"
    path.write_bytes(encoded(Image.fromarray(np.zeros((2, 2), kind)), "TIFF"))
    assert images.examine(path, "ignore").status.startswith("grey of 32 bits (mode ")


def test_cmyk_becomes_rgb() -> None:
    """Photographs prepared for print are often CMYK."""
    red, green, blue = pixels(images.decode(encoded(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG"), "ignore"))[0][0]
    assert red > 250 and green < 5 and blue < 5


def test_file_names_may_contain_spaces_and_any_script(tmp_path: Path) -> None:
    """Such names are common in users' folders."""
    assert images.examine(put(tmp_path / "Hibiskus blüte 花.png", 0), "ignore").status == "ok"


def test_exif_orientation_is_ignored() -> None:
    """Published results were measured this way: the loaders of torchvision and open_clip do not rotate images either."""
    image = picture(0, (6, 4))
    data = odd.turned(image, "PNG")
    with Image.open(io.BytesIO(data)) as stored:
        assert stored.getexif()[odd.ORIENTATION] == 6
    assert pixels(images.decode(data, "ignore")) == pixels(image)


def test_the_first_frame_of_an_animation_is_used() -> None:
    """An image has only one vector, and every loader uses the first frame."""
    first, second = Image.new("RGB", (2, 2), (255, 0, 0)), Image.new("RGB", (2, 2), (0, 0, 255))
    decoded = images.decode(encoded(first, "GIF", save_all=True, append_images=[second]), "ignore")
    assert pixels(decoded)[0][0] == [255, 0, 0]


def test_digest_and_size_of_a_good_file(tmp_path: Path) -> None:
    path = put(tmp_path / "a.png", 0)
    assert images.examine(path, "ignore") == images.Facts(hashlib.sha256(path.read_bytes()).hexdigest(), 6, 4, "ok")


def test_suffix_may_be_wrong(tmp_path: Path) -> None:
    assert images.examine(put(tmp_path / "a.jpg", 0), "ignore").status == "ok"


def test_bytes_after_the_end_of_a_jpeg_are_ignored(tmp_path: Path) -> None:
    """Cameras and editors append their own data after a complete image."""
    path = tmp_path / "a.jpg"
    path.write_bytes(encoded(picture(0), "JPEG") + b"previews and the like")
    assert images.examine(path, "ignore").status == "ok"


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
def test_unusable_file_has_a_reproducible_status(tmp_path: Path, make: Callable[[Path], None], status: str) -> None:
    """A bad file must not stop a run, vanish from the counts or become a grey rectangle, and its status must be reproducible."""
    path = tmp_path / "a.jpg"
    make(path)
    facts = images.examine(path, "ignore")
    assert facts.status.startswith(status)
    assert "0x" not in facts.status
    assert (facts.width, facts.height) == (0, 0)
    assert facts.sha256 == (hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "")
    make(path)
    assert images.examine(path, "ignore") == facts


EXAMINE = """
import sys
from pathlib import Path
from clipstore.core import stage
from clipstore.data import images
before = stage._peak_mib()
print(images.examine(Path(sys.argv[1]), "ignore").status, stage._peak_mib() - before, sep="|")
"""


def test_a_decompression_bomb_is_rejected_before_it_takes_memory(tmp_path: Path) -> None:
    """A file of 107 KiB would decode to gigabytes; Pillow rejects sizes above 179 million pixels from the header alone."""
    path = tmp_path / "bomb.png"
    path.write_bytes(odd.blank(30_000, 30_000))
    assert path.stat().st_size < 200_000
    process = subprocess.run([sys.executable, "-c", EXAMINE, path], cwd=PROJECT, capture_output=True, text=True, check=True)
    status, growth = process.stdout.split("|")
    assert status.startswith("Image size (900000000 pixels) exceeds limit of 178956970 pixels")
    assert float(growth) < 20  # MiB


def test_an_image_up_to_twice_pillows_limit_is_used_with_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cameras take images of 100 million pixels; Pillow warns about them, and they are used."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 20)
    with pytest.warns(Image.DecompressionBombWarning, match=r"Image size \(24 pixels\) exceeds limit of 20 pixels"):
        facts = images.examine(put(tmp_path / "a.png", 0), "ignore")
    assert (facts.width, facts.height, facts.status) == (6, 4, "ok")


@pytest.mark.filterwarnings("ignore")  # Pillow's warnings about files that it can read
@pytest.mark.parametrize("form", FORMS)
def test_damaged_bytes_never_raise(tmp_path: Path, form: str) -> None:
    """Any exception of a codec becomes the status: one file must not end a run of hours."""
    rng = random.Random(0)
    path = tmp_path / "damaged"
    original = encoded(picture(0, (24, 16)), form)
    statuses = []
    for _ in range(80):
        data = bytearray(original[: rng.randrange(len(original))] if rng.random() < 0.4 else original)
        for _ in range(min(len(data), rng.randrange(1, 5))):
            data[rng.randrange(min(len(data), rng.choice([40, 4000])))] = rng.randrange(256)
        path.write_bytes(data)
        facts = images.examine(path, "ignore")
        assert images.examine(path, "ignore") == facts
        assert "0x" not in facts.status
        assert (facts.width > 0 and facts.height > 0) == (facts.status == "ok")
        statuses.append(facts.status)
    assert 0 < statuses.count("ok") < len(statuses)  # both outcomes occurred


def test_load_returns_the_indexed_image(tmp_path: Path) -> None:
    path = put(tmp_path / "a.png", 0)
    assert pixels(images.load(str(path), images.examine(path, "ignore").sha256, "ignore")) == pixels(picture(0))


def test_load_rejects_a_changed_file(tmp_path: Path) -> None:
    path = put(tmp_path / "a.png", 0)
    indexed = images.examine(path, "ignore").sha256
    put(path, 1)
    with pytest.raises(InputError, match=f"^{path}: the file has changed since it was indexed .*{indexed}"):
        images.load(str(path), indexed, "ignore")


def test_load_reports_a_missing_file(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    with pytest.raises(InputError, match=f"^{path}: No such file or directory, although the index lists the file"):
        images.load(str(path), "0" * 64, "ignore")


def test_results_are_in_the_order_of_the_items(monkeypatch: pytest.MonkeyPatch) -> None:
    later = threading.Event()

    def square(item: int) -> int:
        if item == 0:
            assert later.wait(60)  # until another item is done
        else:
            later.set()
        return item * item

    monkeypatch.setattr(os, "cpu_count", lambda: 2)  # a single thread would wait forever
    assert list(images.in_order(square, range(50), ahead=5)) == [item * item for item in range(50)]


def test_fewer_items_than_the_bound() -> None:
    assert list(images.in_order(str, [1, 2], ahead=64)) == ["1", "2"]
    assert list(images.in_order(str, [], ahead=64)) == []


def test_items_are_consumed_at_most_one_beyond_the_bound() -> None:
    taken = 0

    def items() -> Iterator[int]:
        nonlocal taken
        for item in range(100):
            taken += 1
            yield item

    early = []
    for position, result in enumerate(images.in_order(lambda item: item, items(), ahead=7)):
        assert result == position
        early.append(taken - position)
    assert max(early) == 7 + 1


def test_error_of_a_worker_is_raised_after_earlier_results() -> None:
    def fail(item: int) -> int:
        if item == 3:
            raise InputError("photo.jpg: missing")
        return item

    results = images.in_order(fail, range(10), ahead=2)
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(InputError, match=r"^photo.jpg: missing$"):
        next(results)


TRANSPOSITIONS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}  # that turn an image upright, by the value of the tag
UPRIGHT = Image.fromarray(np.arange(24, dtype=np.uint8).reshape(4, 6) * 10)


def turned(orientation: int, form: str = "PNG") -> bytes:
    """Return an image file that stores UPRIGHT as a camera with this orientation does: applying its tag gives UPRIGHT back."""
    stored = UPRIGHT
    if orientation in TRANSPOSITIONS:
        inverse = {6: 8, 8: 6}.get(orientation, orientation)
        stored = UPRIGHT.transpose(TRANSPOSITIONS[inverse])
    exif = Image.Exif()
    exif[images.ORIENTATION] = orientation
    return encoded(stored, form, exif=exif)


@pytest.mark.parametrize("orientation", range(10))
def test_exif_orientation_is_applied_where_asked_for(orientation: int, tmp_path: Path) -> None:
    data = turned(orientation)
    assert pixels(images.decode(data, "apply")) == pixels(UPRIGHT.convert("RGB"))
    ignored = images.decode(data, "ignore")
    assert (pixels(ignored) == pixels(UPRIGHT.convert("RGB"))) is (orientation not in range(2, 9))
    (tmp_path / "a.png").write_bytes(data)
    facts = images.examine(tmp_path / "a.png", "apply")
    assert (facts.width, facts.height, facts.turned) == (6, 4, orientation in range(2, 9))
    facts = images.examine(tmp_path / "a.png", "ignore")
    assert (facts.height, facts.width, 3) == ignored.shape


def test_exif_orientation_agrees_with_pillows_own_transposition() -> None:
    for orientation in range(1, 9):
        with Image.open(io.BytesIO(turned(orientation, "JPEG"))) as image:
            expected = ImageOps.exif_transpose(image).convert("RGB")
        assert pixels(images.decode(turned(orientation, "JPEG"), "apply")) == pixels(expected)


def test_damaged_exif_leaves_the_pixels() -> None:
    data = encoded(UPRIGHT, "JPEG", exif=b"Exif\0\0not a TIFF header")
    assert images.decode(data, "apply").shape == (4, 6, 3)


def test_exif_is_part_of_what_decides_pixels() -> None:
    assert images.decoding("ignore")["exif_orientation"] == "ignored"
    assert images.decoding("apply") == images.decoding("ignore") | {"exif_orientation": "applied"}


@pytest.mark.parametrize("form", ["TIFF", "PNG"])
@pytest.mark.parametrize("bits", [10, 12, 14, 16])
def test_grey_in_16_bits_is_scaled_by_the_bits_that_its_maximum_needs(form: str, bits: int, tmp_path: Path) -> None:
    levels = np.array([[0, 64, 128, 255]], np.uint16) << (bits - 8)
    path = tmp_path / f"a.{form.lower()}"
    path.write_bytes(encoded(Image.fromarray(levels), form))
    assert images.decode(path.read_bytes(), "ignore")[0, :, 0].tolist() == [0, 64, 128, 255]
    assert images.examine(path, "ignore").grey_bits == bits


def test_black_of_16_bits_is_black() -> None:
    assert not np.asarray(images.decode(encoded(Image.fromarray(np.zeros((2, 2), np.uint16)), "PNG"), "ignore")).any()


@pytest.mark.parametrize("chunk", ["text", "zipped text", "international text", "profile"])
def test_pngs_with_much_metadata_are_read(chunk: str) -> None:
    text = PngImagePlugin.PngInfo()
    options: dict[str, Any] = {"pnginfo": text}
    match chunk:
        case "text" | "zipped text":
            text.add_text("comment", "x" * 3_000_000, zip=chunk == "zipped text")
        case "international text":
            text.add_itxt("comment", "ü" * 3_000_000, zip=True)
        case "profile":
            options = {"icc_profile": bytes(3_000_000)}
    image = picture(0)
    data = encoded(image, "PNG", **options)
    assert pixels(images.decode(data, "ignore")) == pixels(image)
    assert pixels(images.decode(images.without_text(data), "ignore")) == pixels(image)


def test_what_is_no_png_is_not_stripped() -> None:
    data = encoded(picture(0), "JPEG")
    assert images.without_text(data) is data


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"%PDF-1.7 ...", "not an image but a PDF document"),
        (b"<!doctype HTML><html>", "not an image but a web page"),
        (b"\xef\xbb\xbf  <html>", "not an image but a web page"),
        (b'<svg xmlns="http://www.w3.org/2000/svg">', "not an image but an SVG drawing"),
        (b"PK\x03\x04....", "not an image but a ZIP archive"),
        (b"\0\0\0\x18ftypisom....", "not an image but a video"),
        (b"\0\0\0\x18ftypqt  ....", "not an image but a video"),
        (b"\0\0\0\x18ftypcrx ....", "not an image but a raw photograph"),
        (b"version https://git-lfs.github.com/spec/v1", "not an image but a Git LFS pointer; run `git lfs pull`"),
        ("eine Blüte".encode(), "not an image but text"),
        (b"\0\1\2\3" * 500, "not an image"),
        (b"\x8a\x8b" * 500, "not an image"),
    ],
)
def test_files_that_are_no_images_are_named_as_what_they_are(data: bytes, kind: str, tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(data)
    assert images.examine(tmp_path / "a.jpg", "ignore").status == kind


def heic(image: Image.Image) -> bytes:
    images.read_heif()
    return encoded(image, "HEIF", quality=-1)


def test_heic_is_read_whatever_its_name(tmp_path: Path) -> None:
    pytest.importorskip("pillow_heif")
    (tmp_path / "a.jpg").write_bytes(heic(picture(0).resize((32, 32))))
    facts = images.examine(tmp_path / "a.jpg", "ignore")
    assert (facts.width, facts.height, facts.status) == (32, 32, "ok")
    assert images.decoding("ignore")["heif"].startswith("pillow-heif ")


def test_without_pillow_heif_a_heic_says_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "a.heic").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")
    code = (
        "import sys; sys.modules['pillow_heif'] = None; from pathlib import Path; from clipstore.data import images; "
        f"print(images.examine(Path({str(tmp_path / 'a.heic')!r}), 'ignore').status); print('heif' in images.decoding('ignore'))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [
        "a HEIC image, which needs the package pillow-heif: `.venv/bin/pip install pillow-heif`",
        "False",
    ]


def test_pillow_reads_every_suffix_that_counts() -> None:
    pytest.importorskip("pillow_heif")
    images.read_heif()
    readable = {suffix for suffix, form in Image.registered_extensions().items() if form in Image.OPEN}
    assert set(images.SUFFIXES) - {".mpo"} <= readable  # which Pillow opens as JPEG


@pytest.mark.parametrize(
    ("suffix", "form"), [(".jfif", "JPEG"), (".jpe", "JPEG"), (".mpo", "MPO"), (".jp2", "JPEG2000"), (".qoi", "QOI"), (".tga", "TGA")]
)
def test_less_common_formats_are_read(suffix: str, form: str, tmp_path: Path) -> None:
    path = tmp_path / f"a{suffix}"
    path.write_bytes(encoded(picture(0), form))
    assert images.examine(path, "ignore").status == "ok"
    assert suffix in images.SUFFIXES


def test_decoding_names_the_libraries_below_pillow_that_decide_pixels() -> None:
    terms = images.decoding("ignore")
    for name in ("libjpeg_turbo", "webp", "libtiff"):
        assert f"{name} {features.version(name)}" in terms["codecs"].split(", ")
    assert ("libheif" in terms.get("heif", "")) == (importlib.util.find_spec("pillow_heif") is not None)
