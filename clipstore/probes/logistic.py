"""scikit-learn's logistic regression on fixed vectors, as a probe."""

import copy
import warnings
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

from clipstore.core.vectors import unit
from clipstore.store import embeddings

Matrix = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]


TOLERANCE = 1e-6  # of the gradient: scikit-learn's 1e-4 stops on the way, where the last bits of a vector decide (docs/decisions/0013)


class Fit(NamedTuple):
    """A fitted probe, the mean float32 (d,) that it takes off, whether L-BFGS converged, how many classes (training data may lack some)."""

    model: LogisticRegression
    mean: Matrix
    converged: bool
    classes: int

    def probabilities(self, vectors: Matrix) -> Matrix:
        """Return float32 (n, classes) for vectors float32 (n, d); 0 for a class that had no training image."""
        known = np.zeros((len(vectors), self.classes), np.float32)
        known[:, self.model.classes_] = self.model.predict_proba(vectors - self.mean)
        return known


def fits(vectors: Matrix, labels: Labels, Cs: Iterable[float], max_iter: int, classes: int) -> Iterator[Fit]:
    """Yield a probe for each C, the strongest penalty first, fitted on vectors float32 (n, d) and labels int64 (n,).

    Vectors are centred, which leaves the optimum as it is, since the intercept bears no penalty, and brings L-BFGS there; each fit starts
    where the one before ended. That one did not converge is recorded, not raised.

    One thread: the solver goes back and forth between a thread pool of BLAS and one of OpenMP, and where each has a thread a core they
    wait on each other (30 times slower was seen on 2 cores). So the bits do not depend on the number of cores either.
    """
    mean = vectors.mean(axis=0)
    centred = vectors - mean
    model = LogisticRegression(max_iter=max_iter, tol=TOLERANCE, warm_start=True)
    for C in sorted(Cs):
        with threadpool_limits(1), warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            warnings.filterwarnings("ignore", "The number of unique classes", UserWarning)  # one image a class is meant
            model.set_params(C=C).fit(centred, labels)
        yield Fit(copy.deepcopy(model), mean, bool(model.n_iter_.max() < max_iter), classes)


def fit(vectors: Matrix, labels: Labels, C: float, max_iter: int, classes: int) -> Fit:
    """Return the probe for one C; see `fits`."""
    return next(fits(vectors, labels, (C,), max_iter, classes))


def inputs(images: embeddings.Images) -> dict[str, Matrix]:
    """Return what the probe may be fitted on, each float32 (n, width): the vectors of an image, normalised and raw."""
    kinds = {"embedding_normalised": np.asarray(images.embedding), "embedding_raw": images.embedding * images.norm[:, None]}
    if images.features is not None:
        kinds |= {"features_normalised": unit(images.features)[0], "features_raw": images.features}
    return kinds
