"""embed_images computes exactly the missing rows, and its output is bit-identical to that of a fresh run."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from pydantic import ValidationError

from clipstore.core import caches
from clipstore.core.errors import InputError
from clipstore.data import images
from clipstore.data import index as index_file
from clipstore.encoders import encoder, fidelity, nvjpeg
from clipstore.store import embeddings, row_cache
from clipstore.store.parts import row_count
from stages import embed_images
from tests.odd import drawn
from tests.project import draw, embed, make_images, make_index, make_weights, prepare, save_timm

OUTPUT = Path("data/embeddings/tiny-own")


@pytest.fixture
def ready(project: Path) -> Path:
    """Eleven indexed images and the tiny encoder."""
    prepare(11)
    return project


def outputs() -> dict[str, bytes]:
    return {name: (OUTPUT / name).read_bytes() for name in ("images.parquet", "images.npy", "contract.json")}


def fresh(monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """Return the output of a run with an empty row cache."""
    with monkeypatch.context() as patch:
        patch.setenv(caches.VARIABLE, str(Path("..") / f"cache-{random.getrandbits(64):x}"))
        embed(patch)
    return outputs()


def parts() -> list[Path]:
    return sorted(caches.root().glob("v2/*/part-*.rows"))


def rows_in(part: Path) -> int:
    return row_count(part.stat().st_size, 16 + 32)


def test_what_is_written(ready: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert embed(monkeypatch) == 11
    assert "embed_images tiny-own: 11 computed, 0 reused, 0 failed, " in capsys.readouterr().out
    table = pq.read_table(OUTPUT / "images.parquet")
    assert table.schema.field("embedding").type == pa.list_(pa.float32(), 16)
    assert table.schema.field("features").type == pa.list_(pa.float32(), 32)
    rows = index_file.read("own").usable
    for column in ("image_id", "label", "class_name", "split", "sha256"):
        assert table[column].to_pylist() == rows[column].tolist()
    vectors = embeddings.read_images("tiny", "own", features=True)
    np.testing.assert_allclose(np.linalg.norm(vectors.embedding, axis=1), 1, atol=1e-6)
    np.testing.assert_array_equal(np.stack(table["embedding"].to_numpy()), vectors.embedding)
    contract = json.loads((OUTPUT / "contract.json").read_text())
    assert contract["precision"] == "float32"
    assert contract["batch_size"] == 4
    assert contract["preprocess"]["interpolation"] == "bicubic"
    assert set(contract["versions"]) == {"torch", "open_clip_torch", "torchvision"}


def test_when_nothing_is_missing_no_model_is_loaded(ready: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    embed(monkeypatch)
    before = outputs()

    def refuse(*_: object) -> None:
        raise AssertionError("a model was loaded")

    monkeypatch.setattr(encoder.Encoder, "__init__", refuse)
    assert embed(monkeypatch) == 0
    assert outputs() == before


def test_only_added_images_are_computed(ready: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    embed(monkeypatch)
    for number in (90, 91):
        draw(ready / f"data/raw/own/even/a{number}.png", number)
    make_index()
    assert embed(monkeypatch) == 2
    assert outputs() == fresh(monkeypatch)


def test_removed_images_cost_nothing(ready: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    embed(monkeypatch)
    (ready / "data/raw/own/even/4.png").unlink()
    make_index()
    assert embed(monkeypatch) == 0
    assert outputs() == fresh(monkeypatch)


def test_one_changed_pixel_recomputes_one_image(ready: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    embed(monkeypatch)
    path = ready / "data/raw/own/odd/5.png"
    image = images.decode(path.read_bytes(), "ignore")
    image[0, 0] = (1, 2, 3)
    Image.fromarray(image).save(path)
    make_index()
    assert embed(monkeypatch) == 1
    assert outputs() == fresh(monkeypatch)


@pytest.mark.parametrize("other", [{"resize": "torch"}, {"jpeg_scaling": True}])
def test_a_faster_preparation_is_another_contract_and_gives_nearly_the_same_vectors(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], other: dict[str, Any]
) -> None:
    monkeypatch.setattr(fidelity, "COUNT", 32)
    for number in range(6):
        path = project / f"data/raw/own/{number % 2}/{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        drawn(number, (300, 250), discs=200).save(path)
    make_index()
    make_weights()
    embed(monkeypatch)
    before = np.array(embeddings.read_images("tiny", "own").embedding)  # of the file, which is written again
    assert embed(monkeypatch, **other) == 6
    after = embeddings.read_images("tiny", "own").embedding
    assert not np.array_equal(before, after)
    assert (before * after).sum(axis=1).min() > 0.99
    assert "tiny: embed_images.resize: " in capsys.readouterr().out
    assert embed(monkeypatch) == 0


def embed_with(monkeypatch: pytest.MonkeyPatch, **other: str) -> dict[str, Any]:
    """Run embed_images with further settings; return the contract."""
    given = {"batch_size": 4, "precision": "float32", "vectors": "float32", **other}
    monkeypatch.setattr(embed_images, "section", lambda *_: embed_images.EmbedImages.model_validate(given))
    embed_images.main("tiny", "own")
    terms: dict[str, Any] = json.loads((OUTPUT / "contract.json").read_text())
    return terms


def test_the_batch_size_of_a_cpu_is_32(ready: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert embed_with(monkeypatch, batch_size="auto")["batch_size"] == 32


def test_the_decoder_of_the_device_is_another_contract(ready: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = embed_with(monkeypatch)
    monkeypatch.setattr(nvjpeg, "resolve", lambda *_: "nvjpeg")
    after = embed_with(monkeypatch, resize="auto")  # PNGs, which the CPU decodes on this path, too
    assert after["preprocess"] == before["preprocess"] | nvjpeg.decoding() | {"resizer": "nvjpeg"}
    assert "nvJPEG of torchvision" in after["preprocess"]["device_decoder"]


def test_a_decoder_that_cannot_scale_is_not_asked_to() -> None:
    given = {"batch_size": 4, "precision": "float32", "vectors": "float32", "resize": "auto", "jpeg_scaling": True}
    with pytest.raises(ValidationError, match="jpeg_scaling = True: expected resize to be pillow or torch"):
        embed_images.EmbedImages.model_validate(given)


def test_another_precision_recomputes_all_and_going_back_nothing(ready: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    embed(monkeypatch)
    before = outputs()
    assert embed(monkeypatch, "bfloat16") == 11
    assert outputs()["images.npy"] != before["images.npy"]
    assert embed(monkeypatch, "float32") == 0
    assert outputs() == before


def test_other_weights_under_the_same_name_recompute_all(ready: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    embed(monkeypatch)
    for file in (ready / "data/weights/tiny").iterdir():
        file.unlink()
    (ready / "data/weights/tiny").rmdir()
    make_weights(seed=1)
    assert embed(monkeypatch) == 11


def test_other_arguments_of_timm_recompute_all(ready: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The weights stay the same, and so do the architecture and the preprocessing."""
    save_timm("tiny", act_layer="gelu")
    assert embed(monkeypatch) == 11
    before = np.array(embeddings.read_images("tiny", "own").embedding)
    save_timm("tiny", act_layer="relu")
    assert embed(monkeypatch) == 11
    assert (before * embeddings.read_images("tiny", "own").embedding).sum(axis=1).max() < 0.999
    save_timm("tiny", act_layer="gelu")
    assert embed(monkeypatch) == 0


