"""The learning-rate schedule, and the layers' rates and weight decays, compared with values computed by hand."""

import numpy as np
import pytest
from torch import nn

from clipstore.core.nets import Training
from clipstore.training.classifier import Classifier
from clipstore.training.optimizer import lr_factor, parameter_groups


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
