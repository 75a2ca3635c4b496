"""JPEGs that are decoded and resized on the device give the crops of the CPU but for rounding, in the same order.

A CPU stands in for the GPU. Where torchvision's operators do not load with the installed torch, Pillow stands in for them too.
"""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from clipstore.core.digests import file_sha256
from clipstore.core.errors import InputError
from clipstore.data import images
from clipstore.encoders import feeding, fidelity, nvjpeg
from clipstore.encoders.encoder import Encoder
from clipstore.encoders.info import read_info
from tests.hardware import set_hardware
from tests.project import make_weights, save_timm
from tests.synthetic import encoded

OPERATORS = hasattr(torch.ops.image, "decode_jpeg")
REASON = f"torchvision's operators do not load with torch {torch.__version__}"


def by_pillow(files: list[torch.Tensor]) -> list[torch.Tensor]:
    decoded = [np.array(Image.open(io.BytesIO(file.numpy().tobytes())).convert("RGB")) for file in files]
    return [torch.from_numpy(pixels).permute(2, 0, 1) for pixels in decoded]


@pytest.fixture(params=["Pillow", pytest.param("torchvision", marks=pytest.mark.skipif(not OPERATORS, reason=REASON))])
def operators(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """What decodes on the device."""
    if request.param == "Pillow":
        monkeypatch.setattr(nvjpeg, "_decoded", by_pillow)
        monkeypatch.setattr(nvjpeg, "check_operators", lambda: None)


def photograph(seed: int, size: tuple[int, int]) -> Image.Image:
    """Return an image with detail at every scale."""
    random, pixels = np.random.default_rng(seed), np.zeros((size[1], size[0], 3))
    for cells in (3, 10, 40):
        cell = Image.fromarray(random.integers(0, 256, (cells, cells, 3), np.uint8))
        pixels += np.asarray(cell.resize(size, Image.Resampling.BICUBIC)) / 3.0
    return Image.fromarray(pixels.astype(np.uint8))


def turned(image: Image.Image) -> bytes:
    tags = Image.Exif()
    tags[0x0112] = 6
    return encoded(image, "JPEG", exif=tags)


def plain(seed: int, size: tuple[int, int] = (90, 70)) -> bytes:
    return encoded(photograph(seed, size), "JPEG")


def flipped(data: bytes) -> bytes:
    """Return the file with a changed byte in its coded pixels, which Pillow reads all the same."""
    at = len(data) * 2 // 3
    return data[:at] + bytes([data[at] ^ 0x55]) + data[at + 1 :]


OTHERS = {
    "PNG": encoded(photograph(0, (90, 70)), "PNG"),
    "grey of 16 bits": encoded(Image.fromarray(np.arange(6300, dtype=np.uint16).reshape(70, 90)), "PNG"),
    "CMYK": encoded(photograph(1, (90, 70)).convert("CMYK"), "JPEG"),
    "grey": encoded(photograph(1, (90, 70)).convert("L"), "JPEG"),
    "progressive": encoded(photograph(2, (90, 70)), "JPEG", progressive=True),
    "turned": turned(photograph(3, (90, 70))),
    "damaged": flipped(plain(0)),
    "stored as RGB": encoded(photograph(1, (90, 70)), "JPEG", keep_rgb=True),
    "truncated": plain(5)[:-40],
}


@pytest.mark.parametrize("subsampling", [0, 1, 2])
def test_usual_jpegs_go_to_the_device(subsampling: int) -> None:
    assert nvjpeg.is_plain(encoded(photograph(0, (90, 70)), "JPEG", subsampling=subsampling), "apply")


@pytest.mark.parametrize("kind", OTHERS)
def test_others_go_to_the_cpu(kind: str) -> None:
    assert not nvjpeg.is_plain(OTHERS[kind], "apply")


def test_a_turned_jpeg_goes_to_the_device_if_its_orientation_is_ignored() -> None:
    assert nvjpeg.is_plain(OTHERS["turned"], "ignore")


def tensor(data: bytes) -> torch.Tensor:
    return torch.frombuffer(bytearray(data), dtype=torch.uint8)


def tiny(batch_size: int = 4) -> Encoder:
    make_weights()
    return Encoder(read_info("tiny"), "float32", batch_size)


def differences(encoder: Encoder, crops: torch.Tensor, files: list[bytes]) -> torch.Tensor:
    exact = torch.stack([encoder.crop(images.decode(file, "apply")) for file in files])
    return (crops.int() - exact.int()).abs()


def test_crops_are_the_libraries_but_for_rounding(project: Path, operators: None) -> None:
    encoder, sizes = tiny(), [(90, 70), (33, 200), (90, 70), (500, 375), (20, 24), (90, 70)]
    files = [plain(seed, size) for seed, size in enumerate(sizes)]
    found = differences(encoder, nvjpeg.Decoder(encoder, "apply").crops([tensor(file) for file in files]), files)
    assert found.max() <= 2
    assert found.float().mean() < 0.05


def test_a_resize_is_rounded_as_torch_rounds_it_on_a_cpu(project: Path, operators: None) -> None:
    encoder = tiny()
    pixels = torch.from_numpy(np.array(photograph(0, (500, 375)))).permute(2, 0, 1)[None]
    ours = nvjpeg.Decoder(encoder, "apply")._resized(pixels, (375, 500))
    torchs = torch.nn.functional.interpolate(pixels.contiguous(), ours.shape[2:], mode="bicubic", antialias=True)
    assert (ours.int() - torchs.int()).abs().max() <= 1
    assert (ours != torchs).float().mean() < 0.02


def test_all_kinds_of_files_come_in_order(project: Path, operators: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feeding, "cores", lambda: 3)
    monkeypatch.setattr(feeding, "CHUNK", 3)
    encoder, contents = tiny(), []
    for number, data in enumerate(value for kind, value in OTHERS.items() if kind != "truncated"):
        contents += [data, plain(number, (90 + number % 2, 70))]
    for number, data in enumerate(contents):
        Path(f"{number}.bin").write_bytes(data)
    sources = [(f"{number}.bin", file_sha256(Path(f"{number}.bin"))) for number in range(len(contents))]
    decoder = nvjpeg.Decoder(encoder, "apply", block=8)
    batches = list(feeding.embedded(encoder, sources, "apply", decoder=decoder))
    assert [position for positions, _ in batches for position in positions] == list(range(len(contents)))
    found = np.concatenate([vectors["embedding"] for _, vectors in batches])
    exact = np.concatenate([encoder.encode_images(encoder.crop(images.decode(data, "apply"))[None])["embedding"] for data in contents])
    np.testing.assert_array_equal(found[::2], exact[::2])
    cosines = (found * exact).sum(axis=1) / np.linalg.norm(found, axis=1) / np.linalg.norm(exact, axis=1)
    assert cosines.min() > 0.999


def test_a_block_too_large_for_the_gpu_is_halved_with_one_line(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tried: list[int] = []

    def full(files: list[torch.Tensor]) -> list[torch.Tensor]:
        tried.append(len(files))
        if len(files) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return by_pillow(files)

    monkeypatch.setattr(nvjpeg, "_decoded", full)
    encoder, files = tiny(), [plain(seed) for seed in range(10)]
    crops = nvjpeg.Decoder(encoder, "apply", block=8).crops([tensor(file) for file in files])
    assert tried == [8, 4, 2, 2, 2, 2, 2]
    assert differences(encoder, crops, files).max() <= 2
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "embed_images: the GPU's memory does not hold 8 decoded images: 4 are decoded at a time from now on"
    assert len(lines) == 2


def test_one_image_too_large_for_the_gpu_is_one_line(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: list[torch.Tensor]) -> list[torch.Tensor]:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(nvjpeg, "_decoded", full)
    with pytest.raises(InputError, match=r"does not hold one decoded image: set embed_images.resize to pillow"):
        nvjpeg.Decoder(tiny(), "apply").crops([tensor(plain(0)), tensor(plain(1))])


def test_what_nvjpeg_refuses_is_computed_on_the_cpu(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refused = plain(2)

    def decoded(files: list[torch.Tensor]) -> list[torch.Tensor]:
        if any(file.numpy().tobytes() == refused for file in files):
            raise RuntimeError("nvjpegDecode failed: 4")
        return by_pillow(files)

    monkeypatch.setattr(nvjpeg, "_decoded", decoded)
    encoder, files = tiny(), [plain(seed) for seed in range(5)]
    found = differences(encoder, nvjpeg.Decoder(encoder, "apply").crops([tensor(file) for file in files]), files)
    assert found.max() <= 2
    assert found[2].max() == 0


def on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nvjpeg, "device", lambda: "cuda")
    monkeypatch.setattr(fidelity, "COUNT", 32)


def test_pillow_is_never_replaced(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    on_a_gpu(monkeypatch)
    monkeypatch.setattr(nvjpeg, "measured", None)
    assert nvjpeg.resolve("pillow", read_info_of_tiny()) == "pillow"


def read_info_of_tiny() -> Any:
    make_weights()
    return read_info("tiny")


def test_auto_is_pillow_on_a_cpu(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    set_hardware(monkeypatch, cpu=False)
    monkeypatch.setattr(nvjpeg, "measured", None)
    assert nvjpeg.resolve("auto", read_info_of_tiny()) == "pillow"


def test_without_operators_one_line_says_so(project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    info = read_info_of_tiny()
    on_a_gpu(monkeypatch)
    monkeypatch.setattr(torch.ops, "image", object())
    assert nvjpeg.resolve("auto", info) == "pillow"
    line = capsys.readouterr().out
    assert line.startswith("tiny: images are decoded on the CPU, since the operators of torchvision ")
    assert line.count("\n") == 1


def test_operators_that_decode_nothing_are_one_line(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def without_nvjpeg(_: list[torch.Tensor]) -> list[torch.Tensor]:
        raise RuntimeError("decode_jpegs_cuda: torchvision not compiled with nvJPEG support\nException raised from ...")

    info = read_info_of_tiny()
    on_a_gpu(monkeypatch)
    monkeypatch.setattr(torch.ops, "image", type("Operators", (), {"decode_jpeg": None}))
    monkeypatch.setattr(nvjpeg, "_decoded", without_nvjpeg)
    assert nvjpeg.resolve("auto", info) == "pillow"
    line = capsys.readouterr().out
    assert "decodes no JPEG on this device: decode_jpegs_cuda: torchvision not compiled with nvJPEG support\n" in line
    assert line.count("\n") == 1


@pytest.mark.parametrize(("required", "resolved"), [(0.9, "nvjpeg"), (1.1, "pillow")])
def test_auto_is_what_was_measured_once(
    project: Path, operators: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], required: float, resolved: str
) -> None:
    info = read_info_of_tiny()
    on_a_gpu(monkeypatch)
    monkeypatch.setattr(fidelity, "COSINE", required)
    monkeypatch.setattr(fidelity, "NEIGHBOURS", required)
    monkeypatch.setattr(nvjpeg, "device", lambda: "cpu")
    found = nvjpeg.measured(info)
    assert 0.9 < found.cosine < 1 - 1e-9
    monkeypatch.setattr(nvjpeg, "Encoder", None)  # no model is loaded
    assert nvjpeg.measured(info) == found
    monkeypatch.setattr(nvjpeg, "device", lambda: "cuda")
    assert nvjpeg.resolve("auto", info) == resolved
    assert f"tiny: {resolved}, since nvJPEG keeps" in capsys.readouterr().out


def test_steps_that_the_device_does_not_have_are_refused(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_timm("mine")
    encoder = Encoder(read_info("mine"), "float32", 4)
    nvjpeg.Decoder(encoder, "apply")
    encoder.crops.steps.append(lambda image: image.rotate(90))
    with pytest.raises(nvjpeg.Unusable, match=r"resized by bilinear in Resize, CenterCrop, function; expected bicubic or bilinear"):
        nvjpeg.Decoder(encoder, "apply")
