"""Decode JPEGs on a GPU, by nvJPEG through torchvision's operators, and resize and crop them there.

Only JPEGs of the usual kind go there, and only for encoders whose vectors were measured to keep their neighbours. A worker process looks at
each file and decodes the others itself, so the order stays.
"""

import io
import sys
import warnings
from collections import defaultdict
from collections.abc import Sequence
from importlib.metadata import version
from typing import Literal

import simplejpeg
import torch
import torch.nn.functional as F
from PIL import Image
from tqdm import tqdm

from clipstore.core.errors import InputError
from clipstore.core.params import Exif
from clipstore.data import images
from clipstore.encoders import contract, fidelity
from clipstore.encoders.crops import FILTERS, Resize
from clipstore.encoders.encoder import Encoder, Vectors
from clipstore.encoders.fidelity import Fidelity
from clipstore.encoders.info import EncoderInfo
from clipstore.encoders.precision import device, hardware

BLOCK = 256  # images that are decoded at a time
SAMPLINGS = ("444", "422", "420")
TO_RGB = "MaybeConvertMode"  # open_clip's step for images in other modes, of which there are none here
SIDE = 448  # pixels of the measured JPEGs


def resolve(resize: Literal["auto"] | Resize, info: EncoderInfo) -> Resize | Literal["nvjpeg"]:
    """Return what "auto" resolves to for this encoder on this machine; any other value is returned as it is.

    It is "nvjpeg" beside a GPU, where it was measured to suffice, else "pillow".
    """
    if resize != "auto":
        return resize
    if device() == "cpu":
        return "pillow"
    try:
        found = measured(info)
    except Unusable as error:
        print(f"{info.name}: images are decoded on the CPU, since {error}")
        return "pillow"
    resolved: Literal["pillow", "nvjpeg"] = "nvjpeg" if found.suffices else "pillow"
    print(f"{info.name}: {resolved}, since nvJPEG {found}")
    return resolved


class Unusable(Exception):
    """Why images cannot be decoded on the device."""


def check_operators() -> None:
    """Raise Unusable if this machine's torchvision does not decode on the device."""
    from clipstore.encoders.vision import torchvision  # imported here: a stage with all its rows in the cache does not need it

    name = f"torchvision {torchvision.__version__}"
    if not hasattr(torch.ops.image, "decode_jpeg") or not hasattr(torchvision.io, "decode_jpeg"):
        raise Unusable(f"the operators of {name} do not load with torch {torch.__version__}")
    try:
        _decoded([torch.frombuffer(bytearray(fidelity.jpeg(Image.new("RGB", (16, 16)))), dtype=torch.uint8)])
    except RuntimeError as error:
        raise Unusable(f"{name} decodes no JPEG on this device: {str(error).splitlines()[0]}") from None


def decoding() -> dict[str, str]:
    """Return what decides the pixels in addition, for the contract; torchvision's packages include nvJPEG itself."""
    return {"device_decoder": f"nvJPEG of torchvision {version('torchvision')}, CUDA {torch.version.cuda}"}


def is_plain(data: bytes, exif: Exif) -> bool:
    """Return whether nvJPEG decodes a file as the CPU does: an undamaged, upright, baseline JPEG in YCbCr with a usual subsampling.

    Decoding at an eighth of the size reads all of the file, and finds damage that nvJPEG might not.
    """
    if not data.startswith(b"\xff\xd8"):
        return False
    with Image.open(io.BytesIO(data)) as image:
        if image.format != "JPEG" or image.mode != "RGB" or image.info.get("progressive"):
            return False
        if exif == "apply" and images.orientation(image) != 1:
            return False
        size = image.size
    try:
        height, width, coding, sampling = simplejpeg.decode_jpeg_header(data)
        if (width, height) != size or coding != "YCbCr" or sampling not in SAMPLINGS:
            return False
        simplejpeg.decode_jpeg(data, "GRAY", min_height=1, min_width=1, strict=True)
    except (ValueError, KeyError):  # the latter of a subsampling or colour space that it has no name for
        return False
    return True


