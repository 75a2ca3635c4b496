"""Run the stages that train networks in this process and read their outputs; as a program, train in several processes.

    python -m tests.supervised PROCESSES NAME ...

trains the small networks with these names (see `network`) on the data set "own" in the working folder, in the same way as the stages.
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

from clipstore.core.nets import FineTune, Training
from clipstore.data import index
from clipstore.training import image_set, protocol
from clipstore.training.classifier import Classifier
from clipstore.training.curve import Point
from clipstore.training.loop import Loop
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
}  # settings whose results do not depend on the number of processes


def make_data(count: int = 30) -> None:
    """Write ``count`` images of two classes, one slightly brighter than the other, and their index."""
    for number in range(count):
        path = Path("data/raw/own") / ("odd" if number % 2 else "even") / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        noise = np.random.default_rng(number).integers(0, 200, (40, 36, 3), np.uint8)
        Image.fromarray(noise + np.uint8(20 * (number % 2))).save(path)
    make_index()


def run(monkeypatch: pytest.MonkeyPatch, stage: ModuleType, name: str, **fields: Any) -> dict[str, Any]:
    """Run ``stage`` on its net ``name`` and the data set "own"; ``fields`` are added to the net's fast settings."""
    declared = {"seed": 0, "nets": {name: FAST | {"kind": stage.__name__.rpartition(".")[2]} | fields}}
    use(monkeypatch, declared)
    monkeypatch.setattr(stage, "load", lambda: declared)
    facts: dict[str, Any] = stage.main(name, "own")
    return facts


def network(name: str, classes: int = CLASSES) -> Classifier:
    """Return a small network, "plain" or "normed" (with BatchNorm), initialised from torch's global generator."""
    norms = {"plain": [], "normed": [nn.BatchNorm2d(8)]}[name]
    backbone = nn.Sequential(nn.Conv2d(3, 8, 4, 4), *norms, nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten())
    return Classifier(backbone, 32, classes, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25), 0)


def run_small(name: str, **fields: Any) -> None:
    """Train the small network ``name`` as a stage named "small" would."""
    settings = FineTune.model_validate(FAST | {"kind": "finetune"} | fields)
    protocol.run_cell("small", name, "own", settings, 0, lambda classes: network(name, classes), lambda _: "small\n", {}, {})


def tolerance(on_cpu: float) -> float:
    """Return the tolerance for comparing a network's probabilities with those computed on the CPU in float32.

    If there is a GPU, the network trains and predicts on it, and cuDNN by default multiplies float32 in TF32, with 10 instead of 23 bits of
    mantissa.
    """
    return max(on_cpu, 1e-3) if torch.cuda.is_available() else on_cpu


def images_of(split: str, **fields: Any) -> image_set.ImageSet:
    """Return the decoded images of a split of "own"; ``fields`` are added to the fast settings."""
    rows = index.read("own").usable
    return image_set.decode(rows[rows["split"] == split], Training.model_validate(FAST | fields), split, "ignore")


def probabilities_of_checkpoint(folder: str, untrained: Classifier, split: str) -> npt.NDArray[np.float32]:
    """Load the weights in ``folder`` into ``untrained``; return its probabilities for a split, float32 (n, classes), on the CPU."""
    untrained.load_state_dict(load_file(f"data/checkpoints/{folder}/model.safetensors"))
    images = images_of(split)
    with torch.inference_mode():
        logits: npt.NDArray[np.float32] = untrained.cpu().eval()(image_set.center_crops(images, range(len(images)), 32)).numpy()
    return np.asarray(softmax(logits, axis=1), np.float32)


class KilledError(Exception):
    """Raised when a test kills a run."""


@contextmanager
def epochs(killed_after: int | None = None) -> Iterator[list[str]]:
    """Record the names of the epochs that run, and kill the run after ``killed_after`` epochs."""
    names: list[str] = []
    train_epoch = Loop.train_epoch

    def recorded(loop: Loop, train: image_set.Augmented, last_step: int, name: str) -> Point:
        if len(names) == killed_after:
            raise KilledError
        names.append(name)
        return train_epoch(loop, train, last_step, name)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Loop, "train_epoch", recorded)
        yield names


if __name__ == "__main__":
    for net in sys.argv[2:]:
        run_small(net, **IN_SEVERAL, processes=int(sys.argv[1]))
