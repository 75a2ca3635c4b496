"""k-nearest-neighbour classification: the nearest labelled images vote."""

from dataclasses import dataclass
from functools import cached_property
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.special import softmax

from clipstore.probes.neighbours import NearestNeighbours

Matrix = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]
Vote = Literal["uniform", "softmax"]


class Voters(NamedTuple):
    """The nearest labelled images for n queries, nearest first: cosines float32 (n, k) and labels int64 (n, k)."""

    cosines: Matrix
    labels: Labels


def voters(index: NearestNeighbours, labels: Labels, queries: Matrix, k: int) -> Voters:
    """Return the ``k`` nearest labelled images for each query.

    Args:
        index: the vectors of m labelled images; m >= k, since position -1 of a missing neighbour would index the last image.
        labels: of the labelled images, int64 (m,).
        queries: float32 (n, d), unit rows, none of them in the index.
        k: number of neighbours.
    """
    assert k <= len(labels) == len(index.vectors), (k, len(labels), len(index.vectors))
    neighbours = index.search(queries, k)
    return Voters(neighbours.cosines, labels[neighbours.positions])


def vote_shares(nearest: Voters, k: int, vote: Vote, temperature: float, classes: int) -> Matrix:
    """Return each class's smoothed share of the votes, float32 (n, classes), rows that sum to 1.

    Each neighbour has one vote, or a softmax of cosine / temperature distributes the ``k`` votes (Wu et al. 2018, section 3.4; as in
    DINOv2's evaluation). Smoothing, (votes + 1 / classes) / (k + 1), keeps the log-loss finite. If classes tie, the one with the nearest
    neighbour wins.

    Args:
        nearest: at least ``k`` neighbours per query.
        k: number of neighbours that vote.
        vote: "uniform" or "softmax".
        temperature: of the softmax, > 0.
        classes: number of classes.
    """
    labels = nearest.labels[:, :k]
    rows = np.arange(len(labels))[:, None]
    weights = np.ones(labels.shape) if vote == "uniform" else k * softmax(nearest.cosines[:, :k].astype(float) / temperature, axis=1)
    votes = np.zeros((len(labels), classes))
    np.add.at(votes, (rows, labels), weights)
    shares: Matrix = ((votes + 1 / classes) / (k + 1)).astype(np.float32)
    most = shares.max(axis=1, keepdims=True)
    first = (shares == most)[rows, labels].argmax(axis=1)  # nearest neighbour whose class has the most votes
    winner = labels[rows[:, 0], first]
    shares[rows[:, 0], winner] = np.nextafter(most[:, 0], np.float32(np.inf))  # the smallest increase that makes argmax return it
    return shares


def log_shares(shares: Matrix) -> Matrix:
    """Return the logarithm of each class's share relative to the row's largest, float32 (n, classes): the classifier's logits.

    The winner of a tie is ahead by the smallest step of float32. That step survives only in logarithms close to 0.
    """
    logarithms = np.log(shares.astype(float))
    relative: Matrix = (logarithms - logarithms.max(axis=1, keepdims=True)).astype(np.float32)
    return relative


@dataclass(frozen=True, eq=False)
class KnnClassifier:
    """Labelled images, and how the nearest of them vote.

    Attributes:
        vectors: of the labelled images, float32 (m, d), unit rows.
        labels: of the labelled images, int64 (m,).
        searched: number of neighbours to search for, of which the first ``k`` vote; FAISS's order of equal cosines depends on it.
        k: number of neighbours that vote, <= searched.
        vote: see `vote_shares`.
        temperature: see `vote_shares`.
        classes: number of classes.
    """

    vectors: Matrix
    labels: Labels
    searched: int
    k: int
    vote: Vote
    temperature: float
    classes: int

    @cached_property
    def _index(self) -> NearestNeighbours:
        return NearestNeighbours(self.vectors)

    def votes(self, nearest: Voters) -> Matrix:
        """Return the vote shares, float32 (n, classes), of the given neighbours."""
        return vote_shares(nearest, self.k, self.vote, self.temperature, self.classes)

    def probabilities(self, queries: Matrix) -> Matrix:
        """Return the vote shares, float32 (n, classes), for queries float32 (n, d), unit rows."""
        return self.votes(voters(self._index, self.labels, queries, self.searched))
