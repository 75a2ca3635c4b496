"""Images of a data set that show the same picture: candidates by embedding, judged by their pixels.

How near is too near differs from encoder to encoder, so no cosine decides: it names the candidates, and how well the outlines of two
thumbnails agree, one shifted and stretched onto the other, decides (docs/decisions/0011-audit.md).
"""

from typing import NamedTuple

import faiss
import numpy as np
import numpy.typing as npt
import pandas as pd
from PIL import Image
from scipy.ndimage import affine_transform
from scipy.optimize import minimize
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from tqdm import tqdm

from clipstore.data.index import SPLITS

SIDE = 32  # pixels of a thumbnail
WORTH = 0.3  # agreement of two thumbnails as they are from which it is tried to lay one onto the other
CLOSE = 2  # nearest of each split with which that is tried: it takes some 20 ms
HOPELESS = 0.6  # agreement of coarse thumbnails, one laid onto the other, below which finer ones are not tried
STRETCH = 1.6  # most that a thumbnail is stretched or squeezed
BLOCK = 8192  # pairs compared at a time: 30 MB of outlines

Matrix = npt.NDArray[np.float32]
Positions = npt.NDArray[np.intp]
Thumbnails = npt.NDArray[np.uint8]


class Neighbours(NamedTuple):
    """The nearest images of n images, those of each split beside each other: cosines float32 (n, m), positions (n, m), -1 for none."""

    cosines: Matrix
    positions: Positions


def thumbnail(image: Image.Image) -> Thumbnails:
    """Return the image in grey, squeezed into uint8 (SIDE, SIDE); each pixel is the mean of those that it stands for."""
    return np.asarray(image.convert("L").resize((SIDE, SIDE), Image.Resampling.BOX))


