"""Feed an encoder with image files: decode, crop and encode them, batch by batch and in order, on every core and the GPU.

Memory does not grow with the number of images. docs/decisions/0021-feeding.md gives the measurements behind this module.
"""

import math
import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import active_children
from multiprocessing.connection import wait
from typing import TYPE_CHECKING, Any

import torch
from torch.utils.data import DataLoader, Dataset

from clipstore.core.errors import InputError
from clipstore.core.params import Exif
from clipstore.data import images
from clipstore.encoders.encoder import Encoder, Vectors
from clipstore.encoders.precision import cores, device

if TYPE_CHECKING:
    from clipstore.encoders.nvjpeg import Decoder  # which imports torchvision

CHUNK = 16  # images that a worker process passes on at a time: 2.4 MB at 224 pixels, since containers often have 64 MB of shared memory
Source = tuple[str, str]  # path and SHA-256
Crop = Callable[[Source], torch.Tensor]
Batch = tuple[range, Vectors]
Crops = Iterator[tuple[range, torch.Tensor]]


def embedded(
    encoder: Encoder, sources: Sequence[Source], exif: Exif, jpeg_scaling: bool = False, decoder: "Decoder | None" = None
) -> Iterator[Batch]:
    """Yield the vectors of all images in batches of the encoder's size, each with the positions of its images in ``sources``.

    Args:
        encoder: on its device.
        sources: path and SHA-256 of each image.
        exif: whether the EXIF orientation is applied.
        jpeg_scaling: whether the decoder scales large JPEGs, see `clipstore.encoders.crops.Crops.enough`.
        decoder: decodes the usual JPEGs on the GPU; without one, the CPU decodes all images.

    Raises:
        InputError: an image is missing or has changed, a worker process was killed, or the GPU's memory does not hold a batch. All earlier
            batches have been yielded.
    """
    batches = [range(start, min(start + encoder.batch_size, len(sources))) for start in range(0, len(sources), encoder.batch_size)]
    enough = encoder.crops.enough if jpeg_scaling else None

    def crop(source: Source) -> torch.Tensor:
        return encoder.crop(images.load(*source, exif, enough))

    if decoder:
        return _encoded(encoder, _by_nvjpeg(decoder, sources, batches))
    if device() == "cuda":
        return _encoded(encoder, _by_processes(crop, sources, batches))
    return _by_threads(encoder, crop, sources, batches)


def _by_threads(encoder: Encoder, crop: Crop, sources: Sequence[Source], batches: list[range]) -> Iterator[Batch]:
    """Let each core compute whole batches on its own; the last ones, fewer than cores, are computed by all cores together.

    Cores are counted as torch's threads, which follow OMP_NUM_THREADS and the cores that this process may use.
    """
    threads = torch.get_num_threads()
    alone = len(batches) - len(batches) % threads

    def encode(batch: range) -> Batch:
        return batch, encoder.encode_images(torch.stack([crop(sources[position]) for position in batch]))

    try:  # OpenMP and MKL keep the number in each thread: one that is set here alone leaves MKL's products in new threads as they were
        pool = ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,))
        yield from images.in_order(encode, batches[:alone], threads, pool)
    finally:
        torch.set_num_threads(threads)
    rest = (sources[position] for batch in batches[alone:] for position in batch)
    crops = images.in_order(crop, rest, 2 * encoder.batch_size, ThreadPoolExecutor(threads))
    for batch in batches[alone:]:
        yield batch, encoder.encode_images(torch.stack([next(crops) for _ in batch]))


def _by_processes(crop: Crop, sources: Sequence[Source], batches: list[range]) -> Crops:
    """Yield each batch's crops, uint8 on the encoder's device, computed by worker processes."""
    crops = _from_workers(crop, sources, batches)
    for batch in batches:
        yield batch, torch.stack([next(crops).to(device(), non_blocking=True) for _ in batch])


