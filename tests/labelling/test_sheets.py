"""Contact sheets: the numbers, what stands beside each image, and a sheet without images."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from clipstore.core.digests import file_sha256
from clipstore.core.errors import InputError
from clipstore.data.index import Index
from clipstore.labelling import sheets
from clipstore.labelling.sheets import Entry
from clipstore.report.gallery import Thumbnails


def drawn(folder: Path, count: int) -> tuple[Thumbnails, list[Entry]]:
    """Return thumbnails of 80 x 40 pixels of ``count`` images, and their entries; image k has the red value 40 k."""
    entries = []
    for number in range(count):
        path = folder / f"{number}.png"
        Image.new("RGB", (160, 80), (40 * number, 0, 0)).save(path)
        entries.append(Entry(path.name, str(path), file_sha256(path), f"<class> {number}", 0.5 + number / 10, "typical"))
    rows = pd.DataFrame(
        {"image_id": [e.image_id for e in entries], "path": [e.path for e in entries], "sha256": [e.sha256 for e in entries]}
    )
    return Thumbnails(Index("toy", rows), 80), entries


def test_the_page_numbers_the_images_and_needs_no_other_file(tmp_path: Path) -> None:
    thumbnails, entries = drawn(tmp_path, 3)
    sheets.write(tmp_path / "enc.v1-toy", "Label these", "Write down the class.", entries, thumbnails)
    page = (tmp_path / "enc.v1-toy.html").read_text()
    assert page.count('<img src="data:image/webp;base64,') == 3
    assert [number for number in range(6) if f"<b>{number}</b>" in page] == [1, 2, 3]
    assert "&lt;class&gt; 1" in page and "60.0&nbsp;%" in page and "typical" in page and "Write down the class." in page
    assert "http" not in page and str(tmp_path) not in page


def test_the_picture_has_the_images_from_left_to_right(tmp_path: Path) -> None:
    thumbnails, entries = drawn(tmp_path, 3)
    sheet = np.asarray(sheets.picture("Label these", "x " * 200, entries, thumbnails))
    red = [[40 * number, 0, 0] for number in range(3)]
    found = [np.argwhere((sheet == color).all(axis=2)) for color in red[1:]]
    assert [len(places) for places in found] == [80 * 40] * 2
    assert found[0][:, 1].max() < found[1][:, 1].min() and found[0][0, 0] == found[1][0, 0]


def test_a_long_guess_stays_below_its_image(tmp_path: Path) -> None:
    thumbnails, entries = drawn(tmp_path, 1)
    long = Entry(entries[0].image_id, entries[0].path, entries[0].sha256, "w" * 300, 0.5, "")
    sheet = np.asarray(sheets.picture("t", "", [long], thumbnails).convert("L"))
    assert (sheet[-(sheets.LINE + sheets.MARGIN) :, sheets.MARGIN + 80 :] == 255).all()


def test_without_images_both_files_say_why(tmp_path: Path) -> None:
    thumbnails, _ = drawn(tmp_path, 0)
    sheets.write(tmp_path / "enc-toy", "Label these", "Every image has a label.", [], thumbnails)
    assert "Every image has a label." in (tmp_path / "enc-toy.html").read_text()
    with Image.open(tmp_path / "enc-toy.png") as sheet:
        assert (np.asarray(sheet) < 200).any()  # text


def test_an_image_that_has_changed_is_named(tmp_path: Path) -> None:
    thumbnails, entries = drawn(tmp_path, 1)
    Path(entries[0].path).write_bytes(b"other")
    with pytest.raises(InputError, match=r"0\.png"):
        sheets.page("t", "", entries, thumbnails)
