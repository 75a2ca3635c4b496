"""Images are decoded once, and the augmented images of an epoch depend only on seed and epoch."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from clipstore.core.nets import Training
from clipstore.data import images
from clipstore.training import image_set


def settings(**fields: object) -> Training:
    return Training.model_validate({"epochs": 1, "batch_size": 4, "image_size": 16, "lr": 0.1, "crop_pct": 0.5} | fields)


def noise(count: int = 6) -> image_set.ImageSet:
    random = torch.Generator().manual_seed(0)
    pixels = [torch.randint(0, 256, (3, 32, 40), generator=random, dtype=torch.uint8) for _ in range(count)]
    return image_set.ImageSet(pixels, np.arange(count))


def test_images_are_resized_to_the_shorter_side_that_the_crop_is_taken_from(tmp_path: Path) -> None:
    rows = []
    for number, size in enumerate([(100, 50), (20, 30)]):
        path = tmp_path / f"{number}.png"
        Image.new("RGB", size, (number, 100, 200)).save(path)
        rows.append({"path": str(path), "sha256": images.examine(path, "ignore").sha256, "label": number})
    decoded = image_set.decode(pd.DataFrame(rows), settings(), "x", "ignore")
    assert [tuple(pixels.shape) for pixels in decoded.pixels] == [(3, 32, 64), (3, 48, 32)]
    assert [pixels[:, 0, 0].tolist() for pixels in decoded.pixels] == [[0, 100, 200], [1, 100, 200]]
    assert decoded.labels.tolist() == [0, 1]


def test_evaluation_crops_the_centre() -> None:
    pixels = torch.arange(40, dtype=torch.uint8).expand(3, 32, 40)
    crops = image_set.center_crops(image_set.ImageSet([pixels], np.zeros(1, np.int64)), [0], 16)
    assert crops.shape == (1, 3, 16, 16)
    assert crops[0, 0, 0].tolist() == list(range(12, 28))


def test_an_epoch_has_every_image_at_most_once_in_batches_of_equal_size() -> None:
    batches = image_set.shuffled_batches(10, 4, seed=1, epoch=2)
    assert [len(batch) for batch in batches] == [4, 4]
    assert len({position for batch in batches for _, _, position in batch}) == 8
    assert {key[:2] for batch in batches for key in batch} == {(1, 2)}
    assert batches == image_set.shuffled_batches(10, 4, seed=1, epoch=2)
    assert batches != image_set.shuffled_batches(10, 4, seed=1, epoch=3)


def test_fewer_images_than_a_batch_make_one_batch() -> None:
    assert [len(batch) for batch in image_set.shuffled_batches(3, 64, 0, 0)] == [3]


@pytest.mark.filterwarnings("ignore:This DataLoader will create 2 worker processes")  # on a machine with one core
@pytest.mark.parametrize("workers", [0, 2])
def test_augmentation_depends_only_on_the_key_for_any_number_of_workers(workers: int) -> None:
    dataset = image_set.Augmented(noise(), settings(trivial_augment=True, hflip_prob=0.5))
    keys = [[(0, 1, 4), (0, 1, 2)], [(0, 1, 0), (0, 1, 1)]]
    batches = [pixels for pixels, _ in image_set.augmented_batches(dataset, keys, workers)]
    assert torch.equal(batches[0][1], dataset[(0, 1, 2)][0])
    assert not torch.equal(dataset[(0, 1, 2)][0], dataset[(0, 2, 2)][0])


def test_augmentation_does_not_seed_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    seeds: list[int] = []
    monkeypatch.setattr(torch.cuda, "manual_seed_all", seeds.append)
    assert image_set.Augmented(noise(), settings())[(0, 1, 2)][0].shape == (3, 16, 16)
    assert seeds == []
    torch.manual_seed(0)
    assert seeds == [0]  # the patch does record calls
