"""The precision that "auto" resolves to: bfloat16 where it is fast and the tower's vectors were measured to keep their neighbours."""

import json
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from tqdm import tqdm

from clipstore.core import atomic
from clipstore.core.caches import VARIABLE, root
from clipstore.core.digests import json_sha256
from clipstore.core.errors import InputError
from clipstore.core.vectors import unit
from clipstore.data import garden
from clipstore.encoders import contract
from clipstore.encoders.encoder import Encoder, Vectors
from clipstore.encoders.info import EncoderInfo
from clipstore.encoders.precision import Precision, device, fast_bfloat16, hardware

COUNT = 256  # images, and texts, that a tower is measured on
BATCH = 32
SIDE = 96  # pixels of a drawn image
COSINE = 0.999  # lowest cosine of a vector in bfloat16 to the same in float32 at which "auto" chooses bfloat16
NEIGHBOURS = 0.995  # smallest share of vectors whose nearest neighbour is the same
TIE = 1e-6  # neighbours whose cosines differ by less are equally near: float32 rounds more than that
SEED = 7
Tower = Literal["images", "texts"]
Matrix = npt.NDArray[np.float32]


class Fidelity(NamedTuple):
    """How vectors in bfloat16 agree with those in float32: the lowest cosine, and the share with the same nearest neighbour."""

    cosine: float
    neighbours: float

    @property
    def suffices(self) -> bool:
        """Whether bfloat16 may replace float32."""
        return self.cosine >= COSINE and self.neighbours >= NEIGHBOURS


def resolve(precision: Literal["auto"] | Precision, info: EncoderInfo, tower: Tower) -> Precision:
    """Return the precision that "auto" resolves to for this tower on this machine; any other value is returned as it is.

    It is bfloat16 if the device multiplies it in hardware and `measured` finds that it suffices; otherwise float32.
    """
    if precision != "auto":
        return precision
    if not fast_bfloat16(device()):
        return "float32"
    fidelity = measured(info, tower)
    resolved: Precision = "bfloat16" if fidelity.suffices else "float32"
    print(
        f"{info.name}, {tower}: {resolved}, since bfloat16 keeps {fidelity.neighbours:.1%} of {COUNT} nearest neighbours "
        f"and a cosine of {fidelity.cosine:.5f}; required: {NEIGHBOURS:.1%} and {COSINE}"
    )
    return resolved


def measured(info: EncoderInfo, tower: Tower) -> Fidelity:
    """Return the tower's fidelity on this machine, from the cache folder, or measured on drawn images or texts and saved there.

    Raises:
        InputError: the folder cannot be written to.
    """
    of_tower = {"images": contract.of_images, "texts": contract.of_texts}[tower]
    path = root() / "bfloat16" / f"{json_sha256([tower, of_tower(info, 'bfloat16', BATCH, hardware())])}.json"
    if path.exists():
        return Fidelity(**json.loads(path.read_text()))
    rows = images() if tower == "images" else texts()
    precisions: tuple[Precision, ...] = ("float32", "bfloat16")
    exact, rounded = (_vectors(Encoder(info, each, BATCH), rows, f"{info.name}, {tower} in {each}") for each in precisions)
    found = [agreement(exact[kind], rounded[kind]) for kind in exact]
    fidelity = Fidelity(min(each.cosine for each in found), min(each.neighbours for each in found))
    try:
        atomic.write(path, lambda temporary: temporary.write_text(json.dumps(fidelity._asdict())))
    except OSError as error:
        raise InputError(f"cache folder {path.parent}: {error.strerror}; set {VARIABLE} to a writable folder with free space") from None
    return fidelity


def agreement(exact: Matrix, rounded: Matrix) -> Fidelity:
    """Compare float32 (n, d) vectors with the same vectors computed less precisely, row by row."""
    reference, other = (unit(vectors)[0].astype(np.float64) for vectors in (exact, rounded))
    cosines, changed = reference @ reference.T, other @ other.T
    for matrix in (cosines, changed):
        np.fill_diagonal(matrix, -np.inf)
    found = cosines[np.arange(len(cosines)), changed.argmax(axis=1)]  # of the neighbour found in ``rounded``
    return Fidelity(float((reference * other).sum(axis=1).min()), float((found >= cosines.max(axis=1) - TIE).mean()))


def texts() -> list[str]:
    """Return COUNT different texts of 2 to about 30 words, the same on every machine."""
    kinds = ("rose", "lily", "dog", "car", "house", "bird", "tree", "shoe", "boat", "cup")
    short = [f"{colour} {kind}" for kind in kinds for colour in garden.PETAL_COLOURS]
    names = [f"a photo of one {garden.name(flower)}." for flower in garden.TASK]
    rng = np.random.default_rng(SEED)
    captions = [garden.caption(flower, rng) for flower in _flowers()]
    longer = [f"{first} {second}" for first, second in zip(captions[:64], captions[64:], strict=False)]
    return [*short, *names, *longer, *captions][:COUNT]


def images() -> list[Image.Image]:
    """Return drawings of COUNT different flowers, the same on every machine."""
    return [garden.draw(flower, np.random.default_rng([SEED, number]), SIDE) for number, flower in enumerate(_flowers())]


def _flowers() -> list[garden.Flower]:
    order = np.random.default_rng(SEED).permutation(len(garden.CAPTIONED))
    return [garden.CAPTIONED[position] for position in order[:COUNT]]


def _vectors(encoder: Encoder, rows: Sequence[str] | Sequence[Image.Image], title: str) -> Vectors:
    """Return each kind of vector, float32 (COUNT, width)."""
    batches = []
    for start in tqdm(range(0, COUNT, BATCH), title, unit="batch"):
        batch = rows[start : start + BATCH]
        pixels = [encoder.crop(np.asarray(row)) for row in batch if isinstance(row, Image.Image)]
        batches.append(encoder.encode_images(torch.stack(pixels)) if pixels else encoder.encode_texts([str(row) for row in batch]))
    return {kind: np.concatenate([batch[kind] for batch in batches]) for kind in batches[0]}
