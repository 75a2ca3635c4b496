"""The optimizer of a classifier: learning rates by layer, weight decay, the schedule over the steps, and the moving average."""

import math
from copy import deepcopy
from typing import Any

import torch
from torch import nn

from clipstore.core.nets import Training
from clipstore.training.classifier import Classifier


def lr_factor(step: int, steps: int, warmup_steps: int) -> float:
    """Return the learning rate at ``step`` of ``steps`` as a fraction of its peak: linear warm-up, then cosine decay to 0."""
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    return 0.5 * (1 + math.cos(math.pi * (step - warmup_steps) / max(1, steps - warmup_steps)))


def parameter_groups(model: Classifier, settings: Training) -> list[dict[str, Any]]:
    """Return the optimizer's groups: learning rates grow from the first layer to the head; biases and norm gains have no weight decay.

    Howard and Ruder 2018 call such rates discriminative. The rate of the backbone's last layer is ``settings.backbone_lr_scale`` times the
    head's, that of its first layer ``settings.layer_decay`` times this, and the rates in between form a geometric sequence.
    """
    layers = [module for module in model.modules() if any(True for _ in module.parameters(recurse=False))]
    groups = []
    for place, layer in enumerate(layers):
        in_backbone = layer is not model.head
        depth = place / max(1, len(layers) - 2)  # 0 for the backbone's first layer, 1 for its last
        lr_scale = settings.backbone_lr_scale * settings.layer_decay ** (1 - depth) if in_backbone else 1.0
        for decays in (True, False):
            params = [p for p in layer.parameters(recurse=False) if p.requires_grad and (p.ndim > 1) == decays]
            if params:
                weight_decay = settings.weight_decay * decays
                groups.append({"params": params, "weight_decay": weight_decay, "lr_scale": lr_scale, "in_backbone": in_backbone})
    return groups


def optimizer_of(groups: list[dict[str, Any]], settings: Training) -> torch.optim.Optimizer:
    """Return AdamW, or SGD with a Nesterov momentum of 0.9."""
    if settings.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=settings.lr, momentum=0.9, nesterov=True, fused=True)
    return torch.optim.AdamW(groups, lr=settings.lr, betas=(0.9, 0.99), fused=True)


class MovingAverage(nn.Module):
    """A copy of a network, ``module``, whose weights and buffers are an exponential moving average of the network's.

    torch's AveragedModel counts its updates on the device, and reads this number at every step, which makes the CPU wait for the GPU.
    """

    def __init__(self, network: Classifier, decay: float) -> None:
        """Copy the network."""
        super().__init__()
        self.module, self.decay, self.updates = deepcopy(network).requires_grad_(False), decay, 0

    @torch.no_grad()
    def update(self, network: Classifier) -> None:
        """Move towards the network's present weights; the first time, copy them. Integers, which count batches, are always copied."""
        pairs = list(zip(self.module.state_dict().values(), network.state_dict().values(), strict=True))
        floats = [pair for pair in pairs if pair[0].is_floating_point()]
        averages, current = ([pair[side] for pair in floats] for side in (0, 1))
        torch._foreach_lerp_(averages, current, 1 - self.decay if self.updates else 1.0)
        for average, value in pairs:
            if not average.is_floating_point():
                average.copy_(value)
        self.updates += 1

    def get_extra_state(self) -> int:
        """Return the number of updates, for the state dict."""
        return self.updates

    def set_extra_state(self, state: int) -> None:
        """Restore the number of updates."""
        self.updates = state
