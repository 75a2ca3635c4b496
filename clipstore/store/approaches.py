"""What approaches made of the same test images, so that they compare image by image."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from clipstore.core.errors import InputError
from clipstore.core.schema import Axes
from clipstore.store import predictions
from clipstore.store.predictions import Predictions


@dataclass(frozen=True)
class Outcome:
    """One approach's predictions, seen from its test images, n of them in the order of the predictions."""

    made: Predictions

    @property
    def title(self) -> str:
        """Return what tables and plots call the approach."""
        return f"{self.made.stage} {self.made.name}"

    def of(self, split: str) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
        """Return probabilities float64 (rows, classes) and label (rows,) of the images of "val" or "test"."""
        selected = (self.made.rows["split"] == split).to_numpy()
        return self.made.probabilities[selected].astype(float), self.made.rows["label"].to_numpy()[selected]

    @cached_property
    def images(self) -> list[str]:
        """The image_id of the test images."""
        ids: list[str] = self.made.rows.loc[self.made.rows["split"] == "test", "image_id"].tolist()
        return ids

    @cached_property
    def probabilities(self) -> npt.NDArray[np.float64]:
        """Of the test images, (n, classes)."""
        return self.of("test")[0]

    @cached_property
    def labels(self) -> npt.NDArray[np.int64]:
        """Of the test images, (n,)."""
        return self.of("test")[1]

    @cached_property
    def predicted(self) -> npt.NDArray[np.intp]:
        """The most probable class of each test image, (n,)."""
        found: npt.NDArray[np.intp] = self.probabilities.argmax(axis=1)
        return found


def approaches(axes: Axes) -> list[tuple[str, str]]:
    """Return (stage, name) of every approach that the axes name."""
    names = {
        "zero_shot": axes.zero_shot,
        "linear_probe": axes.encoders,
        "knn": axes.encoders,
        "finetune": axes.finetune,
        "scratch": axes.scratch,
    }
    return [(stage, name) for stage, some in names.items() for name in some]


def read_all(dataset: str, wanted: list[tuple[str, str]], digest: str) -> list[Outcome]:
    """Read the predictions of every (stage, name).

    Raises:
        InputError: one is missing, was made from an index of another digest than ``digest``, or covers other test images than the first.
    """
    found: list[Outcome] = []
    for stage, name in wanted:
        path = predictions.path_of(dataset, stage, name)
        if not path.exists():
            raise InputError(f"{path}: no such file; `dvc repro` makes it")
        made = predictions.read(dataset, stage, name)
        if made.index != digest:
            raise InputError(f"{path}: made from another index (digest {made.index[:12]}, expected {digest[:12]}): run `dvc repro` again")
        found.append(Outcome(made))
        first, own = found[0].images, found[-1].images
        if own != first:
            other = predictions.path_of(dataset, *wanted[0])
            raise InputError(
                f"{path}: its {len(own)} test images are not the {len(first)} of {other} in their order: run `dvc repro` again"
            )
    return found
