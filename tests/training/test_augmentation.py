"""A view depends only on seed, epoch and position; it is torchvision's, and the same alone, in a batch, on a CPU or a GPU."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from clipstore.core.nets import Training
from clipstore.encoders.vision import v2
from clipstore.training import augmentation
from clipstore.training.augmentation import NAMES
from clipstore.training.image_set import Augmented, ImageSet, Resident

CPU = torch.device("cpu")
tv = v2.functional


def settings(**fields: object) -> Training:
    return Training.model_validate({"epochs": 1, "batch_size": 4, "image_size": 48, "lr": 0.1, "hflip_prob": 0.5} | fields)


def photographs(seed: int = 0) -> ImageSet:
    """Return smooth and noisy images of several aspect ratios, in the layout of decoded ones."""
    random = torch.Generator().manual_seed(seed)
    images = []
    for number, (height, width) in enumerate([(64, 85), (85, 64), (64, 300), (300, 64), (64, 64)] * 6):
        coarse = torch.rand(1, 3, *((height, width) if number % 2 else (9, 12)), generator=random)
        smooth = torch.nn.functional.interpolate(coarse, (height, width), mode="bilinear")[0]
        images.append((smooth * 255).to(torch.uint8).permute(1, 2, 0).contiguous().permute(2, 0, 1))
    return ImageSet(images, np.arange(len(images)))


def batch(images: Augmented, positions: list[int], epoch: int = 0) -> Tensor:
    return next(images.batches([np.array(positions)], 0, epoch, CPU))[0]


def test_crops_are_inside_the_image_and_as_large_and_wide_as_asked_for() -> None:
    sizes = np.array([[100, 150]] * 4000)
    top, left, height, width, flipped, operation, magnitude = augmentation.draw(sizes, settings(min_crop_scale=0.2), 0, 0).T
    assert (top >= 0).all() and (top + height <= 100).all() and (left >= 0).all() and (left + width <= 150).all()
    area, ratio = height * width / 15000, width / height
    assert area.min() == pytest.approx(0.2, abs=0.01) and area.max() > 0.85
    assert (ratio.min(), ratio.max()) == (pytest.approx(3 / 4, abs=0.02), pytest.approx(4 / 3, abs=0.02))
    assert flipped.mean() == pytest.approx(0.5, abs=0.03)
    assert not operation.any() and not magnitude.any()


@pytest.mark.parametrize("longer", [1, 1.3, 10])
def test_no_crop_is_larger_than_the_bound_from_the_shorter_side(longer: float) -> None:
    for side in range(5, 20):
        sizes = np.array([[side, round(longer * side)], [round(longer * side), side]] * 500)
        largest = augmentation.draw(sizes, settings(min_crop_scale=0.05), side, 0)[:, 2:4].max()
        assert largest <= augmentation.largest_crop(sizes) <= min(sizes.max(), 4 / 3 * side + 2)


def test_crops_have_torchvisions_distribution() -> None:
    size = (60, 200)
    ours = augmentation.draw(np.array([size] * 3000), settings(), 0, 0)[:, :4]
    torch.manual_seed(0)
    transform = v2.RandomResizedCrop(48, scale=(0.35, 1))
    drawn = [transform.make_params([torch.empty(3, *size)]) for _ in range(3000)]
    theirs = np.array([[crop[side] for side in ("top", "left", "height", "width")] for crop in drawn])
    np.testing.assert_allclose(ours.mean(axis=0), theirs.mean(axis=0), rtol=0.05, atol=0.5)
    np.testing.assert_allclose(ours.std(axis=0), theirs.std(axis=0), rtol=0.07, atol=0.3)


@pytest.mark.parametrize(("size", "crop"), [((50, 1000), [0, 466, 50, 67]), ((1000, 50), [466, 0, 67, 50])])
def test_a_crop_that_a_panorama_cannot_hold_is_its_centre(size: tuple[int, int], crop: list[int]) -> None:
    parameters = augmentation.draw(np.array([size] * 50), settings(min_crop_scale=0.9), 0, 0)
    assert (parameters[:, :4] == crop).all()
    transform = v2.RandomResizedCrop(48, scale=(0.9, 1))
    assert list(transform.make_params([torch.empty(3, *size)]).values()) == crop


def test_operations_are_as_frequent_and_strong_as_torchvisions() -> None:
    parameters = augmentation.draw(np.array([[64, 64]] * 20000), settings(trivial_augment=True), 0, 0)
    operations, magnitudes = parameters[:, 5].astype(int), parameters[:, 6]
    assert np.bincount(operations, minlength=14) / 20000 == pytest.approx(np.full(14, 1 / 14), abs=0.01)
    for place, (name, (limit, signed)) in enumerate(augmentation.OPERATIONS.items()):
        steps = np.linspace(0, limit, 31)
        expected = np.unique(np.round(np.concatenate([steps, -steps]) if signed else steps, 9))
        assert np.unique(np.round(magnitudes[operations == place], 9)) == pytest.approx(expected), name


def test_parameters_depend_only_on_seed_epoch_and_position() -> None:
    sizes = np.array([[64, 80], [90, 64]] * 10)
    parameters = augmentation.draw(sizes, settings(trivial_augment=True), 3, 1)
    np.testing.assert_array_equal(augmentation.draw(sizes[:5], settings(trivial_augment=True), 3, 1), parameters[:5])
    for seed, epoch in ((3, 2), (4, 1)):
        assert (augmentation.draw(sizes, settings(trivial_augment=True), seed, epoch)[:, 0] != parameters[:, 0]).any()


def test_a_batch_has_the_crops_that_torchvision_resizes_with_antialiasing() -> None:
    images = photographs()
    resident = Resident(images, settings(min_crop_scale=0.08), CPU)
    views = batch(resident, list(range(len(images))))
    parameters = augmentation.draw(resident.sizes, resident.settings, 0, 0)
    for image, (top, left, height, width, flipped), own in zip(images.pixels, parameters[:, :5].astype(int), views, strict=True):
        crop = tv.resized_crop(image, *(int(value) for value in (top, left, height, width)), [48, 48], antialias=True)
        difference = ((crop.flip(2) if flipped else crop).int() - own.int()).abs()
        assert difference.max() <= 1  # torchvision rounds after each of two passes, and its weights to 16 bits


def reference(name: str, image: Tensor, magnitude: float) -> Tensor:
    """Apply an operation with torchvision's functions, as its TrivialAugmentWide does."""
    angle = math.degrees(math.atan(magnitude))
    calls: dict[str, Callable[[], Tensor]] = {
        "identity": lambda: image,
        "shear_x": lambda: tv.affine(image, 0, [0, 0], 1, [angle, 0], center=[0, 0]),
        "shear_y": lambda: tv.affine(image, 0, [0, 0], 1, [0, angle], center=[0, 0]),
        "translate_x": lambda: tv.affine(image, 0, [int(magnitude), 0], 1, [0, 0]),
        "translate_y": lambda: tv.affine(image, 0, [0, int(magnitude)], 1, [0, 0]),
        "rotate": lambda: tv.rotate(image, magnitude),
        "brightness": lambda: tv.adjust_brightness(image, 1 + magnitude),
        "saturation": lambda: tv.adjust_saturation(image, 1 + magnitude),
        "contrast": lambda: tv.adjust_contrast(image, 1 + magnitude),
        "sharpness": lambda: tv.adjust_sharpness(image, 1 + magnitude),
        "posterize": lambda: tv.posterize(image, 8 - round(magnitude)),
        "solarize": lambda: tv.solarize(image, 255 - magnitude),
        "autocontrast": lambda: tv.autocontrast(image),
        "equalize": lambda: tv.equalize(image),
    }
    return calls[name]()


