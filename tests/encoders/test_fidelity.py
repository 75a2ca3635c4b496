""" "auto" is bfloat16 for a tower where the hardware multiplies it and the tower's vectors keep their nearest neighbours in it.

Faster preparations of images are measured in the same way.
"""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from clipstore.core.errors import InputError
from clipstore.core.vectors import unit
from clipstore.data import images
from clipstore.encoders import encoder, fidelity
from clipstore.encoders.crops import Resize
from clipstore.encoders.fidelity import Fidelity, Tower
from clipstore.encoders.info import read_info
from tests.hardware import set_hardware
from tests.project import make_weights

Matrix = npt.NDArray[np.float32]


def in_a_cone(rng: np.random.Generator) -> tuple[Matrix, Matrix, Matrix]:
    """Return unit vectors of 256 and 2,000 images and of 100 class names, as CLIP's: images have a mean cosine of about 0.75."""
    width, classes = 512, 100
    spread = np.arange(1, width + 1) ** -0.5  # a few directions vary much more than the others
    axes = unit(rng.normal(size=(2, width)).astype(np.float32))[0]
    means = unit((rng.normal(size=(classes, width)) * spread).astype(np.float32))[0]
    own = unit((rng.normal(size=(2256, width)) * spread).astype(np.float32))[0]
    images = unit(axes[0] + 0.25 * means[rng.integers(classes, size=2256)] + 0.5 * own)[0]
    return images[:256], images[256:], unit(axes[1] + 0.6 * means)[0]


def at_cosine(vectors: Matrix, cosine: float, rng: np.random.Generator) -> Matrix:
    """Return the vectors with noise that leaves this cosine to the originals."""
    noise = unit(rng.normal(size=vectors.shape).astype(np.float32))[0]
    return vectors + np.float32(np.sqrt(2 * (1 - cosine))) * noise


@pytest.mark.parametrize(("cosine", "suffices", "changed"), [(0.9995, False, (0.02, 0.05)), (0.99999, True, (0, 0.01))])
def test_a_cosine_alone_does_not_protect_the_answers_of_vectors_in_a_narrow_cone(
    cosine: float, suffices: bool, changed: tuple[float, float]
) -> None:
    rng = np.random.default_rng(0)
    measured, images, texts = in_a_cone(rng)
    found = fidelity.agreement(measured, at_cosine(measured, cosine, rng))
    answers = (at_cosine(images, cosine, rng) @ at_cosine(texts, cosine, rng).T).argmax(axis=1)
    share = float((answers != (images @ texts.T).argmax(axis=1)).mean())
    assert 0.7 < (measured @ measured.T).mean() < 0.8
    assert found.cosine == pytest.approx(cosine, abs=1e-6)
    assert found.cosine >= fidelity.COSINE
    assert changed[0] <= share <= changed[1]
    assert found.suffices == suffices


def test_agreement_by_hand() -> None:
    exact = np.array([[1, 0], [0.9, 0.1], [0, 1], [0.1, 0.8]], np.float32)
    assert fidelity.agreement(exact, 3 * exact) == pytest.approx((1, 1))
    rounded = exact.copy()
    rounded[0] = (0, 1)  # the second vector's neighbour is now the fourth, and the third's and the fourth's is one of three
    cosine, neighbours = fidelity.agreement(exact, rounded)
    assert cosine == pytest.approx(0)
    assert neighbours < 0.75


def test_of_equally_near_neighbours_any_is_the_same() -> None:
    exact = np.eye(4, dtype=np.float32)
    assert fidelity.agreement(exact, exact + 1e-3 * np.random.default_rng(0).normal(size=(4, 4)).astype(np.float32)).neighbours == 1


@pytest.mark.parametrize(
    ("found", "suffices"), [((0.999, 0.995), True), ((0.9989, 1.0), False), ((1.0, 0.994), False), ((0.9999, 255 / 256), True)]
)
def test_both_limits_apply(found: tuple[float, float], suffices: bool) -> None:
    assert Fidelity(*found).suffices == suffices


def test_texts_and_images_are_enough_and_different() -> None:
    texts = fidelity.texts()
    assert len(set(texts)) == fidelity.COUNT >= 256
    assert {2, 9, 12, 20} <= {min(20, len(text.split())) for text in texts}
    assert len(set(fidelity._flowers())) == fidelity.COUNT


