"""Linear probe: scikit-learn's logistic regression on fixed vectors."""

import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import softmax
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

from clipstore.core.vectors import unit
from clipstore.store import embeddings

Matrix = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]


# Of the gradient of the mean loss. With a penalty of strength 1 / (C n), a gradient g leaves the weights within g C n of the optimum, so a
# weak penalty needs a smaller gradient (docs/decisions/0013).
TOLERANCE = 1e-8
DISTANCE = 0.01
LARGEST_C = 1e6  # up to which fits were found to reach the optimum; the published sweeps end there too (Radford et al. 2021)


def tolerance(C: float, count: int) -> float:
    """Return the largest gradient, in any weight, at which a fit to ``count`` vectors may stop."""
    return min(TOLERANCE, DISTANCE / (C * count))


@dataclass(frozen=True, eq=False)
class LogisticProbe:
    """A fitted multinomial logistic regression.

    Attributes:
        coefficients: float32 (d, seen), one column per class with training images; for two such classes (d, 1), the second class only.
        intercept: float32 (seen,); for two such classes (1,).
        labels: the classes with training images, int64 (seen,), ascending.
        mean: of the training vectors, float32 (d,); subtracted from all vectors.
        C: inverse penalty strength.
        converged: whether the gradient fell below `tolerance` within the iteration limit.
        classes: number of classes, including those without training images.
    """

    coefficients: Matrix
    intercept: Matrix
    labels: Labels
    mean: Matrix
    C: float
    converged: bool
    classes: int

    def logits(self, vectors: Matrix) -> Matrix:
        """Return float32 (n, classes) for vectors float32 (n, d): scikit-learn's decision function, -inf for classes not in ``labels``.

        For two classes, scikit-learn gives the logit of the second; that of the first is then 0.
        """
        decision = (vectors - self.mean) @ self.coefficients + self.intercept
        if len(self.labels) == 2:
            decision = np.concatenate([np.zeros_like(decision), decision], axis=1)
        logits = np.full((len(vectors), self.classes), -np.inf, np.float32)
        logits[:, self.labels] = decision
        return logits

    def probabilities(self, vectors: Matrix) -> Matrix:
        """Return the softmax of the logits, float32 (n, classes): scikit-learn's predict_proba, 0 for classes not in ``labels``."""
        shares: Matrix = softmax(self.logits(vectors), axis=1)
        return shares

    def scores(self, vectors: Matrix) -> Matrix:
        """Return the logits as scores: the largest gives the predicted class."""
        return self.logits(vectors)


def fit_path(vectors: Matrix, labels: Labels, Cs: Iterable[float], max_iter: int, classes: int) -> Iterator[LogisticProbe]:
    """Yield one probe per C, the strongest penalty first, fitted to vectors float32 (n, d) and labels int64 (n,).

    The vectors are centred, which improves the conditioning; the optimum stays the same, since the intercept is not penalised. Each fit
    starts at the previous optimum. Newton's method in float64 reaches the optimum from any start, so the fits of a path equal single ones.
    A fit that does not converge has ``converged`` False and raises nothing.

    The solver runs on one thread. It alternates between the thread pools of BLAS and OpenMP, which block each other if both have a thread
    per core (30 times slower on 2 cores). A single thread also makes results bit-identical for any number of cores.
    """
    mean = vectors.mean(axis=0)
    centred = (vectors - mean).astype(float)
    model = LogisticRegression(solver="newton-cg", max_iter=max_iter, warm_start=True)
    for C in sorted(Cs):
        with threadpool_limits(1), warnings.catch_warnings(record=True) as failures:  # the limit was reached, or a line search failed
            warnings.simplefilter("always")
            warnings.filterwarnings("ignore", "The number of unique classes", UserWarning)  # one image per class is intended
            model.set_params(C=C, tol=tolerance(C, len(labels))).fit(centred, labels)
        yield LogisticProbe(
            coefficients=np.array(model.coef_.T, np.float32, order="C"),  # the memory layout that scikit-learn uses in its product
            intercept=model.intercept_.astype(np.float32),
            labels=model.classes_.copy(),
            mean=mean,
            C=C,
            converged=not failures,
            classes=classes,
        )


def fit(vectors: Matrix, labels: Labels, C: float, max_iter: int, classes: int) -> LogisticProbe:
    """Return the probe for one C; see `fit_path`."""
    return next(fit_path(vectors, labels, (C,), max_iter, classes))


def inputs(images: embeddings.Images) -> dict[str, Matrix]:
    """Return the possible inputs of the probe, each float32 (n, width): embeddings and features, normalised and raw."""
    kinds = {"embedding_normalised": np.asarray(images.embedding), "embedding_raw": images.embedding * images.norm[:, None]}
    if images.features is not None:
        kinds |= {"features_normalised": unit(images.features)[0], "features_raw": images.features}
    return kinds
