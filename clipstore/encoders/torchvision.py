"""Save torchvision's classifiers as weights folders and load them from there as image encoders, without their last layer.

Such a folder contains model.safetensors, including the last layer; architecture and preprocessing are in encoder.json.
"""

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from clipstore.core.encoders import Torchvision
from clipstore.core.errors import InputError
from clipstore.data.fetching import fetch
from clipstore.encoders.info import FILES, EncoderInfo, folder, write_info
from clipstore.encoders.source import UNLOADABLE, origin, unknown_architecture, unloadable
from clipstore.encoders.vision import torchvision

IMAGE_SIDE = 224  # pixels, for most published classifiers


def save(name: str, entry: Torchvision) -> None:
    """Write a published classifier.

    Raises:
        InputError: the architecture or its weights are unknown, the weights cannot be fetched, or there is no linear layer to remove.
    """
    published = _published(name, entry)
    url = entry.url or published.url
    path = fetch(url, Path(url).stem.rpartition("-")[2], "sha256")  # the name ends in the first digits of the file's SHA-256
    model = classifier(entry.architecture)
    try:
        model.load_state_dict(torch.load(path, "cpu", weights_only=True))
        state = {key: value.contiguous() for key, value in model.state_dict().items()}
        _, length = without_classifier(model)
    except UNLOADABLE as error:
        raise unloadable(path, entry.architecture, error) from None
    preset = published.transforms()
    preprocess = {
        "size": preset.crop_size[0],
        "resize": preset.resize_size[0],
        "mean": list(preset.mean),
        "std": list(preset.std),
        "interpolation": preset.interpolation.value,
    }
    folder(name).mkdir(parents=True)
    save_file(state, folder(name) / FILES["torchvision"])
    write_info(
        EncoderInfo(
            name=name,
            library="torchvision",
            architecture=entry.architecture,
            activation=None,
            preprocess=preprocess,
            image_vectors={"embedding": length},
            text_vectors={},
            logit_scale=None,
            origin=origin(path, f"weights {entry.weights}"),
            packages={"images": ["torchvision"]},
        )
    )


def load(info: EncoderInfo) -> tuple[Any, Any, None]:
    """Return model (float32), transform (PIL image to float32 (3, side, side)) and no tokenizer."""
    settings, steps = info.preprocess, torchvision.transforms
    transform = steps.Compose(
        [
            steps.Resize(settings["resize"], steps.InterpolationMode(settings["interpolation"])),
            steps.CenterCrop(settings["size"]),
            steps.ToTensor(),
            steps.Normalize(settings["mean"], settings["std"]),
        ]
    )
    return backbone(info)[0], transform, None


def backbone(info: EncoderInfo) -> tuple[nn.Module, int]:
    """Return the network without its last linear layer, float32, and the length of its embedding."""
    model = classifier(info.architecture)
    model.load_state_dict(load_file(folder(info.name) / FILES["torchvision"]))
    return without_classifier(model)


def untrained(entry: Torchvision) -> tuple[Any, int]:
    """Return the entry's architecture, including its last layer, with random weights, and the usual side length of its images in pixels.

    Raises:
        ValueError: torchvision has no such architecture.
    """
    return classifier(entry.architecture), IMAGE_SIDE


def image_vectors(model: Any, pixels: torch.Tensor) -> tuple[torch.Tensor, None]:
    """Return the embedding (n, d) of images (n, 3, side, side), and no features: there is no projection."""
    return model(pixels), None


def classifier(architecture: str) -> Any:
    """Return the whole network, including its last layer, with random weights."""
    return torchvision.models.get_model(architecture, weights=None)


def without_classifier(model: Any) -> tuple[Any, int]:
    """Replace a classifier's last linear layer with the identity; return the model and the input length of that layer.

    Raises:
        ValueError: there is no linear layer.
    """
    linear = [name for name, module in model.named_modules() if isinstance(module, nn.Linear)]
    if not linear:
        raise ValueError("it has no linear layer")
    parent, _, attribute = linear[-1].rpartition(".")
    length: int = model.get_submodule(linear[-1]).in_features
    setattr(model.get_submodule(parent), attribute, nn.Identity())
    return model, length


def _published(name: str, entry: Torchvision) -> Any:
    """Return torchvision's entry for the weights, which has their URL and transform."""
    classifiers = torchvision.models.list_models(module=torchvision.models)  # detectors and video networks are in other modules
    if entry.architecture not in classifiers:
        raise unknown_architecture(name, entry.architecture, "torchvision", classifiers)
    weights = torchvision.models.get_model_weights(entry.architecture)
    if entry.weights not in weights.__members__:
        names = ", ".join(weights.__members__) or "none"
        raise InputError(f"params.yaml: encoders.{name}.weights = {entry.weights!r}: torchvision has {names} for {entry.architecture}")
    return weights[entry.weights]
