"""Labelled images in memory, decoded once, and the batches for training and evaluating a network.

An image is stored as uint8, 3 bytes per pixel, with its shorter side resized to the length from which evaluation crops the centre. An
image of 256 x 340 pixels takes 261 KB, and 3,700 of them take 1 GB.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
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
from clipstore.encoders.precision import cores
from clipstore.encoders.vision import v2
from clipstore.training import augmentation
from clipstore.training.augmentation import CHUNK, moved
from clipstore.training.processes import say_once

Positions = npt.NDArray[np.int64]  # of images in their set
Floats = npt.NDArray[np.float64]


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

    @property
    def nbytes(self) -> int:
        """Bytes of all pixels."""
        return sum(pixels.nbytes for pixels in self.pixels)

    def to(self, device: torch.device) -> "ImageSet":
        """Return the set with its images on the device."""
        return ImageSet([pixels.to(device) for pixels in self.pixels], self.labels)


def shorter_side(settings: Training) -> int:
    """Return the length, in pixels, that the shorter side of an image is resized to."""
    return round(settings.image_size / settings.crop_pct)


def decode(rows: pd.DataFrame, settings: Training, name: str, exif: Exif) -> ImageSet:
    """Decode the images of ``rows`` (columns path, sha256, label of the index); Pillow resizes them with antialiasing."""
    side = shorter_side(settings)

    def resized(source: tuple[str, str]) -> Tensor:
        image = Image.fromarray(images.load(*source, exif))
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
    """An image set whose random views the CPU computes, image by image."""

    def __init__(self, image_set: ImageSet, settings: Training) -> None:
        """Keep the images where they are."""
        self.image_set, self.settings = image_set, settings
        self.sizes = np.array([pixels.shape[1:] for pixels in image_set.pixels], np.int64)

    def __getitem__(self, item: tuple[int, Floats]) -> tuple[Tensor, int]:
        """Return the view of the image at a position with its parameters: uint8 (3, size, size) and the label."""
        position, parameters = item
        view = augmentation.view(self.image_set.pixels[position], parameters, self.settings.image_size)
        return view, int(self.image_set.labels[position])

    def batches(self, batches: Sequence[Positions], seed: int, epoch: int, device: torch.device) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the views uint8 (batch, 3, size, size) and labels int64 (batch,) of each batch of positions, on the device."""
        parameters = augmentation.draw(self.sizes, self.settings, seed, epoch)
        items = [[(int(position), parameters[position]) for position in batch] for batch in batches]
        workers = default_workers(device) if self.settings.workers is None else self.settings.workers
        for pixels, labels in DataLoader(self, batch_sampler=items, num_workers=workers, pin_memory=device.type == "cuda"):
            yield pixels.to(device, non_blocking=True), labels.to(device, non_blocking=True)


class Resident(Augmented):
    """An image set on a device, which computes the random views batch by batch."""

    def __init__(self, image_set: ImageSet, settings: Training, device: torch.device) -> None:
        """Copy the images to the device, one after the other in one tensor of pixels, uint8 (pixels, 3)."""
        super().__init__(image_set, settings)
        ends = self.sizes.prod(axis=1).cumsum()
        self.buffer = torch.empty(int(ends[-1]), 3, dtype=torch.uint8, device=device)
        for pixels, end in zip(image_set.pixels, ends, strict=True):
            image = pixels.permute(1, 2, 0).reshape(-1, 3)
            self.buffer[end - len(image) : end] = image
        self.starts = ends - self.sizes.prod(axis=1)
        self.labels = torch.from_numpy(image_set.labels).to(device)
        self.extent = augmentation.largest_crop(self.sizes)

    def batches(self, batches: Sequence[Positions], seed: int, epoch: int, device: torch.device) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield what `Augmented.batches` does; the device must be that of the images."""
        parameters = augmentation.draw(self.sizes, self.settings, seed, epoch)
        for batch in batches:
            views = [self._views(part, parameters[part]) for part in np.split(batch, range(CHUNK, len(batch), CHUNK))]
            yield torch.cat(views), self.labels[moved(torch.from_numpy(batch), device)]

    def _views(self, positions: Positions, parameters: Floats) -> Tensor:
        """Return the views of the images at the positions, with their parameters (n, 7): uint8 (n, 3, size, size)."""
        facts = np.stack([self.starts[positions], self.sizes[positions, 1], *parameters[:, :4].T.astype(np.int64)])
        start, width, top, left, rows, columns = moved(torch.from_numpy(facts), self.buffer.device)[:, :, None]
        steps = torch.arange(self.extent, device=self.buffer.device)
        down, right = top + torch.minimum(steps, rows - 1), left + torch.minimum(steps, columns - 1)  # beyond the crop, repeat its edge
        windows = self.buffer[(start + down * width)[:, :, None] + right[:, None, :]]
        return augmentation.batch_of_views(windows, parameters, self.settings.image_size)


def default_workers(device: torch.device) -> int:
    """Return the number of processes that augment images on the CPU if the settings leave it open.

    A CPU that trains has no core left for them. Beside a GPU, each of a machine's training processes starts its share of the cores.
    """
    return 0 if device.type == "cpu" else cores()


def fits(image_sets: Collection[ImageSet], free: int) -> bool:
    """Return whether the images take at most half of ``free`` bytes; the other half is for the network's training."""
    return 2 * sum(image_set.nbytes for image_set in image_sets) <= free


def placed(
    train: ImageSet, evaluated: Mapping[str, ImageSet], settings: Training, device: torch.device, name: str, free: int | None = None
) -> tuple[Augmented, Mapping[str, ImageSet]]:
    """Return the training images for augmentation and the others for evaluation, all on the GPU if there is one and they fit.

    Args:
        train: the images to train on.
        evaluated: image sets by split name.
        settings: training settings.
        device: the device that trains.
        name: title in the message that they do not fit.
        free: free bytes on the device; asked from CUDA by default.
    """
    if device.type == "cpu" and free is None:
        return Augmented(train, settings), evaluated
    if free is None:
        torch.cuda.empty_cache()  # what an earlier training left unused is free
        free = torch.cuda.mem_get_info(device)[0]
    image_sets = [train, *evaluated.values()]
    if fits(image_sets, free):
        return Resident(train, settings, device), {split: images.to(device) for split, images in evaluated.items()}
    size, half = sum(images.nbytes for images in image_sets) / 1e9, free / 2e9
    cell = name.partition(",")[0]  # without seed and phase
    say_once(f"{cell}: {size:.1f} GB of images do not fit in {half:.1f} GB, half of the GPU's free memory: the CPU augments them", cell)
    return Augmented(train, settings), evaluated


def shuffled_batches(count: int, batch_size: int, seed: int, epoch: int) -> list[Positions]:
    """Return the shuffled positions of one epoch in batches of equal size; the remaining images are not used in this epoch."""
    batch_size = min(batch_size, count)
    order = np.random.default_rng([seed, epoch]).permutation(count)
    return np.split(order[: count - count % batch_size], count // batch_size)


def center_crops(image_set: ImageSet, positions: Sequence[int], size: int) -> Tensor:
    """Return the centre crops of the images at ``positions``: uint8 (n, 3, size, size)."""
    crop = v2.functional.center_crop
    return torch.stack([crop(image_set.pixels[position], [size, size]) for position in positions])
