"""This project's own network, trained from scratch on a few thousand small or large images.

It is a residual network with later improvements, small enough for small data sets:

- The stem has three 3 x 3 convolutions instead of one of 7 x 7 (He et al. 2019, "Bag of tricks", ResNet-C). It halves the image once, or
  not at all for tiny images.
- A residual block has two convolutions, each preceded by normalisation (He et al. 2016, "Identity mappings"). The path from input to
  output is then a plain sum, and deeper networks remain trainable.
- Squeeze-and-excitation (Hu et al. 2018) weights the channels of a block by the content of the whole image, which helps more than width
  if classes differ in colour and texture.
- Where the image is halved, the shortcut averages 2 x 2 pixels before its 1 x 1 convolution, so that every pixel counts (ResNet-D).
- Every block starts as the identity: its last convolution is initialised to 0 (Goyal et al. 2017 set the gain of BatchNorm to 0 instead).
- In training, blocks are skipped at random, deeper ones more often (Huang et al. 2016, "Stochastic depth").
- Initial weights are normally distributed, with the variance that preserves activations through ReLUs (He et al. 2015).
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

MAX_PARAMETERS = 20_000_000


class SqueezeExcitation(nn.Module):
    """Scale every channel by a factor in (0, 1) computed from the means of all channels."""

    def __init__(self, width: int) -> None:
        """Squeeze ``width`` channels to a quarter of their number, but at least 8."""
        super().__init__()
        inner = max(8, width // 4)
        self.squeeze = nn.Conv2d(width, inner, 1)
        self.excite = nn.Conv2d(inner, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return the scaled channels (n, width, h, w)."""
        gate: Tensor = self.excite(torch.relu(self.squeeze(x.mean((2, 3), keepdim=True))))
        return x * torch.sigmoid(gate)


class Block(nn.Module):
    """Two 3 x 3 convolutions, each after normalisation and ReLU, added to their input."""

    def __init__(self, before: int, width: int, stride: int, drop_path: float) -> None:
        """Map ``before`` channels to ``width`` channels and keep every ``stride``-th pixel.

        Args:
            before: number of input channels.
            width: number of output channels.
            stride: 1 or 2.
            drop_path: probability that the branch is skipped in training.
        """
        super().__init__()
        self.drop_path = drop_path
        self.first = nn.Sequential(nn.BatchNorm2d(before), nn.ReLU())
        self.last = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.branch = nn.Sequential(
            nn.Conv2d(before, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU(), self.last, SqueezeExcitation(width)
        )
        pool = [nn.AvgPool2d(stride, ceil_mode=True)] if stride > 1 else []
        self.shortcut = nn.Sequential(*pool, nn.Conv2d(before, width, 1, bias=False)) if pool or before != width else None

    def forward(self, x: Tensor) -> Tensor:
        """Return (n, width, h / stride, w / stride) for an input (n, before, h, w)."""
        normalised = self.first(x)
        shortcut = x if self.shortcut is None else self.shortcut(normalised)
        branch = self.branch(normalised)
        if self.training and self.drop_path:
            kept = torch.rand(len(x), 1, 1, 1, device=x.device) >= self.drop_path
            branch = branch * (kept / (1 - self.drop_path))
        summed: Tensor = shortcut + branch
        return summed


class Backbone(nn.Module):
    """The network without its classifier: images (n, 3, h, w) in, features (n, width) out."""

    def __init__(self, widths: Sequence[int], depths: Sequence[int], stride: int, drop_path: float) -> None:
        """Build the network and initialise it from torch's global generator.

        Args:
            widths: channels of each stage; the image is halved before every stage except the first.
            depths: blocks of each stage.
            stride: stride of the stem, 1 or 2.
            drop_path: probability that the last block is skipped in training; it grows linearly from 0 for the first block.
        """
        super().__init__()
        narrow = max(16, widths[0] // 2)
        stem: list[nn.Module] = []
        for before, after, step in ((3, narrow, stride), (narrow, narrow, 1), (narrow, widths[0], 1)):
            stem += [nn.Conv2d(before, after, 3, step, 1, bias=False), nn.BatchNorm2d(after), nn.ReLU()]
        self.stem = nn.Sequential(*stem[:-2])  # the first block starts with normalisation and ReLU
        blocks: list[Block] = []
        before, total = widths[0], sum(depths)
        for stage, (width, depth) in enumerate(zip(widths, depths, strict=True)):
            for number in range(depth):
                halved = stage > 0 and number == 0
                blocks.append(Block(before, width, 2 if halved else 1, drop_path * len(blocks) / max(1, total - 1)))
                before = width
        self.blocks = nn.Sequential(*blocks)
        self.last = nn.Sequential(nn.BatchNorm2d(before), nn.ReLU())
        self.apply(_initialise)
        for block in blocks:
            nn.init.zeros_(block.last.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Return features (n, width of the last stage): the mean over the last stage's pixels."""
        features: Tensor = self.last(self.blocks(self.stem(x))).mean((2, 3))
        return features


def parameter_count(model: nn.Module) -> int:
    """Return the number of parameters."""
    return sum(parameter.numel() for parameter in model.parameters())


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        if module.bias is not None:
            nn.init.zeros_(module.bias)
