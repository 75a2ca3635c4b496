"""The table of approaches: which stage runs each, which axis names its encoders or nets, and how people read about it.

`score`, the report, verify, plan and the tests' fixtures iterate over it: a new approach is a stage and a row here (docs/adding.md).
"""

from dataclasses import dataclass
from typing import Literal

from clipstore.core.errors import InputError
from clipstore.core.schema import Axes
from clipstore.store import predictions
from clipstore.store.predictions import Predictions

ENSEMBLE = "ensemble"  # in plots/zero_shot, the rows of all prompts together


@dataclass(frozen=True)
class Approach:
    """One way to classify images.

    Attributes:
        stage: that runs it: module, params section and first part of its predictions' file name.
        axis: of params.yaml, whose names it runs with.
        title: in sentences and tables.
        trains: what it fits on images or vectors; "network" has training curves and a printed network in the report.
        sweep: caption of plots/STAGE/NAME-DATASET.csv, mean_per_class over a hyperparameter; None if there is no such plot.
    """

    stage: str
    axis: Literal["zero_shot", "encoders", "finetune", "scratch"]
    title: str
    trains: Literal["nothing", "classifier", "network"]
    sweep: str | None = None


APPROACHES = (
    Approach("zero_shot", "zero_shot", "zero-shot", "nothing"),
    Approach(
        "linear_probe",
        "encoders",
        "linear probe",
        "classifier",
        "the larger C, the weaker the penalty.",
    ),
    Approach(
        "knn",
        "encoders",
        "kNN",
        "classifier",
        "selected where val (dashed) is highest; test (solid) is shown for comparison only.",
    ),
    Approach("finetune", "finetune", "fine-tuning", "network"),
    Approach("scratch", "scratch", "training from scratch", "network"),
)


def cells(axes: Axes) -> list[tuple[str, str]]:
    """Return (stage, name) of every approach with every name on its axis, in the table's order."""
    return [(approach.stage, name) for approach in APPROACHES for name in getattr(axes, approach.axis)]


def readable(title: str) -> str:
    """Return what sentences call the predictions of this title, "knn enc": "kNN (enc)"; "knn" alone is "kNN"."""
    stage, _, name = title.partition(" ")
    known = {approach.stage: approach.title for approach in APPROACHES}.get(stage, stage)
    return f"{known} ({name})" if name else known


def read_all(dataset: str, named: list[tuple[str, str]], digest: str) -> list[Predictions]:
    """Read the predictions of every (stage, name).

    Raises:
        InputError: one is missing, was made from an index of another digest than ``digest``, or covers other test images than the first.
    """
    everything: list[Predictions] = []
    for stage, name in named:
        path = predictions.path_of(dataset, stage, name)
        if not path.exists():
            raise InputError(f"{path}: no such file; `dvc repro` makes it")
        answers = predictions.read(dataset, stage, name)
        if answers.index != digest:
            raise InputError(
                f"{path}: made from another index (digest {answers.index[:12]}, expected {digest[:12]}): run `dvc repro` again"
            )
        everything.append(answers)
        first = everything[0].test_ids
        if answers.test_ids != first:
            other = predictions.path_of(dataset, *named[0])
            raise InputError(
                f"{path}: its {len(answers.test_ids)} test images are not the {len(first)} of {other} in their order: run `dvc repro` again"
            )
    return everything
