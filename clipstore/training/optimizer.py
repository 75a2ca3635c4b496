"""The optimizer of a classifier: learning rates by depth, weight decay, the schedule over the steps, and the moving average."""

import math
from copy import deepcopy
from fnmatch import fnmatch
from typing import Any

import torch
from torch import nn

from clipstore.core.nets import Training
from clipstore.encoders.vision import open_clip, timm
from clipstore.training.classifier import Classifier

# The groups of open_clip's VisionTransformer.lock, as timm's `group_matcher` would describe them; the projection is the last group.
OPEN_CLIP_VIT = {
    "stem": r"conv1|class_embedding|positional_embedding|ln_pre",
    "blocks": [(r"transformer\.resblocks\.(\d+)", None), (r"ln_post", (99999,))],
}


def lr_factor(step: int, steps: int, warmup_steps: int) -> float:
    """Return the learning rate at ``step`` of ``steps`` as a fraction of its peak: linear warm-up, then cosine decay to 0."""
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    return 0.5 * (1 + math.cos(math.pi * (step - warmup_steps) / max(1, steps - warmup_steps)))


def layers(network: nn.Module) -> list[list[str]]:
    """Return the names of a network's parameters, grouped into layers from the input to the output.

    timm's networks and open_clip's vision transformers are grouped as their libraries do it. In any other network, every module with
    parameters of its own is a layer, in the order in which the modules are defined: for torchvision's networks the order of execution.
    Networks of both kinds may contain each other, such as timm's inside open_clip's.
    """
    matcher: Any = OPEN_CLIP_VIT if isinstance(network, open_clip.transformer.VisionTransformer) else None
    if hasattr(network, "group_matcher"):
        matcher = network.group_matcher(coarse=False)  # type: ignore[operator]  # mypy takes it for a submodule
    if matcher is not None:
        grouped: dict[int, list[str]] = timm.models.group_parameters(network, matcher)
        return [grouped[number] for number in sorted(grouped)]
    names = [name for name, _ in network.named_parameters()]  # one name for a shared parameter
    own = [name for name, _ in network.named_parameters(recurse=False)]
    below = [[f"{name}.{parameter}" for parameter in layer] for name, child in network.named_children() for layer in layers(child)]
    return [found for layer in (own, *below) if (found := [name for name in layer if name in names])]


def without_decay(network: nn.Module) -> set[str]:
    """Return the names of the parameters without weight decay.

    These are biases and gains, which have one dimension; what a module's `no_weight_decay` lists; and whatever is neither called weight nor
    proj, such as the positional embeddings and tokens of networks without such a list.
    """
    exempt = {name for name, parameter in network.named_parameters() if parameter.ndim < 2 or not name.endswith(("weight", "proj"))}
    for place, module in network.named_modules():
        patterns = module.no_weight_decay() if hasattr(module, "no_weight_decay") else ()
        listed = [name for name, _ in module.named_parameters() if any(fnmatch(name, pattern) for pattern in patterns)]
        exempt |= {f"{place}.{name}" if place else name for name in listed}
    return exempt


def parameter_groups(model: Classifier, settings: Training) -> list[dict[str, Any]]:
    """Return the optimizer's groups: learning rates grow from the first layer to the head; see `layers` and `without_decay`.

    Howard and Ruder 2018 call such rates discriminative. The rate of the backbone's last layer is ``settings.backbone_lr_scale`` times the
    head's, that of its first layer ``settings.layer_decay`` times this, and the rates in between form a geometric sequence.
    """
    parameters, exempt = dict(model.named_parameters()), without_decay(model)
    backbone = [[f"backbone.{name}" for name in layer] for layer in layers(model.backbone)]
    head = [name for name in parameters if name.startswith("head.")]
    groups = []
    for place, layer in enumerate([*backbone, head]):
        in_backbone = layer is not head
        before_last = (len(backbone) - 1 - place) / max(1, len(backbone) - 1)  # 1 for the backbone's first layer, 0 for its last
        lr_scale = settings.backbone_lr_scale * settings.layer_decay**before_last if in_backbone else 1.0
        for decays in (True, False):
            params = [parameters[name] for name in layer if (name not in exempt) == decays and parameters[name].requires_grad]
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

    At update t its decay is min(decay, (1 + t) / (10 + t)), as in TensorFlow's ExponentialMovingAverage: with a constant one, the first
    step's weights would keep a share of decay^t, 74 % after 30 steps with 0.99.

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
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates)) if self.updates else 0.0
        torch._foreach_lerp_(averages, current, 1 - decay)
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
