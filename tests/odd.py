"""Unusual image files, as bytes."""

import io
import struct
import zlib

import numpy as np
from PIL import Image, ImageDraw

from tests.synthetic import encoded, picture

ORIENTATION = 0x0112  # tag number in EXIF


def drawn(seed: int, size: tuple[int, int], discs: int = 12) -> Image.Image:
    """Return an RGB image of discs on a coloured background; with more discs, each is smaller."""
    random = np.random.default_rng(seed)
    image = Image.fromarray(random.integers(0, 256, (4, 6, 3), np.uint8)).resize(size, Image.Resampling.BICUBIC)
    for _ in range(discs):
        (x, y), radius = random.uniform(0, size), random.uniform(0.05, 0.4) * min(size) * (12 / discs) ** 0.5
        colour = tuple(random.integers(0, 256, 3).tolist())
        ImageDraw.Draw(image).ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)
    return image


def turned(image: Image.Image, form: str) -> bytes:
    """Return an image file with an EXIF orientation of a quarter turn."""
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    return encoded(image, form, exif=exif)


def in_every_mode(size: tuple[int, int]) -> dict[str, bytes]:
    """Return usable files of different, finely detailed images, each in an unusual mode or format."""
    images = [drawn(seed, size, discs=1000) for seed in range(9)]
    images[2].putalpha(Image.radial_gradient("L").resize(size))
    return {
        "palette.png": encoded(images[0].quantize(32), "PNG"),
        "palette.gif": encoded(images[1], "GIF"),
        "transparent.png": encoded(images[2], "PNG"),
        "grey, transparent.png": encoded(images[3].convert("LA"), "PNG"),
        "grey.jpg": encoded(images[4].convert("L"), "JPEG"),
        "one bit.png": encoded(images[5].convert("1"), "PNG"),
        "cmyk.jpg": encoded(images[6].convert("CMYK"), "JPEG"),
        "turned.jpg": turned(images[7], "JPEG"),
        "moving.gif": encoded(images[8], "GIF", save_all=True, append_images=[images[0]]),
    }


def deep_grey() -> bytes:
    """Return a PNG file with 16 bits per pixel."""
    return encoded(Image.fromarray(np.arange(0, 65536, 16).astype(np.uint16).reshape(64, 64)), "PNG")


def truncated() -> bytes:
    """Return a truncated JPEG file, as after a broken download."""
    return encoded(picture(0, (64, 64)), "JPEG")[:-900]


def blank(width: int, height: int) -> bytes:
    """Return a black PNG with 1 bit per pixel, compressed row by row: 30,000 x 30,000 pixels take 107 KiB in the file, 107 MiB as rows."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    packer, rows = zlib.compressobj(), io.BytesIO()
    for _ in range(height):
        rows.write(packer.compress(bytes(1 + (width + 7) // 8)))
    rows.write(packer.flush())
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows.getvalue()) + chunk(b"IEND", b"")
