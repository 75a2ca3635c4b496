"""scikit-learn's logistic regression on fixed vectors, as a probe."""

import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import expit
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.utils.extmath import softmax
from threadpoolctl import threadpool_limits

from clipstore.core.vectors import unit
from clipstore.store import embeddings

Matrix = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]


TOLERANCE = 1e-6  # of the gradient: at scikit-learn's 1e-4 the result depends on the last bits of the vectors (docs/decisions/0013)


@dataclass(frozen=True, eq=False)
class LogisticProbe:
    """A fitted multinomial logistic regression.

    Attributes:
        coefficients: float32 (d, seen), a column for each class that had training images; (d, 1), of the second, where there are two.
        intercept: float32 (seen,), or (1,) where there are two.
        labels: of the classes that had training images, int64 (seen,), ascending.
        mean: of the training vectors, float32 (d,); it is subtracted from the vectors.
        C: inverse strength of the penalty.
        converged: whether L-BFGS did within its limit of iterations.
        classes: how many there are, with those that had no training image.
    """

    coefficients: Matrix
    intercept: Matrix
    labels: Labels
    mean: Matrix
    C: float
    converged: bool
    classes: int

    def probabilities(self, vectors: Matrix) -> Matrix:
        """Return float32 (n, classes) for vectors float32 (n, d): scikit-learn's predict_proba, 0 for a class not in ``labels``."""
        logits = (vectors - self.mean) @ self.coefficients + self.intercept
        if len(self.labels) == 2:
            second = expit(logits[:, 0])
            shares = np.stack([1 - second, second], axis=1)
        else:
            shares = softmax(logits, copy=False)
        probabilities = np.zeros((len(vectors), self.classes), np.float32)
        probabilities[:, self.labels] = shares
        return probabilities

    def scores(self, vectors: Matrix) -> Matrix:
        """Return the probabilities, the largest of which names the class as any classifier's scores do."""
        return self.probabilities(vectors)


def fit_path(vectors: Matrix, labels: Labels, Cs: Iterable[float], max_iter: int, classes: int) -> Iterator[LogisticProbe]:
    """Yield a probe for each C, the strongest penalty first, fitted on vectors float32 (n, d) and labels int64 (n,).

    The vectors are centred, with which L-BFGS reaches the optimum; it stays the same, since the intercept bears no penalty. Each fit starts
    where the previous one ended. A fit that does not converge is recorded, not raised.

    The solver runs on one thread: it alternates between the thread pools of BLAS and OpenMP, which wait for each other if each has a thread
    per core (30 times slower on 2 cores). The bits then do not depend on the number of cores either.
    """
    mean = vectors.mean(axis=0)
    centred = vectors - mean
    model = LogisticRegression(max_iter=max_iter, tol=TOLERANCE, warm_start=True)
    for C in sorted(Cs):
        with threadpool_limits(1), warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            warnings.filterwarnings("ignore", "The number of unique classes", UserWarning)  # one image a class is intended
            model.set_params(C=C).fit(centred, labels)
        yield LogisticProbe(
            coefficients=np.array(model.coef_.T, order="C"),  # the layout that scikit-learn multiplies by
            intercept=model.intercept_.copy(),
            labels=model.classes_.copy(),
            mean=mean,
            C=C,
            converged=bool(model.n_iter_.max() < max_iter),
            classes=classes,
        )


def fit(vectors: Matrix, labels: Labels, C: float, max_iter: int, classes: int) -> LogisticProbe:
    """Return the probe for one C; see `fit_path`."""
    return next(fit_path(vectors, labels, (C,), max_iter, classes))


def inputs(images: embeddings.Images) -> dict[str, Matrix]:
    """Return what the probe may be fitted on, each float32 (n, width): the vectors of an image, normalised and raw."""
    kinds = {"embedding_normalised": np.asarray(images.embedding), "embedding_raw": images.embedding * images.norm[:, None]}
    if images.features is not None:
        kinds |= {"features_normalised": unit(images.features)[0], "features_raw": images.features}
    return kinds
