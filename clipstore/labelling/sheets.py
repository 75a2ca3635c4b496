"""Numbered contact sheets of images to label: one self-contained HTML page, and one PNG."""

import io
import math
import re
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import escape

from PIL import Image

from clipstore.report.gallery import Thumbnails
from clipstore.report.page import render
from clipstore.report.vega import UNSAFE

COLUMNS = 7  # of the PNG
MARGIN, LINE, SIZE, LETTER = 12, 22, 16, 8  # pixels: between images, height of a line, of its letters, mean width of a letter
MOST_LINES = 3  # below an image
SVG = "http://www.w3.org/2000/svg"


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
    """Return the PNG sheet: see `page`. Below each image are its number and its guess.

    vl-convert draws the text: it has a font for Latin, Greek and Cyrillic on every machine, and uses the machine's fonts for the others.
    """
    import vl_convert

    side = thumbnails.size
    columns = min(COLUMNS, max(4, len(entries)))
    labels = [textwrap.wrap(f"{number} {entry.guess}", side // LETTER)[:MOST_LINES] for number, entry in enumerate(entries, 1)]
    width, row = columns * (side + MARGIN) + MARGIN, side + MARGIN + LINE * max(map(len, labels), default=0)
    lines = textwrap.wrap(text, (width - 2 * MARGIN) // LETTER)
    top = 2 * MARGIN + LINE * (len(lines) + 1)
    height = top + row * math.ceil(len(entries) / columns)
    places = [(MARGIN + at % columns * (side + MARGIN), top + at // columns * row) for at in range(len(entries))]

    texts = [_text(title, MARGIN, MARGIN, width, bold=True)]
    texts += [_text(line, MARGIN, MARGIN + LINE * number, width) for number, line in enumerate(lines, 1)]
    for label, (x, y) in zip(labels, places, strict=True):
        texts += [_text(line, x, y + side + LINE * number, side) for number, line in enumerate(label)]
    drawing = f'<svg xmlns="{SVG}" width="{width}" height="{height}" font-family="Liberation Sans">{"".join(texts)}</svg>'
    letters = Image.open(io.BytesIO(vl_convert.svg_to_png(drawing, ppi=72)))
    sheet = Image.new("RGB", (width, height), "white")
    sheet.paste(letters, mask=letters)
    for entry, (x, y) in zip(entries, places, strict=True):
        image = thumbnails.image(entry.image_id)
        sheet.paste(image, (x + (side - image.width) // 2, y + (side - image.height) // 2))
    return sheet


def _text(text: str, x: int, y: int, width: int, bold: bool = False) -> str:
    """Return a line of text as SVG, cut off at ``width`` pixels."""
    style = f'font-size="{SIZE}" font-weight="{"bold" if bold else "normal"}"'
    safe = escape(re.sub(UNSAFE, "\N{REPLACEMENT CHARACTER}", text))
    return f'<svg x="{x}" y="{y}" width="{width}" height="{LINE}"><text y="{SIZE}" {style}>{safe}</text></svg>'


def write(stem: Path, title: str, text: str, entries: Sequence[Entry], thumbnails: Thumbnails) -> None:
    """Write `page` to ``stem``.html and `picture` to ``stem``.png; the name may contain dots."""
    stem.parent.mkdir(parents=True, exist_ok=True)
    stem.with_name(f"{stem.name}.html").write_bytes(page(title, text, entries, thumbnails).encode())
    picture(title, text, entries, thumbnails).save(stem.with_name(f"{stem.name}.png"), "PNG")
