"""A network of our own, to be trained from scratch on a few thousand small or large images; nothing of it is imported.

The idea is a residual network brought up to date, small enough for little data:

- a stem of three 3 x 3 convolutions instead of one of 7 x 7 (He et al. 2019, "Bag of tricks", ResNet-C); it halves the image once, or not
  at all where images are tiny;
- residual blocks of two convolutions, normalised before each (He et al. 2016, "Identity mappings"), so that the path from input to output
  is a plain sum and depth costs no trainability;
- squeeze-and-excitation (Hu et al. 2018): a block weighs its channels by what the whole image holds, which is worth more than width where
  classes differ in colour and texture;
- where the image halves, the shortcut averages 2 x 2 pixels before its 1 x 1 convolution, so that no pixel is thrown away (ResNet-D);
- every block starts as the identity, its last convolution at 0 (Goyal et al. 2017 do so by the gain of BatchNorm), and in training a block
  is left out at random, more often the deeper it lies (Huang et al. 2016, "Stochastic depth");
- weights start normal with the variance that keeps activations through ReLUs (He et al. 2015).
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

LIMIT = 20_000_000  # parameters


class SqueezeExcitation(nn.Module):
    """Scale every channel by a number in (0, 1) that depends on the mean of all channels."""

    def __init__(self, width: int) -> None:
        """Take ``width`` channels; a quarter of them, 8 at least, in between."""
        super().__init__()
        inner = max(8, width // 4)
        self.squeeze = nn.Conv2d(width, inner, 1)
        self.excite = nn.Conv2d(inner, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return (n, width, h, w) of the same shape."""
        gate: Tensor = self.excite(torch.relu(self.squeeze(x.mean((2, 3), keepdim=True))))
        return x * torch.sigmoid(gate)


class Block(nn.Module):
    """Two 3 x 3 convolutions, each after normalisation and ReLU, added to their input."""

    def __init__(self, before: int, width: int, stride: int, drop: float) -> None:
        """Turn ``before`` channels into ``width``, every ``stride``-th pixel; in training leave the block out with probability ``drop``."""
        super().__init__()
        self.drop = drop
        self.first = nn.Sequential(nn.BatchNorm2d(before), nn.ReLU())
        self.last = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.branch = nn.Sequential(
            nn.Conv2d(before, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU(), self.last, SqueezeExcitation(width)
        )
        pool = [nn.AvgPool2d(stride, ceil_mode=True)] if stride > 1 else []
        self.shortcut = nn.Sequential(*pool, nn.Conv2d(before, width, 1, bias=False)) if pool or before != width else None

    def forward(self, x: Tensor) -> Tensor:
        """Return (n, width, h / stride, w / stride) of an input (n, before, h, w)."""
        ready = self.first(x)
        shortcut = x if self.shortcut is None else self.shortcut(ready)
        branch = self.branch(ready)
        if self.training and self.drop:
            kept = torch.rand(len(x), 1, 1, 1, device=x.device) >= self.drop
            branch = branch * (kept / (1 - self.drop))
        summed: Tensor = shortcut + branch
        return summed


class Body(nn.Module):
    """The network without its classifier: images (n, 3, h, w) in, features (n, width) out."""

    def __init__(self, widths: Sequence[int], depths: Sequence[int], stride: int, drop: float) -> None:
        """Build and initialise it from torch's global generator.

        Args:
            widths: channels of each stage; the image halves before every stage but the first.
            depths: blocks of each stage.
            stride: of the stem, 1 or 2.
            drop: probability that the last block is left out in training; of those before it less, in proportion to their place.
        """
        super().__init__()
        narrow = max(16, widths[0] // 2)
        stem: list[nn.Module] = []
        for before, after, step in ((3, narrow, stride), (narrow, narrow, 1), (narrow, widths[0], 1)):
            stem += [nn.Conv2d(before, after, 3, step, 1, bias=False), nn.BatchNorm2d(after), nn.ReLU()]
        self.stem = nn.Sequential(*stem[:-2])  # the first block normalises
        blocks: list[Block] = []
        before, total = widths[0], sum(depths)
        for stage, (width, depth) in enumerate(zip(widths, depths, strict=True)):
            for number in range(depth):
                halved = stage > 0 and number == 0
                blocks.append(Block(before, width, 2 if halved else 1, drop * len(blocks) / max(1, total - 1)))
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


def parameters(model: nn.Module) -> int:
    """Return the number of parameters."""
    return sum(parameter.numel() for parameter in model.parameters())


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        if module.bias is not None:
            nn.init.zeros_(module.bias)
