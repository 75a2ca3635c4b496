"""A trained network gives the softmax of the centre crops' logits for any batch size, and is unchanged by saving and loading."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from scipy.special import softmax
from torch import nn

from clipstore.core.errors import InputError
from clipstore.core.nets import FineTune
from clipstore.training import processes
from clipstore.training.classifier import Classifier, TrainedNetwork, evaluation_batch, on_device, read_facts
from clipstore.training.image_set import ImageSet, center_crops

CLASSES = ["lily", "iris", "rose"]
TOLERANCE = 1e-2 if torch.cuda.is_available() else 1e-5  # float32 convolutions on a GPU use TF32, with 10 of 23 mantissa bits


def settings(**fields: object) -> FineTune:
    facts = {"kind": "finetune", "epochs": 1, "batch_size": 4, "image_size": 16, "lr": 0.1, "crop_pct": 0.8, "precision": "float32"}
    return FineTune.model_validate(facts | fields)


def images(count: int = 10) -> ImageSet:
    random = torch.Generator().manual_seed(1)
    pixels = [torch.randint(0, 256, (3, 20, 24), generator=random, dtype=torch.uint8) for _ in range(count)]
    return ImageSet(pixels, np.arange(count) % len(CLASSES))


def network(seed: int = 0) -> Classifier:
    torch.manual_seed(seed)
    backbone = nn.Sequential(nn.Conv2d(3, 8, 3, 2), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    classifier = Classifier(backbone, 8, len(CLASSES), (0.5, 0.4, 0.3), (0.25, 0.2, 0.3), 0.5)
    nn.init.normal_(classifier.head.weight)
    return classifier


def trained(seed: int = 0, **fields: object) -> TrainedNetwork:
    return TrainedNetwork(on_device(network(seed)), CLASSES, settings(**fields))


def test_logits_are_those_of_the_normalised_centres_in_eval_mode() -> None:
    plain = network().eval()
    pixels = center_crops(images(), range(10), 16).float() / 255
    normalised = (pixels - torch.tensor([0.5, 0.4, 0.3]).view(3, 1, 1)) / torch.tensor([0.25, 0.2, 0.3]).view(3, 1, 1)
    with torch.no_grad():
        expected = plain.head(plain.backbone(normalised)).numpy()
    fitted = trained()
    fitted.network.train()
    np.testing.assert_allclose(fitted.logits(images()), expected, rtol=TOLERANCE, atol=TOLERANCE)


def test_probabilities_are_the_softmax_of_the_logits() -> None:
    probabilities = trained().probabilities(images())
    assert probabilities.dtype == np.float32
    np.testing.assert_array_equal(probabilities, softmax(trained().logits(images()), axis=1))
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-6)


def test_rows_are_in_the_order_of_the_images_for_any_batch_size() -> None:
    expected = trained(batch_size=64).logits(images())
    np.testing.assert_allclose(trained(batch_size=2).logits(images()), expected, rtol=TOLERANCE, atol=TOLERANCE)


def test_a_gpu_evaluates_large_batches() -> None:
    assert evaluation_batch(settings(), torch.device("cuda")) == 256
    assert evaluation_batch(settings(batch_size=512), torch.device("cuda")) == 512
    assert evaluation_batch(settings(), torch.device("cpu")) == 4


def test_too_many_images_for_the_memory_are_evaluated_in_smaller_batches(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(processes, "_SAID", set())
    fitted, forward, limits = trained(batch_size=8), Classifier.forward, [3]
    expected = fitted.logits(images())

    def limited(self: Classifier, pixels: torch.Tensor) -> torch.Tensor:
        if len(pixels) > limits[0]:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return forward(self, pixels)

    monkeypatch.setattr(Classifier, "forward", limited)
    np.testing.assert_allclose(fitted.logits(images()), expected, rtol=TOLERANCE, atol=TOLERANCE)
    problem = "evaluation: {} images of 16 x 16 pixels at once are too many for the device's memory"
    assert capsys.readouterr().err.splitlines() == [f"{problem.format(8)}: now 4", f"{problem.format(4)}: now 2"]
    limits[0] = 0
    with pytest.raises(InputError, match=f"^{problem.format(1)}: a smaller image_size may help$"):
        fitted.logits(images())


@pytest.mark.parametrize("fields", [{}, {"precision": "bfloat16"}])
def test_probabilities_are_the_same_after_saving_and_loading(tmp_path: Path, fields: dict[str, Any]) -> None:
    fitted = trained(**fields)
    fitted.save(tmp_path / "net", stage="finetune", net="tiny")
    loaded = TrainedNetwork.load(tmp_path / "net", network(seed=1))
    assert np.array_equal(loaded.probabilities(images()), fitted.probabilities(images()))
    assert (loaded.classes, loaded.settings) == (CLASSES, settings(**fields))


def test_files_of_a_checkpoint(tmp_path: Path) -> None:
    fitted = trained()
    fitted.save(tmp_path, stage="finetune", net="tiny", encoder={"library": "timm"})
    assert {path.name for path in tmp_path.iterdir()} == {"model.safetensors", "net.json"}
    assert read_facts(tmp_path) == {
        "stage": "finetune",
        "net": "tiny",
        "encoder": {"library": "timm"},
        "classes": CLASSES,
        "settings": json.loads(settings().model_dump_json()),
    }
    weights = load_file(tmp_path / "model.safetensors")
    assert weights.keys() == fitted.network.state_dict().keys()  # mean and std are not saved: they are arguments when the network is built
    assert all(torch.equal(weights[key], value.cpu()) for key, value in fitted.network.state_dict().items())
