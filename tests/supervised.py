"""Run the stages that train networks in this process, and read what they wrote; as a program, one cell in as many processes as asked for.

    python -m tests.supervised PROCESSES NAME ...

trains the small networks of those names (see `network`) on the data set "own" below the working folder, as the stages train theirs.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from scipy.special import softmax
from torch import nn

from clipstore.core.nets import Training
from clipstore.data import index
from clipstore.training import image_set, protocol
from clipstore.training import loop as training
from tests.project import make_index
from tests.synthetic import use

CLASSES = 2
FAST: dict[str, Any] = {"epochs": 3, "batch_size": 4, "image_size": 32, "lr": 0.01, "precision": "float32"}
IN_SEVERAL: dict[str, Any] = {
    "epochs": 4,
    "lr": 0.03,
    "freeze_backbone_epochs": 1,
    "ema_decay": 0.5,
    "hflip_prob": 0.5,
}  # what does not depend on who computes


def make_data(count: int = 30) -> None:
    """Write ``count`` images of two classes, one a little brighter than the other, and their index."""
    for number in range(count):
        path = Path("data/raw/own") / ("odd" if number % 2 else "even") / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        noise = np.random.default_rng(number).integers(0, 200, (40, 36, 3), np.uint8)
        Image.fromarray(noise + np.uint8(20 * (number % 2))).save(path)
    make_index()


def run(monkeypatch: pytest.MonkeyPatch, stage: ModuleType, name: str, **fields: Any) -> dict[str, Any]:
    """Run ``stage`` on its net ``name`` and the data set "own"; ``fields`` join the net's fast settings."""
    declared = {"seed": 0, "nets": {name: FAST | {"kind": stage.__name__.rpartition(".")[2]} | fields}}
    use(monkeypatch, declared)
    monkeypatch.setattr(stage, "load", lambda: declared)
    facts: dict[str, Any] = stage.main(name, "own")
    return facts


def network(name: str, classes: int = CLASSES) -> training.Classifier:
    """Return a small network, "plain" or "normed" by BatchNorm, from torch's global generator."""
    norms = {"plain": [], "normed": [nn.BatchNorm2d(8)]}[name]
    body = nn.Sequential(nn.Conv2d(3, 8, 4, 4), *norms, nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten())
    return training.Classifier(body, 32, classes, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25), 0)


def run_small(name: str, **fields: Any) -> None:
    """Train the small network ``name`` as a stage of the name "small" would."""
    settings = Training.model_validate(FAST | fields)
    protocol.run_cell("small", name, "own", settings, 0, lambda classes: network(name, classes), lambda _: "small\n", "")


def of_checkpoint(folder: str, fresh: training.Classifier, split: str, size: int = 32, crop: float = 0.875) -> npt.NDArray[np.float32]:
    """Return the probabilities of a split by the weights in ``folder``, put into ``fresh``: float32 (n, classes)."""
    fresh.load_state_dict(load_file(f"data/checkpoints/{folder}/model.safetensors"))
    rows = index.read("own").usable
    settings = Training.model_validate(FAST | {"image_size": size, "crop_pct": crop})
    shown = image_set.decode(rows[rows["split"] == split], settings, split)
    with torch.inference_mode():
        logits: npt.NDArray[np.float32] = fresh.eval()(image_set.centred(shown, range(len(shown)), size)).numpy()
    return np.asarray(softmax(logits, axis=1), np.float32)


class KilledError(Exception):
    """What a run meets where it is killed."""


@contextmanager
def epochs(killed_after: int | None = None) -> Iterator[list[str]]:
    """Count the epochs that are run, by what they print; the run is killed after so many."""
    seen: list[str] = []
    epoch = training.Loop.epoch

    def counted(loop: training.Loop, train: image_set.Augmented, name: str) -> training.Point:
        if len(seen) == killed_after:
            raise KilledError
        seen.append(name)
        return epoch(loop, train, name)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training.Loop, "epoch", counted)
        yield seen


if __name__ == "__main__":
    for each in sys.argv[2:]:
        run_small(each, **IN_SEVERAL, processes=int(sys.argv[1]))
