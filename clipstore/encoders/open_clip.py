"""Save open_clip models as weights folders and load them from there.

Such a folder contains open_clip_config.json, open_clip_model.safetensors and, if the configuration names a transformers tokenizer, the
tokenizer's files. garden_clip, which is trained here, is stored in the same format.
"""

import copy
import dataclasses
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from safetensors.torch import save_file
from torch import nn

from clipstore.core.encoders import OPEN_CLIP_WEIGHTS, OpenClipFile, OpenClipRepository, OpenClipTag
from clipstore.core.errors import InputError
from clipstore.data import hub
from clipstore.encoders import repository
from clipstore.encoders.checkpoint import is_torchscript, load_weights
from clipstore.encoders.info import FILES, EncoderInfo, folder, local_dir, write_info
from clipstore.encoders.source import UNLOADABLE, hub_file, local_file, origin, unknown_architecture, unloadable, verify
from clipstore.encoders.vision import open_clip, save_config_for_hf


def save(name: str, entry: OpenClipTag | OpenClipFile | OpenClipRepository) -> None:
    """Write published weights or a checkpoint file, with the preprocessing of their tag or repository.

    Raises:
        InputError: the architecture or tag is unknown, the activation differs from the one the weights were trained with, the text tower
            is not supported, or the file cannot be fetched, has another SHA-256 or contains another model's weights.
    """
    if isinstance(entry, OpenClipRepository):
        _save_repository(name, entry)
        return
    config = open_clip.get_model_config(entry.architecture)
    if config is None:
        raise unknown_architecture(name, entry.architecture, "open_clip", open_clip.list_models())
    published = _published(name, entry)
    _check_activation(name, entry, config, published)
    _check_text_tower(name, entry, config)
    parts = [f"tag {entry.tag}"] if entry.tag else []
    if isinstance(entry, OpenClipFile):
        path = local_file(name, entry)
    else:
        address, _, file = published["hf_hub"].rpartition("/")
        parts.append(address)
        path = hub_file(name, entry, address, [file] if file else OPEN_CLIP_WEIGHTS)
    tokenizer = hub.tokenizer(config["text_cfg"]["hf_tokenizer_name"]) if "hf_tokenizer_name" in config["text_cfg"] else None
    fields = {field.name for field in dataclasses.fields(open_clip.transform.PreprocessCfg)}
    preprocess = {key: value for key, value in published.items() if key in fields}
    try:
        model = _model(entry, path, preprocess)
    except UNLOADABLE as error:
        raise unloadable(path, entry.architecture, error) from None
    write_folder(name, model, entry.architecture, config, origin(path, *parts), tokenizer)


def _save_repository(name: str, entry: OpenClipRepository) -> None:
    """Write the weights of an open_clip repository, with the preprocessing and activation of its configuration."""
    source = repository.read(entry)
    if kind := _unsupported(source.model_cfg):
        raise InputError(f"params.yaml: encoders.{name}.repository = {entry.repository!r}: {kind} are not supported")
    problem = entry.problem()
    if problem:
        raise InputError(f"params.yaml: encoders.{name}: {problem}")
    path = source.weights()
    verify(name, entry, path)
    tokenizer = source.tokenizer()
    architecture = entry.repository if entry.folder is None else entry.folder.resolve().name
    try:
        with TemporaryDirectory() as temporary:
            model = open_clip.create_model(repository.link(source, path, Path(temporary)), require_pretrained=True)
    except UNLOADABLE as error:
        raise unloadable(path, architecture, error) from None
    write_folder(name, model, architecture, source.model_cfg, origin(path, entry.repository), tokenizer, source.config)


