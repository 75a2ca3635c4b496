"""Compare the speed of the training loop with a plain loop and with bare steps: python -m benchmarks.training [--device cpu].

All train torchvision's resnet34 on the same noise images, already decoded. The plain loop does the same as torchvision's
references/classification/train.py without options: SGD, cross-entropy, float32, images augmented one by one, beside a GPU by as many
workers as cores. A bare step has one prepared batch on the device, channels last, in the precision of our loop, and so is the upper bound
at its batch size. Runs alternate; medians of images per second are printed. On a GPU, our loop is also measured at the largest batch, in
powers of two, that fits in its memory; the goal is 80 % of the bare step at the same batch.

It needs neither DVC nor any file.
"""

import argparse
import os
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from clipstore.core.nets import Training
from clipstore.encoders.precision import hardware
from clipstore.encoders.torchvision import without_classifier
from clipstore.encoders.vision import torchvision, v2
from clipstore.training.classifier import Classifier
from clipstore.training.image_set import ImageSet, default_workers, placed
from clipstore.training.loop import Loop, steps_per_epoch
from clipstore.training.processes import precision, process_state

CLASSES, MEAN, STD = 37, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
DISTINCT = 256  # images; more are repetitions of these


class Plain(Dataset[tuple[Tensor, int]]):
    """Images with torchvision's transforms for training."""

    def __init__(self, data: ImageSet, size: int) -> None:
        """Compose the transforms."""
        steps = [v2.RandomResizedCrop(size, antialias=True), v2.RandomHorizontalFlip(), v2.ToDtype(torch.float32, scale=True)]
        self.data, self.transform = data, v2.Compose([*steps, v2.Normalize(MEAN, STD)])

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.data)

    def __getitem__(self, position: int) -> tuple[Tensor, int]:
        """Return float32 (3, size, size) and the label."""
        return self.transform(self.data.pixels[position]), int(self.data.labels[position])


def noise(count: int, size: int) -> ImageSet:
    """Return images of 4 : 3 from which squares of ``size`` pixels are cropped."""
    random, side = torch.Generator().manual_seed(0), round(size / 0.875)
    shape = (side, side * 4 // 3, 3)
    images = [torch.randint(0, 256, shape, generator=random, dtype=torch.uint8).permute(2, 0, 1) for _ in range(min(count, DISTINCT))]
    return ImageSet([images[at % DISTINCT] for at in range(count)], np.arange(count) % CLASSES)


def plain(data: ImageSet, settings: Training, device: torch.device) -> Callable[[], object]:
    """Return an epoch of the plain loop."""
    torch.manual_seed(0)
    model = torchvision.models.resnet34(num_classes=CLASSES).to(device).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.001, momentum=0.9, weight_decay=1e-4)
    images = Plain(data, settings.image_size)
    loader: Any = DataLoader(
        images, settings.batch_size, num_workers=default_workers(device), pin_memory=device.type == "cuda", drop_last=True
    )
    loss_of = nn.CrossEntropyLoss()

    def epoch() -> float:
        losses = 0.0
        for pixels, labels in loader:
            loss = loss_of(model(pixels.to(device, non_blocking=True)), labels.to(device, non_blocking=True))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses += loss.item()
        return losses

    return epoch


def ours(data: ImageSet, settings: Training, device: torch.device) -> tuple[Loop, Callable[[], object]]:
    """Return this project's loop and an epoch of it."""
    torch.manual_seed(0)
    backbone, width = without_classifier(torchvision.models.resnet34())
    steps = steps_per_epoch(len(data), settings)
    loop = Loop(Classifier(backbone, width, CLASSES, MEAN, STD, 0.0), settings, seed=0, epoch_steps=steps)
    images, _ = placed(data, {}, settings, device, "ours")
    return loop, lambda: loop.train_epoch(images, loop.steps_done + steps, "ours")


