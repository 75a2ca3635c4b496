"""The schedule, the moving average, and the layers' rates and weight decays, compared with values by hand and with the libraries."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from clipstore.core.nets import Training
from clipstore.encoders.vision import open_clip, timm, torchvision
from clipstore.training.classifier import Classifier
from clipstore.training.optimizer import MovingAverage, layers, lr_factor, parameter_groups


def network() -> Classifier:
    backbone = nn.Sequential(nn.Conv2d(3, 8, 3, 2), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return Classifier(backbone, 8, 3, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25), 0.1)


def test_learning_rate_by_hand() -> None:
    factors = [lr_factor(step, 10, 2) for step in (0, 1, 2, 6, 9)]
    assert factors == pytest.approx([0.5, 1, 1, 0.5, 0.5 * (1 + np.cos(np.pi * 7 / 8))])


def settings(**fields: float) -> Training:
    return Training.model_validate({"epochs": 1, "batch_size": 8, "image_size": 16, "lr": 0.01, "weight_decay": 0.1} | fields)


def average_of(values: list[float], decay: float) -> float:
    """Return the moving average of a weight that has these values after each step; before each step, the average is saved and loaded."""
    weight: Any = nn.Linear(1, 1, bias=False)
    average = MovingAverage(weight, decay)
    for value in values:
        nn.init.constant_(weight.weight, value)
        resumed = MovingAverage(weight, decay)
        resumed.load_state_dict(average.state_dict())
        average = resumed
        average.update(weight)
    tensor: Tensor = next(average.module.parameters())
    return tensor.item()


def test_moving_average_by_hand() -> None:
    first = 5.0
    second = first * 2 / 11 + 7 * 9 / 11
    assert average_of([5, 7], 0.99) == pytest.approx(second)
    assert average_of([5, 7, 1], 0.99) == pytest.approx(second * 3 / 12 + 1 * 9 / 12)
    assert average_of([5, 7, 1], 0.2) == pytest.approx(second * 0.2 + 1 * 0.8)  # the decay is at most the one of the settings


def test_the_first_steps_weights_hardly_count_after_30_steps() -> None:
    assert average_of([1.0] + [0.0] * 29, 0.99) < 1e-6
    assert average_of([0.0] * 2000 + [1.0], 0.99) == pytest.approx(0.01)


def test_counters_are_copied_and_equal_values_keep_their_bits() -> None:
    norm: Any = nn.BatchNorm1d(2)
    average = MovingAverage(norm, 0.99)
    nn.init.constant_(norm.weight, 0.1)
    for count in (3, 7, 8):
        norm.load_state_dict(norm.state_dict() | {"num_batches_tracked": torch.tensor(count)})
        average.update(norm)
    assert all(torch.equal(value, norm.state_dict()[name]) for name, value in average.module.state_dict().items())


def test_rates_grow_from_the_first_layer_to_the_head_and_gains_do_not_decay() -> None:
    groups = parameter_groups(network(), settings(backbone_lr_scale=0.1, layer_decay=0.01))
    assert [(group["lr_scale"], group["weight_decay"], group["in_backbone"]) for group in groups] == [
        (pytest.approx(0.001), 0.1, True),  # convolution
        (pytest.approx(0.001), 0.0, True),  # its bias
        (pytest.approx(0.1), 0.0, True),  # BatchNorm
        (pytest.approx(1), 0.1, False),
        (pytest.approx(1), 0.0, False),
    ]
    count = sum(parameter.numel() for group in groups for parameter in group["params"])
    assert count == sum(parameter.numel() for parameter in network().parameters())


def rates_and_decays(backbone: nn.Module) -> dict[str, Any]:
    """Return the learning rate, as a fraction of the head's, and the weight decay of every parameter of a backbone."""
    model = Classifier(backbone, 8, 3, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25), 0.1)
    groups = parameter_groups(model, settings(backbone_lr_scale=0.1, layer_decay=0.01))
    by_parameter = {id(parameter): (group["lr_scale"], group["weight_decay"]) for group in groups for parameter in group["params"]}
    assert len(by_parameter) == sum(len(group["params"]) for group in groups)
    return {name: by_parameter[id(parameter)] for name, parameter in backbone.named_parameters()}


def vision_transformer() -> nn.Module:
    with torch.device("meta"):
        tower: nn.Module = open_clip.transformer.VisionTransformer(16, 8, 8, layers=3, heads=2, mlp_ratio=2, output_dim=8)
    return tower


def test_layers_of_a_vision_transformer_are_those_that_open_clip_unlocks() -> None:
    tower, unlocked = vision_transformer(), set[str]()
    groups = layers(tower)
    for count, group in enumerate(reversed(groups), 1):
        tower.lock(unlocked_groups=count)  # type: ignore[operator]
        now = {name for name, parameter in tower.named_parameters() if parameter.requires_grad}
        assert set(group) == now - unlocked
        unlocked = now
    assert unlocked == {name for name, _ in tower.named_parameters()}
    assert groups[-1] == ["proj"]


