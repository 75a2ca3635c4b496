"""Labelled images in memory, decoded once, and the batches that a network is trained on and judged by.

An image is kept as uint8 with its shorter side at the length from which the evaluation crops its centre: 3 bytes a pixel (256 x 340 pixels
are 261 KB, and 3,700 of them 1 GB).
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
from clipstore.data import images
from clipstore.encoders.vision import v2

Key = tuple[int, int, int]  # seed, epoch, position: what the random numbers of one augmentation follow from


@dataclass(frozen=True)
class ImageSet:
    """``pixels``: n tensors uint8 (3, h, w); ``labels``: int64 (n,)."""

    pixels: Sequence[Tensor]
    labels: npt.NDArray[np.int64]

    def __len__(self) -> int:
        """Return n."""
        return len(self.pixels)

    def __add__(self, other: "ImageSet") -> "ImageSet":
        """Return these and the others, in this order."""
        return ImageSet([*self.pixels, *other.pixels], np.concatenate([self.labels, other.labels]))


def shorter_side(settings: Training) -> int:
    """Return the length of the shorter side, in pixels, that images are kept at."""
    return round(settings.image_size / settings.crop_pct)


def decode(rows: pd.DataFrame, settings: Training, name: str) -> ImageSet:
    """Decode the images of ``rows`` (columns path, sha256, label of the index), resized with antialiasing by Pillow."""
    side = shorter_side(settings)

    def one(place: tuple[str, str]) -> Tensor:
        image = images.load(*place)
        scale = side / min(image.size)
        size = (max(side, round(image.width * scale)), max(side, round(image.height * scale)))
        return torch.from_numpy(np.array(image.resize(size, Image.Resampling.BICUBIC))).permute(2, 0, 1)

    places = list(zip(rows["path"], rows["sha256"], strict=True))
    pixels = list(tqdm(images.in_order(one, places), f"decode {name}", len(places), unit="img", mininterval=1))
    return ImageSet(pixels, rows["label"].to_numpy(np.int64))


def seed_of(*numbers: int) -> int:
    """Return a seed for torch that follows from the numbers, each at least 0."""
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])


class Augmented(Dataset[tuple[Tensor, int]]):
    """ImageSet seen through random crops and changes; an item's key fixes them, whatever process asks and in whatever order."""

    def __init__(self, pictures: ImageSet, settings: Training) -> None:
        """Take torchvision's transforms as the settings name them."""
        steps = [v2.RandomResizedCrop(settings.image_size, scale=(settings.min_crop_scale, 1.0), antialias=True)]
        steps += [v2.RandomHorizontalFlip(settings.hflip_prob)] if settings.hflip_prob else []
        steps += [v2.TrivialAugmentWide()] if settings.trivial_augment else []
        self.pictures = pictures
        self.transform = v2.Compose(steps)

    def __getitem__(self, key: Key) -> tuple[Tensor, int]:
        """Return uint8 (3, size, size) and the label of the picture at the key's position."""
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed_of(*key))  # torch.manual_seed would seed a GPU too, and without one keep a stack trace
            return self.transform(self.pictures.pixels[key[2]]), int(self.pictures.labels[key[2]])


def epochs_batches(count: int, batch: int, seed: int, epoch: int) -> list[list[Key]]:
    """Return the shuffled keys of one epoch in batches of one size; what is left over waits for another epoch."""
    batch = min(batch, count)
    order = np.random.default_rng([seed, epoch]).permutation(count).tolist()
    return [[(seed, epoch, position) for position in order[at : at + batch]] for at in range(0, count - batch + 1, batch)]


def augmented(dataset: Augmented, batches: list[list[Key]], workers: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield uint8 (batch, 3, size, size) and labels int64 (batch,) of each batch of keys."""
    yield from DataLoader(dataset, batch_sampler=batches, num_workers=workers)


def centred(pictures: ImageSet, positions: Sequence[int], size: int) -> Tensor:
    """Return the centres of the pictures at ``positions``: uint8 (n, 3, size, size)."""
    crop = v2.functional.center_crop
    return torch.stack([crop(pictures.pixels[position], [size, size]) for position in positions])
