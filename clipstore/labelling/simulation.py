"""What labels that a strategy asks for are worth: those of a labelled data set are hidden, and revealed as if a person gave them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import softmax

from clipstore.core.rows import NO_LABEL
from clipstore.labelling.strategies import Strategy, choose
from clipstore.probes import logistic
from clipstore.probes.zero_shot import ZeroShotClassifier

Matrix = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]
Positions = npt.NDArray[np.intp]

GREEDY = ("random", "probcover", "maxherding")  # their first images are the same for any number of images


@dataclass(frozen=True)
class Pool:
    """The training images of a data set, and what is known without their labels.

    Attributes:
        vectors: float32 (n, d), unit rows.
        labels: the hidden labels, int64 (n,).
        classes: number of classes.
        zero_shot: the zero-shot classifier, or None for an encoder without a text tower.
        C: inverse strength of the probe's penalty.
        max_iter: largest number of the probe's Newton steps.
        limit: see `clipstore.labelling.strategies.by_coverage`.
    """

    vectors: Matrix
    labels: Labels
    classes: int
    zero_shot: ZeroShotClassifier | None
    C: float
    max_iter: int
    limit: int

    def scores(self, revealed: Positions, vectors: Matrix) -> Matrix:
        """Return the scores, float32 (m, classes), of vectors float32 (m, d) by a probe fitted to the revealed labels."""
        labels = self.labels[revealed]
        if len(np.unique(labels)) == 1:  # nothing to fit
            return np.tile(np.where(np.arange(self.classes) == labels[0], 0, -np.inf).astype(np.float32), (len(vectors), 1))
        return logistic.fit(self.vectors[revealed], labels, self.C, self.max_iter, self.classes).scores(vectors)

    def _probabilities(self, revealed: Positions, candidates: Positions) -> Matrix | None:
        """Return the candidates' probabilities by the probe, by zero-shot as long as no probe can be fitted, or None."""
        if len(np.unique(self.labels[revealed])) > 1:
            return np.asarray(softmax(self.scores(revealed, self.vectors[candidates]), axis=1))
        return None if self.zero_shot is None else self.zero_shot.probabilities(self.vectors[candidates])

    def reveal(self, strategy: Strategy, budgets: Sequence[int], seed: int) -> list[Positions]:
        """Return the positions of the images labelled after each round; those of a round come first in the next.

        Args:
            strategy: chooses the images; it sees the labels of earlier rounds.
            budgets: numbers of labels after each round, ascending.
            seed: of the strategy.
        """
        everything = np.arange(len(self.labels))
        if strategy in GREEDY:
            nothing = np.full(len(everything), NO_LABEL)
            order = choose(strategy, self.vectors, nothing, everything, None, budgets[-1], self.classes, self.limit, seed).positions
            return [order[:budget] for budget in budgets]
        rounds = [everything[:0]]
        for budget in budgets:
            revealed = rounds[-1]
            known = np.full(len(everything), NO_LABEL)
            known[revealed] = self.labels[revealed]
            candidates = np.flatnonzero(known == NO_LABEL)
            probabilities = self._probabilities(revealed, candidates) if strategy in ("auto", "margin") else None
            count = budget - len(revealed)
            new = choose(strategy, self.vectors, known, candidates, probabilities, count, self.classes, self.limit, seed).positions
            rounds.append(np.concatenate([revealed, new]))
        return rounds[1:]
