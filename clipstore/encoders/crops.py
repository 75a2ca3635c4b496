"""Take a library's transform of an image apart: uint8 crops on the CPU, normalised later on the device, with the same bits."""

from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from clipstore.core.errors import InputError
from clipstore.data.images import Pixels
from clipstore.encoders.precision import device

Resize = Literal["pillow", "torch"]
FILTERS = ("bicubic", "bilinear")  # that torch has with antialiasing
SIZES = 4096  # of images, for which the resized size is kept
MARGIN = 2  # a JPEG is decoded to at least so many times the size that it is resized to


class Crops:
    """A library's transform: all steps but the last two, resize and crop, and these two, for a batch: to tensor, normalise."""

    def __init__(self, transform: Any, name: str, resize: Resize = "pillow") -> None:
        """Take the transform of the encoder ``name`` apart.

        Args:
            transform: the library's, from a PIL image to float32 (3, s, s).
            name: the entry in params.yaml.
            resize: "pillow" for the library's own steps, "torch" to resize by torch, with the same filter and to the same size.

        Raises:
            InputError: it is not a Compose that ends in ToTensor and Normalize, or torch has no such filter.
        """
        from clipstore.encoders.vision import torchvision  # imported here: a stage with all its rows in the cache does not need it

        steps = torchvision.transforms
        parts = list(transform.transforms) if type(transform) is steps.Compose else []
        if len(parts) < 3 or not isinstance(parts[-2], steps.ToTensor) or type(parts[-1]) is not steps.Normalize:
            found = ", ".join(type(part).__name__ for part in parts) or type(transform).__name__
            raise InputError(f"{name}: its library prepares images by {found}; expected a Compose that ends in ToTensor, Normalize")
        *self.steps, _, normalize = parts
        self.levels = torch.tensor(255.0, device=device())
        mean, deviation = (torch.as_tensor(values, dtype=torch.float32) for values in (normalize.mean, normalize.std))
        self.mean, self.deviation = (values.view(-1, 1, 1).to(device()) for values in (mean, deviation))
        self.sizes: dict[tuple[int, int], tuple[int, int]] = {}
        self.resize = resize
        self.filter = str(getattr(getattr(self.steps[0], "interpolation", None), "value", type(self.steps[0]).__name__))
        if resize == "torch" and self.filter not in FILTERS:
            raise InputError(f"embed_images.resize = 'torch': {name} resizes by {self.filter!r}, expected {' or '.join(FILTERS)}")

    def crop(self, pixels: Pixels) -> torch.Tensor:
        """Return the resized and cropped image, uint8 (3, s, s), of RGB pixels uint8 (h, w, 3)."""
        image: Any = Image.fromarray(self._resized(pixels) if self.resize == "torch" else pixels)
        for step in self.steps[self.resize == "torch" :]:
            image = step(image)
        return torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous()

    def normalized(self, crops: torch.Tensor) -> torch.Tensor:
        """Return crops uint8 (n, 3, s, s), on the encoder's device, as the library's float32 pixels: the same operations in the same order.

        255 is a tensor on the device: CUDA multiplies by the reciprocal of a plain number, which rounds differently.
        """
        return crops.to(torch.float32).div_(self.levels).sub_(self.mean).div_(self.deviation)

    def size(self, height: int, width: int) -> tuple[int, int]:
        """Return height and width that the library resizes an image of this size to, by its own step."""
        found = self.sizes.get((height, width))
        if found is None:
            resized = self.steps[0](Image.new("1", (width, height)))  # resized without a filter, hence fast
            found = resized.height, resized.width
            if len(self.sizes) < SIZES:
                self.sizes[height, width] = found
        return found

    def enough(self, height: int, width: int) -> tuple[int, int]:
        """Return the least height and width, in pixels, that a JPEG of this size is decoded to if the decoder may scale it."""
        resized_height, resized_width = self.size(height, width)
        return MARGIN * resized_height, MARGIN * resized_width

    def _resized(self, pixels: Pixels) -> Pixels:
        height, width, _ = pixels.shape
        image = torch.from_numpy(pixels).permute(2, 0, 1)[None]  # in memory as torch's fast kernel for bytes wants it
        resized = F.interpolate(image, self.size(height, width), mode=self.filter, antialias=True)
        return resized[0].permute(1, 2, 0).contiguous().numpy()
