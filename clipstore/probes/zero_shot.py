"""The zero-shot classifier: an image belongs to the class whose text embedding is nearest."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import softmax

Matrix = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class ZeroShotClassifier:
    """Unit class embeddings, float32 (classes, d), and the logit scale, which multiplies the cosines: about 100 for a trained CLIP."""

    class_embeddings: Matrix
    logit_scale: float

    def scores(self, images: Matrix) -> Matrix:
        """Return the logits, float32 (n, classes), for images float32 (n, d), unit rows.

        SigLIP's logit bias is left out: it is the same for all classes and cancels in the softmax.
        """
        logits: Matrix = self.logit_scale * (images @ self.class_embeddings.T)
        return logits

    def probabilities(self, images: Matrix) -> Matrix:
        """Return the softmax of the logits over the classes, float32 (n, classes)."""
        shares: Matrix = softmax(self.scores(images), axis=1)
        return shares
