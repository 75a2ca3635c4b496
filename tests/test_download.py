"""Every source ends as images and a manifest; official ones are proven on small archives of the official layout."""

import hashlib
import importlib.resources
import io
import json
import platform
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from ruamel.yaml import YAML

from clipstore.core import schema
from clipstore.core.errors import InputError
from clipstore.data import fetching, hub
from clipstore.data.index import SPLITS
from clipstore.encoders.vision import torchvision
from clipstore.text import docstrings
from stages import download
from tests.mirror import Mirror, archive, picture, put_flowers, put_pets, serving, use_as_hub
from tests.workspace import PROJECT

LISTS = json.loads((importlib.resources.files("clip_benchmark") / "datasets/en_classnames.json").read_text())
CATS = {"Abyssinian", "Bengal", "Birman", "Bombay", "British Shorthair", "Egyptian Mau", "Maine Coon", "Persian", "Ragdoll", "Russian Blue"}
CATS |= {"Siamese", "Sphynx"}
PETS = [name if name in CATS else name.lower() for name in LISTS["pets"]]  # the files' spelling: cats with capitals


def run(monkeypatch: pytest.MonkeyPatch, entry: schema.Dataset) -> pd.DataFrame:
    """Run the stage on one entry; return the manifest."""
    monkeypatch.setattr(download, "section", lambda *_: entry)
    download.main("mine")
    return pd.read_csv("data/raw/mine/manifest.csv")


