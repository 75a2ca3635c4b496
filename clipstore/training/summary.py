"""A network as text: torchinfo's table of its layers, and a short reading of it."""

from torch import nn
from torchinfo import summary

from clipstore.encoders import torchvision
from clipstore.encoders.info import EncoderInfo
from clipstore.encoders.libraries import MODULES
from clipstore.training.loop import Classifier
from clipstore.training.network import parameters

DEPTH = 3  # of nested modules


def layers(model: nn.Module, size: int) -> str:
    """Return torchinfo's table for one image of (size, size) pixels."""
    return str(summary(model.cpu(), (1, 3, size, size), depth=DEPTH, verbose=0, col_names=("output_size", "num_params"), device="cpu"))


def reading(network: Classifier, size: int, replaced: str) -> str:
    """Return in words what goes in, where the parameters are, and what the last layer is."""
    parts = {name: parameters(module) for name, module in network.body.named_children()}
    shares = ", ".join(f"{name} {count:,}" for name, count in parts.items() if count)
    head = network.head
    return (
        f"Input: RGB images of {size} x {size} pixels. Parameters: {parameters(network):,}; of the body by part: {shares}; of the last "
        f"layer {parameters(head):,}. {replaced} {head.in_features} features in, {head.out_features} logits out, one a class.\n"
    )


def of_finetuned(card: EncoderInfo, network: Classifier, size: int) -> str:
    """Return the printout of a network with a new last layer: before, after, and the reading."""
    if card.library == "torchvision":
        before: nn.Module = torchvision.classifier(card.architecture)
        replaced = f"Replaced: the classifier of {card.architecture}."
    else:
        before, _ = MODULES[card.library].backbone(card)
        replaced = f"Added: a classifier on the features of {card.architecture}, which came without one."
    return f"Before\n{layers(before, size)}\n\nAfter\n{layers(network, size)}\n\n{reading(network, size, replaced)}"


def of_own(network: Classifier, size: int) -> str:
    """Return the printout of our own network and the reading."""
    return f"{layers(network, size)}\n\n{reading(network, size, 'Nothing was replaced: all of it starts from random numbers.')}"
