"""Numbered contact sheets of images to label: one self-contained HTML page, and one PNG."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from clipstore.report.gallery import Thumbnails
from clipstore.report.page import render

COLUMNS = 7  # of the PNG
MARGIN, LINE, TEXT = 12, 22, 16  # pixels: around images, height of a line, size of its letters
INK, SOFT, PAPER = "#1b1f24", "#57606a", "#ffffff"


@dataclass(frozen=True)
class Entry:
    """An image to label.

    Attributes:
        image_id: of the index.
        path: relative to the project's folder.
        sha256: of the image.
        guess: the class that an approach predicts, or "".
        confidence: probability of the guess, or None without a guess.
        reason: why this image was chosen.
    """

    image_id: str
    path: str
    sha256: str
    guess: str = ""
    confidence: float | None = None
    reason: str = ""


def page(title: str, text: str, entries: Sequence[Entry], thumbnails: Thumbnails) -> str:
    """Return the HTML page of the images, numbered from 1 in their order.

    Args:
        title: of the page.
        text: a paragraph above the images, such as what to do with them, or why there are none.
        entries: the images.
        thumbnails: of their data set.
    """
    return render("sheet.html.j2", {"title": title, "text": text, "entries": entries, "thumbnail": thumbnails})


def picture(title: str, text: str, entries: Sequence[Entry], thumbnails: Thumbnails) -> Image.Image:
    """Return the PNG sheet: see `page`. Below each image are its number and its guess."""
    side = thumbnails.size
    columns = min(COLUMNS, max(4, len(entries)))
    cell, row = side + MARGIN, side + LINE + MARGIN
    width = columns * cell + MARGIN
    bold, plain = ImageFont.load_default(TEXT + 6), ImageFont.load_default(TEXT)
    lines = _wrapped(text, plain, width - 2 * MARGIN)
    top = MARGIN + LINE + 8 + LINE * len(lines) + MARGIN
    sheet = Image.new("RGB", (width, top + row * math.ceil(len(entries) / columns)), PAPER)
    draw = ImageDraw.Draw(sheet)
    draw.text((MARGIN, MARGIN), title, INK, bold)
    for number, line in enumerate(lines):
        draw.text((MARGIN, MARGIN + LINE + 8 + LINE * number), line, SOFT, plain)
    for number, entry in enumerate(entries):
        x, y = MARGIN + number % columns * cell, top + number // columns * row
        image = thumbnails.image(entry.image_id)
        sheet.paste(image, (x + (side - image.width) // 2, y + (side - image.height) // 2))
        label = f"{number + 1}  {entry.guess}".rstrip()
        while plain.getlength(label) > side and len(label) > 4:
            label = label[:-2].rstrip() + "…"
        draw.text((x, y + side + 2), label, INK, plain)
    return sheet


def _wrapped(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> list[str]:
    lines: list[str] = []
    for word in text.split():
        if lines and font.getlength(f"{lines[-1]} {word}") <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines


def write(stem: Path, title: str, text: str, entries: Sequence[Entry], thumbnails: Thumbnails) -> None:
    """Write `page` to ``stem``.html and `picture` to ``stem``.png; the name may contain dots."""
    stem.parent.mkdir(parents=True, exist_ok=True)
    stem.with_name(f"{stem.name}.html").write_bytes(page(title, text, entries, thumbnails).encode())
    picture(title, text, entries, thumbnails).save(stem.with_name(f"{stem.name}.png"), "PNG")