def bare(steps: int, settings: Training, device: torch.device) -> Callable[[], object]:
    """Return as many steps on one prepared batch as an epoch has."""
    torch.manual_seed(0)
    model = torchvision.models.resnet34(num_classes=CLASSES).to(device, memory_format=torch.channels_last).train()
    pixels = torch.randn(settings.batch_size, 3, settings.image_size, settings.image_size, device=device)
    pixels, labels = pixels.to(memory_format=torch.channels_last), torch.arange(settings.batch_size, device=device) % CLASSES
    optimizer = torch.optim.SGD(model.parameters(), lr=0.001, momentum=0.9, fused=True)

    def epoch() -> float:
        for _ in range(steps):
            with torch.autocast(device.type, torch.bfloat16, enabled=precision(settings) == "bf16"):
                logits = model(pixels)
            loss = nn.functional.cross_entropy(logits.float(), labels)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
        return loss.item()

    return epoch


def seconds(epoch: Callable[[], object]) -> float:
    """Return how long an epoch takes; each of them ends by reading a value from the device."""
    start = time.perf_counter()
    epoch()
    return time.perf_counter() - start


def largest_batch(data: ImageSet, settings: Training, device: torch.device) -> int:
    """Return the largest power of two times the batch size of which two steps fit in the memory, or half of the images."""
    size = settings.batch_size
    while 4 * size <= len(data):
        larger = settings.model_copy(update={"batch_size": 2 * size})
        loop, epoch = ours(ImageSet(data.pixels[: 4 * size], data.labels[: 4 * size]), larger, device)
        epoch()
        if loop.parts > 1:
            break
        size *= 2
    return size


def main(arguments: Sequence[str] | None = None) -> None:
    """Print images per second."""
    parser = argparse.ArgumentParser(description="Compare the training loop with a plain loop and with bare steps.")
    parser.add_argument("--device", choices=("cpu", "cuda"), help="by default cuda if there is one")
    parser.add_argument("--images", type=int, help="images per run; by default 96 on a CPU, 8192 on a GPU")
    parser.add_argument("--batch", type=int, help="by default 32 on a CPU, 64 on a GPU")
    parser.add_argument("--size", type=int, default=224, help="pixels")
    parser.add_argument("--runs", type=int, default=2)
    options = parser.parse_args(arguments)
    if options.device == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""  # before CUDA starts; the loop takes a GPU where it sees one
    device = process_state().device
    if options.device not in (None, device.type):
        parser.error(f"--device {options.device}: PyTorch finds only {device.type}")
    count, batch = (options.images or 96, options.batch or 32) if device.type == "cpu" else (options.images or 8192, options.batch or 64)
    data = noise(count, options.size)
    settings = Training(
        epochs=100, batch_size=batch, image_size=options.size, lr=0.001, optimizer="sgd", hflip_prob=0.5, min_crop_scale=0.08, ema_decay=0
    )
    epochs = {
        "plain loop": plain(data, settings, device),
        "ours": ours(data, settings, device)[1],
        "bare step": bare(count // batch, settings, device),
    }
    if device.type == "cuda":
        for epoch in epochs.values():  # cuDNN chooses its algorithms in the first steps
            epoch()
    times: dict[str, list[float]] = {name: [] for name in epochs}
    for _ in range(options.runs):
        for name, epoch in epochs.items():
            times[name].append(seconds(epoch))
    speeds = {name: count // batch * batch / statistics.median(values) for name, values in times.items()}
    print(f"resnet34, {options.size} pixels, batch {batch}, {precision(settings)}, {hardware()}: images/s, median of {options.runs}")
    for name, speed in speeds.items():
        print(f"{name:<12}{speed:8.1f}{speed / speeds['plain loop']:8.2f} times the plain loop")
    print(f"ours is {100 * speeds['ours'] / speeds['bare step']:.0f} % of the bare step; on a GPU, at least 80 % are expected")
    if device.type == "cuda":
        epochs.clear()
        largest = largest_batch(data, settings, device)
        _, epoch = ours(data, settings.model_copy(update={"batch_size": largest}), device)
        epoch()
        print(f"ours at batch {largest}, the largest that fits (of {count} images): {count // largest * largest / seconds(epoch):.1f}")


if __name__ == "__main__":
    main()
