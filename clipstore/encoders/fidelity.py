"""Measure, for one encoder, whether a faster computation keeps its vectors: bfloat16, torch's resizing, a JPEG decoder's scaling."""

import io
import json
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from tqdm import tqdm

from clipstore.core import atomic
from clipstore.core.caches import root, writable
from clipstore.core.digests import json_sha256
from clipstore.core.vectors import unit
from clipstore.data import garden
from clipstore.data.images import decode
from clipstore.encoders import contract
from clipstore.encoders.crops import Resize
from clipstore.encoders.encoder import Encoder, Vectors
from clipstore.encoders.info import EncoderInfo
from clipstore.encoders.precision import Precision, device, fast_bfloat16, hardware

COUNT = 256  # images, and texts, that a tower is measured on
BATCH = 32
SIDE = 96  # pixels of a drawing
NOISE = 10  # standard deviation of an enlarged drawing's noise, of 255: a photograph's, which has detail at every scale
ENLARGED = 2  # times the size that an image is resized to: 448 pixels for most encoders
COSINE = 0.999  # lowest cosine of a vector computed faster to the same computed exactly that suffices
NEIGHBOURS = 0.995  # smallest share of vectors whose nearest neighbour is the same
TIE = 1e-6  # neighbours whose cosines differ by less are equally near: float32 rounds more than that
SEED = 7
Tower = Literal["images", "texts"]
Matrix = npt.NDArray[np.float32]


class Fidelity(NamedTuple):
    """How vectors computed faster agree with exact ones: the lowest cosine, and the share with the same nearest neighbour."""

    cosine: float
    neighbours: float

    def __str__(self) -> str:
        """Return what is kept and what is required, as the end of a sentence."""
        kept = f"keeps {self.neighbours:.1%} of {COUNT} nearest neighbours and a cosine of {self.cosine:.5f}"
        return f"{kept}; required: {NEIGHBOURS:.1%} and {COSINE}"

    @property
    def suffices(self) -> bool:
        """Whether the faster ones may replace the exact ones."""
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
    print(f"{info.name}, {tower}: {resolved}, since bfloat16 {fidelity}")
    return resolved


def check_preparation(info: EncoderInfo, resize: Resize, jpeg_scaling: bool) -> None:
    """Print what resizing by torch, and scaling in the decoder of JPEGs, change for this encoder, as a warning if that is too much."""
    if resize == "pillow" and not jpeg_scaling:
        return
    fidelity = measured_preparation(info, resize, jpeg_scaling)
    named = [f"resize: {resize}", *(["jpeg_scaling: true"] if jpeg_scaling else [])]
    print(f"{'' if fidelity.suffices else 'warning: '}{info.name}: embed_images.{' and '.join(named)} {fidelity}")


def measured(info: EncoderInfo, tower: Tower) -> Fidelity:
    """Return the tower's fidelity on this machine, from the cache folder, or measured on drawn images or texts and saved there.

    Raises:
        InputError: the folder cannot be written to.
    """
    of_tower = {"images": contract.of_images, "texts": contract.of_texts}[tower]

    def vectors(precision: Precision) -> Vectors:
        encoder = Encoder(info, precision, BATCH)
        rows = [encoder.crop(np.asarray(drawing)) for drawing in images()] if tower == "images" else texts()
        return encoded(encoder, rows, f"{info.name}, {tower} in {precision}")

    terms = [tower, of_tower(info, "bfloat16", BATCH, hardware())]
    return once("bfloat16", terms, lambda: (vectors("float32"), vectors("bfloat16")))


def measured_preparation(info: EncoderInfo, resize: Resize, jpeg_scaling: bool) -> Fidelity:
    """Return how another preparation of images agrees with Pillow's, in float32 on this machine, from the cache folder or measured once.

    It is measured on enlarged drawings with noise. With ``jpeg_scaling``, they are JPEGs of four times the size that they are resized to:
    the decoder halves them to the least size that it may leave.

    Raises:
        InputError: torch has no filter of the encoder's kind, or the folder cannot be written to.
    """

    def vectors(exact: bool) -> Vectors:
        encoder = Encoder(info, "float32", BATCH, "pillow" if exact else resize)
        enough = encoder.crops.enough if jpeg_scaling and not exact else None
        side = ENLARGED * encoder.crops.size(SIDE, SIDE)[0] * (2 if jpeg_scaling else 1)
        pictures = (enlarged(drawing, side, number) for number, drawing in enumerate(images()))
        decoded = (decode(jpeg(picture), "ignore", enough) if jpeg_scaling else np.array(picture) for picture in pictures)
        how = "exactly" if exact else "faster"
        crops = [encoder.crop(pixels) for pixels in tqdm(decoded, f"{info.name}, prepared {how}", COUNT, unit="img")]
        return encoded(encoder, crops, f"{info.name}, images prepared {how}")

    terms = contract.of_images(info, "float32", BATCH, hardware(), resize=resize, jpeg_scaling=jpeg_scaling)
    return once("preparation", terms, lambda: (vectors(exact=True), vectors(exact=False)))


def once(folder: str, terms: Any, both: Callable[[], tuple[Vectors, Vectors]]) -> Fidelity:
    """Return the fidelity for these terms from the cache folder, or that of the exact and the faster vectors, saved there."""
    path = root() / folder / f"{json_sha256(terms)}.json"
    if path.exists():
        return Fidelity(**json.loads(path.read_text()))
    exact, faster = both()
    found = [agreement(exact[kind], faster[kind]) for kind in exact]
    fidelity = Fidelity(min(each.cosine for each in found), min(each.neighbours for each in found))
    with writable(path.parent):
        atomic.write(path, lambda temporary: temporary.write_text(json.dumps(fidelity._asdict())))
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


def enlarged(drawing: Image.Image, side: int, number: int) -> Image.Image:
    """Return a drawing at (side, side) pixels with noise: edges of a drawing alone would have little detail at that size."""
    pixels = np.asarray(drawing.resize((side, side), Image.Resampling.BICUBIC))
    noise = np.random.default_rng([SEED, number]).standard_normal(pixels.shape, np.float32)
    return Image.fromarray((pixels + NOISE * noise).clip(0, 255).astype(np.uint8))


def jpeg(image: Image.Image) -> bytes:
    """Return the file of an image as a JPEG of quality 90."""
    file = io.BytesIO()
    image.save(file, "JPEG", quality=90)
    return file.getvalue()


def _flowers() -> list[garden.Flower]:
    order = np.random.default_rng(SEED).permutation(len(garden.CAPTIONED))
    return [garden.CAPTIONED[position] for position in order[:COUNT]]


def encoded(encoder: Encoder, rows: Sequence[str] | Sequence[torch.Tensor], title: str) -> Vectors:
    """Return each kind of vector, float32 (COUNT, width), of texts or crops."""
    batches = []
    for start in tqdm(range(0, COUNT, BATCH), title, unit="batch"):
        batch = rows[start : start + BATCH]
        crops = [row for row in batch if isinstance(row, torch.Tensor)]
        batches.append(encoder.encode_images(torch.stack(crops)) if crops else encoder.encode_texts([str(row) for row in batch]))
    return {kind: np.concatenate([batch[kind] for batch in batches]) for kind in batches[0]}
