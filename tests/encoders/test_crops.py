"""Crops are the library's own transform, taken apart: the same bits; torch's resizing gives nearly the same."""

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from clipstore.core.errors import InputError
from clipstore.encoders.crops import Crops, Resize
from clipstore.encoders.garden_clip import MEAN, STD
from clipstore.encoders.vision import open_clip, timm, torchvision
from tests.odd import drawn

SIDE = 32
SIZES = [(32, 32), (64, 64), (50, 37), (37, 50), (20, 17), (200, 24), (301, 200), (33, 500), (1, 1)]  # pixels
RESIZES: tuple[Resize, ...] = ("pillow", "torch")
steps = torchvision.transforms


def of_open_clip(**settings: Any) -> Any:
    return open_clip.transform.image_transform_v2(open_clip.transform.PreprocessCfg(**{"size": SIDE, **settings}), is_train=False)


def of_timm(**settings: Any) -> Any:
    return timm.data.create_transform(**{"input_size": (3, SIDE, SIDE), "crop_pct": 0.9, **settings})


def of_torchvision(interpolation: str) -> Any:
    """Return the steps that clipstore/encoders/torchvision.py composes."""
    mode = steps.InterpolationMode(interpolation)
    return steps.Compose([steps.Resize(36, mode), steps.CenterCrop(SIDE), steps.ToTensor(), steps.Normalize([0.4] * 3, [0.2, 0.3, 0.1])])


TRANSFORMS: dict[str, Any] = {
    "open_clip": of_open_clip(),
    "open_clip, bilinear": of_open_clip(interpolation="bilinear", mean=(0, 0, 0), std=(1, 1, 1)),
    "open_clip, squash": of_open_clip(resize_mode="squash", mean=(0.5,) * 3, std=(0.5,) * 3),
    "open_clip, longest": of_open_clip(resize_mode="longest", fill_color=127),
    "open_clip, longest, bilinear": of_open_clip(resize_mode="longest", interpolation="bilinear"),
    "open_clip, oblong": of_open_clip(size=(SIDE, 48)),
    "garden_clip": of_open_clip(size=(SIDE, SIDE), mean=MEAN, std=STD),
    "timm": of_timm(interpolation="bicubic"),
    "timm, bilinear": of_timm(interpolation="bilinear", crop_pct=1.0),
    "timm, squash": of_timm(crop_mode="squash", interpolation="bicubic"),
    "timm, border": of_timm(crop_mode="border", interpolation="bicubic"),
    "torchvision": of_torchvision("bilinear"),
    "torchvision, bicubic": of_torchvision("bicubic"),
}


@pytest.fixture(params=TRANSFORMS)
def transform(request: pytest.FixtureRequest) -> Any:
    return TRANSFORMS[request.param]


def pixels(size: tuple[int, int]) -> Any:
    return np.array(drawn(0, size, discs=100))


def test_pixels_have_the_bits_of_the_librarys_own_transform(transform: Any) -> None:
    crops = Crops(transform, "mine")
    views = [crops.crop(pixels(size)) for size in SIZES]
    assert {view.dtype for view in views} == {torch.uint8}
    expected = torch.stack([transform(Image.fromarray(pixels(size))) for size in SIZES])
    for batch in (torch.stack(views), torch.stack(views).to(memory_format=torch.channels_last)):
        assert torch.equal(crops.normalized(batch), expected)


def test_all_levels_are_normalised_to_the_librarys_bits(transform: Any) -> None:
    levels = torch.arange(256, dtype=torch.uint8).repeat(3, 1).reshape(3, 16, 16)
    expected = transform.transforms[-1](levels.to(torch.float32) / 255)
    assert torch.equal(Crops(transform, "mine").normalized(levels[None])[0], expected)


@pytest.mark.parametrize("size", SIZES)
def test_torchs_crop_differs_by_rounding(transform: Any, size: tuple[int, int]) -> None:
    exact, other = (Crops(transform, "mine", resize).crop(pixels(size)).int() for resize in RESIZES)
    difference = (exact - other).abs()
    assert difference.shape == exact.shape
    assert difference.float().mean() < 0.5
    assert difference.max() <= 16  # where Pillow resizes vertically first: both round to bytes, and clip them, between the directions


@pytest.mark.parametrize("size", [(500, 375), (375, 500), (256, 256), (4000, 3000)])
def test_torchs_crop_of_a_photograph_differs_by_two_levels_at_most_in_few_values(size: tuple[int, int]) -> None:
    crops = (Crops(of_open_clip(size=224), "mine", resize).crop(pixels(size)).int() for resize in RESIZES)
    difference = next(crops) - next(crops)
    assert 1 <= difference.abs().max() <= 2
    assert (difference != 0).float().mean() < 0.01


def test_torchs_crop_is_torchs() -> None:
    exact, other = (Crops(TRANSFORMS["open_clip"], "mine", resize).crop(pixels((301, 200))) for resize in RESIZES)
    assert not torch.equal(exact, other)


def test_the_size_is_the_one_that_the_library_resizes_to(transform: Any) -> None:
    crops = Crops(transform, "mine")
    for width, height in SIZES:
        resized = transform.transforms[0](Image.new("RGB", (width, height)))
        assert crops.size(height, width) == (resized.height, resized.width)
        assert crops.enough(height, width) == (2 * resized.height, 2 * resized.width)


@pytest.mark.parametrize(
    ("parts", "found"),
    [
        ([steps.Resize(8), steps.CenterCrop(8), steps.ToTensor()], "Resize, CenterCrop, ToTensor"),
        ([steps.Resize(8), steps.ToTensor(), steps.Normalize([0], [1]), steps.CenterCrop(8)], "Resize, ToTensor, Normalize, CenterCrop"),
        ([steps.Resize(8), steps.PILToTensor(), steps.Normalize([0], [1])], "Resize, PILToTensor, Normalize"),
        ([steps.ToTensor(), steps.Normalize([0], [1])], "ToTensor, Normalize"),
    ],
)
def test_a_transform_of_another_form_is_one_line(parts: list[Any], found: str) -> None:
    with pytest.raises(InputError) as error:
        Crops(steps.Compose(parts), "mine")
    assert str(error.value) == f"mine: its library prepares images by {found}; expected a Compose that ends in ToTensor, Normalize"


def test_what_is_no_compose_is_one_line() -> None:
    with pytest.raises(InputError, match=r"^mine: its library prepares images by ImageClassification; expected a Compose"):
        Crops(torchvision.models.ResNet18_Weights.DEFAULT.transforms(), "mine")


@pytest.mark.parametrize("interpolation", ["lanczos", "nearest"])
def test_a_filter_that_torch_lacks_is_one_line(interpolation: str) -> None:
    transform, resize = of_timm(interpolation=interpolation), "torch"
    assert Crops(transform, "mine").crop(pixels((50, 37))).shape == (3, SIDE, SIDE)
    with pytest.raises(InputError, match=rf"^embed_images.resize = 'torch': mine resizes by '{interpolation}', expected bicubic or bil"):
        Crops(transform, "mine", resize)  # type: ignore[arg-type]
