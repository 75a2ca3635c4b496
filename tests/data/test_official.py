"""Official data sets keep their splits, labels and names, tested on small archives in the official layout."""

import importlib.resources
import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from ruamel.yaml import YAML

from clipstore.core.datasets import Flowers, Pets
from clipstore.core.errors import InputError
from clipstore.data import fetching, official
from clipstore.data.index import SPLITS
from clipstore.encoders.vision import torchvision
from tests.mirror import PETS, Mirror, archive, picture, put_flowers, put_pets, served, serving
from tests.workspace import PROJECT

LISTS = json.loads((importlib.resources.files("clip_benchmark") / "datasets/en_classnames.json").read_text())
DATASETS: dict[str, Any] = YAML(typ="safe").load(PROJECT / "params.yaml")["datasets"]
MD5_OF_TORCHVISION = (("label", "labels", "imagelabels.mat"), ("setid", "splits", "setid.mat"))


@dataclass
class StandIns:
    """Small versions of both data sets on a local server, with at least one image per class and split, and their entries."""

    mirror: Mirror
    flower_archives: dict[str, dict[str, str]]
    pet_archives: dict[str, dict[str, str]]

    def flowers(self, **fields: Any) -> Flowers:
        entry = {"images": {"train": 102, "val": 102, "test": 102}, "archives": self.flower_archives}
        return Flowers.model_validate(DATASETS["flowers102"] | entry | fields)

    def pets(self, **fields: Any) -> Pets:
        entry = {"images": {"train": 74, "test": 37}, "archives": self.pet_archives}
        return Pets.model_validate(DATASETS["pets"] | entry | fields)


@pytest.fixture
def stand_ins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[StandIns]:
    monkeypatch.setattr(fetching, "WAITS", (0.0, 0.0))
    with serving(tmp_path / "mirror") as mirror:
        yield StandIns(mirror, put_flowers(mirror), put_pets(mirror, [name.replace(" ", "_") for name in PETS]))


def write(entry: Flowers | Pets) -> pd.DataFrame:
    """Write the data set; return its manifest."""
    root = Path("data/raw/mine")
    root.mkdir(parents=True, exist_ok=True)
    return official.write("mine", entry, root, torchvision.datasets.Flowers102.classes)


def names(manifest: pd.DataFrame) -> list[str]:
    """Return the class names in label order, after checking that each label has one."""
    pairs = manifest[["label", "class_name"]].drop_duplicates().sort_values("label")
    assert pairs["label"].tolist() == list(range(len(pairs)))
    class_names: list[str] = pairs["class_name"].tolist()
    return class_names


def test_flowers_keep_their_official_splits_and_labels(project: Path, stand_ins: StandIns) -> None:
    manifest = write(stand_ins.flowers())
    assert manifest.groupby("split")["label"].apply(sorted).to_dict() == {split: list(range(102)) for split in ("test", "train", "val")}
    assert manifest["path"][0] == "flowers-102/jpg/image_00001.jpg"
    for row in manifest.itertuples():
        number = int(str(row.path)[-9:-4])
        assert (project / "data/raw/mine" / str(row.path)).read_bytes() == picture(int(str(row.label)), number)


def test_flowers_have_openais_names(project: Path, stand_ins: StandIns) -> None:
    assert names(write(stand_ins.flowers())) == LISTS["flowers"]


def test_flowers_may_have_torchvisions_names(project: Path, stand_ins: StandIns) -> None:
    class_names = names(write(stand_ins.flowers(class_names="torchvision")))
    assert class_names == torchvision.datasets.Flowers102.classes
    assert class_names != LISTS["flowers"]


def test_names_of_pets_follow_the_labels_not_the_order_of_openais_list(project: Path, stand_ins: StandIns) -> None:
    manifest = write(stand_ins.pets())
    assert names(manifest) == PETS
    stems = [Path(path).stem.rpartition("_")[0].replace("_", " ") for path in manifest["path"]]
    assert manifest["class_name"].tolist() == stems
    assert sum(a != b for a, b in zip(PETS, sorted(PETS), strict=True)) == 33  # would be wrong with OpenAI's list, which is in ASCII order


