"""Find images of a data set that show the same picture: embeddings give the candidates, pixels decide.

The cosine between two such images depends on the encoder, so it only selects candidates. They count as the same picture if the outlines
of their thumbnails agree after one is shifted and stretched to match the other (docs/decisions/0011-audit.md).
"""

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
from clipstore.probes.neighbours import NearestNeighbours
from clipstore.probes.neighbours import Neighbours as Neighbours

SIDE = 32  # side length of a thumbnail in pixels
MIN_UNALIGNED = 0.3  # lowest agreement of two unaligned thumbnails at which alignment is tried
ALIGNED_NEAREST = 2  # how many of the nearest images in each split alignment is tried with: it takes about 20 ms per pair
MIN_COARSE = 0.6  # lowest agreement of aligned coarse thumbnails at which fine ones are aligned too
MAX_STRETCH = 1.6  # largest factor by which a thumbnail is stretched or squeezed
BLOCK = 8192  # pairs compared at a time: 30 MB of outlines

Matrix = npt.NDArray[np.float32]
Positions = npt.NDArray[np.intp]
Thumbnails = npt.NDArray[np.uint8]


def thumbnail(image: Image.Image) -> Thumbnails:
    """Return the image in greyscale, resized to uint8 (SIDE, SIDE); each pixel is the mean of the pixels that it covers."""
    return np.asarray(image.convert("L").resize((SIDE, SIDE), Image.Resampling.BOX))


