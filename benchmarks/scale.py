"""Measure time and memory for 16,000 images: python -m benchmarks.scale [IMAGES].

Runs a copy of the project; its only data set is a folder of small noise images, its encoder a garden_clip trained for one step. Prints, for
half of the images and for all, the seconds of a `dvc repro` that has nothing to do, the seconds and peak memory of index and embed_images,
and the size of the vectors.
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
    """Write images ``first`` to ``count`` - 1, in ten classes, below ``root``."""
    for number in range(first, count):
        path = root / f"class {number % 10}" / f"{number:05}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.random.default_rng(number).integers(0, 256, (64, 64, 3), np.uint8)).save(path)


def main(images: str = "16000") -> None:
    """Run the pipeline on half of the images, then on all."""
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
            workspace.cache = Path(folder) / f"cache-{count}"  # an empty cache, so that nothing is reused
            workspace.dvc("repro")
            last = {run["cell"]: run for run in workspace.runs()}
            vectors = sum(
                (workspace.root / f"data/embeddings/garden_clip-noise/images.{kind}").stat().st_size for kind in ("npy", "parquet")
            )
            start = time.perf_counter()
            workspace.dvc("repro")
            no_op_seconds = time.perf_counter() - start
            peaks = ", ".join(f"{cell} {last[cell]['peak_mib']:.0f} MiB in {last[cell]['seconds']:.1f} s" for cell in STAGES)
            print(f"{count} images: no-op {no_op_seconds:.2f} s; {peaks}; vectors {vectors / 2**20:.0f} MiB", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
