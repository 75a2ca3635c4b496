"""Run an encoder from its weights folder: uint8 crops of images or texts in, float32 vectors out.

One pass over an image gives two vectors: ``embedding``, projected into the space shared by images and texts, and ``features``, before the
projection, which the CLIP paper's linear probe uses (Radford et al. 2021, section 3.2). ``features`` are absent if the architecture has
no separate projection: attention-pooled ResNets, SigLIP, image-only networks.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from clipstore.encoders.crops import Crops, Resize
from clipstore.encoders.info import EncoderInfo
from clipstore.encoders.precision import Precision, compute_float32_exactly, device

Vectors = dict[str, npt.NDArray[np.float32]]


class Encoder:
    """A model in eval mode on its device, with weights cast to ``precision``, and its preparation of images and tokenizer.

    All batches have the same size, padded with copies of their last row, so that a row's bits do not depend on the other rows.
    """

    def __init__(self, info: EncoderInfo, precision: Precision, batch_size: int, resize: Resize = "pillow") -> None:
        """Load the weights that ``info`` describes, to run ``batch_size`` rows at a time, on images that ``resize`` has resized."""
        # imported here: a stage with all its rows in the cache does not need it
        from clipstore.encoders.libraries import MODULES

        self.batch_size = batch_size
        self.dtype: torch.dtype = getattr(torch, precision)
        compute_float32_exactly()
        library = MODULES[info.library]
        self.image_vectors: Callable[[Any, torch.Tensor], tuple[torch.Tensor, torch.Tensor | None]] = library.image_vectors
        model, transform, self.tokenize = library.load(info)
        self.crops = Crops(transform, info.name, resize)
        self.model: Any = model.eval().to(device(), self.dtype, memory_format=torch.channels_last)

    def crop(self, pixels: npt.NDArray[np.uint8]) -> torch.Tensor:
        """Return the resized and cropped image, uint8 (3, s, s), of RGB pixels uint8 (h, w, 3)."""
        return self.crops.crop(pixels)

    def encode_images(self, crops: torch.Tensor) -> Vectors:
        """Return the vectors of at most ``batch_size`` images.

        Args:
            crops: uint8 (n, 3, s, s), outputs of ``crop``, on any device; they are normalised on the encoder's.

        Returns:
            "embedding" (n, d) and, if the architecture has them, "features" (n, f): float32, as the model returns them, not normalised.
        """
        return {name: value.cpu().numpy() for name, value in self.encoding(crops).items()}

    @torch.inference_mode()
    def encoding(self, crops: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return what ``encode_images`` does as tensors on the encoder's device; a GPU may still be computing them."""
        batch = self._padded(crops).to(device(), memory_format=torch.channels_last, non_blocking=True)
        embedding, features = self.image_vectors(self.model, self.crops.normalized(batch).to(self.dtype))
        kinds = {"embedding": embedding, "features": features}
        return {name: value[: len(crops)].float() for name, value in kinds.items() if value is not None}

    @torch.inference_mode()
    def encode_texts(self, texts: Sequence[str]) -> Vectors:
        """Return "embedding", float32 (n, d), not normalised, of at most ``batch_size`` texts, truncated to the model's context length."""
        tokens = self._padded(self.tokenize(list(texts))).to(device())
        return {"embedding": self.model.encode_text(tokens)[: len(texts)].float().cpu().numpy()}

    def _padded(self, rows: torch.Tensor) -> torch.Tensor:
        assert 0 < len(rows) <= self.batch_size, len(rows)
        return torch.cat([rows, rows[-1:].expand(self.batch_size - len(rows), *rows.shape[1:])])
