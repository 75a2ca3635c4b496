"""Compare the speed of embed_images with a plain open_clip loop: python -m benchmarks.embedding [IMAGES] [RUNS].

Both use the same random ViT-B/32 weights and the same drawn 500-pixel JPEGs. The plain loop is the one in open_clip's README, in float32,
fed by a torch DataLoader with one worker per core. The other side is `embed_images` as the pipeline runs it, with the precision that "auto"
resolves to here and an empty row cache. Loading the model is not timed. Prints images per second.
"""

import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from clipstore.core import caches
from clipstore.core.datasets import Folder
from clipstore.data import garden
from clipstore.data import index as index_file
from clipstore.encoders import fidelity
from clipstore.encoders.info import read_info
from clipstore.encoders.open_clip import write_folder
from clipstore.encoders.precision import Precision
from clipstore.encoders.vision import open_clip
from stages import embed_images, index

ARCHITECTURE = "ViT-B-32-quickgelu"


class Files(torch.utils.data.Dataset[Any]):
    """Image files, transformed by open_clip's own transform."""

    def __init__(self, paths: list[str], transform: Any) -> None:
        """Store the images' paths and the transform."""
        self.paths, self.transform = paths, transform

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.paths)

    def __getitem__(self, at: int) -> Any:
        """Return a transformed image."""
        return self.transform(Image.open(self.paths[at]))


def prepare(count: int) -> list[str]:
    """Draw and index the images and write random weights; return the images' paths."""
    root = Path("data/raw/drawn")
    for number in range(count):
        flower = garden.TASK[number % len(garden.TASK)]
        path = root / f"{number % 2}" / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        garden.draw(flower, np.random.default_rng(number), 128).resize((500, 375), Image.Resampling.BICUBIC).save(path, quality=92)
    images_index = index.make("drawn", Folder(kind="folder"), root, index.Index(seed=0, val=0.2, test=0.2, max_unusable=0.0))
    index_file.write(images_index)
    torch.manual_seed(0)
    model = open_clip.create_model(ARCHITECTURE, pretrained=None)
    config = open_clip.get_model_config(ARCHITECTURE)
    write_folder("vitb32", model, ARCHITECTURE, config, "random")
    return images_index.usable["path"].tolist()


def ours(precision: Precision) -> float:
    """Return the images per second of one run of embed_images."""
    settings = embed_images.EmbedImages(batch_size=32, precision=precision, vectors="float32", resize="pillow", jpeg_scaling=False)
    setattr(embed_images, "section", lambda *_: settings)  # noqa: B010  outside DVC there is no section to read
    with tempfile.TemporaryDirectory() as empty:
        os.environ[caches.VARIABLE] = empty
        facts = embed_images.main("vitb32", "drawn")
    print(f"ours: {facts['images_per_second']} images/s in {facts['precision']}")
    return float(facts["images_per_second"])


def peer(paths: list[str]) -> float:
    """Return the images per second of the plain loop."""
    model, _, transform = open_clip.create_model_and_transforms("local-dir:data/weights/vitb32", require_pretrained=True)
    model.eval()
    loader: Any = torch.utils.data.DataLoader(Files(paths, transform), batch_size=32, num_workers=os.cpu_count() or 1)
    start = time.perf_counter()
    with torch.inference_mode():
        vectors = [model.encode_image(batch) for batch in loader]
    speed = sum(map(len, vectors)) / (time.perf_counter() - start)
    print(f"peer: {speed:.1f} images/s in float32")
    return speed


def main(images: str = "256", runs: str = "3") -> None:
    """Print the medians and their ratio."""
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        paths = prepare(int(images))
        precision = fidelity.resolve("auto", read_info("vitb32"), "images")
        pairs = [(ours(precision), peer(paths)) for _ in range(int(runs))]
    ours_median, peer_median = (statistics.median(values) for values in zip(*pairs, strict=True))
    print(f"median of {runs}: ours {ours_median:.1f}, peer {peer_median:.1f} images/s, ratio {ours_median / peer_median:.2f}")


if __name__ == "__main__":
    main(*sys.argv[1:])
