"""Entries of the table `datasets`."""

from typing import Any

import pytest
from ruamel.yaml import YAML

from clipstore.core.datasets import Dataset
from clipstore.core.errors import InputError
from clipstore.core.params import check
from tests.workspace import PROJECT

FLOWERS: dict[str, Any] = YAML(typ="safe").load(PROJECT / "params.yaml")["datasets"]["flowers102"]


def message(kind: Any, value: object, where: str) -> str:
    with pytest.raises(InputError) as caught:
        check(kind, value, where)
    return str(caught.value)


def test_folder_has_no_field_except_its_kind() -> None:
    assert check(Dataset, {"kind": "folder"}, "datasets.mine").kind == "folder"
    assert message(Dataset, {"kind": "folder", "path": "x"}, "datasets.mine") == (
        "params.yaml: datasets.mine.path = 'x': extra inputs are not permitted"
    )


@pytest.mark.parametrize(
    ("archive", "problem"),
    [
        ({"url": "flowers/102flowers.tgz"}, ".url = 'flowers/102flowers.tgz': string should match pattern "),
        ({"md5": "5280"}, ".md5 = '5280': string should match pattern "),
    ],
)
def test_archive_needs_a_valid_address_and_checksum(archive: dict[str, str], problem: str) -> None:
    archives = FLOWERS["archives"] | {"images": FLOWERS["archives"]["images"] | archive}
    line = message(Dataset, FLOWERS | {"archives": archives}, "datasets.flowers102")
    assert line.startswith(f"params.yaml: datasets.flowers102.archives.images{problem}")


def test_missing_archive_is_reported() -> None:
    archives = {part: archive for part, archive in FLOWERS["archives"].items() if part != "splits"}
    line = message(Dataset, FLOWERS | {"archives": archives}, "datasets.flowers102")
    assert line == "params.yaml: datasets.flowers102.archives.splits is missing"
