"""Estimate the cost of a run before it starts: python -m clipstore.tools.plan [AXIS=[NAME,...] ...].

Prints every download, every network and every pass over images for the axes of params.yaml (or those given), with megabytes and minutes.
The minutes are estimates: an encoder's operations are counted, the machine's speed is measured briefly, and the network's speed is
assumed. Files that are already cached (archives, weights, vectors) cost nothing, but the plan does not look for them.
"""

import logging
import os
import sys
import time
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from clipstore.core.datasets import Dataset, Digits, Folder, Garden, Official, WikiText
from clipstore.core.encoders import Encoder, GardenClip, LocalFile, OpenClipRepository
from clipstore.core.errors import InputError
from clipstore.core.nets import Net, Scratch
from clipstore.core.params import check
from clipstore.core.rows import UNLABELLED
from clipstore.core.schema import Axes, Tables, problems
from clipstore.data import images
from clipstore.store.approaches import APPROACHES

NETWORK = 10.0  # MB/s
DECODE = 0.004  # seconds on one core to read, decode and resize a JPEG of 500 pixels
EFFICIENCY = 0.8  # speed of an encoder as a share of a large matrix product's speed
PROBE = 3e-8  # seconds of a probe's sweep per training image, class, vector element, and value of C
AUDIT = 0.01  # seconds to decode an image again, compare it with its neighbours and judge its label
TEXT = 6  # seconds to train and compare tokenizers per downloaded megabyte, on 2 cores
STEP = 0.3  # seconds per training step of garden_clip, on 2 cores


class Cost(NamedTuple):
    """The cost of a cell: megabytes downloaded, megabytes stored, seconds."""

    cell: str
    fetches: float = 0.0
    keeps: float = 0.0
    seconds: float = 0.0


class Size(NamedTuple):
    """An encoder's megabytes of float32 weights, operations for an image of ``side`` pixels, and numbers stored per image."""

    megabytes: float
    operations: float
    numbers: int
    side: int


def size_of_encoder(name: str, entry: Encoder) -> Size:
    """Count the parameters and operations of the entry's architecture on the meta device, which stores no data.

    Raises:
        InputError: its library has no such architecture.
    """
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from clipstore.encoders import garden_clip
    from clipstore.encoders.libraries import MODULES

    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        if isinstance(entry, GardenClip):
            library, model, side = MODULES["open_clip"], garden_clip.untrained(entry.image_size), entry.image_size
        else:
            library = MODULES[entry.source]
            try:
                model, side = library.untrained(entry)
            except (RuntimeError, ValueError) as error:
                raise InputError(f"params.yaml: encoders.{name}: {str(error).splitlines()[0]}") from None
        vectors = library.image_vectors(model.eval().requires_grad_(False), torch.empty(1, 3, side, side))
    numbers = sum(vector.shape[1] for vector in vectors if vector is not None)
    return Size(sum(parameter.numel() for parameter in model.parameters()) * 4e-6, counter.get_total_flops(), numbers, side)


def operations_of_own(net: Scratch) -> float:
    """Return the operations of this project's own network for one image."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from clipstore.training.network import Backbone

    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        Backbone(net.widths, net.depths, net.stride, net.drop_path).eval().requires_grad_(False)(
            torch.empty(1, 3, net.image_size, net.image_size)
        )
    return float(counter.get_total_flops())


def size_of_dataset(name: str, entry: Dataset) -> tuple[int, int, int]:
    """Return the number of images, of training images and of classes.

    Users' folders are counted: half of the images with a class train.
    """
    match entry:
        case Garden():
            from clipstore.data import garden

            classes = len(garden.TASK)
            return (entry.train + entry.val + entry.test) * classes, entry.train * classes, classes
        case Digits():
            from clipstore.data import samples

            scans, classes = samples.count_digits()
            return scans, scans // 2, classes
        case Official():
            return entry.images.train + entry.images.val + entry.images.test, entry.images.train, entry.classes
    root = Path("data/raw") / name
    paths = [path for path in root.rglob("*") if images.has_suffix(path)]
    labelled = [path for path in paths if UNLABELLED not in path.relative_to(root).parts[:1]]
    names = entry.class_names if isinstance(entry, Folder) else ()
    return len(paths), len(labelled) // 2, max(len({path.parent for path in labelled}), len(names))


def speed(precision: str) -> float:
    """Return this machine's operations per second in a large matrix product, the best of several measurements."""
    import torch

    from clipstore.encoders.precision import device

    side = 8192 if device() == "cuda" else 1024
    matrix = torch.ones(side, side, dtype=getattr(torch, precision), device=device())
    best = float("inf")
    for _ in range(20):
        start = time.perf_counter()
        (matrix @ matrix)[0, 0].item()
        best = min(best, time.perf_counter() - start)
    return 2 * side**3 / best


