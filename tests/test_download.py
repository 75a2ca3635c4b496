"""Every source becomes images with a manifest, or text files."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from ruamel.yaml import YAML

from clipstore.core.datasets import Folder, Text
from clipstore.core.errors import InputError
from clipstore.data import fetching
from clipstore.text import docstrings
from stages import download
from tests.mirror import PETS, WIKITEXT, Mirror, at_hub, parquet, put_flowers, put_pets, serving, text_sha256, use_as_hub
from tests.synthetic import use
from tests.workspace import PROJECT

DATASETS: dict[str, Any] = YAML(typ="safe").load(PROJECT / "params.yaml")["datasets"]
FLOWERS = {"train": 102, "val": 102, "test": 102}


def run(monkeypatch: pytest.MonkeyPatch, entry: dict[str, Any]) -> dict[str, Any]:
    """Run the stage on one entry; return what it returns."""
    use(monkeypatch, {"datasets": {"mine": entry}})
    return download.main("mine")


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Mirror]:
    monkeypatch.setattr(fetching, "WAITS", (0.0, 0.0))
    with serving(tmp_path / "mirror") as mirror:
        yield mirror


@pytest.mark.parametrize(
    ("name", "fields", "images", "classes", "columns"),
    [
        ("garden", {"image_size": 32, "train": 2, "val": 1, "test": 1}, 112, 28, {"split"}),
        ("digits", {}, 1797, 10, set()),
    ],
)
def test_a_sample_has_a_manifest_with_every_image(
    project: Path, monkeypatch: pytest.MonkeyPatch, name: str, fields: dict[str, int], images: int, classes: int, columns: set[str]
) -> None:
    assert run(monkeypatch, DATASETS[name] | fields) == {"images": images}
    manifest = pd.read_csv("data/raw/mine/manifest.csv")
    assert set(manifest) == {"path", "class_name"} | columns
    assert manifest["class_name"].nunique() == classes
    assert all((project / "data/raw/mine" / path).is_file() for path in manifest["path"])


def test_official_data_sets_have_a_manifest_with_every_listed_image(project: Path, mirror: Mirror, monkeypatch: pytest.MonkeyPatch) -> None:
    breeds = [name.replace(" ", "_") for name in PETS]
    flowers = DATASETS["flowers102"] | {"images": FLOWERS, "archives": put_flowers(mirror)}
    pets = DATASETS["pets"] | {"images": {"train": 74, "test": 37}, "archives": put_pets(mirror, breeds)}
    for entry, images, classes in ((flowers, 306, 102), (pets, 111, 37)):
        assert run(monkeypatch, entry) == {"images": images}
        manifest = pd.read_csv("data/raw/mine/manifest.csv")
        assert list(manifest) == ["path", "split", "label", "class_name"]
        assert manifest["class_name"].nunique() == manifest["label"].nunique() == classes


def test_the_manifest_is_written_last(project: Path, mirror: Mirror, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="flowers102, train: 102 images are listed; expected 1020"):
        run(monkeypatch, DATASETS["flowers102"] | {"archives": put_flowers(mirror)})
    assert Path("data/raw/mine/flowers-102").exists()
    assert not Path("data/raw/mine/manifest.csv").exists()


def test_wikitext_has_a_file_for_each_split(project: Path, mirror: Mirror, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use_as_hub(mirror, tmp_path / "hf", monkeypatch)
    for hub_split in ("train", "validation", "test"):
        mirror.put(at_hub(hub_split), parquet([" one \n", ""]))
    digests = dict.fromkeys(("train", "val", "test"), text_sha256([" one \n", " \n"]))
    versions = {name: facts | digests for name, facts in WIKITEXT["versions"].items()}
    assert run(monkeypatch, WIKITEXT | {"versions": versions}) == {"lines": 6}
    assert {path.name for path in Path("data/raw/mine").iterdir()} == {"train.txt", "val.txt", "test.txt"}


def test_pythons_documentation_has_a_file_for_each_split(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(docstrings, "sources", lambda: iter([("a.py", ["One paragraph of five words."])]))
    assert run(monkeypatch, DATASETS["python_docs"]) == {"lines": 1}
    assert {path.name for path in Path("data/raw/mine").iterdir()} == {"train.txt", "val.txt", "test.txt", "about.json"}


@pytest.mark.parametrize("entry", [Text(kind="text"), Folder(kind="folder")])
def test_a_users_own_folder_is_not_downloaded(project: Path, monkeypatch: pytest.MonkeyPatch, entry: Text | Folder) -> None:
    with pytest.raises(
        InputError,
        match=rf"^params\.yaml: axes\.download = 'mine': data of kind {entry.kind} cannot be downloaded; put it in data/raw/mine$",
    ):
        run(monkeypatch, entry.model_dump())