def write_folder(
    name: str,
    model: Any,
    architecture: str,
    config: dict[str, Any],
    origin: str,
    tokenizer: Any = None,
    published: dict[str, Any] | None = None,
) -> None:
    """Write a model to data/weights/NAME; a blank image is encoded to obtain the vector lengths for encoder.json.

    Args:
        name: the entry in params.yaml.
        model: an open_clip model in float32, with its preprocessing attached.
        architecture: open_clip's name for it.
        config: open_clip's model_cfg.
        origin: see `EncoderInfo`.
        tokenizer: a transformers tokenizer, if the configuration names one; open_clip's own tokenizer needs no file.
        published: contents of the open_clip_config.json that the weights were published with; without it, open_clip writes one.
    """
    with torch.inference_mode():
        embedding, features = image_vectors(model.eval(), torch.zeros(1, 3, *image_size(model)))
    width = embedding.shape[1]
    path = folder(name)
    path.mkdir(parents=True)
    if published is None:
        save_config_for_hf(model, path / repository.CONFIG, config)
    else:  # open_clip's own writer leaves out fill_color, for one
        (path / repository.CONFIG).write_text(json.dumps(published, indent=2))
    save_file(model.state_dict(), path / FILES["open_clip"])
    if tokenizer is not None:
        tokenizer.save_pretrained(path)
    timm_tower = "timm_model_name" in config["vision_cfg"]
    write_info(
        EncoderInfo(
            name=name,
            library="open_clip",
            architecture=architecture,
            activation=None if timm_tower else _activation(config),
            preprocess=dict(model.visual.preprocess_cfg),
            image_vectors={"embedding": width} | ({} if features is None else {"features": features.shape[1]}),
            text_vectors={"embedding": width},
            logit_scale=model.logit_scale.exp().item(),
            origin=origin,
            packages={
                "images": ["open_clip_torch", "torchvision", *(["timm"] if timm_tower else [])],
                "texts": ["open_clip_torch", "ftfy", *(["regex"] if tokenizer is None else ["tokenizers", "transformers"])],
            },
        )
    )


def load(info: EncoderInfo) -> tuple[Any, Any, Any]:
    """Return model (float32, in train mode as open_clip creates it), transform (PIL image to float32 (3, side, side)) and tokenizer."""
    model, _, transform = open_clip.create_model_and_transforms(local_dir(info.name), require_pretrained=True)
    return model, transform, tokenizer(info)


def tokenizer(info: EncoderInfo) -> Any:
    """Return the tokenizer, which takes texts and gives int64 (n, context length); the model is not loaded."""
    return open_clip.get_tokenizer(local_dir(info.name))


def backbone(info: EncoderInfo) -> tuple[nn.Module, int]:
    """Return the image tower, float32, with its projection, and the length of its embedding."""
    return open_clip.create_model(local_dir(info.name), require_pretrained=True).visual, info.image_vectors["embedding"]


def untrained(entry: OpenClipTag | OpenClipFile | OpenClipRepository) -> tuple[Any, int]:
    """Return the entry's architecture without weights, on the meta device, and the side length of its images in pixels.

    Raises:
        RuntimeError: open_clip has no such architecture.
        InputError: the repository's configuration cannot be fetched or read.
    """
    if isinstance(entry, OpenClipRepository):
        with TemporaryDirectory() as temporary:
            address = repository.link(repository.read(entry), None, Path(temporary))
            model = open_clip.create_model(address, load_weights=False, device="meta")
        return model, image_size(model)[0]
    model = open_clip.create_model(entry.architecture, load_weights=False, device="meta")
    return model, image_size(model)[0]


