"""Labelled images in memory, decoded once, and the batches for training and evaluating a network.

An image is stored as uint8, 3 bytes per pixel, with its shorter side resized to the length from which evaluation crops the centre. An
image of 256 x 340 pixels takes 261 KB, and 3,700 of them take 1 GB.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from clipstore.core.nets import Training
from clipstore.core.params import Exif
from clipstore.data import images
from clipstore.encoders.vision import v2

Key = tuple[int, int, int]  # seed, epoch, position: they seed the augmentation of one image


@dataclass(frozen=True)
class ImageSet:
    """``pixels``: n tensors uint8 (3, h, w); ``labels``: int64 (n,)."""

    pixels: Sequence[Tensor]
    labels: npt.NDArray[np.int64]

    def __len__(self) -> int:
        """Return n."""
        return len(self.pixels)

    def __add__(self, other: "ImageSet") -> "ImageSet":
        """Return the images of both sets, these first."""
        return ImageSet([*self.pixels, *other.pixels], np.concatenate([self.labels, other.labels]))


def shorter_side(settings: Training) -> int:
    """Return the length, in pixels, that the shorter side of an image is resized to."""
    return round(settings.image_size / settings.crop_pct)


def decode(rows: pd.DataFrame, settings: Training, name: str, exif: Exif) -> ImageSet:
    """Decode the images of ``rows`` (columns path, sha256, label of the index); Pillow resizes them with antialiasing."""
    side = shorter_side(settings)

    def resized(source: tuple[str, str]) -> Tensor:
        image = images.load(*source, exif)
        scale = side / min(image.size)
        size = (max(side, round(image.width * scale)), max(side, round(image.height * scale)))
        return torch.from_numpy(np.array(image.resize(size, Image.Resampling.BICUBIC))).permute(2, 0, 1)

    sources = list(zip(rows["path"], rows["sha256"], strict=True))
    pixels = list(tqdm(images.in_order(resized, sources), f"decode {name}", len(sources), unit="img", mininterval=1))
    return ImageSet(pixels, rows["label"].to_numpy(np.int64))


def seed_of(*numbers: int) -> int:
    """Return a seed for torch, derived from non-negative numbers."""
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])


class Augmented(Dataset[tuple[Tensor, int]]):
    """An image set with random crops and colour changes.

    They depend only on an item's key, not on the order of the items or on the worker process.
    """

    def __init__(self, image_set: ImageSet, settings: Training) -> None:
        """Compose torchvision's transforms from the settings."""
        steps = [v2.RandomResizedCrop(settings.image_size, scale=(settings.min_crop_scale, 1.0), antialias=True)]
        steps += [v2.RandomHorizontalFlip(settings.hflip_prob)] if settings.hflip_prob else []
        steps += [v2.TrivialAugmentWide()] if settings.trivial_augment else []
        self.image_set = image_set
        self.transform = v2.Compose(steps)

    def __getitem__(self, key: Key) -> tuple[Tensor, int]:
        """Return uint8 (3, size, size) and the label of the image at the key's position."""
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed_of(*key))  # torch.manual_seed would also seed GPUs, or without one store a stack trace
            return self.transform(self.image_set.pixels[key[2]]), int(self.image_set.labels[key[2]])


def shuffled_batches(count: int, batch_size: int, seed: int, epoch: int) -> list[list[Key]]:
    """Return the shuffled keys of one epoch in batches of equal size; the remaining images are not used in this epoch."""
    batch_size = min(batch_size, count)
    order = np.random.default_rng([seed, epoch]).permutation(count).tolist()
    starts = range(0, count - batch_size + 1, batch_size)
    return [[(seed, epoch, position) for position in order[start : start + batch_size]] for start in starts]


def augmented_batches(dataset: Augmented, batches: list[list[Key]], workers: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield pixels uint8 (batch, 3, size, size) and labels int64 (batch,) for each batch of keys."""
    yield from DataLoader(dataset, batch_sampler=batches, num_workers=workers)


def center_crops(image_set: ImageSet, positions: Sequence[int], size: int) -> Tensor:
    """Return the centre crops of the images at ``positions``: uint8 (n, 3, size, size)."""
    crop = v2.functional.center_crop
    return torch.stack([crop(image_set.pixels[position], [size, size]) for position in positions])
