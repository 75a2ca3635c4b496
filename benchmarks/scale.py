"""What 16,000 images cost when nothing changed, and in memory: python -m benchmarks.scale [IMAGES].

A copy of the project with a folder of small photographs of noise as its only data set and a garden_clip of one training step as its
encoder. Prints the seconds of a `dvc repro` that has nothing to do, the images per second of index and embed_images, and their peak
memory beside the size of the vectors, for half of the images and for all.
"""

import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from tests.workspace import Workspace

STAGES = ("index@noise", "embed_images@garden_clip-noise")


def draw(root: Path, first: int, count: int) -> None:
    """Write images ``first`` .. ``count`` of ten classes below ``root``."""
    for number in range(first, count):
        path = root / f"class {number % 10}" / f"{number:05}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.random.default_rng(number).integers(0, 256, (64, 64, 3), np.uint8)).save(path)


def main(images: str = "16000") -> None:
    """Run half, then all."""
    axes = {
        "axes.download": [],
        "axes.datasets": ["noise"],
        "axes.zero_shot": [],
        "axes.finetune": [],
        "axes.scratch": [],
        "linear_probe.C": [1.0],
    }
    tables = {"datasets.noise": {"kind": "folder"}, "encoders.garden_clip.steps": 1, "encoders.garden_clip.drawings": 1}
    with tempfile.TemporaryDirectory() as folder:
        workspace = Workspace.make(Path(folder) / "project", Path(folder) / "cache", axes | tables)
        drawn = 0
        for count in (int(images) // 2, int(images)):
            draw(workspace.root / "data/raw/noise", drawn, count)
            drawn = count
            workspace.cache = Path(folder) / f"cache-{count}"  # nothing is reused
            workspace.dvc("repro")
            last = {run["cell"]: run for run in workspace.runs()}
            vectors = sum(
                (workspace.root / f"data/embeddings/garden_clip-noise/images.{kind}").stat().st_size for kind in ("npy", "parquet")
            )
            start = time.perf_counter()
            workspace.dvc("repro")
            quiet = time.perf_counter() - start
            peaks = ", ".join(f"{cell} {last[cell]['peak_mib']:.0f} MiB in {last[cell]['seconds']:.1f} s" for cell in STAGES)
            print(f"{count} images: no-op {quiet:.2f} s; {peaks}; vectors {vectors / 2**20:.0f} MiB", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