def coarse(thumbnails: Thumbnails) -> Matrix:
    """Return float32 (n, SIDE / 2, SIDE / 2), each pixel the mean of four."""
    means: Matrix = thumbnails.reshape(len(thumbnails), SIDE // 2, 2, SIDE // 2, 2).mean(axis=(2, 4), dtype=np.float32)
    return means


def outlines(grey: Matrix) -> Matrix:
    """Return the differences between adjacent pixels of float32 (n, s, s), to the right and downwards: float32 (n, 2 (s - 1)^2).

    Differences rather than grey values: all photographs of a flower on the lawn are bright amid dark.
    """
    across, down = np.diff(grey, axis=2)[:, :-1], np.diff(grey, axis=1)[:, :, :-1]
    return np.concatenate([across.reshape(len(grey), -1), down.reshape(len(grey), -1)], axis=1)


def agreement(left: Matrix, right: Matrix) -> Matrix:
    """Return the cosine of each pair of outlines, float32 (n,); 0 where one is without any, an image of one grey."""
    lengths = np.linalg.norm(left, axis=1) * np.linalg.norm(right, axis=1)
    cosines: Matrix = np.einsum("ij,ij->i", left, right) / np.maximum(lengths, 1e-6)
    return cosines


def aligned(left: Thumbnails, right: Thumbnails) -> float:
    """Return how well two thumbnails agree once ``right`` is shifted and stretched so that they agree best: a crop agrees with its whole.

    The search is Nelder and Mead's (scipy), on coarse thumbnails and then on fine ones; where they overlap by half or more.
    """

    def disagreement(place: npt.NDArray[np.float64], one: Matrix, other: Matrix) -> float:
        stretch, shift = place[:2], place[2:] * len(one)
        if (abs(np.log(stretch.clip(1e-3))) > np.log(STRETCH)).any():
            return 0.0
        centre = (len(one) - 1) / 2
        moved = affine_transform(other, stretch, centre - stretch * centre + shift, order=1, cval=np.nan)
        inside = ~np.isnan(moved)
        if inside.mean() < 0.5:
            return 0.0
        both = outlines(np.stack([one, moved]))
        known = ~np.isnan(both[1])
        return -float(agreement(both[:1, known], both[1:, known])[0])

    place, best = np.array([1.0, 1.0, 0.0, 0.0]), 0.0
    steps = np.vstack([np.zeros(4), np.diag([0.1, 0.1, 0.05, 0.05])])
    pair = np.stack([left, right])
    for one, other in (coarse(pair), pair.astype(np.float32)):
        options = {"initial_simplex": place + steps, "maxiter": 150, "xatol": 1e-3, "fatol": 1e-3}
        found = minimize(disagreement, place, (one, other), "Nelder-Mead", options=options)
        place, best = found.x, -float(found.fun)
        if best < HOPELESS:
            break
    return best


def neighbours(vectors: Matrix, splits: npt.NDArray[np.str_], k: int) -> Neighbours:
    """Return the ``k`` nearest images in each split, ``k`` + 1 where the image itself is not among them.

    In each, since copies in one split would hide those in another.

    Args:
        vectors: float32 (n, d), unit rows.
        splits: (n,).
        k: neighbours in each split, or as many as it has.
    """
    cosines, positions = [], []
    vectors = np.ascontiguousarray(vectors, np.float32)
    for split in SPLITS:
        gallery = np.append(np.flatnonzero(splits == split), -1)  # FAISS's -1, where there are fewer than k, stays -1
        flat = faiss.IndexFlatIP(vectors.shape[1])
        flat.add(vectors[gallery[:-1]])
        near, found = flat.search(vectors, k + 1)
        cosines.append(near)
        positions.append(gallery[found])
    found = np.concatenate(positions, axis=1)
    found[found == np.arange(len(found))[:, None]] = -1  # itself
    return Neighbours(np.concatenate(cosines, axis=1), found)


def compared(
    thumbnails: Thumbnails, first: Positions, second: Positions, close: npt.NDArray[np.bool_], threshold: float
) -> tuple[Matrix, npt.NDArray[np.bool_]]:
    """Return how well each pair agrees, float32 (pairs,) of [-1, 1], and whether one is the other's mirror image, (pairs,).

    Pairs that are ``close`` and agree less than ``threshold`` as they are, but not badly, are laid onto each other.
    """
    straight, mirrored = np.zeros(len(first), np.float32), np.zeros(len(first), np.float32)
    for start in range(0, len(first), BLOCK):
        block = slice(start, start + BLOCK)
        left, right = coarse(thumbnails[first[block]]), outlines(coarse(thumbnails[second[block]]))
        straight[block] = agreement(outlines(left), right)
        mirrored[block] = agreement(outlines(left[:, :, ::-1]), right)
    best, turned = np.maximum(straight, mirrored), mirrored > straight
    unsure = np.flatnonzero(close & (best >= WORTH) & (best < threshold))
    for at in tqdm(unsure.tolist(), "lay onto each other", unit="pair", mininterval=1):
        left = thumbnails[first[at]]
        best[at] = max(best[at], aligned(left[:, ::-1] if turned[at] else left, thumbnails[second[at]]))
    return best, turned


def comparable(rows: pd.DataFrame) -> npt.NDArray[np.bool_]:
    """Return whether each image (columns width, height) has as many pixels as a thumbnail: with fewer it has no detail to compare."""
    large: npt.NDArray[np.bool_] = rows[["width", "height"]].min(axis=1).to_numpy() >= SIDE
    return large


def pairs(rows: pd.DataFrame, near: Neighbours, thumbnails: Thumbnails, threshold: float) -> pd.DataFrame:
    """Return the pairs that show the same picture: columns first, second (positions), kind, cosine, agreement; those of most cosine first.

    ``kind`` is "copy" (the same bytes; each is paired with the first of them alone), "near_duplicate" or "mirrored". ``first`` is of the
    earlier split: train, then val, then test. Of images that are not `comparable` only copies are found.

    Args:
        rows: split, sha256, width and height of n images.
        near: of each image.
        thumbnails: uint8 (n, SIDE, SIDE).
        threshold: the least agreement of the outlines, in (0, 1].
    """
    rank = rows["split"].map(SPLITS.index).to_numpy()
    order = np.lexsort([np.arange(len(rows)), rank])
    place = np.argsort(order)  # of each image, where splits follow each other

    digests = rows["sha256"].to_numpy()
    original = pd.Series(order).groupby(digests[order]).transform("first").to_numpy()
    again = original != order
    copies = pd.DataFrame({"first": original[again], "second": order[again], "kind": "copy", "cosine": 1.0, "agreement": 1.0})

    left, column = np.nonzero(near.positions >= 0)
    right = near.positions[left, column]
    ends = np.where((place[left] < place[right])[:, None], np.stack([left, right], 1), np.stack([right, left], 1))
    found = pd.DataFrame({"first": ends[:, 0], "second": ends[:, 1], "cosine": near.cosines[left, column]})
    found["close"] = column % (near.positions.shape[1] // len(SPLITS)) < CLOSE
    found = found.sort_values("close", ascending=False, kind="stable")  # whichever of the two sees the other as closer
    large = comparable(rows)
    first, second = found["first"].to_numpy(), found["second"].to_numpy()
    found = found[large[first] & large[second] & (digests[first] != digests[second])].drop_duplicates(["first", "second"])

    first, second, close = (found.pop(name).to_numpy() for name in ("first", "second", "close"))
    agreements, turned = compared(thumbnails, first, second, close, threshold)
    found = found.assign(first=first, second=second, kind=np.where(turned, "mirrored", "near_duplicate"), agreement=agreements)
    both: pd.DataFrame = pd.concat([copies, found[agreements >= threshold]], ignore_index=True)
    return both.sort_values(["cosine", "first", "second"], ascending=[False, True, True], ignore_index=True)


def groups(count: int, found: pd.DataFrame) -> npt.NDArray[np.int32]:
    """Return a number for each of ``count`` images, the same for those that pairs link, directly or through others."""
    links = coo_array((np.ones(len(found)), (found["first"].to_numpy(), found["second"].to_numpy())), shape=(count, count))
    linked: npt.NDArray[np.int32] = connected_components(links, directed=False)[1]
    return linked


def leaked(linked: npt.NDArray[np.int32], splits: npt.NDArray[np.str_]) -> Positions:
    """Return the positions of the test images whose group, ``linked`` (n,), has an image of train or val; ``splits`` is (n,)."""
    outside = np.isin(linked, linked[splits != "test"])
    return np.flatnonzero(outside & (splits == "test"))
