"""Say what a run will do before it does it: python -m clipstore.tools.plan [AXIS=[NAME,...] ...].

Prints every fetch, every network and every pass over images that the axes of params.yaml name (or those given), with megabytes and minutes.
The minutes are estimates: an encoder's operations are counted, the machine's speed is measured for a moment, the network's is assumed.
What is here already (archives, weights, vectors) will cost nothing; the plan does not look for it.
"""

import logging
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from clipstore.core.errors import InputError
from clipstore.core.params import check
from clipstore.core.schema import (
    Axes,
    Dataset,
    Digits,
    Encoder,
    FineTune,
    Garden,
    GardenClip,
    LocalFile,
    Net,
    Official,
    OpenClipFile,
    OpenClipTag,
    Scratch,
    Texts,
    Timm,
    TimmFile,
    TimmTag,
    Torchvision,
    WikiText,
)
from clipstore.data import images

NETWORK = 10.0  # MB/s
DECODE = 0.004  # seconds of one core to read, decode and resize a JPEG of 500 pixels
OF_PRODUCT = 0.8  # share of a large matrix product's speed that an encoder reaches
PROBE = 3e-8  # seconds of a probe's sweep for each training image, class, number in a vector, and C
AUDIT = 0.01  # seconds of decoding an image once more, comparing it with its neighbours and judging its label
TEXT = 6  # seconds of training and comparing tokenizers for a fetched megabyte, on 2 cores
STEP = 0.3  # seconds of a step that trains garden_clip, on 2 cores


class Cost(NamedTuple):
    """What a cell takes: megabytes fetched, megabytes kept, seconds."""

    cell: str
    fetches: float = 0.0
    keeps: float = 0.0
    seconds: float = 0.0


class Size(NamedTuple):
    """An encoder's megabytes of float32 weights, operations for an image of ``side`` pixels, numbers kept of an image."""

    megabytes: float
    operations: float
    numbers: int
    side: int


def size_of_encoder(name: str, entry: Encoder) -> Size:
    """Count parameters and operations of the entry's architecture, on a device that holds no data.

    Raises:
        InputError: its library knows no such architecture.
    """
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from clipstore.encoders import garden_clip, towers
    from clipstore.encoders.vision import open_clip, timm, torchvision

    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        try:
            match entry:
                case GardenClip():
                    model: Any = garden_clip.untrained(entry.image_size)
                case OpenClipTag() | OpenClipFile():
                    model = open_clip.create_model(entry.architecture, load_weights=False, device="meta")
                case Torchvision():
                    model, side = torchvision.models.get_model(entry.architecture, weights=None), 224
                case TimmTag() | TimmFile():
                    model = timm.create_model(entry.architecture, num_classes=0, **entry.arguments)
                    side = entry.preprocess.size if entry.preprocess else timm.data.resolve_model_data_config(model)["input_size"][1]
        except (RuntimeError, ValueError) as error:
            raise InputError(f"params.yaml: encoders.{name}: {str(error).splitlines()[0]}") from None
        model.eval().requires_grad_(False)
        if isinstance(entry, Timm | Torchvision):
            vectors: tuple[Any, Any] = (model(torch.empty(1, 3, side, side)), None)
        else:
            side = model.visual.preprocess_cfg["size"]
            side = side if isinstance(side, int) else side[0]
            vectors = towers.image_vectors(model, torch.empty(1, 3, side, side))
    numbers = sum(vector.shape[1] for vector in vectors if vector is not None)
    return Size(sum(parameter.numel() for parameter in model.parameters()) * 4e-6, counter.get_total_flops(), numbers, side)


def operations_of_own(net: Scratch) -> float:
    """Return the operations of our own network for one image."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from clipstore.training.network import Backbone

    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        Backbone(net.widths, net.depths, net.stride, net.drop_path).eval().requires_grad_(False)(
            torch.empty(1, 3, net.image_size, net.image_size)
        )
    return float(counter.get_total_flops())


def size_of_dataset(name: str, entry: Dataset) -> tuple[int, int, int]:
    """Return the number of images, of training images (half, where splits are cut) and of classes; of one's own folder, as it is now."""
    match entry:
        case Garden():
            from clipstore.data import garden

            return (entry.train + entry.val + entry.test) * len(garden.TASK), entry.train * len(garden.TASK), len(garden.TASK)
        case Digits():
            return 1797, 898, 10
        case Official():
            return entry.images.train + entry.images.val + entry.images.test, entry.images.train, entry.classes
    found = [path for path in (Path("data/raw") / name).rglob("*") if path.suffix.lower() in images.SUFFIXES]
    return len(found), len(found) // 2, len({path.parent for path in found})


