"""scikit-learn's logistic regression on fixed vectors, as a probe."""

import warnings
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

from stages.lib import embeddings

Matrix = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]


class Fit(NamedTuple):
    """A fitted probe, whether L-BFGS converged, and how many classes there are (training data may lack some)."""

    model: LogisticRegression
    converged: bool
    classes: int

    def probabilities(self, vectors: Matrix) -> Matrix:
        """Return float32 (n, classes) for vectors float32 (n, d); 0 for a class that had no training image."""
        known = np.zeros((len(vectors), self.classes), np.float32)
        known[:, self.model.classes_] = self.model.predict_proba(vectors)
        return known


def fit(vectors: Matrix, labels: Labels, C: float, max_iter: int, classes: int) -> Fit:
    """Fit a probe on vectors float32 (n, d) and labels int64 (n,); that it did not converge is recorded, not raised.

    One thread: the solver goes back and forth between a thread pool of BLAS and one of OpenMP, and where each has a thread a core they
    wait on each other (30 times slower was seen on 2 cores). So the bits do not depend on the number of cores either.
    """
    model = LogisticRegression(C=C, max_iter=max_iter)
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        warnings.filterwarnings("ignore", "The number of unique classes", UserWarning)  # one image a class is meant
        model.fit(vectors, labels)
    return Fit(model, bool(model.n_iter_.max() < max_iter), classes)


def inputs(images: embeddings.Images) -> dict[str, Matrix]:
    """Return what the probe may be fitted on, each float32 (n, width): the vectors of an image, normalised and raw."""
    kinds = {"embedding_normalised": np.asarray(images.embedding), "embedding_raw": images.embedding * images.norm[:, None]}
    if images.features is not None:
        kinds |= {"features_normalised": embeddings.unit(images.features)[0], "features_raw": images.features}
    return kinds
