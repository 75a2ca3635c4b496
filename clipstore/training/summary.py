"""Describe a network as text: torchinfo's table of its layers, and a short summary."""

from torch import nn
from torchinfo import summary

from clipstore.encoders.info import EncoderInfo
from clipstore.training.classifier import Classifier
from clipstore.training.network import parameter_count

DEPTH = 3  # of nested modules


def layers(model: nn.Module, size: int) -> str:
    """Return torchinfo's table of layers for one image of (size, size) pixels."""
    return str(summary(model.cpu(), (1, 3, size, size), depth=DEPTH, verbose=0, col_names=("output_size", "num_params"), device="cpu"))


def description(network: Classifier, size: int, replaced: str) -> str:
    """Describe the input, the parameters and the last layer; ``replaced`` is a sentence on what the last layer replaces."""
    counts = {name: parameter_count(module) for name, module in network.backbone.named_children()}
    parts = ", ".join(f"{name} {count:,}" for name, count in counts.items() if count)
    head = network.head
    return (
        f"Input: RGB images of {size} x {size} pixels. Parameters: {parameter_count(network):,} in total; backbone: {parts}; "
        f"last layer: {parameter_count(head):,}. {replaced} {head.in_features} features in, {head.out_features} logits out, "
        "one per class.\n"
    )


def of_finetuned(info: EncoderInfo, before: nn.Module, network: Classifier, size: int) -> str:
    """Return the tables of a fine-tuned network before and after its last layer was replaced, and the description.

    Args:
        info: the encoder that it starts from.
        before: that encoder's network, including its library's classifier if it has one.
        network: the network to be fine-tuned.
        size: side length of its images in pixels.
    """
    replaced = f"Replaced: the classifier of {info.architecture}."
    if info.library != "torchvision":
        replaced = f"Added: a classifier on the features of {info.architecture}, which has none."
    return f"Before\n{layers(before, size)}\n\nAfter\n{layers(network, size)}\n\n{description(network, size, replaced)}"


def of_own(network: Classifier, size: int) -> str:
    """Return the table of this project's own network, and the description."""
    return f"{layers(network, size)}\n\n{description(network, size, 'Nothing was replaced: all weights are randomly initialised.')}"
