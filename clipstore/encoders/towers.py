"""The image tower of any folder of weights as a plain network: pixels in, embeddings out, no classifier."""

from typing import Any

import torch
from safetensors.torch import load_file
from torch import nn

from clipstore.encoders.info import FILES, EncoderInfo, folder


def image_vectors(model: Any, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Return embedding (batch, d) and features (batch, f) or None of an open_clip model, the embedding bit for bit ``encode_image``'s."""
    from clipstore.encoders.vision import open_clip

    visual = model.visual
    if isinstance(visual, open_clip.transformer.VisionTransformer) and visual.proj is not None:
        projection, visual.proj = visual.proj, None
        try:
            features = visual(pixels)
        finally:
            visual.proj = projection
        return features @ projection, features
    if isinstance(visual, open_clip.timm_model.TimmModel):
        classifier = visual.trunk.get_classifier()
        if any(True for part in (classifier, visual.head) for _ in part.parameters()):
            features = visual.trunk.forward_head(visual.trunk.forward_features(pixels), pre_logits=True)
            return visual.head(classifier(features)), features
    return visual(pixels), None


def torchvision_tower(card: EncoderInfo) -> Any:
    """Return the torchvision network of ``card`` without its last linear layer."""
    from clipstore.encoders.vision import torchvision

    model = torchvision.models.get_model(card.architecture, weights=None)
    model.load_state_dict(load_file(folder(card.name) / FILES["torchvision"]))
    return without_classifier(model)[0]


def without_classifier(model: Any) -> tuple[Any, int]:
    """Let the last linear layer of a classifier pass its input on; return the model and the length of that input.

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


def load(card: EncoderInfo) -> tuple[nn.Module, int]:
    """Return the tower of ``card``, float32, and the length of what it gives: the embedding, of CLIP models projected."""
    from clipstore.encoders.vision import open_clip, timm

    source = f"local-dir:{folder(card.name)}"
    length = card.image_vectors["embedding"]
    match card.library:
        case "open_clip":
            return open_clip.create_model(source, require_pretrained=True).visual, length
        case "timm":
            return timm.create_model(source, pretrained=True, num_classes=0), length
        case "torchvision":
            return torchvision_tower(card), length
