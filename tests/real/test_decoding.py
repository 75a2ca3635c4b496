"""Every photograph, and the odd files among them, has the pixels and the status that it has with Pillow alone."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tqdm import tqdm

from clipstore.data import images


@pytest.mark.parametrize("folder", ["flowers/images", "pets/images", "odd-images"])
def test_every_photograph_has_pillows_pixels(real_data: Path, folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = sorted(path for path in (real_data / folder).iterdir() if path.is_file())
    facts = list(images.in_order(lambda path: images.examine(path, "apply"), paths))
    fast = 0
    for path in tqdm(paths, folder):
        data = path.read_bytes()
        with Image.open(path) as image:
            fast += images._plain_jpeg(data, image) is not None
            expected = np.asarray(image.convert("RGB"))
        np.testing.assert_array_equal(images.decode(data, "ignore"), expected, err_msg=str(path))
    assert fast >= (0 if folder == "odd-images" else 0.9 * len(paths))
    monkeypatch.setattr(images, "_plain_jpeg", lambda *_: None)
    assert list(images.in_order(lambda path: images.examine(path, "apply"), paths)) == facts
    assert len(paths) > (1 if folder == "odd-images" else 1000)