@pytest.mark.parametrize("failing", ["images", "texts"])
def test_each_tower_has_its_own_precision(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], failing: str
) -> None:
    make_weights()
    set_hardware(monkeypatch, cpu=True)
    measure: dict[str, Fidelity] = {"images": Fidelity(0.9999, 1.0), "texts": Fidelity(0.9999, 1.0), failing: Fidelity(0.9995, 0.96)}
    monkeypatch.setattr(fidelity, "measured", lambda _, tower: measure[tower])
    towers: tuple[Tower, ...] = ("images", "texts")
    for tower in towers:
        assert fidelity.resolve("auto", read_info("tiny"), tower) == ("float32" if tower == failing else "bfloat16")
        assert fidelity.resolve("float16", read_info("tiny"), tower) == "float16"
    assert (
        f"tiny, {failing}: float32, since bfloat16 keeps 96.0% of 256 nearest neighbours and a cosine of 0.99950; required: 99.5% and 0.999"
        in capsys.readouterr().out
    )


def test_nothing_is_measured_where_bfloat16_is_slow(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_weights()
    set_hardware(monkeypatch, cpu=False)
    monkeypatch.setattr(fidelity, "measured", None)
    assert fidelity.resolve("auto", read_info("tiny"), "images") == "float32"


@pytest.mark.parametrize("tower", ["images", "texts"])
def test_a_tower_is_measured_once(project: Path, monkeypatch: pytest.MonkeyPatch, tower: Tower) -> None:
    make_weights()
    monkeypatch.setattr(fidelity, "SIDE", 32)
    found = fidelity.measured(read_info("tiny"), tower)
    assert 0.99 < found.cosine < 1
    assert 0.5 < found.neighbours <= 1
    assert found.neighbours * fidelity.COUNT == int(found.neighbours * fidelity.COUNT)
    monkeypatch.setattr(encoder.Encoder, "__init__", None)  # no model is loaded
    assert fidelity.measured(read_info("tiny"), tower) == found


def test_a_cache_that_is_not_writable_is_one_line(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_weights()
    Path("file").write_text("")
    monkeypatch.setenv("CLIP_FEATURE_STORE_CACHE", str(project / "file"))
    monkeypatch.setattr(fidelity, "encoded", lambda *_: {"embedding": np.eye(3, dtype=np.float32)})
    with pytest.raises(InputError, match=r"cache folder .*: Not a directory; set CLIP_FEATURE_STORE_CACHE to a writable folder"):
        fidelity.measured(read_info("tiny"), "texts")


FASTER: list[tuple[Resize, bool]] = [("torch", False), ("pillow", True), ("torch", True)]


@pytest.mark.parametrize(("resize", "jpeg_scaling"), FASTER)
def test_a_preparation_is_measured_once(project: Path, monkeypatch: pytest.MonkeyPatch, resize: Resize, jpeg_scaling: bool) -> None:
    make_weights()
    monkeypatch.setattr(fidelity, "COUNT", 64)
    found = fidelity.measured_preparation(read_info("tiny"), resize, jpeg_scaling)
    assert 0.9 < found.cosine < 1 - 1e-9
    assert 0.5 < found.neighbours <= 1
    monkeypatch.setattr(encoder.Encoder, "__init__", None)  # no model is loaded
    assert fidelity.measured_preparation(read_info("tiny"), resize, jpeg_scaling) == found


def test_scaling_is_measured_where_the_decoder_leaves_least(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_weights()
    monkeypatch.setattr(fidelity, "COUNT", 32)
    shapes = set()

    def decode(*arguments: Any) -> images.Pixels:
        pixels = images.decode(*arguments)
        shapes.add(pixels.shape)
        return pixels

    monkeypatch.setattr(fidelity, "decode", decode)
    fidelity.measured_preparation(read_info("tiny"), "pillow", True)
    assert shapes == {(128, 128, 3), (64, 64, 3)}  # whole, and twice the tiny encoder's 32 pixels


@pytest.mark.parametrize(("neighbours", "start"), [(0.99, "warning: tiny: "), (1.0, "tiny: ")])
def test_a_preparation_that_changes_too_much_is_a_warning_with_the_figures(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], neighbours: float, start: str
) -> None:
    make_weights()
    monkeypatch.setattr(fidelity, "measured_preparation", lambda *_: Fidelity(0.9995, neighbours))
    fidelity.check_preparation(read_info("tiny"), "torch", True)
    line = capsys.readouterr().out
    kept = f"keeps {neighbours:.1%} of 256 nearest neighbours and a cosine of 0.99950; required: 99.5% and 0.999"
    assert line == f"{start}embed_images.resize: torch and jpeg_scaling: true {kept}\n"


def test_pillows_whole_images_need_no_measurement(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_weights()
    monkeypatch.setattr(fidelity, "measured_preparation", None)
    fidelity.check_preparation(read_info("tiny"), "pillow", False)
