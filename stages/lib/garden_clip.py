"""Train garden_clip, a small CLIP of open_clip's own class with open_clip's own loss, on captioned drawings.

In: a seed, a number of steps, how many drawings. Out: the model in eval mode and float32 on the CPU, whose ``model_config`` and
``PREPROCESS`` say how open_clip builds and feeds it; `save` writes all of it as the folder that open_clip reads as "local-dir:FOLDER".
Only flowers of `garden.CAPTIONED` are drawn: no class of the data set is ever captioned.
"""

import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from tqdm import tqdm

from stages.lib import garden
from stages.lib.vision import open_clip

CONTEXT_LENGTH = 24
MEAN = (0.38, 0.38, 0.28)
STD = (0.23, 0.22, 0.20)
POOL = len(garden.SPLITS)  # stands where garden.images has its split: the drawings to train on share no generator with the data set


def model_config(size: int) -> dict[str, Any]:
    """The architecture for images of (size, size) pixels, as open_clip's configuration files hold it."""
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


def create(size: int) -> torch.nn.Module:
    """An untrained model in train mode, whose initial weights come from torch's global generator."""
    model: torch.nn.Module = open_clip.CLIP(**model_config(size))
    preprocess = open_clip.transform.PreprocessCfg(size=(size, size), mean=MEAN, std=STD)
    open_clip.model.set_model_preprocess_cfg(model, dataclasses.asdict(preprocess))
    return model


def save(model: torch.nn.Module, size: int, folder: Path) -> None:
    """Write the model's configuration and weights as open_clip reads them from "local-dir:FOLDER"."""
    folder.mkdir(parents=True, exist_ok=True)
    open_clip.push_to_hf_hub.save_config_for_hf(model, folder / open_clip.constants.HF_CONFIG_NAME, model_config(size))
    save_file(model.state_dict(), folder / open_clip.constants.HF_SAFE_WEIGHTS_NAME)


def drawings(count: int, size: int, seed: int) -> torch.Tensor:
    """Draw count images of every captioned flower: uint8 (flower, number, 3, size, size)."""
    pool = np.empty((len(garden.CAPTIONED), count, size, size, 3), np.uint8)
    for index, flower in enumerate(tqdm(garden.CAPTIONED, desc="garden_clip: drawings", unit="flower")):
        for number in range(count):
            pool[index, number] = garden.draw(flower, np.random.default_rng([seed, POOL, index, number]), size)
    return torch.from_numpy(pool).permute(0, 1, 4, 2, 3)


def augment(images: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """Turn by quarters and mirror uint8 images (n, 3, size, size), then scale and shift them a little: normalised float32."""
    turn, mirror, scale = (
        rng.integers(4, size=len(images)) * math.pi / 2,
        rng.choice((-1, 1), len(images)),
        rng.uniform(0.85, 1.1, len(images)),
    )
    affine = np.zeros((len(images), 2, 3), np.float32)
    affine[:, 0, 0], affine[:, 0, 1] = np.cos(turn) * mirror * scale, -np.sin(turn) * scale
    affine[:, 1, 0], affine[:, 1, 1] = np.sin(turn) * mirror * scale, np.cos(turn) * scale
    affine[:, :, 2] = rng.uniform(-0.1, 0.1, (len(images), 2))
    pixels = images.float() / 255
    grid = F.affine_grid(torch.from_numpy(affine), list(pixels.shape), align_corners=False)
    pixels = F.grid_sample(pixels, grid, padding_mode="reflection", align_corners=False)
    return (pixels - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)


def train(seed: int, steps: int, count: int, size: int, batch: int = 128, learning_rate: float = 2e-3) -> torch.nn.Module:
    """Train on count drawings of every captioned flower, each of (size, size) pixels.

    A batch holds as many different flowers, so no caption in it fits the image of another. The same seed on the same machine gives the
    same bits.
    """
    rng = np.random.default_rng([seed, POOL])
    pool = drawings(count, size, seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = create(size)
        model.to(memory_format=torch.channels_last)
        tokenizer = open_clip.tokenizer.SimpleTokenizer(context_length=CONTEXT_LENGTH)
        loss_of = open_clip.ClipLoss()
        decayed = [p for p in model.parameters() if p.ndim >= 2]
        others = [p for p in model.parameters() if p.ndim < 2]
        optimizer = torch.optim.AdamW(
            [{"params": decayed, "weight_decay": 1.0}, {"params": others, "weight_decay": 0.0}],
            lr=learning_rate,
            betas=(0.9, 0.98),
            fused=True,
        )
        warm_up = max(1, steps // 10)
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimizer,
            lambda step: min((step + 1) / warm_up, 0.5 * (1 + math.cos(math.pi * max(0, step - warm_up) / max(1, steps - warm_up)))),
        )
        for _ in (bar := tqdm(range(steps), desc="garden_clip: steps", unit="step")):
            flowers = rng.permutation(len(garden.CAPTIONED))[:batch]
            images = augment(pool[flowers, rng.integers(count, size=len(flowers))], rng)
            texts = tokenizer([garden.caption(garden.CAPTIONED[flower], rng) for flower in flowers])
            with torch.autocast("cpu", torch.bfloat16):
                image_vectors, text_vectors, logit_scale = model(images.contiguous(memory_format=torch.channels_last), texts)
            loss = loss_of(image_vectors.float(), text_vectors.float(), logit_scale)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            with torch.no_grad():
                model.logit_scale.clamp_(0, math.log(100))
            schedule.step()
            bar.set_postfix(loss=f"{loss.item():.2f}")
    return model.eval().to(memory_format=torch.contiguous_format)
