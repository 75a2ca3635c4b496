"""The approaches that the axes name, and what they predicted."""

from collections.abc import Iterator

from stages.lib import predictions
from stages.lib.errors import InputError
from stages.lib.tables import Axes


def names(axes: Axes) -> list[tuple[str, str]]:
    """Return (stage, name) of every approach that the axes name."""
    named = {
        "zero_shot": axes.zero_shot,
        "linear_probe": axes.encoders,
        "knn": axes.encoders,
        "finetune": axes.finetune,
        "scratch": axes.scratch,
    }
    return [(stage, name) for stage, some in named.items() for name in some]


def read(dataset: str, axes: Axes, index: str) -> Iterator[predictions.Predictions]:
    """Yield the predictions of every approach that the axes name, made from the index of the digest ``index``.

    Raises:
        InputError: an approach's file is missing, or was made from another index.
    """
    for stage, name in names(axes):
        path = predictions.path_of(dataset, stage, name)
        if not path.exists():
            raise InputError(f"{path}: no such file, though the axes name {stage} of {name}: run `dvc repro`")
        made = predictions.read(dataset, stage, name)
        if made.index != index:
            raise InputError(f"{path}: made from another index (digest {made.index[:12]}, expected {index[:12]}): run `dvc repro` again")
        yield made
