"""Save timm's image encoders, which have no text tower, as weights folders and load them from there.

Such a folder contains config.json and model.safetensors, as written by timm itself, without the classifier.
"""

from pathlib import Path
from typing import Any

import torch
from torch import nn

from clipstore.core.encoders import TimmFile, TimmTag
from clipstore.core.errors import InputError
from clipstore.encoders.checkpoint import load_weights
from clipstore.encoders.info import EncoderInfo, folder, local_dir, write_info
from clipstore.encoders.source import UNLOADABLE, hub_file, local_file, origin, unknown_architecture, unloadable
from clipstore.encoders.vision import timm

HUB_FILES = ("model.safetensors", "pytorch_model.bin")  # the names that timm tries, in its order


def save(name: str, entry: TimmFile | TimmTag) -> None:
    """Write an image encoder without its classifier.

    Raises:
        InputError: the architecture or its tag is unknown, or the file cannot be fetched, has another SHA-256 or contains another
            model's weights.
    """
    if not timm.is_model(entry.architecture):
        raise unknown_architecture(name, entry.architecture, "timm", timm.list_models())
    parts = []
    if isinstance(entry, TimmFile):
        path = local_file(name, entry)
    else:
        published = _published(name, entry)
        parts.append(published.hf_hub_id)
        path = hub_file(name, entry, published.hf_hub_id, [published.hf_hub_filename] if published.hf_hub_filename else HUB_FILES)
    try:
        model = _model(entry, path)
    except UNLOADABLE as error:
        raise unloadable(path, entry.architecture, error) from None
    preprocess = _preprocess(entry, model)
    timm.models.save_for_hf(model, folder(name), model_args=dict(entry.arguments), safe_serialization=True, data_config=preprocess)
    write_info(
        EncoderInfo(
            name=name,
            library="timm",
            architecture=entry.architecture,
            activation=None,
            preprocess=preprocess,
            image_vectors={"embedding": model.num_features},
            text_vectors={},
            logit_scale=None,
            origin=origin(path, *parts),
            packages={"images": ["timm", "torchvision"]},
        )
    )


def load(info: EncoderInfo) -> tuple[Any, Any, None]:
    """Return model (float32), transform (PIL image to float32 (3, side, side)) and no tokenizer."""
    model, _ = backbone(info)
    return model, timm.data.create_transform(**timm.data.resolve_model_data_config(model)), None


def backbone(info: EncoderInfo) -> tuple[nn.Module, int]:
    """Return the network without its classifier, float32, and the length of its embedding."""
    return timm.create_model(local_dir(info.name), pretrained=True, num_classes=0), info.image_vectors["embedding"]


def untrained(entry: TimmFile | TimmTag) -> tuple[Any, int]:
    """Return the entry's architecture without classifier or trained weights, and the side length of its images in pixels.

    Raises:
        RuntimeError: timm has no such architecture.
    """
    model = timm.create_model(entry.architecture, num_classes=0, **entry.arguments)
    return model, entry.preprocess.size if entry.preprocess else timm.data.resolve_model_data_config(model)["input_size"][1]


def image_vectors(model: Any, pixels: torch.Tensor) -> tuple[torch.Tensor, None]:
    """Return the embedding (n, d) of images (n, 3, side, side), and no features: there is no projection."""
    return model(pixels), None


def _published(name: str, entry: TimmTag) -> Any:
    """Return timm's configuration of the entry's architecture and tag."""
    try:
        published = timm.get_pretrained_cfg(entry.architecture)
    except RuntimeError:  # timm does not know the tag
        published = None
    if not published or not published.hf_hub_id:
        tags = ", ".join(timm.list_pretrained(f"{entry.architecture.partition('.')[0]}.*")) or "none"
        raise InputError(f"params.yaml: encoders.{name}.architecture = {entry.architecture!r}: timm's tags for it are {tags}")
    return published


def _model(entry: TimmFile | TimmTag, path: Path) -> Any:
    """Return the entry's model with the weights in ``path``."""
    if isinstance(entry, TimmTag):  # timm adapts the tensors of its published files itself
        overlay = {"file": str(path)}
        return timm.create_model(entry.architecture, True, pretrained_cfg_overlay=overlay, num_classes=0, **entry.arguments)
    model = timm.create_model(entry.architecture, num_classes=0, **entry.arguments)
    load_weights(model, path, entry.architecture, _classifiers(model))
    return model


def _classifiers(model: Any) -> tuple[str, ...]:
    """Return the names of the layers that classify, which a checkpoint has and the encoder does not."""
    names = model.pretrained_cfg.get("classifier") or ()
    return (names,) if isinstance(names, str) else tuple(names)


def _preprocess(entry: TimmFile | TimmTag, model: Any) -> dict[str, Any]:
    """Return timm's data_config: the entry's preprocessing if it has any, otherwise the tag's."""
    settings = entry.preprocess
    if settings is None:
        published: dict[str, Any] = timm.data.resolve_model_data_config(model)
        return published
    return {
        "input_size": (3, settings.size, settings.size),
        "interpolation": settings.interpolation,
        "mean": settings.mean,
        "std": settings.std,
        "crop_pct": settings.crop_pct,
        "crop_mode": "center",
    }