def test_pets_are_those_in_the_lists_not_all_in_the_folder(project: Path, stand_ins: StandIns) -> None:
    manifest = write(stand_ins.pets())
    assert manifest["split"].value_counts().to_dict() == {"train": 74, "test": 37}
    assert (project / "data/raw/mine/oxford-iiit-pet/images/beagle_9.jpg").exists()
    assert not manifest["path"].str.contains("_9.jpg").any()


def test_ambiguous_names_of_flowers_are_rejected(project: Path, stand_ins: StandIns, monkeypatch: pytest.MonkeyPatch) -> None:
    class_names = [name.replace("globe-flower", "air plant") for name in torchvision.datasets.Flowers102.classes]
    monkeypatch.setattr(torchvision.datasets.Flowers102, "classes", class_names)
    with pytest.raises(InputError, match="torchvision's class names do not match OpenAI's one to one"):
        write(stand_ins.flowers())


def test_ambiguous_names_of_pets_are_rejected(project: Path, stand_ins: StandIns) -> None:
    write(stand_ins.pets())
    shutil.rmtree("data/raw/mine")
    breeds = [name.replace(" ", "_") for name in PETS]
    breeds[1] = "abyssinian"  # differs from the first breed only in case
    stand_ins.pet_archives = put_pets(stand_ins.mirror, breeds)
    with pytest.raises(InputError, match="pets: torchvision's class names do not match OpenAI's one to one"):
        write(stand_ins.pets())


def test_another_number_of_images_is_rejected(project: Path, stand_ins: StandIns) -> None:
    with pytest.raises(InputError, match="flowers102, train: 102 images are listed; expected 1020"):
        write(stand_ins.flowers(images={"train": 1020, "val": 1020, "test": 6149}))


def test_a_class_without_a_training_image_is_rejected(project: Path, stand_ins: StandIns) -> None:
    with pytest.raises(InputError, match="pets, train: 37 classes are listed; expected 38"):
        write(stand_ins.pets(classes=38))


def test_a_corrupt_archive_is_reported_and_leaves_nothing(project: Path, stand_ins: StandIns) -> None:
    original = (stand_ins.mirror.folder / "flowers/102flowers.tgz").read_bytes()
    stand_ins.mirror.put("flowers/102flowers.tgz", b"<html>an error page</html>")
    with pytest.raises(InputError, match=r"102flowers\.tgz: MD5 is [0-9a-f]{32}, expected [0-9a-f]{32}: "):
        write(stand_ins.flowers())
    assert not list(Path("data/raw/mine").iterdir())
    stand_ins.mirror.put("flowers/102flowers.tgz", original)
    assert len(write(stand_ins.flowers())) == 306


def test_a_cached_archive_is_not_fetched_again(project: Path, stand_ins: StandIns) -> None:
    write(stand_ins.flowers())
    shutil.rmtree("data/raw/mine")
    assert len(write(stand_ins.flowers())) == 306
    assert stand_ins.mirror.asked("flowers/102flowers.tgz") == [0]


def test_an_archive_cannot_write_outside_its_folder(tmp_path: Path) -> None:
    (tmp_path / "evil.tgz").write_bytes(archive({"../outside.jpg": b"x"}))
    with pytest.raises(InputError, match=r"evil\.tgz: cannot be extracted: .*outside"):
        official.extract(tmp_path / "evil.tgz", tmp_path / "in/side")
    assert not (tmp_path / "in/outside.jpg").exists()


def test_an_extracted_copy_is_used_without_a_download(project: Path, stand_ins: StandIns, tmp_path: Path) -> None:
    write(stand_ins.pets())
    shutil.move("data/raw/mine", tmp_path / "mine")
    stand_ins.mirror.requests.clear()
    assert names(write(stand_ins.pets(root=tmp_path / "mine"))) == PETS
    assert not stand_ins.mirror.requests
    assert not Path("data/raw/mine/oxford-iiit-pet/images/beagle_1.jpg").samefile(tmp_path / "mine/oxford-iiit-pet/images/beagle_1.jpg")


