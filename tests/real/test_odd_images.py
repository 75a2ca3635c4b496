"""Two odd files of Oxford-IIIT Pet with names that end in .jpg: a palette GIF and an RGBA PNG."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clipstore.data import images


@pytest.mark.parametrize(("name", "form", "mode"), [("Abyssinian_34.jpg", "GIF", "P"), ("Abyssinian_5.jpg", "PNG", "RGBA")])
def test_an_odd_file_is_decoded_to_its_rgb_image(real_data: Path, name: str, form: str, mode: str) -> None:
    path = real_data / "odd-images" / name
    with Image.open(path) as odd:
        assert (odd.format, odd.mode) == (form, mode)
        expected = np.asarray(odd.convert("RGB"))
    assert images.examine(path, "ignore").status == "ok"
    np.testing.assert_array_equal(images.decode(path.read_bytes(), "ignore"), expected)