def test_the_same_encoder_under_another_name_recomputes_nothing(ready: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    embed(monkeypatch)
    make_weights("renamed")
    assert embed_images.main("renamed", "own")["images"] == 0
    assert (OUTPUT.with_name("renamed-own") / "images.npy").read_bytes() == outputs()["images.npy"]


def test_float16_affects_only_the_parquet_file(ready: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    embed(monkeypatch)
    exact = outputs()["images.npy"]
    assert embed(monkeypatch, vectors="float16") == 0
    assert outputs()["images.npy"] == exact
    assert pq.read_schema(OUTPUT / "images.parquet").field("embedding").type == pa.list_(pa.float16(), 16)
    assert embeddings.read_images("tiny", "own", features=True).features.dtype == np.float32  # type: ignore[union-attr]


def test_the_same_bytes_twice_are_computed_once(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_images(6)
    (project / "data/raw/own/odd/copy.png").write_bytes((project / "data/raw/own/even/0.png").read_bytes())
    make_index()
    make_weights()
    assert embed(monkeypatch) == 6
    vectors = embeddings.read_images("tiny", "own")
    first, second = vectors.rows.index[vectors.rows["sha256"].duplicated(keep=False)]
    np.testing.assert_array_equal(vectors.embedding[first], vectors.embedding[second])
    assert outputs() == fresh(monkeypatch)


def test_a_truncated_part_is_set_aside_and_only_its_rows_are_computed(
    ready: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(row_cache, "FLUSH_SECONDS", 0.0)  # one part per batch
    embed(monkeypatch)
    before = outputs()
    victim = parts()[0]
    rows = rows_in(victim)
    victim.write_bytes(victim.read_bytes()[:-7])
    capsys.readouterr()
    assert embed(monkeypatch) == rows
    printed = capsys.readouterr().err
    assert f"warning: {victim}" in printed
    assert not victim.exists()
    assert victim.with_name(f"bad-{victim.name}").exists()
    assert outputs() == before


def test_a_flipped_bit_in_a_part_costs_one_image(ready: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    embed(monkeypatch)
    before = outputs()
    victim = parts()[0]
    data = bytearray(victim.read_bytes())
    data[-len(data) // 2] ^= 1
    victim.write_bytes(data)
    assert embed(monkeypatch) == 1
    assert outputs() == before
    assert embed(monkeypatch) == 0


def test_bytes_that_changed_after_indexing_are_refused_and_the_rest_is_kept(ready: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(row_cache, "FLUSH_SECONDS", 0.0)
    last = index_file.read("own").usable["path"].iloc[-1]
    original = Path(last).read_bytes()
    draw(Path(last), 999)
    with pytest.raises(InputError, match=f"{last}: the file has changed since it was indexed"):
        embed(monkeypatch)
    Path(last).write_bytes(original)
    assert embed(monkeypatch) == 3  # the last batch


def test_a_cache_that_is_not_writable_is_one_line(ready: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (ready / "file").write_text("")
    monkeypatch.setenv(caches.VARIABLE, str(ready / "file"))
    with pytest.raises(InputError, match=r"cache folder .*: Not a directory; set CLIP_FEATURE_STORE_CACHE to a writable folder"):
        embed(monkeypatch)


DRIVER = """
import sys
from stages import embed_images
from clipstore.data import images
from clipstore.store import row_cache
row_cache.FLUSH_SECONDS = 0.0  # one part per batch
load = images.load
def slowly(path, sha256, exif, enough):
    import time
    time.sleep(0.02)
    return load(path, sha256, exif, enough)
images.load = slowly
settings = embed_images.EmbedImages(batch_size=4, precision="float32", vectors="float32")
embed_images.section = lambda *_: settings
embed_images.main("tiny", "own")
"""


def start_embedding(project: Path) -> subprocess.Popen[bytes]:
    """Start embed_images in a separate process, slowed down, with one part per batch."""
    path = str(Path(__file__).parent.parent)
    return subprocess.Popen(
        [sys.executable, "-c", DRIVER],
        cwd=project,
        env=os.environ | {"PYTHONPATH": path},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


@pytest.mark.slow
def test_after_kill_9_only_the_rest_is_computed(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prepare(80)
    parts_before_kill = random.randint(1, 10)
    running = start_embedding(project)
    try:
        while len(parts()) < parts_before_kill:
            assert running.poll() is None
            time.sleep(0.005)
    finally:
        running.send_signal(signal.SIGKILL)
        running.wait()
    cached = sum(rows_in(part) for part in parts())
    assert 0 < cached < 80
    assert embed(monkeypatch) == 80 - cached
    assert outputs() == fresh(monkeypatch)


@pytest.mark.slow
def test_two_simultaneous_writers_give_one_result(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prepare(40)
    running = [start_embedding(project) for _ in range(2)]
    assert [process.wait() for process in running] == [0, 0]
    shared = outputs()
    assert embed(monkeypatch) == 0
    assert outputs() == shared == fresh(monkeypatch)
