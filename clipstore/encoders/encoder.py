"""Run an encoder from its folder of weights: pixels or texts in, float32 vectors out.

An image gives two vectors in one pass: ``embedding``, projected into the space that images and texts share, and ``features``, before the
projection, which the CLIP paper's linear probe uses (Radford et al. 2021, section 3.2). ``features`` are absent where the architecture has
no projection of its own: attention-pooled ResNets, SigLIP, image-only networks.
"""

from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from clipstore.encoders.info import EncoderInfo, folder
from clipstore.encoders.towers import image_vectors, torchvision_tower

Precision = Literal["float32", "bfloat16", "float16"]
Vectors = dict[str, npt.NDArray[np.float32]]

BFLOAT16_COSINE = 0.999  # of an image's embeddings in bfloat16 and float32, the least that "auto" accepts


def device() -> str:
    """Return "cuda" where torch sees such a device (CUDA_VISIBLE_DEVICES hides it), else "cpu"."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def fast_bfloat16() -> bool:
    """Say whether this machine's hardware multiplies bfloat16."""
    if device() == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()  # torch has no public name for it


def resolve(precision: Literal["auto"] | Precision, card: EncoderInfo) -> Precision:
    """Return the precision that "auto" stands for on this machine and with this encoder.

    That is bfloat16 where the hardware multiplies it and the encoder bears it, as the ``weights`` stage measured: transformers do
    (cosine to float32 about 0.9999), some convolutional networks do not. Else float32.
    """
    if precision != "auto":
        return precision
    return "bfloat16" if fast_bfloat16() and card.bfloat16_cosine >= BFLOAT16_COSINE else "float32"


class Encoder:
    """A model in eval mode on its device, its weights cast to ``precision``, with its transform and tokenizer.

    Whatever it is given it computes in batches of one fixed size, filled up with copies of the last row: so a row's bits do not depend on
    the rows beside it.
    """

    def __init__(self, card: EncoderInfo, precision: Precision, batch: int) -> None:
        """Load the weights of ``card`` from its folder, to be run on ``batch`` rows at a time."""
        from clipstore.encoders.vision import open_clip, timm, torchvision

        self.card = card
        self.batch = batch
        self.dtype: torch.dtype = getattr(torch, precision)
        torch.backends.cudnn.allow_tf32 = False  # or convolutions in float32 on a GPU keep 10 bits of 23
        source = f"local-dir:{folder(card.name)}"
        self.transform: Callable[[Image.Image], torch.Tensor]
        if card.library == "open_clip":
            model, _, self.transform = open_clip.create_model_and_transforms(source, require_pretrained=True)
            self.tokenize = open_clip.get_tokenizer(source)
        elif card.library == "torchvision":
            model = torchvision_tower(card)
            settings = card.preprocess
            v1 = torchvision.transforms
            how = v1.InterpolationMode(settings["interpolation"])
            steps = [v1.Resize(settings["resize"], how), v1.CenterCrop(settings["size"]), v1.ToTensor()]
            self.transform = v1.Compose([*steps, v1.Normalize(settings["mean"], settings["std"])])
        else:
            model = timm.create_model(source, pretrained=True, num_classes=0)
            self.transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model))
        self.model: Any = model.eval().to(device(), self.dtype, memory_format=torch.channels_last)

    @torch.inference_mode()
    def encode_images(self, pixels: torch.Tensor) -> Vectors:
        """Return the vectors of at most ``batch`` images.

        Args:
            pixels: float32 (n, 3, height, width), as ``transform`` makes them.

        Returns:
            "embedding" (n, d) and, where the architecture has it, "features" (n, f): float32, as the model gives them, not normalised.
        """
        filled = self._filled(pixels).to(device(), self.dtype, memory_format=torch.channels_last)
        embedding, features = image_vectors(self.model, filled) if self.card.library == "open_clip" else (self.model(filled), None)
        return {name: _numpy(value, len(pixels)) for name, value in (("embedding", embedding), ("features", features)) if value is not None}

    @torch.inference_mode()
    def encode_texts(self, texts: Sequence[str]) -> Vectors:
        """Return "embedding", float32 (n, d), not normalised, of at most ``batch`` texts, each cut to the model's context length."""
        tokens = self._filled(self.tokenize(list(texts))).to(device())
        return {"embedding": _numpy(self.model.encode_text(tokens), len(texts))}

    def _filled(self, rows: torch.Tensor) -> torch.Tensor:
        assert 0 < len(rows) <= self.batch, len(rows)
        return torch.cat([rows, rows[-1:].expand(self.batch - len(rows), *rows.shape[1:])])


def _numpy(vectors: torch.Tensor, count: int) -> npt.NDArray[np.float32]:
    return vectors[:count].float().cpu().numpy()


def bfloat16_cosine(card: EncoderInfo) -> float:
    """Return the least cosine of float32 and bfloat16 embeddings, over eight crops of the photographs that scikit-learn carries."""
    from sklearn.datasets import load_sample_images

    from clipstore.core.vectors import unit

    side = 213  # half of their height: 4 crops each
    photographs = load_sample_images().images
    crops = [photo[y : y + side, x : x + side] for photo in photographs for y in (0, side) for x in (0, 2 * side)]
    pixels = [Image.fromarray(crop) for crop in crops]
    vectors = []
    precisions: tuple[Precision, ...] = ("float32", "bfloat16")
    for precision in precisions:
        encoder = Encoder(card, precision, len(pixels))
        embedding = encoder.encode_images(torch.stack([encoder.transform(crop) for crop in pixels]))["embedding"]
        vectors.append(unit(embedding)[0])
    return float((vectors[0] * vectors[1]).sum(axis=1).min())