def speed(precision: str) -> float:
    """Return how many operations a second this machine's large matrix products do, the best of several."""
    import torch

    from clipstore.encoders import encoder as encoders

    side = 8192 if encoders.device() == "cuda" else 1024
    matrix = torch.ones(side, side, dtype=getattr(torch, precision), device=encoders.device())
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
    """Return what every cell of note takes on a machine of ``rate`` operations a second; the others take less than a minute."""
    cores = os.cpu_count() or 1
    rows = []
    for name in axes.download:
        entry = datasets[name]
        fetched = entry.megabytes if isinstance(entry, Official | WikiText) else 0
        rows.append(Cost(f"download {name}", fetched, 2 * fetched, fetched / NETWORK))
    sizes = {name: size_of_encoder(name, encoders[name]) for name in axes.weights}
    for name, size in sizes.items():
        coder = encoders[name]
        if isinstance(coder, GardenClip):
            rows.append(Cost(f"weights {name}", 0, size.megabytes, coder.steps * STEP))
        else:
            comes = 0.0 if isinstance(coder, LocalFile) else size.megabytes
            rows.append(Cost(f"weights {name}", comes, comes + size.megabytes, comes / NETWORK))
    for name in axes.corpora:
        text = datasets[name]
        if isinstance(text, WikiText):
            rows.append(Cost(f"tokenizers {name}", seconds=text.megabytes * TEXT))
    trained = {("finetune", name): sizes[name].operations * (nets[name].image_size / sizes[name].side) ** 2 for name in axes.finetune}
    trained |= {("scratch", name): operations_of_own(net) for name in axes.scratch if isinstance(net := nets[name], Scratch)}
    for dataset in axes.datasets:
        count, training, classes = size_of_dataset(dataset, datasets[dataset])
        rows.append(Cost(f"index {dataset}", seconds=count * DECODE / cores))
        for name in axes.encoders:
            size = sizes[name]
            seconds = count * (size.operations / (OF_PRODUCT * rate) + DECODE / cores)
            rows.append(Cost(f"embed_images {name}-{dataset}", 0, count * size.numbers * 3 * 4e-6, seconds))  # Parquet, npy, row cache
            rows.append(Cost(f"linear_probe {name}-{dataset}", seconds=training * classes * size.numbers * regularisations * PROBE))
            rows.append(Cost(f"audit {name}-{dataset}", seconds=count * AUDIT))
        for (stage, name), operations in trained.items():
            # A step is a pass forward and one backward, which is worth two; training on train + val comes after the choice.
            images = 3 * training * (2 if nets[name].refit else 1) + (count - training)
            seconds = nets[name].epochs * images * operations / (OF_PRODUCT * rate)
            rows.append(Cost(f"{stage} {name}-{dataset}", 0, 0, seconds))
    return rows


def main(overrides: list[str]) -> None:
    """Print the plan."""
    import dvc.api

    from clipstore.encoders import encoder as encoders

    logging.disable(logging.WARNING)  # open_clip warns that weights are missing, which is the point here
    params = dvc.api.params_show("params.yaml")
    for override in overrides:
        axis, _, names = override.partition("=")
        params["axes"][axis] = [name for name in names.strip("[]").split(",") if name]
    axes: Axes = check(Axes, params["axes"], "axes")
    precision = "bfloat16" if encoders.fast_bfloat16() else "float32"
    rate = speed(precision)
    datasets: dict[str, Dataset] = check(dict[str, Dataset], params["datasets"], "datasets")
    coders: dict[str, Encoder] = check(dict[str, Encoder], params["encoders"], "encoders")
    nets: dict[str, Net] = check(dict[str, Net], params["nets"], "nets")
    tables: dict[str, Mapping[str, object]] = {
        "download": datasets,
        "datasets": {name: entry for name, entry in datasets.items() if not isinstance(entry, Texts)},
        "corpora": {name: entry for name, entry in datasets.items() if isinstance(entry, Texts)},
        "weights": coders,
        "finetune": {name: net for name, net in nets.items() if isinstance(net, FineTune)},
        "scratch": {name: net for name, net in nets.items() if isinstance(net, Scratch)},
    }
    for key, table in tables.items():
        unknown = set(getattr(axes, key)) - set(table)
        if unknown:
            raise InputError(f"params.yaml: axes.{key} = {min(unknown)!r}: expected one of {', '.join(table)}")
    for key in ("encoders", "finetune"):
        unknown = set(getattr(axes, key)) - set(axes.weights)
        if unknown:
            raise InputError(f"params.yaml: axes.{key} = {min(unknown)!r}: expected names in axes.weights: {', '.join(axes.weights)}")
    rows = costs(axes, datasets, coders, nets, len(params["linear_probe"]["C"]), rate)
    rows.append(Cost("all", sum(row.fetches for row in rows), sum(row.keeps for row in rows), sum(row.seconds for row in rows)))
    shown = [
        {"cell": row.cell, "fetches": f"{row.fetches:,.0f} MB", "keeps": f"{row.keeps:,.0f} MB", "about": f"{row.seconds / 60:.1f} min"}
        for row in rows
    ]
    print(pd.DataFrame(shown).to_markdown(index=False, colalign=("left", "right", "right", "right")))
    print(
        f"Estimates: {encoders.device()}, {os.cpu_count()} cores, {rate / 1e9:,.0f} GFLOP/s in {precision} (measured now), a network of "
        f"{NETWORK:g} MB/s. Fetched and kept once: what is here already costs nothing. Cells not shown take less than a minute."
    )


if __name__ == "__main__":
    main(sys.argv[1:])
