"""Images reach the encoder on every path in order, once each, and whatever fails ends in one line with all earlier batches kept."""

import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from clipstore.core.digests import file_sha256
from clipstore.core.errors import InputError
from clipstore.data import images
from clipstore.encoders import feeding
from clipstore.encoders.encoder import Encoder, Vectors
from clipstore.encoders.info import read_info
from tests.project import make_images, make_weights

BATCH = 4


@pytest.fixture(params=[1, 2, 3])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    """The number of torch's threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


@pytest.fixture
def two_threads() -> Iterator[None]:
    """Two of torch's threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def prepared(count: int) -> tuple[Encoder, list[feeding.Source]]:
    """Return the tiny encoder and ``count`` images."""
    paths = sorted(make_images(count).rglob("*.png"))
    make_weights()
    return Encoder(read_info("tiny"), "float32", BATCH), [(str(path), file_sha256(path)) for path in paths]


def one_by_one(encoder: Encoder, sources: list[feeding.Source]) -> Vectors:
    vectors = [encoder.encode_images(encoder.crop(images.load(*source, "ignore"))[None]) for source in sources]
    return {kind: np.concatenate([each[kind] for each in vectors]) for kind in vectors[0]}


def by_processes(encoder: Encoder, sources: list[feeding.Source]) -> Iterator[feeding.Batch]:
    """Return what a GPU is given, on the CPU."""
    batches = [range(start, min(start + BATCH, len(sources))) for start in range(0, len(sources), BATCH)]
    crops = feeding._by_processes(lambda source: encoder.crop(images.load(*source, "ignore")), sources, batches)
    return feeding._encoded(encoder, crops)


def by_threads(encoder: Encoder, sources: list[feeding.Source]) -> Iterator[feeding.Batch]:
    return feeding.embedded(encoder, sources, "ignore")


PATHS = pytest.mark.parametrize("path", [by_threads, by_processes])


def collected(batches: Iterator[feeding.Batch]) -> tuple[list[range], Vectors]:
    positions, vectors = zip(*batches, strict=True)
    return list(positions), {kind: np.concatenate([each[kind] for each in vectors]) for kind in vectors[0]}


@pytest.mark.parametrize("count", [1, 4, 7, 8, 9, 22])
def test_every_image_comes_once_and_in_order(project: Path, threads: int, count: int) -> None:
    encoder, sources = prepared(count)
    positions, vectors = collected(by_threads(encoder, sources))
    assert [position for batch in positions for position in batch] == list(range(count))
    for kind, values in one_by_one(encoder, sources).items():
        np.testing.assert_array_equal(vectors[kind], values)
    assert torch.get_num_threads() == threads


