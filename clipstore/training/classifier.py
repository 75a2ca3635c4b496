"""A network that classifies images; a trained one can be applied to new images, saved and loaded."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from accelerate.utils import gather_object
from pydantic import TypeAdapter
from safetensors.torch import load_file, save_file
from scipy.special import softmax
from torch import Tensor, nn

from clipstore.core.errors import InputError
from clipstore.core.nets import Net, Training
from clipstore.training.augmentation import moved
from clipstore.training.image_set import ImageSet, center_crops
from clipstore.training.processes import precision, process_state, say_once

Matrix = npt.NDArray[np.float32]


class Classifier(nn.Module):
    """A complete network: uint8 images (n, 3, h, w) in, logits (n, classes) out, through a backbone for features and a linear head."""

    mean: Tensor
    std: Tensor

    def __init__(self, backbone: nn.Module, width: int, classes: int, mean: Sequence[float], std: Sequence[float], dropout: float) -> None:
        """Add a new head to ``backbone``.

        Args:
            backbone: normalised pixels (n, 3, h, w) in, features (n, width) out.
            width: number of features.
            classes: number of logits.
            mean: mean of each channel, as a fraction of the full range; subtracted from the pixels.
            std: standard deviation of each channel, as a fraction of the full range; the pixels are divided by it.
            dropout: probability that a feature is set to 0 in training.
        """
        super().__init__()
        self.backbone = backbone
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(width, classes)
        nn.init.trunc_normal_(self.head.weight, std=0.01)
        nn.init.zeros_(self.head.bias)
        self.register_buffer("mean", torch.tensor(mean).view(3, 1, 1) * 255, persistent=False)
        self.register_buffer("std", torch.tensor(std).view(3, 1, 1) * 255, persistent=False)

    def forward(self, pixels: Tensor) -> Tensor:
        """Return logits (n, classes)."""
        x = ((pixels.float() - self.mean) / self.std).contiguous(memory_format=torch.channels_last)
        logits: Tensor = self.head(self.dropout(self.backbone(x)))
        return logits


def on_device(network: Classifier) -> Classifier:
    """Move the network to this process's device, channels last, and return it."""
    moved: Classifier = network.to(process_state().device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch has it
    return moved


@torch.inference_mode()
def logits(network: Classifier, image_set: ImageSet, settings: Training) -> Matrix:
    """Return the logits of the images' centre crops, in order: float32 (n, classes).

    Each process computes part of the rows; all processes return all rows.
    """
    state, device = process_state(), network.mean.device
    bfloat16 = precision(settings) == "bf16"
    network.eval()
    positions = list(range(state.process_index, len(image_set), state.num_processes))
    count, start, outputs = evaluation_batch(settings, device), 0, []
    while start < len(positions):
        try:
            pixels = moved(center_crops(image_set, positions[start : start + count], settings.image_size), device)
            with torch.autocast(device.type, torch.bfloat16, enabled=bfloat16):
                outputs.append(network(pixels).float())
            start += count
        except torch.OutOfMemoryError:
            size = settings.image_size
            problem = f"evaluation: {count} images of {size} x {size} pixels at once are too many for the device's memory"
            if count == 1:
                raise InputError(f"{problem}: a smaller image_size may help") from None
            count //= 2
            say_once(f"{problem}: now {count}")
    # One copy at the end, because each makes the CPU wait for the device.
    rows: Sequence[Matrix] = [*torch.cat(outputs).cpu().numpy()] if outputs else []
    gathered = gather_object(list(zip(positions, rows, strict=True)))
    if not gathered:
        return np.empty((0, network.head.out_features), np.float32)
    return np.stack([row for _, row in sorted(gathered, key=lambda pair: pair[0])])


def evaluation_batch(settings: Training, device: torch.device) -> int:
    """Return the number of images that are evaluated at once; a CPU gains nothing from more than in training."""
    return max(256, settings.batch_size) if device.type == "cuda" else settings.batch_size


@dataclass(frozen=True)
class TrainedNetwork:
    """A trained network on its device.

    Attributes:
        network: the classifier.
        classes: class names, in the order of the logits.
        settings: training settings; prediction uses image_size and crop_pct to prepare images, and precision and batch_size.
    """

    network: Classifier
    classes: Sequence[str]
    settings: Training

    def logits(self, image_set: ImageSet) -> Matrix:
        """Return float32 (n, classes) for images decoded with the same settings; if there are several processes, all must call it."""
        return logits(self.network, image_set, self.settings)

    def probabilities(self, image_set: ImageSet) -> Matrix:
        """Return the softmax of the logits, float32 (n, classes)."""
        probabilities: Matrix = softmax(self.logits(image_set), axis=1)
        return probabilities

    def save(self, folder: Path, **facts: object) -> None:
        """Write model.safetensors and net.json: ``facts``, classes and settings."""
        folder.mkdir(parents=True, exist_ok=True)
        # safetensors accepts only contiguous tensors that share no memory.
        weights = {key: value.cpu().clone(memory_format=torch.contiguous_format) for key, value in self.network.state_dict().items()}
        save_file(weights, folder / "model.safetensors")
        content = {**facts, "classes": list(self.classes), "settings": self.settings.model_dump(mode="json")}
        (folder / "net.json").write_text(json.dumps(content, indent=2) + "\n")

    @classmethod
    def load(cls, folder: Path, network: Classifier) -> "TrainedNetwork":
        """Load the network saved in ``folder`` into ``network``, which must have the same architecture, mean and std."""
        content = read_facts(folder)
        network.load_state_dict(load_file(folder / "model.safetensors"))
        return cls(on_device(network), content["classes"], TypeAdapter(Net).validate_python(content["settings"]))


def read_facts(folder: Path) -> dict[str, Any]:
    """Return a checkpoint's net.json: stage, net, dataset, classes, settings, and the facts that the network was built from."""
    facts: dict[str, Any] = json.loads((folder / "net.json").read_text())
    return facts