def image_vectors(model: Any, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Return both vectors of each image, computed in one pass; the model stays as it is, since several threads share it.

    Args:
        model: an open_clip model.
        pixels: (n, 3, side, side).

    Returns:
        The projected embedding (n, d), bit-identical to that of ``encode_image``, and the features (n, f) before the projection, or None
        if the architecture has no separate projection.
    """
    visual = model.visual
    if isinstance(visual, open_clip.transformer.VisionTransformer) and visual.proj is not None:
        without_projection = copy.copy(visual)
        without_projection._parameters = visual._parameters | {"proj": None}  # else the copy would share the dictionary
        features = without_projection(pixels)
        return features @ visual.proj, features
    if isinstance(visual, open_clip.timm_model.TimmModel):
        classifier = visual.trunk.get_classifier()
        if any(True for part in (classifier, visual.head) for _ in part.parameters()):
            features = visual.trunk.forward_head(visual.trunk.forward_features(pixels), pre_logits=True)
            return visual.head(classifier(features)), features
    return visual(pixels), None


def image_size(model: Any) -> tuple[int, int]:
    """Return the height and width, in pixels, of the model's input images."""
    size = model.visual.preprocess_cfg["size"]
    return (size, size) if isinstance(size, int) else tuple(size)


@contextmanager
def _without_logging() -> Iterator[None]:
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(level)


def _model(entry: OpenClipTag | OpenClipFile, path: Path, preprocess: dict[str, Any]) -> Any:
    """Return the entry's model with the weights in ``path``; what open_clip itself cannot load is searched for the model's tensors."""
    if not is_torchscript(path):  # torch.load reads these only if it may run code
        try:
            return open_clip.create_model(entry.architecture, pretrained=str(path), force_preprocess_cfg=preprocess)
        except UNLOADABLE:
            if isinstance(entry, OpenClipTag) or path.suffix in (".npz", ".npy"):
                raise
    with _without_logging():  # open_clip would warn that the model has no weights
        model = open_clip.create_model(entry.architecture, load_weights=False, force_preprocess_cfg=preprocess)
    load_weights(model, path, entry.architecture)
    return model


def _published(name: str, entry: OpenClipTag | OpenClipFile) -> dict[str, Any]:
    """Return open_clip's configuration of the entry's tag (activation, preprocessing, hub repository); {} without a tag."""
    if entry.tag is None:
        return {}
    published: dict[str, Any] = open_clip.get_pretrained_cfg(entry.architecture, entry.tag)
    if not published:
        tags = ", ".join(open_clip.list_pretrained_tags_by_model(entry.architecture)) or "none"
        raise InputError(f"params.yaml: encoders.{name}.tag = {entry.tag!r}: open_clip's tags for {entry.architecture} are {tags}")
    return published


def _activation(config: dict[str, Any]) -> str:
    """Return the activation in an open_clip configuration of a model or a tag."""
    return "quick_gelu" if config.get("quick_gelu") else "gelu"


def _check_activation(name: str, entry: OpenClipTag | OpenClipFile, config: dict[str, Any], published: dict[str, Any]) -> None:
    """Reject an architecture whose activation differs from the one the weights were trained with; nothing else would detect this."""
    trained_with = (entry.activation if isinstance(entry, OpenClipFile) else None) or _activation(published)
    foreign_towers = "timm_model_name" in config["vision_cfg"] or "hf_model_name" in config["text_cfg"]  # with their own activation
    if trained_with != _activation(config) and not foreign_towers:
        stem = entry.architecture.removesuffix("-quickgelu")
        expected = stem + "-quickgelu" if trained_with == "quick_gelu" else stem
        raise InputError(
            f"params.yaml: encoders.{name}.architecture = {entry.architecture!r}: its activation is {_activation(config)}, "
            f"but the weights were trained with {trained_with}; expected {expected!r}"
        )


def _check_text_tower(name: str, entry: OpenClipTag | OpenClipFile, config: dict[str, Any]) -> None:
    """Reject CoCa models, since their image tower returns a tuple, and text towers from transformers."""
    if kind := _unsupported(config):
        raise InputError(f"params.yaml: encoders.{name}.architecture = {entry.architecture!r}: {kind} are not supported")


def _unsupported(config: dict[str, Any]) -> str:
    """Return the kind of model that an open_clip configuration describes if it is not supported, in the plural; else ""."""
    if "multimodal_cfg" in config:
        return "CoCa models"
    return "text towers from transformers" if "hf_model_name" in config["text_cfg"] else ""