def _by_nvjpeg(decoder: "Decoder", sources: Sequence[Source], batches: list[range]) -> Crops:
    """Yield each batch's crops, uint8 on the encoder's device, which decodes the files that worker processes read, in blocks."""

    def read(source: Source) -> torch.Tensor:
        return decoder.prepare(images.read(*source))

    items = _from_workers(read, sources, batches)
    together = max(1, decoder.block // len(batches[0])) if batches else 1
    for start in range(0, len(batches), together):
        block = batches[start : start + together]
        crops = decoder.crops([next(items) for _ in range(sum(map(len, block)))])
        yield from zip(block, crops.split([len(batch) for batch in block]), strict=True)


class _Chunks(Dataset[Any]):
    """What a worker process makes of a few images, in one tensor with the shape of each image's part.

    An InputError is passed on, since torch would add a traceback to its line.
    """

    def __init__(self, prepare: Crop, sources: Sequence[Source]) -> None:
        self.prepare, self.sources = prepare, sources

    def __getitem__(self, chunk: range) -> tuple[torch.Tensor, list[torch.Size]] | InputError:
        try:
            parts = [self.prepare(self.sources[position]) for position in chunk]
        except InputError as error:
            return error
        return torch.cat([part.flatten() for part in parts]), [part.shape for part in parts]


def _from_workers(prepare: Crop, sources: Sequence[Source], batches: list[range]) -> Iterator[torch.Tensor]:
    """Yield what worker processes on all cores but one make of each image, uint8, in pinned memory if there is a GPU.

    Threads would wait for Python's lock. torch's DataLoader has what processes need: order, a bound on what they compute in advance,
    shared and pinned memory, one thread in each, and an end when either side is killed.
    """
    chunks = [batch[start : start + CHUNK] for batch in batches for start in range(0, len(batch), CHUNK)]
    loader: Any = DataLoader(
        _Chunks(prepare, sources),
        batch_size=None,
        sampler=chunks,
        num_workers=min(max(1, cores() - 1), len(chunks)),
        pin_memory=device() == "cuda",
        multiprocessing_context="fork",  # starts at once, with everything imported; workers leave the GPU alone
    )
    for received in _unless_killed(loader):
        if isinstance(received, InputError):
            raise received
        together, shapes = received
        for part, shape in zip(together.split([math.prod(shape) for shape in shapes]), shapes, strict=True):
            yield part.view(shape)


def _unless_killed(loader: Iterable[Any]) -> Iterator[Any]:
    """Yield what worker processes compute.

    Raises:
        InputError: one of them was killed. torch notices it too, but by a handler that raises an error anywhere in the main thread, even
            while rows are written, and by whatever reading from a dead process gives.
    """
    handler, before = signal.getsignal(signal.SIGCHLD), active_children()
    computed = iter(loader)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    workers = [process for process in active_children() if process not in before]
    try:
        yield from computed
    except Exception:
        if not wait([process.sentinel for process in workers], timeout=1):
            raise
        codes = ", ".join(str(process.exitcode) for process in workers if process.exitcode)
        raise InputError(
            f"a worker process that decodes images was killed (exit code {codes}): expected enough memory, and shared memory in /dev/shm; "
            "computed rows are kept: run it again"
        ) from None
    finally:
        del computed  # ends the workers
        signal.signal(signal.SIGCHLD, handler)


def _encoded(encoder: Encoder, batches: Crops) -> Iterator[Batch]:
    """Yield the vectors of each batch once the next one has begun, so that the GPU does not wait while they are copied and stored."""
    begun: deque[tuple[range, dict[str, torch.Tensor], Any]] = deque()

    def finished() -> Batch:
        batch, vectors, event = begun.popleft()
        if event:
            event.synchronize()
        return batch, {name: values.numpy() for name, values in vectors.items()}

    failure: InputError | None = None
    try:
        for batch, crops in batches:
            vectors = {name: values.to("cpu", non_blocking=True) for name, values in encoder.encoding(crops).items()}  # pinned
            begun.append((batch, vectors, torch.cuda.current_stream().record_event() if crops.is_cuda else None))
            if len(begun) > 1:
                yield finished()
    except torch.OutOfMemoryError:
        found = f"params.yaml: embed_images.batch_size = {encoder.batch_size}"
        failure = InputError(f"{found}: the GPU's memory does not hold a batch; expected fewer images; computed rows are kept")
    except InputError as error:
        failure = error
    while begun:
        yield finished()
    if failure:
        raise failure
