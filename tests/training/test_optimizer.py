"""The learning-rate schedule, and the layers' rates and weight decays, compared with values computed by hand; the moving average."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from clipstore.core.nets import Training
from clipstore.training.classifier import Classifier
from clipstore.training.optimizer import MovingAverage, lr_factor, parameter_groups


def network() -> Classifier:
    backbone = nn.Sequential(nn.Conv2d(3, 8, 3, 2), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return Classifier(backbone, 8, 3, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25), 0.1)


def test_learning_rate_by_hand() -> None:
    factors = [lr_factor(step, 10, 2) for step in (0, 1, 2, 6, 9)]
    assert factors == pytest.approx([0.5, 1, 1, 0.5, 0.5 * (1 + np.cos(np.pi * 7 / 8))])


def test_rates_grow_from_the_first_layer_to_the_head_and_gains_do_not_decay() -> None:
    fields = {
        "epochs": 1,
        "batch_size": 8,
        "image_size": 16,
        "lr": 0.01,
        "backbone_lr_scale": 0.1,
        "layer_decay": 0.01,
        "weight_decay": 0.1,
    }
    settings = Training.model_validate(fields)
    groups = parameter_groups(network(), settings)
    assert [(group["lr_scale"], group["weight_decay"], group["in_backbone"]) for group in groups] == [
        (pytest.approx(0.001), 0.1, True),  # convolution
        (pytest.approx(0.001), 0.0, True),  # its bias
        (pytest.approx(0.1), 0.0, True),  # BatchNorm
        (pytest.approx(1), 0.1, False),
        (pytest.approx(1), 0.0, False),
    ]
    count = sum(parameter.numel() for group in groups for parameter in group["params"])
    assert count == sum(parameter.numel() for parameter in network().parameters())


def test_the_moving_average_is_torchs_and_its_state_goes_on(tmp_path: Path) -> None:
    torch.manual_seed(0)
    trained = network()
    torchs = AveragedModel(trained, multi_avg_fn=get_ema_multi_avg_fn(0.75), use_buffers=True)
    first, second = MovingAverage(trained, 0.75), MovingAverage(trained, 0.75)
    for step in range(4):
        with torch.no_grad():
            for parameter in trained.parameters():
                parameter.add_(torch.randn_like(parameter))
            trained.train()(torch.randint(0, 256, (4, 3, 8, 8), dtype=torch.uint8))
        torchs.update_parameters(trained)
        if step == 2:  # as after a resumed run
            torch.save(first.state_dict(), tmp_path / "average.pt")
            second.load_state_dict(torch.load(tmp_path / "average.pt", weights_only=True))
            first = second
        first.update(trained)
    averaged, expected = first.module.state_dict(), torchs.module.state_dict()
    for key, value in expected.items():
        if value.is_floating_point():
            torch.testing.assert_close(averaged[key], value)
    assert averaged["backbone.1.num_batches_tracked"] == 4  # a number of batches is no average
    assert not any(parameter.requires_grad for parameter in first.parameters())
