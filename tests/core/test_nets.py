"""Entries of the table `nets`."""

from typing import Any

import pytest
from ruamel.yaml import YAML

from clipstore.core.errors import InputError
from clipstore.core.nets import Net
from clipstore.core.params import check
from tests.workspace import PROJECT

SMALL: dict[str, Any] = YAML(typ="safe").load(PROJECT / "params.yaml")["nets"]["small"]


def message(kind: Any, value: object, where: str = "") -> str:
    with pytest.raises(InputError) as caught:
        check(kind, value, where)
    return str(caught.value)


def test_batch_size_is_a_multiple_of_processes() -> None:
    entry = SMALL | {"batch_size": 32, "processes": 3}
    assert message(Net, entry, "nets.small") == "params.yaml: nets.small: batch_size = 32 is not a multiple of processes = 3"


def test_every_stage_of_our_own_network_needs_a_width_and_a_depth() -> None:
    entry = SMALL | {"widths": [32, 64, 128], "depths": [1, 1]}
    assert message(Net, entry, "nets.small") == "params.yaml: nets.small: 3 widths and 2 depths: expected one of each per stage"


def test_unknown_kind_of_net() -> None:
    entry = SMALL | {"kind": "scrath"}
    assert message(Net, entry, "nets.small").startswith("params.yaml: nets.small: ")
    assert "'finetune', 'scratch'" in message(Net, entry, "nets.small")
