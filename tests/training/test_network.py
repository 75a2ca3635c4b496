"""This project's own network: its size, its shapes and its initial weights."""

import pytest
import torch

from clipstore.training import network


def backbone(drop_path: float = 0.0, stride: int = 2) -> network.Backbone:
    torch.manual_seed(0)
    return network.Backbone([8, 16], [1, 2], stride, drop_path)


@pytest.mark.parametrize(("stride", "side"), [(1, 9), (2, 9), (2, 32)])
def test_the_number_of_features_is_the_last_stages_width(stride: int, side: int) -> None:
    assert backbone(stride=stride)(torch.randn(2, 3, side, side)).shape == (2, 16)


def test_parameters_by_hand() -> None:
    squeeze = (8 * 8 + 8) + (8 * 8 + 8), (16 * 8 + 8) + (8 * 16 + 16)
    stem = 27 * 16 + 2 * 16 + 144 * 16 + 2 * 16 + 144 * 8
    first = 2 * 8 + 72 * 8 + 2 * 8 + 72 * 8 + squeeze[0]
    second = 2 * 8 + 72 * 16 + 2 * 16 + 144 * 16 + squeeze[1] + 8 * 16
    third = 2 * 16 + 144 * 16 + 2 * 16 + 144 * 16 + squeeze[1]
    assert network.parameter_count(backbone()) == stem + first + second + third + 2 * 16


def test_every_block_starts_as_its_shortcut() -> None:
    x = torch.randn(2, 8, 6, 6)
    block = backbone().eval().blocks[0]
    assert torch.equal(block(x), x)


def test_deeper_blocks_are_skipped_more_often_and_only_in_training() -> None:
    deep = backbone(drop_path=0.5)
    assert [block.drop_path for block in deep.blocks] == [0.0, 0.25, 0.5]
    x = torch.randn(64, 3, 16, 16)
    for block in deep.blocks:
        torch.nn.init.normal_(block.last.weight, std=0.1)  # type: ignore[union-attr,arg-type]
    assert torch.equal(deep.eval()(x), deep(x))
    assert not torch.equal(deep.train()(x), deep(x))


def test_activations_neither_vanish_nor_explode() -> None:
    torch.manual_seed(0)
    deep = network.Backbone([32, 64, 128], [3, 3, 3], 1, 0.0)
    assert 0.3 < deep.blocks(deep.stem(torch.randn(16, 3, 32, 32))).std().item() < 3


def test_the_weights_depend_only_on_the_seed() -> None:
    assert all(torch.equal(a, b) for a, b in zip(backbone().parameters(), backbone().parameters(), strict=True))
