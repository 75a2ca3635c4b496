"""Random views of images: crop, flip and TrivialAugment, drawn for a whole epoch on the CPU and applied on any device.

An image's parameters depend only on seed, epoch and the image's position in its set. The CPU applies them to one image at a time with
torchvision's crop, which is fastest there. A GPU applies them to a batch (`batch_of_views`): crop, resize and flip of an image are a
product with two small matrices, and operations on colours run once per kind. Both give the same view within rounding.
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from clipstore.core.nets import Training
from clipstore.encoders.vision import v2

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

TRIES, RATIOS, BINS = 10, (3 / 4, 4 / 3), 31  # torchvision's, of RandomResizedCrop and TrivialAugmentWide
STREAM = 1  # tells the random numbers of views from those that shuffle an epoch
CHUNK = 128  # images whose views are computed at once; limits temporary memory on a GPU to about 1 GB at 224 pixels

# Operations of TrivialAugment (wide): largest magnitude, and whether its sign is random.
OPERATIONS: dict[str, tuple[float, bool]] = {
    "identity": (0, False),
    "shear_x": (0.99, True),
    "shear_y": (0.99, True),
    "translate_x": (32, True),
    "translate_y": (32, True),
    "rotate": (135, True),
    "brightness": (0.99, True),
    "saturation": (0.99, True),
    "contrast": (0.99, True),
    "sharpness": (0.99, True),
    "posterize": (6, False),
    "solarize": (255, False),
    "autocontrast": (0, False),
    "equalize": (0, False),
}
NAMES = tuple(OPERATIONS)
MOVES = NAMES[1:6]  # operations that move pixels


def draw(sizes: Integers, settings: Training, seed: int, epoch: int) -> Floats:
    """Draw the parameters of one view of each image.

    Crops are distributed as those of torchvision's RandomResizedCrop, operations as those of its TrivialAugmentWide.

    Args:
        sizes: heights and widths of the images, (n, 2), in order of position.
        settings: min_crop_scale, hflip_prob and trivial_augment.
        seed: seed of the training.
        epoch: number of the epoch, from 0.

    Returns:
        float64 (n, 7): top, left, height and width of the crop in pixels, whether it is flipped (0 or 1), the operation as a place in
        OPERATIONS, and its magnitude.
    """
    numbers = np.random.default_rng([seed, epoch, STREAM]).random((len(sizes), 2 * TRIES + 6))
    heights, widths = sizes.T[:, :, None]
    areas = heights * widths * (settings.min_crop_scale + (1 - settings.min_crop_scale) * numbers[:, :TRIES])
    low, high = np.log(RATIOS)
    ratios = np.exp(low + (high - low) * numbers[:, TRIES : 2 * TRIES])
    tried = np.stack([np.rint(np.sqrt(areas / ratios)), np.rint(np.sqrt(areas * ratios))])
    possible = np.all((tried > 0) & (tried <= np.stack([heights, widths])), axis=0)
    height, width = tried[:, np.arange(len(sizes)), possible.argmax(axis=1)]
    down, right, flip, operation, magnitude, sign = numbers[:, 2 * TRIES :].T
    whole = ~possible.any(axis=1)  # no try fits, as in a panorama: the largest central crop
    height[whole], width[whole] = np.minimum(sizes, np.rint(sizes[:, ::-1] * [1 / RATIOS[0], RATIOS[1]])).T[:, whole]
    top = np.where(whole, (sizes[:, 0] - height) // 2, np.floor(down * (sizes[:, 0] - height + 1)))
    left = np.where(whole, (sizes[:, 1] - width) // 2, np.floor(right * (sizes[:, 1] - width + 1)))
    operations = np.floor(operation * len(OPERATIONS)).astype(int) if settings.trivial_augment else np.zeros(len(sizes), int)
    limits, signed = np.array(list(OPERATIONS.values())).T[:, operations]
    magnitudes = limits * np.floor(magnitude * BINS) / (BINS - 1) * np.where((signed > 0) & (sign < 0.5), -1, 1)
    return np.stack([top, left, height, width, flip < settings.hflip_prob, operations, magnitudes], axis=1)


def largest_crop(sizes: Integers) -> int:
    """Return a number of pixels that no side of a crop exceeds, for images of sizes (n, 2)."""
    limits = np.minimum(sizes.max(axis=1), np.ceil(sizes.min(axis=1) * RATIOS[1]) + 1)  # 1 for rounding
    return int(limits.max())


def view(image: Tensor, parameters: Floats, size: int) -> Tensor:
    """Return the view of one image, uint8 (3, h, w), with its parameters (7,): uint8 (3, size, size)."""
    top, left, height, width = (int(value) for value in parameters[:4])
    crop = v2.functional.resized_crop(image, top, left, height, width, [size, size], antialias=True)
    crop = crop.flip(2) if parameters[4] else crop
    kind = _KIND_OF[int(parameters[5])]
    return crop if kind == "identity" else _apply(kind, crop[None], parameters[None, 5], parameters[None, 6])[0]


def batch_of_views(windows: Tensor, parameters: Floats, size: int) -> Tensor:
    """Return the views of a batch.

    Args:
        windows: uint8 (n, extent, extent, 3); each begins with the pixels of an image's crop, and the others are not used.
        parameters: float64 (n, 7), see `draw`.
        size: side of the views in pixels.

    Returns:
        uint8 (n, 3, size, size).
    """
    count, extent = windows.shape[:2]
    height, width, flipped = moved(torch.from_numpy(parameters[:, 2:5].astype(np.float32)), windows.device).T
    pixels = windows.permute(0, 1, 3, 2).to(torch.float32, memory_format=torch.contiguous_format)  # rows, channels, columns
    columns = _resizing(width, size, extent)
    columns = torch.where(flipped[:, None, None] > 0, columns.flip(1), columns)
    rows = torch.bmm(pixels.view(count, extent * 3, extent), columns.transpose(1, 2)).view(count, extent, 3 * size)
    resized = torch.bmm(_resizing(height, size, extent), rows).view(count, size, 3, size).permute(0, 2, 1, 3)
    crops = resized.round_().clamp_(0, 255).to(torch.uint8, memory_format=torch.contiguous_format)
    return altered(crops, parameters[:, 5], parameters[:, 6])


def _resizing(lengths: Tensor, size: int, extent: int) -> Tensor:
    """Return the matrices (n, size, extent) that resize the first ``lengths`` (n,) of ``extent`` pixels to ``size``, with antialiasing.

    The filter is that of PyTorch's and Pillow's bilinear resize: a triangle as wide as two source pixels, or two target pixels if these
    are larger.
    """
    scale = (lengths / size)[:, None, None]
    source = torch.arange(extent, device=lengths.device) + 0.5
    centres = (torch.arange(size, device=lengths.device) + 0.5)[:, None] * scale
    weights = (1 - (source - centres).abs() / scale.clamp(min=1)).clamp_(min=0) * (source < lengths[:, None, None])
    return weights / weights.sum(dim=2, keepdim=True)


def moved(tensor: Tensor, device: torch.device) -> Tensor:
    """Return the tensor on the device; the CPU does not wait for a copy to a GPU."""
    if tensor.device.type == device.type:
        return tensor
    return tensor.pin_memory().to(device, non_blocking=True)


def altered(crops: Tensor, operations: Floats, magnitudes: Floats) -> Tensor:
    """Apply TrivialAugment's operations to crops, uint8 (n, 3, size, size), each kind to all of its images at once.

    Args:
        crops: the images; some are overwritten.
        operations: places in OPERATIONS, (n,).
        magnitudes: magnitudes, (n,).
    """
    kinds = np.array([_KINDS.index(_KIND_OF[int(operation)]) for operation in operations])
    order = np.argsort(kinds, kind="stable")
    bounds = np.searchsorted(kinds[order], range(1, len(_KINDS) + 1))  # the first kind, identity, changes nothing
    places = moved(torch.from_numpy(order), crops.device)
    for kind, start, stop in zip(_KINDS[1:], bounds, bounds[1:], strict=False):
        if start < stop:
            rows, members = places[start:stop], order[start:stop]
            crops.index_copy_(0, rows, _apply(kind, crops.index_select(0, rows), operations[members], magnitudes[members]))
    return crops


def _apply(kind: str, pixels: Tensor, operations: Floats, magnitudes: Floats) -> Tensor:
    """Apply operations of one kind to pixels uint8 (n, 3, size, size)."""
    if kind == "move":
        return _move(pixels, operations, magnitudes)
    if kind in _WITHOUT_MAGNITUDE:
        return _WITHOUT_MAGNITUDE[kind](pixels)
    amounts = moved(torch.from_numpy(magnitudes.astype(np.float32)), pixels.device)[:, None, None, None]
    if kind == "posterize":
        return pixels & (255 << amounts.round().int()).to(torch.uint8)
    if kind == "solarize":
        return torch.where(pixels >= 255 - amounts, 255 - pixels, pixels)
    other = _OPPOSITES[kind](pixels)
    return (pixels + amounts * (pixels.float() - other)).clamp_(0, 255).to(torch.uint8)


def _move(pixels: Tensor, operations: Floats, magnitudes: Floats) -> Tensor:
    """Shear about the top left corner, translate by whole pixels or rotate about the centre; nearest neighbour, black outside."""
    size = pixels.shape[-1]
    maps = np.tile(np.array([[1.0, 0, 0], [0, 1, 0]]), (len(magnitudes), 1, 1))  # from output to input, about the centre, in half sizes
    for matrix, operation, magnitude in zip(maps, operations, magnitudes, strict=True):
        match NAMES[int(operation)]:
            case "shear_x":
                matrix[0, 1:] = magnitude
            case "shear_y":
                matrix[1, [0, 2]] = magnitude
            case "translate_x":
                matrix[0, 2] = -2 * int(magnitude) / size
            case "translate_y":
                matrix[1, 2] = -2 * int(magnitude) / size
            case "rotate":
                cosine, sine = np.cos(np.radians(magnitude)), np.sin(np.radians(magnitude))
                matrix[:, :2] = [[cosine, -sine], [sine, cosine]]
    grid = F.affine_grid(moved(torch.from_numpy(maps.astype(np.float32)), pixels.device), list(pixels.shape), align_corners=False)
    return F.grid_sample(pixels.float(), grid, mode="nearest", align_corners=False).to(torch.uint8)


def _grey_mean(pixels: Tensor) -> Tensor:
    grey: Tensor = v2.functional.rgb_to_grayscale(pixels)
    return grey.float().mean(dim=(1, 2, 3), keepdim=True)


_WITHOUT_MAGNITUDE: dict[str, Callable[[Tensor], Tensor]] = {
    "autocontrast": v2.functional.autocontrast,
    "equalize": v2.functional.equalize,
}
_OPPOSITES: dict[str, Callable[[Tensor], Tensor]] = {  # what an image becomes with a factor of 0
    "brightness": torch.zeros_like,
    "saturation": v2.functional.rgb_to_grayscale,
    "contrast": _grey_mean,
    "sharpness": lambda pixels: v2.functional.adjust_sharpness(pixels, 0),
}
_KIND_OF = ["move" if name in MOVES else name for name in NAMES]  # by place in OPERATIONS
_KINDS = list(dict.fromkeys(_KIND_OF))