def coarse(thumbnails: Thumbnails) -> Matrix:
    """Return float32 (n, SIDE / 2, SIDE / 2), each pixel the mean of four."""
    means: Matrix = thumbnails.reshape(len(thumbnails), SIDE // 2, 2, SIDE // 2, 2).mean(axis=(2, 4), dtype=np.float32)
    return means


def outlines(grey: Matrix) -> Matrix:
    """Return the horizontal and vertical differences between adjacent pixels of float32 (n, s, s): float32 (n, 2 (s - 1)^2).

    Grey values would not work: all photographs of a flower on a lawn are bright in the middle and dark around it.
    """
    across, down = np.diff(grey, axis=2)[:, :-1], np.diff(grey, axis=1)[:, :, :-1]
    return np.concatenate([across.reshape(len(grey), -1), down.reshape(len(grey), -1)], axis=1)


def agreement(left: Matrix, right: Matrix) -> Matrix:
    """Return the cosine of each pair of outlines, float32 (n,); 0 if either image is uniform and has no outlines."""
    lengths = np.linalg.norm(left, axis=1) * np.linalg.norm(right, axis=1)
    cosines: Matrix = np.einsum("ij,ij->i", left, right) / np.maximum(lengths, 1e-6)
    return cosines


def aligned(left: Thumbnails, right: Thumbnails) -> float:
    """Return the highest agreement of two thumbnails over shifts and stretches of ``right``, which match a crop to the whole image.

    The search is scipy's Nelder-Mead, first on coarse and then on fine thumbnails, where they overlap by at least half.
    """

    def disagreement(place: npt.NDArray[np.float64], fixed: Matrix, movable: Matrix) -> float:
        stretch, shift = place[:2], place[2:] * len(fixed)
        if (abs(np.log(stretch.clip(1e-3))) > np.log(MAX_STRETCH)).any():
            return 0.0
        centre = (len(fixed) - 1) / 2
        moved = affine_transform(movable, stretch, centre - stretch * centre + shift, order=1, cval=np.nan)
        inside = ~np.isnan(moved)
        if inside.mean() < 0.5:
            return 0.0
        edges = outlines(np.stack([fixed, moved]))
        overlap = ~np.isnan(edges[1])
        return -float(agreement(edges[:1, overlap], edges[1:, overlap])[0])

    place, best = np.array([1.0, 1.0, 0.0, 0.0]), 0.0
    steps = np.vstack([np.zeros(4), np.diag([0.1, 0.1, 0.05, 0.05])])
    pair = np.stack([left, right])
    for fixed, movable in (coarse(pair), pair.astype(np.float32)):
        options = {"initial_simplex": place + steps, "maxiter": 150, "xatol": 1e-3, "fatol": 1e-3}
        optimum = minimize(disagreement, place, (fixed, movable), "Nelder-Mead", options=options)
        place, best = optimum.x, -float(optimum.fun)
        if best < MIN_COARSE:
            break
    return best


def neighbours(vectors: Matrix, splits: npt.NDArray[np.str_], k: int) -> Neighbours:
    """Return the ``k`` nearest images in an image's own split and ``k`` + 1 in each other split, grouped by split.

    Each split is searched separately because copies in one split would hide those in another.

    Args:
        vectors: float32 (n, d), unit rows.
        splits: (n,).
        k: neighbours in each split; fewer if the split is smaller.
    """
    cosines, positions = [], []
    vectors = np.ascontiguousarray(vectors, np.float32)
    for split in SPLITS:
        of_split = np.append(np.flatnonzero(splits == split), -1)  # the last element keeps -1, for missing neighbours, at -1
        nearest = NearestNeighbours(vectors[of_split[:-1]]).search(vectors, k + 1)
        cosines.append(nearest.cosines)
        positions.append(of_split[nearest.positions])
    all_positions = np.concatenate(positions, axis=1)
    all_positions[all_positions == np.arange(len(all_positions))[:, None]] = -1  # the image itself
    return Neighbours(np.concatenate(cosines, axis=1), all_positions)


def compared(
    thumbnails: Thumbnails, first: Positions, second: Positions, close: npt.NDArray[np.bool_], threshold: float
) -> tuple[Matrix, npt.NDArray[np.bool_]]:
    """Return the agreement of each pair, float32 (pairs,) in [-1, 1], and whether one is the other's mirror image, (pairs,).

    ``close`` pairs whose agreement is between MIN_UNALIGNED and ``threshold`` are aligned (see `aligned`).
    """
    straight, mirrored = np.zeros(len(first), np.float32), np.zeros(len(first), np.float32)
    for start in range(0, len(first), BLOCK):
        block = slice(start, start + BLOCK)
        left, right = coarse(thumbnails[first[block]]), outlines(coarse(thumbnails[second[block]]))
        straight[block] = agreement(outlines(left), right)
        mirrored[block] = agreement(outlines(left[:, :, ::-1]), right)
    best, is_mirrored = np.maximum(straight, mirrored), mirrored > straight
    undecided = np.flatnonzero(close & (best >= MIN_UNALIGNED) & (best < threshold))
    for pair in tqdm(undecided.tolist(), "align", unit="pair", mininterval=1):
        left = thumbnails[first[pair]]
        best[pair] = max(best[pair], aligned(left[:, ::-1] if is_mirrored[pair] else left, thumbnails[second[pair]]))
    return best, is_mirrored


def comparable(rows: pd.DataFrame) -> npt.NDArray[np.bool_]:
    """Return whether each image (columns width, height) is at least as large as a thumbnail; smaller ones have no detail to compare."""
    large: npt.NDArray[np.bool_] = rows[["width", "height"]].min(axis=1).to_numpy() >= SIDE
    return large


def pairs(rows: pd.DataFrame, nearest: Neighbours, thumbnails: Thumbnails, threshold: float) -> pd.DataFrame:
    """Return the pairs that show the same picture: columns first, second (positions), kind, cosine, agreement; highest cosine first.

    ``kind`` is "copy" (the same bytes; each copy is paired only with the first), "near_duplicate" or "mirrored". ``first`` is in the
    earlier split, in the order train, val, test. For images that are not `comparable` only copies are found.

    Args:
        rows: split, sha256, width and height of n images.
        nearest: the neighbours of each image, as `neighbours` returns them.
        thumbnails: uint8 (n, SIDE, SIDE).
        threshold: lowest agreement of the outlines, in (0, 1].
    """
    rank = rows["split"].map(SPLITS.index).to_numpy()
    order = np.lexsort([np.arange(len(rows)), rank])
    place = np.argsort(order)  # each image's rank when images are sorted by split

    digests = rows["sha256"].to_numpy()
    original = pd.Series(order).groupby(digests[order]).transform("first").to_numpy()
    copied = original != order
    copies = pd.DataFrame({"first": original[copied], "second": order[copied], "kind": "copy", "cosine": 1.0, "agreement": 1.0})

    left, column = np.nonzero(nearest.positions >= 0)
    right = nearest.positions[left, column]
    ends = np.where((place[left] < place[right])[:, None], np.stack([left, right], 1), np.stack([right, left], 1))
    candidates = pd.DataFrame({"first": ends[:, 0], "second": ends[:, 1], "cosine": nearest.cosines[left, column]})
    candidates["close"] = column % (nearest.positions.shape[1] // len(SPLITS)) < ALIGNED_NEAREST
    candidates = candidates.sort_values("close", ascending=False, kind="stable")  # a pair is close if either is among the other's nearest
    large = comparable(rows)
    first, second = candidates["first"].to_numpy(), candidates["second"].to_numpy()
    candidates = candidates[large[first] & large[second] & (digests[first] != digests[second])].drop_duplicates(["first", "second"])

    first, second, close = (candidates.pop(name).to_numpy() for name in ("first", "second", "close"))
    agreements, mirrored = compared(thumbnails, first, second, close, threshold)
    candidates = candidates.assign(first=first, second=second, kind=np.where(mirrored, "mirrored", "near_duplicate"), agreement=agreements)
    table: pd.DataFrame = pd.concat([copies, candidates[agreements >= threshold]], ignore_index=True)
    return table.sort_values(["cosine", "first", "second"], ascending=[False, True, True], ignore_index=True)


def groups(count: int, linked: pd.DataFrame) -> npt.NDArray[np.int32]:
    """Return a group number for each of ``count`` images; images linked by pairs (columns first, second), directly or not, share one."""
    links = coo_array((np.ones(len(linked)), (linked["first"].to_numpy(), linked["second"].to_numpy())), shape=(count, count))
    numbers: npt.NDArray[np.int32] = connected_components(links, directed=False)[1]
    return numbers


def leaked(group: npt.NDArray[np.int32], splits: npt.NDArray[np.str_]) -> Positions:
    """Return the positions of the test images whose group (n,) contains an image of train or val; ``splits`` is (n,)."""
    outside = np.isin(group, group[splits != "test"])
    return np.flatnonzero(outside & (splits == "test"))