class Decoder:
    """Makes an encoder's crops on the device."""

    def __init__(self, encoder: Encoder, exif: Exif, block: int = BLOCK) -> None:
        """Decode at most ``block`` images at a time.

        Raises:
            Unusable: the encoder's images are prepared by other steps than a resize that torch has, and a centre crop.
        """
        self.encoder, self.exif, self.block = encoder, exif, block
        crops = encoder.crops
        resize, *self.others = (step for step in crops.steps if type(step).__name__ != TO_RGB)
        if crops.filter not in FILTERS or not all(type(step).__name__ == "CenterCrop" for step in self.others):
            names = ", ".join(type(step).__name__ for step in (resize, *self.others))
            raise Unusable(f"its images are resized by {crops.filter} in {names}; expected {' or '.join(FILTERS)} in Resize, CenterCrop")

    def prepare(self, data: bytes) -> torch.Tensor:
        """Return the file's bytes, uint8 (n,), if the device decodes it, else the crop, uint8 (3, s, s), for `crops`."""
        if is_plain(data, self.exif):
            return torch.frombuffer(bytearray(data), dtype=torch.uint8)
        return self.encoder.crop(images.decode(data, self.exif))

    def crops(self, items: Sequence[torch.Tensor]) -> torch.Tensor:
        """Return crops uint8 (n, 3, s, s) on the device, of crops (3, s, s) and files of JPEGs, uint8 (bytes,), in order."""
        done = [item.to(device(), non_blocking=True) for item in items if item.dim() == 3]
        made = {3: iter(done), 1: iter(self._of_files([item for item in items if item.dim() == 1]))}
        return torch.stack([next(made[item.dim()]) for item in items])

    def _of_files(self, files: list[torch.Tensor]) -> list[torch.Tensor]:
        """Return the crop of each file; a block that the memory does not hold is halved, and what nvJPEG refuses goes to the CPU."""
        done: list[torch.Tensor] = []
        while len(done) < len(files):
            part = files[len(done) : len(done) + self.block]
            try:
                done += self._of_block(part)
            except torch.OutOfMemoryError:
                if len(part) == 1:
                    raise InputError("the GPU's memory does not hold one decoded image: set embed_images.resize to pillow") from None
                self.block = len(part) // 2
                line = f"the GPU's memory does not hold {len(part)} decoded images: {self.block} are decoded at a time from now on"
                tqdm.write(f"embed_images: {line}", sys.stderr)
            except RuntimeError:
                if len(part) == 1:
                    done.append(self.encoder.crop(images.decode(part[0].numpy().tobytes(), self.exif)).to(device()))
                else:  # which one it is, nvJPEG does not say
                    done += [crop for file in part for crop in self._of_files([file])]
        return done

    def _of_block(self, files: list[torch.Tensor]) -> list[torch.Tensor]:
        """Decode, and resize and crop all images of the same size together."""
        decoded = _decoded(files)
        crops = dict[int, torch.Tensor]()
        of_size = defaultdict[tuple[int, ...], list[int]](list)
        for position, pixels in enumerate(decoded):
            of_size[tuple(pixels.shape[1:])].append(position)
        for size, positions in of_size.items():
            together = self._resized(torch.stack([decoded[position] for position in positions]), size)
            for step in self.others:
                together = step(together)
            crops.update(zip(positions, together, strict=True))
        return [crops[position] for position in range(len(files))]

    def _resized(self, pixels: torch.Tensor, size: tuple[int, ...]) -> torch.Tensor:
        """Return pixels uint8 (n, 3, h, w) at the size that the library's own step gives an image.

        Rounded after each direction, as on the CPU.
        """
        height, width = self.encoder.crops.size(size[0], size[1])
        values = pixels.float()
        for step in ((size[0], width), (height, width)):
            values = F.interpolate(values, step, mode=self.encoder.crops.filter, antialias=True).round_().clamp_(0, 255)
        return values.to(torch.uint8)


def _decoded(files: list[torch.Tensor]) -> list[torch.Tensor]:
    """Return the pixels of JPEGs, uint8 (3, h, w), on the device."""
    from clipstore.encoders.vision import torchvision

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of 0.29, in favour of TorchCodec
        decoded: list[torch.Tensor] = torchvision.io.decode_jpeg(files, torchvision.io.ImageReadMode.RGB, device=device())
    return decoded


def measured(info: EncoderInfo) -> Fidelity:
    """Return how vectors agree with those of Pillow's images, in float32 on this machine, from the cache folder or measured once.

    Raises:
        Unusable: the device cannot prepare this encoder's images.
        InputError: the cache folder cannot be written to.
    """

    def vectors() -> tuple[Vectors, Vectors]:
        check_operators()
        encoder = Encoder(info, "float32", fidelity.BATCH)
        decoder = Decoder(encoder, "ignore", fidelity.BATCH)
        files = [fidelity.jpeg(fidelity.enlarged(drawing, SIDE, number)) for number, drawing in enumerate(fidelity.images())]
        exact = [encoder.crop(images.decode(file, "ignore")) for file in files]
        faster = decoder.crops([torch.frombuffer(bytearray(file), dtype=torch.uint8) for file in files])
        return fidelity.encoded(encoder, exact, f"{info.name}, Pillow"), fidelity.encoded(encoder, [*faster], f"{info.name}, nvJPEG")

    terms = contract.of_images(info, "float32", fidelity.BATCH, hardware(), resize="nvjpeg")
    terms["preprocess"] |= decoding()
    return fidelity.once("preparation", terms, vectors)