def test_rates_and_decays_of_open_clips_vision_transformer() -> None:
    found = rates_and_decays(vision_transformer())
    first, last = pytest.approx(0.001), pytest.approx(0.1)
    assert found["conv1.weight"] == (first, 0.1)
    assert found["class_embedding"] == found["positional_embedding"] == found["ln_pre.weight"] == (first, 0)
    assert found["transformer.resblocks.0.attn.in_proj_weight"] == (pytest.approx(0.001 * 100 ** (1 / 4)), 0.1)
    assert found["transformer.resblocks.2.mlp.c_fc.bias"] == found["ln_post.weight"] == (pytest.approx(0.001 * 100 ** (3 / 4)), 0)
    assert found["proj"] == (last, 0.1)


def test_rates_of_a_resnet_grow_in_the_order_of_execution() -> None:
    with torch.device("meta"):
        resnet = torchvision.models.resnet18(weights=None)
        resnet.fc = nn.Identity()
        executed: list[nn.Module] = []
        for name, module in resnet.named_modules():
            if not list(module.children()) and "downsample" not in name:
                module.register_forward_hook(lambda module, *_: executed.append(module))
        resnet(torch.zeros(2, 3, 32, 32))
    found = rates_and_decays(resnet)
    names = {id(parameter): name for name, parameter in resnet.named_parameters()}
    rates = [found[names[id(module.weight)]][0] for module in executed if hasattr(module, "weight")]
    assert rates == sorted(set(rates))
    assert (rates[0], rates[-1]) == (pytest.approx(0.001), pytest.approx(0.1))
    assert {decay for name, (_, decay) in found.items() if "bn" in name} == {0}
    assert {decay for name, (_, decay) in found.items() if "conv" in name} == {0.1}


@pytest.mark.parametrize(("pool", "exempt"), [("token", "trunk.cls_token"), ("map", "trunk.attn_pool.latent")])
def test_rates_and_decays_of_timms_transformer_in_open_clip(pool: str, exempt: str) -> None:
    with torch.device("meta"):
        architecture = {"token": "vit_tiny_patch16_224", "map": "vit_base_patch16_siglip_224"}[pool]
        tower = open_clip.timm_model.TimmModel(architecture, embed_dim=8, pool=pool, proj="linear")
    groups, trunk = layers(tower), timm.models.group_parameters(tower.trunk, tower.trunk.group_matcher())
    assert groups == [[f"trunk.{name}" for name in trunk[number]] for number in sorted(trunk)] + [["head.proj.weight"]]
    found = rates_and_decays(tower)
    assert found["trunk.pos_embed"] == (pytest.approx(0.001), 0)
    assert found["trunk.patch_embed.proj.weight"] == (pytest.approx(0.001), 0.1)
    assert found[exempt][1] == 0
    assert found["trunk.blocks.11.norm1.weight"][0] > found["trunk.blocks.0.norm1.weight"][0] > 0.0011
    assert found["head.proj.weight"] == (pytest.approx(0.1), 0.1)


@pytest.mark.parametrize("names", [["vit_b_32", "class_token", "encoder.pos_embedding"], ["RN50", "attnpool.positional_embedding"]])
def test_positions_and_tokens_do_not_decay_where_the_library_lists_none(names: list[str]) -> None:
    architecture, *exempt = names
    with torch.device("meta"):
        if architecture == "RN50":
            tower: nn.Module = open_clip.modified_resnet.ModifiedResNet([1, 1, 1, 1], 8, 4, 32, 8)
        else:
            tower = torchvision.models.get_model(architecture, weights=None)
    found = rates_and_decays(tower)
    assert [found[name][1] for name in exempt] == [0] * len(exempt)
    assert {decay for name, (_, decay) in found.items() if name.endswith("weight") and tower.get_parameter(name).ndim > 1} == {0.1}


def test_patterns_of_a_library_are_matched() -> None:
    with torch.device("meta"):
        found = rates_and_decays(timm.create_model("xcit_nano_12_p16_224", num_classes=0))  # lists pos_embed.*
    assert found["pos_embed.token_projection.weight"][1] == 0


def test_a_single_layer_has_the_last_layers_rate() -> None:
    found = rates_and_decays(nn.Sequential(nn.Conv2d(3, 8, 16), nn.Flatten()))
    assert found == {"0.weight": (pytest.approx(0.1), 0.1), "0.bias": (pytest.approx(0.1), 0)}


def test_a_shared_parameter_is_in_one_group() -> None:
    shared = nn.Linear(8, 8, bias=False)
    found = rates_and_decays(nn.Sequential(shared, nn.Sequential(shared, nn.Linear(8, 8, bias=False))))
    assert found == {"0.weight": (pytest.approx(0.001), 0.1), "1.1.weight": (pytest.approx(0.1), 0.1)}
