"""Compare the speed of the training loop with the plain float32 loop of torchvision's reference script: python -m benchmarks.training.

Both train torchvision's resnet34 at 224 pixels on the same noise images, already decoded. The plain loop does the same as
references/classification/train.py without options: SGD, cross-entropy, float32, NCHW tensors. A third figure is an upper bound for any loop
on this machine: steps of the same network on one prepared batch, in bfloat16 and channels-last. Runs alternate; median images per second
and their ratios are printed.
"""

import statistics
import time

import numpy as np
import torch
from torch import nn

from clipstore.core.nets import Training
from clipstore.encoders.torchvision import without_classifier
from clipstore.encoders.vision import torchvision, v2
from clipstore.training.classifier import Classifier
from clipstore.training.image_set import Augmented, ImageSet
from clipstore.training.loop import Loop, steps_per_epoch
from clipstore.training.processes import precision

COUNT, BATCH, SIZE, CLASSES, RUNS = 192, 32, 224, 37, 3


def peer(data: ImageSet) -> float:
    """Return the images per second of one epoch of the plain loop."""
    torch.manual_seed(0)
    model = torchvision.models.resnet34(num_classes=CLASSES)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4)
    steps = [v2.RandomResizedCrop(SIZE, antialias=True), v2.RandomHorizontalFlip(), v2.ToDtype(torch.float32, scale=True)]
    transform = v2.Compose([*steps, v2.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))])
    loss_of = nn.CrossEntropyLoss()
    model.train()
    start = time.perf_counter()
    for first in range(0, len(data), BATCH):
        pixels = torch.stack([transform(data.pixels[position]) for position in range(first, first + BATCH)])
        loss = loss_of(model(pixels), torch.from_numpy(data.labels[first : first + BATCH]))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return len(data) / (time.perf_counter() - start)


def ours(data: ImageSet, settings: Training) -> float:
    """Return the images per second of one epoch of this project's loop, in the precision that "auto" resolves to."""
    torch.manual_seed(0)
    backbone, width = without_classifier(torchvision.models.resnet34())
    model = Classifier(backbone, width, CLASSES, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), 0.0)
    steps = steps_per_epoch(len(data), settings)
    loop = Loop(model, settings, 0, steps)
    start = time.perf_counter()
    loop.train_epoch(Augmented(data, settings), steps, "ours")
    return len(data) / (time.perf_counter() - start)


def bare(count: int) -> float:
    """Return the images per second of steps on one prepared batch."""
    torch.manual_seed(0)
    model = torchvision.models.resnet34(num_classes=CLASSES).to(memory_format=torch.channels_last)
    pixels = torch.randn(BATCH, 3, SIZE, SIZE).to(memory_format=torch.channels_last)
    labels = torch.arange(BATCH) % CLASSES
    optimizer = torch.optim.SGD(model.parameters(), lr=0.001, momentum=0.9, fused=True)
    start = time.perf_counter()
    for _ in range(count // BATCH):
        with torch.autocast("cpu", torch.bfloat16):
            logits = model(pixels)
        nn.functional.cross_entropy(logits.float(), labels).backward()
        optimizer.step()
        optimizer.zero_grad()
    return count / (time.perf_counter() - start)


def main() -> None:
    """Print medians and ratios."""
    random = torch.Generator().manual_seed(0)
    pixels = [torch.randint(0, 256, (3, 256, 340), generator=random, dtype=torch.uint8) for _ in range(COUNT)]
    data = ImageSet(pixels, np.arange(COUNT) % CLASSES)
    settings = Training(
        epochs=1, batch_size=BATCH, image_size=SIZE, lr=0.001, optimizer="sgd", hflip_prob=0.5, min_crop_scale=0.08, ema_decay=0
    )
    speeds: dict[str, list[float]] = {"plain": [], "ours": [], "bare": []}
    for _ in range(RUNS):
        speeds["plain"].append(peer(data))
        speeds["ours"].append(ours(data, settings))
        speeds["bare"].append(bare(COUNT))
    plain, own, step = (statistics.median(values) for values in speeds.values())
    print(f"resnet34, {SIZE} px, batch {BATCH}, {precision(settings)}, {torch.get_num_threads()} threads, median of {RUNS}:")
    print(f"plain float32 loop {plain:.1f} images/s, ours {own:.1f}: ratio {own / plain:.2f}; bare step {step:.1f}: {step / plain:.2f}")


if __name__ == "__main__":
    main()
