"""Take a library's transform of an image apart: uint8 crops on the CPU, normalised later on the device, with the same bits."""

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from clipstore.core.errors import InputError
from clipstore.encoders.precision import device
from clipstore.encoders.vision import torchvision

Pixels = npt.NDArray[np.uint8]


class Crops:
    """A library's transform without its last two steps, and these, to be applied to a batch: to tensor, normalise."""

    def __init__(self, transform: Any, name: str) -> None:
        """Take the transform of the encoder ``name`` apart.

        Raises:
            InputError: it is not a Compose that ends in ToTensor and Normalize.
        """
        steps = torchvision.transforms
        parts = list(transform.transforms) if type(transform) is steps.Compose else []
        if len(parts) < 3 or not isinstance(parts[-2], steps.ToTensor) or type(parts[-1]) is not steps.Normalize:
            found = ", ".join(type(part).__name__ for part in parts) or type(transform).__name__
            raise InputError(f"{name}: its library prepares images by {found}; expected a Compose that ends in ToTensor, Normalize")
        *self.steps, _, normalize = parts
        self.levels = torch.tensor(255.0, device=device())
        mean, deviation = (torch.as_tensor(values, dtype=torch.float32) for values in (normalize.mean, normalize.std))
        self.mean, self.deviation = (values.view(-1, 1, 1).to(device()) for values in (mean, deviation))

    def crop(self, pixels: Pixels) -> torch.Tensor:
        """Return the resized and cropped image, uint8 (3, s, s), of RGB pixels uint8 (h, w, 3)."""
        image: Any = Image.fromarray(pixels)
        for step in self.steps:
            image = step(image)
        return torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous()

    def normalized(self, crops: torch.Tensor) -> torch.Tensor:
        """Return crops uint8 (n, 3, s, s), on the encoder's device, as the library's float32 pixels: the same operations in the same order.

        255 is a tensor on the device: CUDA multiplies by the reciprocal of a plain number, which rounds differently.
        """
        return crops.to(torch.float32).div_(self.levels).sub_(self.mean).div_(self.deviation)
