"""Images are decoded once, and the views of an epoch depend only on seed and epoch."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from clipstore.core.nets import Training
from clipstore.data import images
from clipstore.training import image_set

CPU = torch.device("cpu")


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
    assert len({*np.concatenate(batches)}) == 8
    assert np.array_equal(batches, image_set.shuffled_batches(10, 4, seed=1, epoch=2))
    assert not np.array_equal(batches, image_set.shuffled_batches(10, 4, seed=1, epoch=3))


def test_fewer_images_than_a_batch_make_one_batch() -> None:
    assert [len(batch) for batch in image_set.shuffled_batches(3, 64, 0, 0)] == [3]


@pytest.mark.filterwarnings("ignore:This DataLoader will create 2 worker processes")  # on a machine with one core
@pytest.mark.parametrize("workers", [0, 2])
def test_augmentation_depends_only_on_the_position_for_any_number_of_workers(workers: int) -> None:
    dataset = image_set.Augmented(noise(), settings(trivial_augment=True, hflip_prob=0.5, workers=workers))

    def epoch(number: int, *batches: list[int]) -> list[tuple[torch.Tensor, torch.Tensor]]:
        return list(dataset.batches([np.array(batch) for batch in batches], 0, number, CPU))

    (_, labels), (pixels, _) = epoch(1, [4, 2], [0, 1])
    assert labels.tolist() == [4, 2]
    assert torch.equal(pixels[1], epoch(1, [3, 1, 5])[0][0][1])
    assert not torch.equal(pixels, epoch(2, [0, 1])[0][0])


def test_augmentation_leaves_torchs_generator_alone() -> None:
    torch.manual_seed(0)
    before = torch.random.get_rng_state()
    list(image_set.Resident(noise(), settings(trivial_augment=True), CPU).batches([np.arange(6)], 0, 1, CPU))
    assert torch.equal(torch.random.get_rng_state(), before)


def test_resident_images_come_with_their_labels() -> None:
    pixels, labels = next(image_set.Resident(noise(), settings(), CPU).batches([np.array([5, 0, 3])], 0, 1, CPU))
    assert pixels.shape == (3, 3, 16, 16)
    assert labels.tolist() == [5, 0, 3]


def test_workers_are_started_only_beside_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_set, "cores", lambda: 16)
    assert image_set.default_workers(CPU) == 0
    assert image_set.default_workers(torch.device("cuda")) == 16


def test_images_fit_in_half_of_the_free_memory() -> None:
    assert noise().nbytes == 6 * 3 * 32 * 40
    assert image_set.fits([noise(), noise()], 4 * noise().nbytes)
    assert not image_set.fits([noise(), noise()], 4 * noise().nbytes - 1)
