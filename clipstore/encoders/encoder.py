"""Run an encoder from its folder of weights: pixels or texts in, float32 vectors out.

An image gives two vectors in one pass: ``embedding``, projected into the space that images and texts share, and ``features``, before the
projection, which the CLIP paper's linear probe uses (Radford et al. 2021, section 3.2). ``features`` are absent where the architecture has
no projection of its own: attention-pooled ResNets, SigLIP, image-only networks.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from clipstore.core.vectors import unit
from clipstore.encoders.info import EncoderInfo
from clipstore.encoders.precision import Precision, device

Vectors = dict[str, npt.NDArray[np.float32]]


class Encoder:
    """A model in eval mode on its device, its weights cast to ``precision``, with its transform and tokenizer.

    Every batch is computed at one fixed size, filled up with copies of its last row, so that a row's bits do not depend on the other rows.
    """

    def __init__(self, info: EncoderInfo, precision: Precision, batch_size: int) -> None:
        """Load the weights that ``info`` describes, to be run on ``batch_size`` rows at a time."""
        from clipstore.encoders.libraries import MODULES  # here, since a stage whose rows are all cached need not import the libraries

        self.batch_size = batch_size
        self.dtype: torch.dtype = getattr(torch, precision)
        torch.backends.cudnn.allow_tf32 = False  # or convolutions in float32 on a GPU keep 10 bits of 23
        library = MODULES[info.library]
        self.image_vectors: Callable[[Any, torch.Tensor], tuple[torch.Tensor, torch.Tensor | None]] = library.image_vectors
        self.transform: Callable[[Image.Image], torch.Tensor]
        model, self.transform, self.tokenize = library.load(info)
        self.model: Any = model.eval().to(device(), self.dtype, memory_format=torch.channels_last)

    @torch.inference_mode()
    def encode_images(self, pixels: torch.Tensor) -> Vectors:
        """Return the vectors of at most ``batch_size`` images.

        Args:
            pixels: float32 (n, 3, height, width), as ``transform`` makes them.

        Returns:
            "embedding" (n, d) and, where the architecture has it, "features" (n, f): float32, as the model gives them, not normalised.
        """
        filled = self._filled(pixels).to(device(), self.dtype, memory_format=torch.channels_last)
        embedding, features = self.image_vectors(self.model, filled)
        return {name: _numpy(value, len(pixels)) for name, value in (("embedding", embedding), ("features", features)) if value is not None}

    @torch.inference_mode()
    def encode_texts(self, texts: Sequence[str]) -> Vectors:
        """Return "embedding", float32 (n, d), not normalised, of at most ``batch_size`` texts, each cut to the model's context length."""
        tokens = self._filled(self.tokenize(list(texts))).to(device())
        return {"embedding": _numpy(self.model.encode_text(tokens), len(texts))}

    def _filled(self, rows: torch.Tensor) -> torch.Tensor:
        assert 0 < len(rows) <= self.batch_size, len(rows)
        return torch.cat([rows, rows[-1:].expand(self.batch_size - len(rows), *rows.shape[1:])])


def _numpy(vectors: torch.Tensor, count: int) -> npt.NDArray[np.float32]:
    return vectors[:count].float().cpu().numpy()


def bfloat16_cosine(info: EncoderInfo) -> float:
    """Return the least cosine of float32 and bfloat16 embeddings, over eight crops of scikit-learn's two sample photographs."""
    from sklearn.datasets import load_sample_images

    side = 213  # half of their height: 4 crops each
    photographs = load_sample_images().images
    arrays = [photograph[y : y + side, x : x + side] for photograph in photographs for y in (0, side) for x in (0, 2 * side)]
    crops = [Image.fromarray(array) for array in arrays]
    vectors = []
    precisions: tuple[Precision, ...] = ("float32", "bfloat16")
    for precision in precisions:
        encoder = Encoder(info, precision, len(crops))
        embedding = encoder.encode_images(torch.stack([encoder.transform(crop) for crop in crops]))["embedding"]
        vectors.append(unit(embedding)[0])
    return float((vectors[0] * vectors[1]).sum(axis=1).min())
