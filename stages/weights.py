"""Get an encoder's weights: python -m stages.weights NAME.

Reads the encoder's entry in params.yaml and the file that it names, a local one or one of the Hugging Face hub; garden_clip is trained
here, on drawings. Writes data/weights/NAME: one folder in one format, whatever the source (see clipstore/encoders/info.py).
"""

import dataclasses
import difflib
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from clipstore.core.digests import file_sha256
from clipstore.core.encoders import Encoder, GardenClip, OpenClipFile, OpenClipTag, TimmFile, TimmTag, Torchvision
from clipstore.core.errors import InputError
from clipstore.core.params import load, section
from clipstore.core.stage import run
from clipstore.data import hub
from clipstore.data.fetching import fetch
from clipstore.encoders import encoder, info, towers
from clipstore.encoders.vision import open_clip, save_config_for_hf, timm, torchvision

# What torch, safetensors and the libraries raise on a file that holds no weights, or those of another model.
UNLOADABLE = (RuntimeError, ValueError, KeyError, TypeError, AttributeError, OSError, EOFError, pickle.UnpicklingError, SafetensorError)

OPEN_CLIP_FILES = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")  # the libraries' own names, in their order
TIMM_FILES = ("model.safetensors", "pytorch_model.bin")


def unknown(name: str, architecture: str, library: str, known: Sequence[str]) -> InputError:
    """Return the error for an architecture that ``library`` does not have, with the nearest name that it has."""
    near = difflib.get_close_matches(architecture, known, 1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return InputError(f"params.yaml: encoders.{name}.architecture = {architecture!r}: {library} knows no such model{hint}")


def local(name: str, entry: OpenClipFile | TimmFile) -> Path:
    """Return the entry's local file, if it still is the one that the entry pins.

    Raises:
        InputError: it is not there, or its SHA-256 is another.
    """
    problem = entry.problem()
    if problem:
        raise InputError(f"params.yaml: encoders.{name}: {problem}")
    verify(name, entry, entry.file)
    return entry.file


def fetched(name: str, entry: OpenClipTag | TimmTag, address: str, files: Sequence[str]) -> Path:
    """Return the entry's file from the hub: the first of ``files`` in the repository ``address``.

    Raises:
        InputError: it cannot be had, or its SHA-256 is not the one that the entry gives.
    """
    path = hub.file(address, files)
    if entry.sha256:
        verify(name, entry, path)
    return path


def verify(name: str, entry: OpenClipFile | OpenClipTag | TimmFile | TimmTag, path: Path) -> None:
    """Compare the file's SHA-256 with the entry's."""
    found = file_sha256(path)
    if found != entry.sha256:
        raise InputError(f"params.yaml: encoders.{name}.sha256 = {entry.sha256!r}: {path} has {found}; put that in if it is meant")


def origin(path: Path, *parts: str) -> str:
    """Return in words where weights come from: ``parts``, the file's name and its SHA-256."""
    return ", ".join([*parts, f"file {path.name}", f"SHA-256 {file_sha256(path)}"])


def save_open_clip(card: info.EncoderInfo, model: Any, config: dict[str, Any], tokenizer: Any = None) -> None:
    """Write an open_clip model (float32) as the folder of ``card``.

    Args:
        card: of the model.
        model: in float32.
        config: open_clip's model_cfg.
        tokenizer: of transformers, where the configuration names one; open_clip's own needs no file.
    """
    folder = info.folder(card.name)
    folder.mkdir(parents=True)
    open_clip.model.set_model_preprocess_cfg(model, card.preprocess)
    save_config_for_hf(model, folder / "open_clip_config.json", config)
    save_file(model.state_dict(), folder / info.FILES["open_clip"])
    if tokenizer is not None:
        tokenizer.save_pretrained(folder)
    info.write_info(card)


def open_clip_info(name: str, model: Any, architecture: str, config: dict[str, Any], origin: str) -> info.EncoderInfo:
    """Return the card of an open_clip model, float32; vector lengths are those that a blank image gives."""
    preprocess = dict(model.visual.preprocess_cfg)
    size = preprocess["size"]
    with torch.inference_mode():
        model.eval()
        embedding, features = towers.image_vectors(model, torch.zeros(1, 3, *((size, size) if isinstance(size, int) else size)))
    width = embedding.shape[1]
    return info.EncoderInfo(
        name=name,
        library="open_clip",
        architecture=architecture,
        activation=None if "timm_model_name" in config["vision_cfg"] else activation(config),
        preprocess=preprocess,
        image_vectors={"embedding": width} | ({} if features is None else {"features": features.shape[1]}),
        text_vectors={"embedding": width},
        logit_scale=model.logit_scale.exp().item(),
        origin=origin,
    )


def activation(config: dict[str, Any]) -> str:
    """Return the activation that an open_clip configuration (a model's or a tag's) names."""
    return "quick_gelu" if config.get("quick_gelu") else "gelu"


def save_garden_clip(name: str, entry: GardenClip) -> None:
    """Train garden_clip and write it."""
    from clipstore.encoders import garden_clip

    model = garden_clip.train(load()["seed"], entry.steps, entry.drawings, entry.image_size)
    config = garden_clip.model_config(entry.image_size)
    save_open_clip(open_clip_info(name, model, "garden_clip", config, f"trained on drawings, {entry.steps} steps"), model, config)


def save_published(name: str, entry: OpenClipTag | OpenClipFile) -> None:
    """Write open_clip's published weights, or a checkpoint file, with the preprocessing of their tag.

    Raises:
        InputError: the architecture or tag is unknown, the activation is not the one that the weights were trained with, they cannot be had
            or are another model's, or the model needs what this version does not do.
    """
    where = f"params.yaml: encoders.{name}"
    config = open_clip.get_model_config(entry.architecture)
    if config is None:
        raise unknown(name, entry.architecture, "open_clip", open_clip.list_models())
    pretrained = open_clip.get_pretrained_cfg(entry.architecture, entry.tag) if entry.tag else {}
    if entry.tag is not None and not pretrained:
        tags = ", ".join(open_clip.list_pretrained_tags_by_model(entry.architecture)) or "none"
        raise InputError(f"{where}.tag = {entry.tag!r}: open_clip's tags for {entry.architecture} are {tags}")
    trained_with = (entry.activation if isinstance(entry, OpenClipFile) else None) or activation(pretrained)
    if trained_with != activation(config) and "timm_model_name" not in config["vision_cfg"] and "hf_model_name" not in config["text_cfg"]:
        stem = entry.architecture.removesuffix("-quickgelu")
        right = stem + "-quickgelu" if trained_with == "quick_gelu" else stem
        raise InputError(
            f"{where}.architecture = {entry.architecture!r} runs {activation(config)}, the weights need {trained_with}: {right!r}"
        )
    if "hf_model_name" in config["text_cfg"] or "multimodal_cfg" in config:
        what = "CoCa models" if "multimodal_cfg" in config else "text towers of transformers"
        raise InputError(f"{where}.architecture = {entry.architecture!r}: {what} are not supported")
    parts = [f"tag {entry.tag}"] if entry.tag else []
    if isinstance(entry, OpenClipFile):
        path = local(name, entry)
    else:
        repository, _, file = pretrained["hf_hub"].rpartition("/")
        parts.append(repository)
        path = fetched(name, entry, repository, [file] if file else OPEN_CLIP_FILES)
    tokenizer = hub.tokenizer(config["text_cfg"]["hf_tokenizer_name"]) if "hf_tokenizer_name" in config["text_cfg"] else None
    fields = {field.name for field in dataclasses.fields(open_clip.transform.PreprocessCfg)}
    preprocess = {key: value for key, value in pretrained.items() if key in fields}
    try:
        model = open_clip.create_model(entry.architecture, pretrained=str(path), force_preprocess_cfg=preprocess)
    except UNLOADABLE as error:
        raise InputError(f"{path}: no weights of {entry.architecture}: {str(error).splitlines()[0]}") from None
    card = open_clip_info(name, model, entry.architecture, config, origin(path, *parts))
    save_open_clip(card, model, config, tokenizer)


def image_encoder_info(
    name: str, library: Literal["timm", "torchvision"], architecture: str, preprocess: dict[str, Any], length: int, origin: str
) -> info.EncoderInfo:
    """Return the card of an encoder without a text tower, whose embeddings have ``length`` numbers."""
    return info.EncoderInfo(name, library, architecture, None, preprocess, {"embedding": length}, {}, None, origin)


def save_timm(name: str, entry: TimmFile | TimmTag) -> None:
    """Write an image encoder of timm, without its classifier.

    Raises:
        InputError: the architecture or its tag is unknown, the weights cannot be had, or they are another model's.
    """
    parts = []
    if not timm.is_model(entry.architecture):
        raise unknown(name, entry.architecture, "timm", timm.list_models())
    if isinstance(entry, TimmFile):
        path = local(name, entry)
    else:
        try:
            published = timm.get_pretrained_cfg(entry.architecture)
        except RuntimeError:  # timm's word for a tag that it does not know
            published = None
        if not published or not published.hf_hub_id:
            tags = ", ".join(timm.list_pretrained(f"{entry.architecture.partition('.')[0]}.*")) or "none"
            raise InputError(f"params.yaml: encoders.{name}.architecture = {entry.architecture!r}: timm's tags for it are {tags}")
        parts.append(published.hf_hub_id)
        path = fetched(name, entry, published.hf_hub_id, [published.hf_hub_filename] if published.hf_hub_filename else TIMM_FILES)
    try:
        if isinstance(entry, TimmFile):
            model = timm.create_model(entry.architecture, num_classes=0, **entry.arguments)
            model.load_state_dict(load_file(path) if path.suffix == ".safetensors" else torch.load(path, "cpu", weights_only=True))
        else:  # timm knows what to change in the tensors of its own files
            overlay = {"file": str(path)}
            model = timm.create_model(entry.architecture, True, pretrained_cfg_overlay=overlay, num_classes=0, **entry.arguments)
    except UNLOADABLE as error:
        raise InputError(f"{path}: no weights of {entry.architecture}: {str(error).splitlines()[0]}") from None
    settings = entry.preprocess
    preprocess = (
        timm.data.resolve_model_data_config(model)
        if settings is None
        else {
            "input_size": (3, settings.size, settings.size),
            "interpolation": settings.interpolation,
            "mean": settings.mean,
            "std": settings.std,
            "crop_pct": settings.crop_pct,
            "crop_mode": "center",
        }
    )
    folder = info.folder(name)
    timm.models.save_for_hf(model, folder, model_args=dict(entry.arguments), safe_serialization=True, data_config=preprocess)
    info.write_info(image_encoder_info(name, "timm", entry.architecture, preprocess, model.num_features, origin(path, *parts)))


def save_torchvision(name: str, entry: Torchvision) -> None:
    """Write a torchvision classifier.

    Raises:
        InputError: the architecture or its weights are unknown, cannot be had, or hold no linear layer to take away.
    """
    classifiers = torchvision.models.list_models(module=torchvision.models)  # detectors and networks for films are in others
    if entry.architecture not in classifiers:
        raise unknown(name, entry.architecture, "torchvision", classifiers)
    known = torchvision.models.get_model_weights(entry.architecture)
    if entry.weights not in known.__members__:
        names = ", ".join(known.__members__) or "none"
        raise InputError(f"params.yaml: encoders.{name}.weights = {entry.weights!r}: torchvision has {names} for {entry.architecture}")
    published = known[entry.weights]
    url = entry.url or published.url
    path = fetch(url, Path(url).stem.rpartition("-")[2], "sha256")  # the name ends in the first digits of the file's SHA-256
    model = torchvision.models.get_model(entry.architecture, weights=None)
    try:
        model.load_state_dict(torch.load(path, "cpu", weights_only=True))
        state = {key: value.contiguous() for key, value in model.state_dict().items()}
        _, length = towers.without_classifier(model)
    except UNLOADABLE as error:
        raise InputError(f"{path}: no weights of {entry.architecture}: {str(error).splitlines()[0]}") from None
    preset = published.transforms()
    preprocess = {
        "size": preset.crop_size[0],
        "resize": preset.resize_size[0],
        "mean": list(preset.mean),
        "std": list(preset.std),
        "interpolation": preset.interpolation.value,
    }
    folder = info.folder(name)
    folder.mkdir(parents=True)
    save_file(state, folder / info.FILES["torchvision"])
    come = origin(path, f"weights {entry.weights}")
    info.write_info(image_encoder_info(name, "torchvision", entry.architecture, preprocess, length, come))


def measured(name: str) -> info.EncoderInfo:
    """Complete the card of ``name`` by what bfloat16 costs it; return it."""
    card = info.read_info(name)
    card = dataclasses.replace(card, bfloat16_cosine=round(encoder.bfloat16_cosine(card), 5))
    info.write_info(card)
    return card


def main(name: str) -> None:
    """Write data/weights/NAME."""
    entry: Encoder = section(Encoder, f"encoders.{name}")
    match entry:
        case GardenClip():
            save_garden_clip(name, entry)
        case OpenClipTag() | OpenClipFile():
            save_published(name, entry)
        case TimmTag() | TimmFile():
            save_timm(name, entry)
        case Torchvision():
            save_torchvision(name, entry)
    card = measured(name)
    print(f"weights {name}: {card.origin}; bfloat16 agrees with float32 to a cosine of {card.bfloat16_cosine}")


if __name__ == "__main__":
    run(main)
