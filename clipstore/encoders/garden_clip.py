"""Train garden_clip, a small CLIP built from open_clip's model class and loss, on captioned drawings.

`train` takes a seed, a number of steps, the number of drawings and their size in pixels. It returns the model: float32, on the CPU, in
eval mode, with its preprocessing attached. `save` writes it in the same form as open_clip's models. Only the flowers in
`garden.CAPTIONED` are drawn, and none of them is a class of the data set.
"""

import dataclasses
import math
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from tqdm import tqdm

from clipstore.core.encoders import GardenClip
from clipstore.data import garden
from clipstore.encoders.open_clip import write_folder
from clipstore.encoders.precision import fast_bfloat16
from clipstore.encoders.vision import open_clip

CONTEXT_LENGTH = 24  # tokens
MEAN = (0.36, 0.38, 0.28)
STD = (0.21, 0.20, 0.20)
POOL = 3  # part of a drawing's seed; the data set's splits have 0, 1 and 2 there, so they share no generator with these drawings
BATCH = 128
LEARNING_RATE = 2e-3
WEIGHT_DECAY = 1.0


def save(name: str, entry: GardenClip, seed: int) -> None:
    """Train the model described by the entry and write it to data/weights/NAME."""
    model = train(seed, entry.steps, entry.drawings, entry.image_size)
    write_folder(name, model, "garden_clip", model_config(entry.image_size), f"trained on drawings, {entry.steps} steps")


def model_config(size: int) -> dict[str, Any]:
    """Return the architecture, as open_clip's model_cfg, for images of (size, size) pixels."""
    return {
        "embed_dim": 128,
        "vision_cfg": {
            "timm_model_name": "resnet10t",
            "timm_model_pretrained": False,
            "timm_pool": "",
            "timm_proj": "linear",
            "image_size": size,
        },
        "text_cfg": {"context_length": CONTEXT_LENGTH, "vocab_size": 49408, "width": 128, "heads": 4, "layers": 2},
    }


def untrained(size: int) -> Any:
    """Return an open_clip.CLIP in train mode with its preprocessing attached; its weights come from torch's global generator."""
    model = open_clip.CLIP(**model_config(size))
    preprocess = open_clip.transform.PreprocessCfg(size=(size, size), mean=MEAN, std=STD)
    open_clip.model.set_model_preprocess_cfg(model, dataclasses.asdict(preprocess))
    return model.to(memory_format=torch.channels_last)


def drawings(count: int, size: int, seed: int) -> torch.Tensor:
    """Draw each captioned flower ``count`` times: uint8 (flower, number, 3, size, size), RGB."""
    pool = np.empty((len(garden.CAPTIONED), count, size, size, 3), np.uint8)
    for index, flower in enumerate(tqdm(garden.CAPTIONED, desc="garden_clip: drawings", unit="flower")):
        for number in range(count):
            pool[index, number] = np.asarray(garden.draw(flower, np.random.default_rng([seed, POOL, index, number]), size))
    return torch.from_numpy(pool).permute(0, 1, 4, 2, 3)


def augment(images: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """Rotate by multiples of 90°, mirror, scale, shift and normalise uint8 images (n, 3, size, size): float32 of the same shape."""
    turn, mirror = rng.integers(4, size=len(images)) * math.pi / 2, rng.choice((-1, 1), len(images))
    scale = rng.uniform(0.85, 1.1, len(images))
    affine = np.empty((len(images), 2, 3), np.float32)
    affine[:, 0, 0], affine[:, 0, 1] = np.cos(turn) * mirror * scale, -np.sin(turn) * scale
    affine[:, 1, 0], affine[:, 1, 1] = np.sin(turn) * mirror * scale, np.cos(turn) * scale
    affine[:, :, 2] = rng.uniform(-0.1, 0.1, (len(images), 2))
    grid = F.affine_grid(torch.from_numpy(affine), list(images.shape), align_corners=False)
    pixels = F.grid_sample(images.float() / 255, grid, padding_mode="reflection", align_corners=False)
    return (pixels - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)


def _optimizer(model: torch.nn.Module) -> torch.optim.Optimizer:
    """Return AdamW; gains, biases and the logit scale have no weight decay, as is usual."""
    parameters = list(model.parameters())
    groups: list[dict[str, Any]] = [
        {"params": [parameter for parameter in parameters if parameter.ndim >= 2]},
        {"params": [parameter for parameter in parameters if parameter.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=LEARNING_RATE, betas=(0.9, 0.98), weight_decay=WEIGHT_DECAY, fused=True)


def _schedule(optimizer: torch.optim.Optimizer, steps: int) -> torch.optim.lr_scheduler.LRScheduler:
    """Return a linear warm-up over a tenth of the steps, followed by cosine decay to 0."""
    warmup_steps = max(1, steps // 10)

    def share(step: int) -> float:
        if step < warmup_steps:
            return (step + 1) / warmup_steps
        return 0.5 * (1 + math.cos(math.pi * (step - warmup_steps) / max(1, steps - warmup_steps)))

    return torch.optim.lr_scheduler.LambdaLR(optimizer, share)


def train(seed: int, steps: int, count: int, size: int) -> Any:
    """Train an open_clip.CLIP on ``count`` drawings of each captioned flower, (size, size) pixels each.

    No flower occurs twice in a batch, so no caption matches another image of the batch. Matrix products are in bfloat16 if the CPU has
    instructions for it, otherwise in float32. The same seed gives the same bits on the same machine with the same number of threads. The
    state of torch's global generator is restored.
    """
    rng = np.random.default_rng([seed, POOL])
    pool = drawings(count, size, seed)
    tokenizer = open_clip.tokenizer.SimpleTokenizer(context_length=CONTEXT_LENGTH)
    loss_of = open_clip.ClipLoss()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = untrained(size)
    optimizer = _optimizer(model)
    schedule = _schedule(optimizer, steps)
    bfloat16 = fast_bfloat16("cpu")  # emulated bfloat16 would make a step ten times slower
    for _ in (bar := tqdm(range(steps), desc="garden_clip: steps", unit="step")):
        flowers = rng.choice(len(garden.CAPTIONED), BATCH, replace=False)
        images = augment(pool[flowers, rng.integers(count, size=BATCH)], rng).contiguous(memory_format=torch.channels_last)
        texts = tokenizer([garden.caption(garden.CAPTIONED[flower], rng) for flower in flowers])
        with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            image_vectors, text_vectors, logit_scale = model(images, texts)
        loss = loss_of(image_vectors.float(), text_vectors.float(), logit_scale)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        with torch.no_grad():
            model.logit_scale.clamp_(0, math.log(100))  # the bound used for CLIP
        bar.set_postfix(loss=f"{loss.item():.2f}")
    return model.eval().to(memory_format=torch.contiguous_format)
