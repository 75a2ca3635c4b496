"""A network as text: torchinfo's table of its layers, and a short description."""

from torch import nn
from torchinfo import summary

from clipstore.encoders.info import EncoderInfo
from clipstore.training.classifier import Classifier
from clipstore.training.network import parameter_count

DEPTH = 3  # of nested modules


def layers(model: nn.Module, size: int) -> str:
    """Return torchinfo's table for one image of (size, size) pixels."""
    return str(summary(model.cpu(), (1, 3, size, size), depth=DEPTH, verbose=0, col_names=("output_size", "num_params"), device="cpu"))


def description(network: Classifier, size: int, replaced: str) -> str:
    """Return sentences about the input, the parameters and the last layer; ``replaced`` says how that differs from the original."""
    counts = {name: parameter_count(module) for name, module in network.backbone.named_children()}
    parts = ", ".join(f"{name} {count:,}" for name, count in counts.items() if count)
    head = network.head
    return (
        f"Input: RGB images of {size} x {size} pixels. Parameters: {parameter_count(network):,}; of the backbone by part: {parts}; of the "
        f"last layer {parameter_count(head):,}. {replaced} {head.in_features} features in, {head.out_features} logits out, one a class.\n"
    )


def of_finetuned(info: EncoderInfo, before: nn.Module, network: Classifier, size: int) -> str:
    """Return the tables of a fine-tuned network, before and after its last layer was replaced, and the description.

    Args:
        info: of the encoder that it starts from.
        before: that encoder's network; its library's classifier where it has one.
        network: what it became.
        size: of its images, in pixels.
    """
    replaced = f"Replaced: the classifier of {info.architecture}."
    if info.library != "torchvision":
        replaced = f"Added: a classifier on the features of {info.architecture}, which came without one."
    return f"Before\n{layers(before, size)}\n\nAfter\n{layers(network, size)}\n\n{description(network, size, replaced)}"


def of_own(network: Classifier, size: int) -> str:
    """Return the table of our own network and the description."""
    return f"{layers(network, size)}\n\n{description(network, size, 'Nothing was replaced: all of it starts from random numbers.')}"