def costs(
    axes: Axes,
    datasets: dict[str, Dataset],
    encoders: dict[str, Encoder],
    nets: dict[str, Net],
    regularisations: int,
    rate: float,
) -> list[Cost]:
    """Return the costs of the longer cells; the others take less than a minute.

    Args:
        axes: the axes, which determine the cells that run.
        datasets: the table `datasets` of params.yaml.
        encoders: the table `encoders`.
        nets: the table `nets`.
        regularisations: number of values of C that a linear probe tries.
        rate: operations per second of this machine.
    """
    cores = os.cpu_count() or 1
    rows = []
    for name in axes.download:
        entry = datasets[name]
        fetched = float(entry.megabytes) if isinstance(entry, Official | WikiText) else 0.0
        rows.append(Cost(f"download {name}", fetched, 2 * fetched, fetched / NETWORK))
    sizes = {name: size_of_encoder(name, encoders[name]) for name in axes.weights}
    for name, size in sizes.items():
        source = encoders[name]
        if isinstance(source, GardenClip):
            rows.append(Cost(f"weights {name}", 0, size.megabytes, source.steps * STEP))
        else:
            local = isinstance(source, LocalFile) or (isinstance(source, OpenClipRepository) and source.folder is not None)
            fetched = 0.0 if local else size.megabytes
            rows.append(Cost(f"weights {name}", fetched, fetched + size.megabytes, fetched / NETWORK))
    for name in axes.corpora:
        text = datasets[name]
        if isinstance(text, WikiText):
            rows.append(Cost(f"tokenizers {name}", seconds=text.megabytes * TEXT))
    trained = {
        (approach.stage, name): operations_of_own(net)
        if isinstance(net := nets[name], Scratch)
        else sizes[name].operations * (net.image_size / sizes[name].side) ** 2
        for approach in APPROACHES
        if approach.trains == "network"
        for name in getattr(axes, approach.axis)
    }
    for dataset in axes.datasets:
        count, training, classes = size_of_dataset(dataset, datasets[dataset])
        rows.append(Cost(f"index {dataset}", seconds=count * DECODE / cores))
        for name in axes.encoders:
            size = sizes[name]
            seconds = count * (size.operations / (EFFICIENCY * rate) + DECODE / cores)
            rows.append(Cost(f"embed_images {name}-{dataset}", 0, count * size.numbers * 3 * 4e-6, seconds))  # Parquet, npy, row cache
            rows.append(Cost(f"linear_probe {name}-{dataset}", seconds=training * classes * size.numbers * regularisations * PROBE))
            rows.append(Cost(f"audit {name}-{dataset}", seconds=count * AUDIT))
        for (stage, name), operations in trained.items():
            # A training step costs three forward passes, since the backward pass takes as long as two. A refit trains a second time.
            passes = 3 * training * (2 if nets[name].refit else 1) + (count - training)
            seconds = nets[name].epochs * passes * operations / (EFFICIENCY * rate)
            rows.append(Cost(f"{stage} {name}-{dataset}", 0, 0, seconds))
    return rows


def main(overrides: list[str]) -> None:
    """Print the plan."""
    import dvc.api

    logging.disable(logging.WARNING)  # open_clip warns that weights are missing, which is intended here
    params = dvc.api.params_show("params.yaml")
    for override in overrides:
        axis, _, names = override.partition("=")
        params["axes"][axis] = [name for name in names.strip("[]").split(",") if name]
    tables = check(Tables, {name: params[name] for name in Tables.model_fields if name in params})
    lines = problems(tables)
    if lines:
        raise InputError("\n".join(f"params.yaml: {line}" for line in lines))
    from clipstore.encoders.precision import device, fast_bfloat16  # takes seconds

    precision = "bfloat16" if fast_bfloat16(device()) else "float32"
    rate = speed(precision)
    rows = costs(tables.axes, tables.datasets, tables.encoders, tables.nets, len(params["linear_probe"]["C"]), rate)
    rows.append(Cost("all", sum(row.fetches for row in rows), sum(row.keeps for row in rows), sum(row.seconds for row in rows)))
    table = [
        {"cell": row.cell, "fetches": f"{row.fetches:,.0f} MB", "keeps": f"{row.keeps:,.0f} MB", "about": f"{row.seconds / 60:.1f} min"}
        for row in rows
    ]
    print(pd.DataFrame(table).to_markdown(index=False, colalign=("left", "right", "right", "right")))
    print(
        f"Estimates for {device()}, {os.cpu_count()} cores, {rate / 1e9:,.0f} GFLOP/s in {precision} (measured now) and a network of "
        f"{NETWORK:g} MB/s. Files that are already cached cost nothing. Cells not shown take less than a minute."
        + " Encoders that turn out to need float32 take about three times as long."
        * (precision == "bfloat16")
    )


if __name__ == "__main__":
    main(sys.argv[1:])