def test_the_garden_is_drawn_with_its_splits(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = schema.Garden(kind="garden", image_size=32, train=2, val=1, test=1, seed=0)
    manifest = run(monkeypatch, entry)
    assert manifest.groupby("split").size().to_dict() == {"train": 56, "val": 28, "test": 28}
    assert manifest["class_name"].nunique() == 28
    with Image.open(project / "data/raw/mine" / manifest["path"][0]) as image:
        assert image.size == (32, 32)


def test_digits_are_scikit_learns_scans(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = run(monkeypatch, schema.Digits(kind="digits"))
    assert list(manifest.columns) == ["path", "class_name"]
    assert len(manifest) == 1797
    with Image.open("data/raw/mine/0/0000.png") as image:
        first = np.asarray(image)
    assert first[0].tolist() == [0, 0, 80, 207, 143, 16, 0, 0]  # 0, 0, 5, 13, 9, 1, 0, 0 sixteenths of 255


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Mirror]:
    """Both official data sets, with an image of each class in each split, at torchvision's addresses."""
    monkeypatch.setattr(fetching, "WAITS", (0.0, 0.0))
    with serving(tmp_path / "mirror") as mirror:
        monkeypatch.setattr(torchvision.datasets.Flowers102, "_file_dict", put_flowers(mirror))
        monkeypatch.setattr(torchvision.datasets.Flowers102, "_download_url_prefix", f"{mirror.address}/flowers/")
        resources = put_pets(mirror, [name.replace(" ", "_") for name in PETS])
        monkeypatch.setattr(torchvision.datasets.OxfordIIITPet, "_RESOURCES", resources)
        yield mirror


def flowers(**fields: Any) -> schema.Official:
    entry = {
        "kind": "flowers102",
        "images": {"train": 102, "val": 102, "test": 102},
        "classes": 102,
        "megabytes": 1,
        "class_names": "openai",
    }
    return schema.Official.model_validate(entry | fields)


def pets(**fields: Any) -> schema.Official:
    entry = {"kind": "pets", "images": {"train": 74, "test": 37}, "classes": 37, "megabytes": 1, "class_names": "openai"}
    return schema.Official.model_validate(entry | fields)


def names(manifest: pd.DataFrame) -> list[str]:
    """Return the class names in label order, one for each label."""
    pairs = manifest[["label", "class_name"]].drop_duplicates().sort_values("label")
    assert pairs["label"].tolist() == list(range(len(pairs)))
    found: list[str] = pairs["class_name"].tolist()
    return found


def test_flowers_keep_their_official_splits_and_labels(project: Path, mirror: Mirror, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = run(monkeypatch, flowers())
    assert manifest.groupby("split")["label"].apply(sorted).to_dict() == {split: list(range(102)) for split in ("test", "train", "val")}
    assert manifest["path"][0] == "flowers-102/jpg/image_00001.jpg"
    for row in manifest.itertuples():
        number = int(str(row.path)[-9:-4])
        assert (project / "data/raw/mine" / str(row.path)).read_bytes() == picture(int(str(row.label)), number)


def test_flowers_are_named_as_openai_names_them(project: Path, mirror: Mirror, monkeypatch: pytest.MonkeyPatch) -> None:
    assert names(run(monkeypatch, flowers())) == LISTS["flowers"]


def test_flowers_may_be_named_as_torchvision_names_them(project: Path, mirror: Mirror, monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = names(run(monkeypatch, flowers(class_names="torchvision")))
    assert theirs == torchvision.datasets.Flowers102.classes
    assert theirs != LISTS["flowers"]


def test_pets_names_belong_to_their_labels_not_to_the_order_of_openais_list(
    project: Path, mirror: Mirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = run(monkeypatch, pets())
    assert names(manifest) == PETS
    stems = [Path(path).stem.rpartition("_")[0].replace("_", " ") for path in manifest["path"]]
    assert manifest["class_name"].tolist() == stems
    assert sum(a != b for a, b in zip(PETS, sorted(PETS), strict=True)) == 33  # in OpenAI's list, which is in ASCII order


def test_pets_take_the_lists_not_the_folder(project: Path, mirror: Mirror, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = run(monkeypatch, pets())
    assert manifest["split"].value_counts().to_dict() == {"train": 74, "test": 37}
    assert (project / "data/raw/mine/oxford-iiit-pet/images/beagle_9.jpg").exists()
    assert not manifest["path"].str.contains("_9.jpg").any()


def test_names_that_are_no_bijection_are_refused(project: Path, mirror: Mirror, monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = [name.replace("globe-flower", "air plant") for name in torchvision.datasets.Flowers102.classes]
    monkeypatch.setattr(torchvision.datasets.Flowers102, "classes", theirs)
    with pytest.raises(InputError, match="torchvision's class names do not match OpenAI's one to one"):
        run(monkeypatch, flowers())


def test_names_of_pets_that_are_no_bijection_are_refused(project: Path, mirror: Mirror, monkeypatch: pytest.MonkeyPatch) -> None:
    run(monkeypatch, pets())
    shutil.rmtree("data/raw/mine")
    breeds = [name.replace(" ", "_") for name in PETS]
    breeds[1] = "abyssinian"  # a second breed of the first one's name
    monkeypatch.setattr(torchvision.datasets.OxfordIIITPet, "_RESOURCES", put_pets(mirror, breeds))
    with pytest.raises(InputError, match="pets: torchvision's class names do not match OpenAI's one to one"):
        run(monkeypatch, pets())


def test_another_number_of_images_is_refused(project: Path, mirror: Mirror, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="flowers102, train: 102 images are listed; expected 1020"):
        run(monkeypatch, flowers(images={"train": 1020, "val": 1020, "test": 6149}))
    assert not Path("data/raw/mine/manifest.csv").exists()


def test_a_class_without_a_training_image_is_refused(project: Path, mirror: Mirror, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="pets, train: 37 classes are listed; expected 38"):
        run(monkeypatch, pets(classes=38))


def test_a_corrupt_archive_is_one_line_and_leaves_nothing(project: Path, mirror: Mirror, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = (mirror.folder / "flowers/102flowers.tgz").read_bytes()
    mirror.put("flowers/102flowers.tgz", b"<html>an error page</html>")
    with pytest.raises(InputError, match=r"102flowers\.tgz: MD5 is [0-9a-f]{32}, expected [0-9a-f]{32}: "):
        run(monkeypatch, flowers())
    assert not list(Path("data/raw/mine").iterdir())
    mirror.put("flowers/102flowers.tgz", whole)
    assert len(run(monkeypatch, flowers())) == 306


def test_an_archive_that_is_here_is_not_fetched_again(project: Path, mirror: Mirror, monkeypatch: pytest.MonkeyPatch) -> None:
    run(monkeypatch, flowers())
    shutil.rmtree("data/raw/mine")
    assert len(run(monkeypatch, flowers())) == 306
    assert mirror.asked("flowers/102flowers.tgz") == [0]


def test_an_archive_cannot_write_outside_its_folder(tmp_path: Path) -> None:
    (tmp_path / "evil.tgz").write_bytes(archive({"../outside.jpg": b"x"}))
    with pytest.raises(InputError, match=r"evil\.tgz: cannot be extracted: .*outside"):
        download.unpack(tmp_path / "evil.tgz", tmp_path / "in/side")
    assert not (tmp_path / "in/outside.jpg").exists()


def test_an_extracted_copy_is_used_and_nothing_fetched(
    project: Path, mirror: Mirror, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    run(monkeypatch, pets())
    shutil.move("data/raw/mine", tmp_path / "mine")
    mirror.requests.clear()
    assert names(run(monkeypatch, pets(root=tmp_path / "mine"))) == PETS
    assert not mirror.requests
    assert not Path("data/raw/mine/oxford-iiit-pet/images/beagle_1.jpg").samefile(tmp_path / "mine/oxford-iiit-pet/images/beagle_1.jpg")


@pytest.mark.parametrize("lost", ["images/beagle_1.jpg", "annotations/test.txt", "images"])
def test_an_incomplete_copy_is_named(project: Path, mirror: Mirror, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, lost: str) -> None:
    run(monkeypatch, pets())
    shutil.move("data/raw/mine", tmp_path / "mine")
    target = tmp_path / "mine/oxford-iiit-pet" / lost
    shutil.rmtree(target) if target.is_dir() else target.unlink()
    with pytest.raises(InputError, match=r"params\.yaml: datasets\.mine\.root = '.*': .*; without root it is fetched"):
        run(monkeypatch, pets(root=tmp_path / "mine"))
    assert not list(Path("data/raw/mine").iterdir())


WIKITEXT: dict[str, Any] = YAML(typ="safe").load(PROJECT / "params.yaml")["datasets"]["wikitext2"]
LINES = {
    "train": [" \n", " = Lobster = \n", " \n", " A well @-@ known <unk> , blue . \n"],
    "validation": [" \n", " Zwei ü \n"],
    "test": [" Three \n", " \n"],
}
ROWS = {theirs: [line if line.strip() else "" for line in lines] for theirs, lines in LINES.items()}  # as the hub has them


@pytest.fixture
def wiki(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Mirror]:
    """A hub with a WikiText-2 of eight lines."""
    monkeypatch.setattr(fetching, "WAITS", (0.0, 0.0))
    with serving(tmp_path / "mirror") as mirror:
        use_as_hub(mirror, tmp_path / "hf", monkeypatch)
        for theirs, rows in ROWS.items():
            mirror.put(at_hub(theirs), parquet(rows))
        yield mirror


def at_hub(theirs: str, version: str = "raw") -> str:
    folder = WIKITEXT["versions"][version]["folder"]
    return f"datasets/{WIKITEXT['repository']}/resolve/{WIKITEXT['revision']}/{folder}/{theirs}-00000-of-00001.parquet"


def parquet(rows: list[str], column: str = "text") -> bytes:
    data = io.BytesIO()
    pq.write_table(pa.table({column: rows}), data)
    return data.getvalue()


def sha256(lines: list[str]) -> str:
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def get_wikitext(monkeypatch: pytest.MonkeyPatch, version: str = "raw") -> dict[str, Any]:
    """Run the stage on the entry of params.yaml with the digests of LINES."""
    of_lines = {theirs.removesuffix("idation"): sha256(lines) for theirs, lines in LINES.items()}
    versions = {name: facts | of_lines for name, facts in WIKITEXT["versions"].items()}
    monkeypatch.setattr(
        download, "section", lambda *_: schema.WikiText.model_validate(WIKITEXT | {"version": version, "versions": versions})
    )
    return download.main("wiki")


def test_wikitext_is_written_as_its_makers_published_it(wiki: Mirror, monkeypatch: pytest.MonkeyPatch) -> None:
    assert get_wikitext(monkeypatch) == {"lines": 8}
    found = {path.name: path.read_bytes().decode() for path in Path("data/raw/wiki").iterdir()}
    assert found == {f"{split}.txt": "".join(LINES[theirs]) for split, theirs in zip(SPLITS, LINES, strict=True)}


def test_wikitext_is_fetched_once(wiki: Mirror, monkeypatch: pytest.MonkeyPatch) -> None:
    get_wikitext(monkeypatch)
    shutil.rmtree("data/raw/wiki")
    assert get_wikitext(monkeypatch) == {"lines": 8}
    assert wiki.asked(at_hub("train")) == [0]


def test_version_is_a_folder_of_the_hub(wiki: Mirror, monkeypatch: pytest.MonkeyPatch) -> None:
    for theirs, rows in ROWS.items():
        wiki.put(at_hub(theirs, "tokenised"), parquet(rows))
    get_wikitext(monkeypatch, "tokenised")
    assert wiki.asked(at_hub("test", "tokenised")) == [0]
    assert not wiki.asked(at_hub("test", "raw"))


def test_text_that_is_not_the_published_one_is_refused(wiki: Mirror, monkeypatch: pytest.MonkeyPatch) -> None:
    changed = [row.replace("Zwei", "Zwej") for row in ROWS["validation"]]
    wiki.put(at_hub("validation"), parquet(changed))
    other = sha256([row or " \n" for row in changed])
    expected = (
        rf"validation-00000-of-00001\.parquet: the SHA-256 of its text is {other}, expected {sha256(LINES['validation'])}: not WikiText-2"
    )
    with pytest.raises(InputError, match=expected):
        get_wikitext(monkeypatch)
    assert not Path("data/raw/wiki/val.txt").exists()


@pytest.mark.parametrize("data", [b"<html>an error page</html>", b"", parquet(["a"], "content")], ids=["page", "empty", "column"])
def test_file_that_is_no_table_of_text_is_refused(wiki: Mirror, monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    wiki.put(at_hub("test"), data)
    with pytest.raises(InputError, match=r"test-00000-of-00001\.parquet: no Parquet file with a column text: .") as caught:
        get_wikitext(monkeypatch)
    assert "\n" not in str(caught.value)


def test_wikitext_without_a_network_says_which_file_goes_where(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(tmp_path / "mirror") as mirror:
        use_as_hub(mirror, tmp_path / "hf", monkeypatch)
    file = f"{WIKITEXT['versions']['raw']['folder']}/train-00000-of-00001.parquet"
    with pytest.raises(InputError) as caught:
        get_wikitext(monkeypatch)
    assert str(caught.value).startswith(
        f"{WIKITEXT['repository']} on {mirror.address} has the file {file}, which is not here, and cannot be "
    )
    by_hand = hub.folder(WIKITEXT["repository"]) / WIKITEXT["versions"]["raw"]["folder"]
    by_hand.mkdir(parents=True)
    for theirs, rows in ROWS.items():
        (by_hand / f"{theirs}-00000-of-00001.parquet").write_bytes(parquet(rows))
    assert get_wikitext(monkeypatch) == {"lines": 8}


def test_pythons_documentation_is_split_by_module(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A paragraph of several modules belongs to the first; the split of a module follows from its name."""
    modules = {
        f"m{at}.py": [f"Paragraph {number} of the module m{at}." for number in range(3)] + ["This one stands in all."]
        for at in range(3, 62)
    }
    monkeypatch.setattr(docstrings, "sources", lambda: iter(modules.items()))
    monkeypatch.setattr(download, "section", lambda *_: schema.PythonDocs(kind="python_docs"))
    assert download.main("docs") == {"lines": 178}
    found = {split: Path(f"data/raw/docs/{split}.txt").read_text().splitlines() for split in SPLITS}
    assert all(found.values())
    homes = {line.split()[-1]: split for split, lines in found.items() for line in lines}
    for split, lines in found.items():
        assert all(homes[line.split()[-1]] == split for line in lines)
    assert [split for split, lines in found.items() if "This one stands in all." in lines] == [homes["m3."]] == ["val"]
    assert json.loads(Path("data/raw/docs/about.json").read_text()) == {"python": platform.python_version()}


@pytest.mark.parametrize("entry", [schema.Text(kind="text"), schema.Folder(kind="folder")])
def test_ones_own_folder_is_not_fetched(project: Path, monkeypatch: pytest.MonkeyPatch, entry: schema.Dataset) -> None:
    with pytest.raises(
        InputError, match=r"^params\.yaml: axes\.download = 'mine': a folder of one's own is expected in data/raw/mine, not fetched$"
    ):
        run(monkeypatch, entry)