def test_operations_are_torchvisions_whatever_is_beside_them_in_the_batch() -> None:
    parameters = augmentation.draw(np.array([[48, 48]] * 300), settings(trivial_augment=True), 0, 0)
    crops = torch.stack([image[:, 8:56, 8:56] for image in photographs().pixels]).repeat(10, 1, 1, 1)
    altered = augmentation.altered(crops.clone(), parameters[:, 5], parameters[:, 6])
    assert len(np.unique(parameters[:, 5])) == len(NAMES)
    for crop, (operation, magnitude), own in zip(crops, parameters[:, 5:], altered, strict=True):
        difference = (reference(NAMES[int(operation)], crop, magnitude).int() - own.int()).abs()
        moved = (difference > 1).float().mean()  # a nearest neighbour may change where two are equally near
        assert moved < 0.01 if NAMES[int(operation)] in augmentation.MOVES else moved == 0, NAMES[int(operation)]


@pytest.mark.parametrize("trivial_augment", [False, True])
def test_a_view_is_the_same_alone_in_a_batch_and_on_either_path(trivial_augment: bool) -> None:
    images, chosen = photographs(), settings(trivial_augment=trivial_augment)
    resident, single = Resident(images, chosen, CPU), Augmented(images, chosen)
    positions = np.random.default_rng(0).permutation(len(images)).tolist()
    together = batch(resident, positions)
    alone = torch.cat([batch(resident, [position]) for position in positions])
    assert (together.int() - alone.int()).abs().float().mean() < 0.01
    one_by_one = batch(single, positions)
    assert (together.int() - one_by_one.int()).abs().float().mean() < 0.5  # rounding that solarize and posterize enlarge in places
    assert not torch.equal(batch(resident, positions, epoch=1), together)


def test_more_images_than_are_computed_at_once_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    resident = Resident(photographs(), settings(trivial_augment=True), CPU)
    whole = batch(resident, list(range(10)))
    monkeypatch.setattr("clipstore.training.image_set.CHUNK", 4)
    assert (batch(resident, list(range(10))).int() - whole.int()).abs().float().mean() < 0.01