@pytest.mark.parametrize("lost", ["images/beagle_1.jpg", "annotations/test.txt", "images"])
def test_an_incomplete_copy_is_reported(project: Path, stand_ins: StandIns, tmp_path: Path, lost: str) -> None:
    write(stand_ins.pets())
    shutil.move("data/raw/mine", tmp_path / "mine")
    target = tmp_path / "mine/oxford-iiit-pet" / lost
    shutil.rmtree(target) if target.is_dir() else target.unlink()
    with pytest.raises(InputError, match=r"params\.yaml: datasets\.mine\.root = '.*': .*; without root, the data set is downloaded"):
        write(stand_ins.pets(root=tmp_path / "mine"))
    assert not list(Path("data/raw/mine").iterdir())


def test_pets_may_have_torchvisions_names(project: Path, stand_ins: StandIns) -> None:
    class_names = names(write(stand_ins.pets(class_names="torchvision")))
    assert class_names == torchvision.datasets.OxfordIIITPet(Path("data/raw/mine")).classes


def test_labels_and_paths_equal_torchvisions(project: Path, stand_ins: StandIns) -> None:
    rows = write(stand_ins.pets())
    for split, torchvision_split in (("train", "trainval"), ("test", "test")):
        reference = torchvision.datasets.OxfordIIITPet(Path("data/raw/mine"), torchvision_split)
        of_split = rows[rows["split"] == split]
        assert [Path("data/raw/mine", path) for path in of_split["path"]] == reference._images
        assert of_split["label"].tolist() == reference._labels
    rows = write(stand_ins.flowers())
    with pytest.MonkeyPatch.context() as patch:
        lists = {part: (file, stand_ins.flower_archives[key]["md5"]) for part, key, file in MD5_OF_TORCHVISION}
        patch.setattr(torchvision.datasets.Flowers102, "_file_dict", lists)
        for split in SPLITS:
            reference = torchvision.datasets.Flowers102(Path("data/raw/mine"), split)
            of_split = rows[rows["split"] == split]
            assert [Path("data/raw/mine", path) for path in of_split["path"]] == reference._image_files
            assert of_split["label"].tolist() == reference._labels


def test_archives_are_the_ones_that_torchvision_uses() -> None:
    flowers, pets = torchvision.datasets.Flowers102, torchvision.datasets.OxfordIIITPet
    published = [(flowers._download_url_prefix + file, md5) for file, md5 in flowers._file_dict.values()]
    assert [(archive["url"], archive["md5"]) for archive in DATASETS["flowers102"]["archives"].values()] == published
    assert [(archive["url"], archive["md5"]) for archive in DATASETS["pets"]["archives"].values()] == list(pets._RESOURCES)


@pytest.mark.parametrize("file", ["imagelabels.mat", "setid.mat"])
def test_lists_of_a_copy_must_be_the_published_ones(project: Path, stand_ins: StandIns, tmp_path: Path, file: str) -> None:
    write(stand_ins.flowers())
    shutil.move("data/raw/mine", tmp_path / "mine")
    (tmp_path / "mine/flowers-102" / file).write_bytes(b"another list")
    with pytest.raises(
        InputError, match=rf"datasets\.mine\.root = .*: {file}: MD5 is [0-9a-f]{{32}}, expected [0-9a-f]{{32}}; without root"
    ):
        write(stand_ins.flowers(root=tmp_path / "mine"))


def test_lists_on_a_mirror_may_have_other_file_names(project: Path, stand_ins: StandIns) -> None:
    stand_ins.flower_archives["labels"] = served(
        stand_ins.mirror, "mirror/labels-of-flowers", (stand_ins.mirror.folder / "flowers/imagelabels.mat").read_bytes()
    )
    assert len(write(stand_ins.flowers())) == 306
    assert stand_ins.mirror.asked("mirror/labels-of-flowers") == [0]