@pytest.mark.parametrize("count", [1, 9])
def test_worker_processes_give_the_same(project: Path, monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    monkeypatch.setattr(feeding, "cores", lambda: 3)
    monkeypatch.setattr(feeding, "CHUNK", 3)
    encoder, sources = prepared(count)
    positions, vectors = collected(by_processes(encoder, sources))
    assert [position for batch in positions for position in batch] == list(range(count))
    for kind, values in one_by_one(encoder, sources).items():
        np.testing.assert_array_equal(vectors[kind], values)


def test_no_images(project: Path) -> None:
    encoder, _ = prepared(1)
    assert list(by_threads(encoder, [])) == []


def test_each_thread_computes_alone_and_what_is_left_over_together(
    project: Path, two_threads: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder, sources = prepared(5 * BATCH)
    seen: list[tuple[bool, int]] = []
    encode = encoder.encode_images

    def counted(crops: torch.Tensor) -> Vectors:
        seen.append((threading.current_thread() is threading.main_thread(), torch.get_num_threads()))
        return encode(crops)

    monkeypatch.setattr(encoder, "encode_images", counted)
    list(by_threads(encoder, sources))
    assert seen == [*[(False, 1)] * 4, (True, 2)]


def test_a_product_in_a_worker_thread_starts_no_others(two_threads: None) -> None:
    """MKL takes its number of threads from the thread that calls it."""
    matrix = torch.rand(600, 600)
    torch.mm(matrix, matrix)

    def started(_: int) -> int:
        before = len(list(Path("/proc/self/task").iterdir()))
        torch.mm(matrix, matrix)
        return len(list(Path("/proc/self/task").iterdir())) - before

    pool = ThreadPoolExecutor(1, initializer=torch.set_num_threads, initargs=(1,))
    assert list(images.in_order(started, [0], 1, pool)) == [0]


def test_at_most_one_batch_more_than_threads_is_in_flight(project: Path, two_threads: None, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder, sources = prepared(10 * BATCH)
    begun: list[int] = []
    encode = encoder.encode_images

    def counted(crops: torch.Tensor) -> Vectors:
        begun.append(1)
        return encode(crops)

    monkeypatch.setattr(encoder, "encode_images", counted)
    batches = by_threads(encoder, sources)
    for done in range(1, 8):
        next(batches)
        assert len(begun) <= done + 2 + 1
    batches.close()  # type: ignore[attr-defined]
    assert torch.get_num_threads() == 2
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("ThreadPool")]


@PATHS
def test_an_image_that_changed_ends_in_one_line_after_all_earlier_batches(project: Path, two_threads: None, path: Any) -> None:
    encoder, sources = prepared(6 * BATCH)
    Path(sources[4 * BATCH + 1][0]).write_bytes(b"changed")
    batches, done = path(encoder, sources), []
    with pytest.raises(InputError, match="the file has changed since it was indexed") as raised:
        for positions, _ in batches:
            done += positions
    assert "\n" not in str(raised.value)
    assert done == list(range(4 * BATCH))
    assert torch.get_num_threads() == 2


def test_an_error_in_a_thread_is_raised_as_it_is(project: Path, two_threads: None, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder, sources = prepared(4 * BATCH)
    monkeypatch.setattr(encoder, "encode_images", lambda _: 1 // 0)
    with pytest.raises(ZeroDivisionError):
        list(by_threads(encoder, sources))
    assert torch.get_num_threads() == 2


@PATHS
def test_ctrl_c_stops_threads_and_processes(project: Path, two_threads: None, path: Any) -> None:
    encoder, sources = prepared(20 * BATCH)
    batches = path(encoder, sources)
    with pytest.raises(KeyboardInterrupt):
        for _ in batches:
            raise KeyboardInterrupt
    batches.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("ThreadPool")]
    assert torch.get_num_threads() == 2


def test_a_killed_worker_is_one_line_and_what_was_computed_is_kept(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder, sources = prepared(8 * BATCH)
    parent, load = os.getpid(), images.load

    def killed(path: str, *rest: Any) -> images.Pixels:
        if path == sources[5 * BATCH][0] and os.getpid() != parent:
            os.kill(os.getpid(), signal.SIGKILL)
        return load(path, *rest)

    monkeypatch.setattr(images, "load", killed)
    handler = signal.getsignal(signal.SIGCHLD)
    done: list[int] = []
    expected = r"a worker process that decodes images was killed \(exit code -9\): .* computed rows are kept"
    with pytest.raises(InputError, match=expected) as raised:
        for positions, _ in by_processes(encoder, sources):
            done += positions
    assert "\n" not in str(raised.value)
    assert done == list(range(len(done)))
    assert signal.getsignal(signal.SIGCHLD) == handler


def test_another_error_in_a_worker_stays_as_it_is(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder, sources = prepared(2 * BATCH)
    monkeypatch.setattr(encoder, "crop", lambda _: 1 // 0)
    with pytest.raises(ZeroDivisionError, match="worker process 0"):
        list(by_processes(encoder, sources))


def test_a_batch_too_large_for_the_gpu_is_one_line_after_all_earlier_batches(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder, sources = prepared(4 * BATCH)
    encoding, calls = encoder.encoding, []

    def full(crops: torch.Tensor) -> dict[str, torch.Tensor]:
        calls.append(1)
        if len(calls) == 3:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return encoding(crops)

    monkeypatch.setattr(encoder, "encoding", full)
    done: list[int] = []
    with pytest.raises(InputError, match=r"embed_images.batch_size = 4: the GPU's memory does not hold a batch"):
        for positions, _ in by_processes(encoder, sources):
            done += positions
    assert done == list(range(2 * BATCH))
