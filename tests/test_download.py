"""Every source ends as images and a manifest; official ones are proven on small archives of the official layout."""

import hashlib
import io
import tarfile
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scipy.io import savemat

from stages import download
from stages.lib import tables
from stages.lib.errors import InputError
from stages.lib.vision import torchvision


class Quiet(SimpleHTTPRequestHandler):
    """Serves files and says nothing."""

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def run(monkeypatch: pytest.MonkeyPatch, entry: tables.Dataset) -> pd.DataFrame:
    """Run the stage on one entry; return the manifest."""
    monkeypatch.setattr(download, "section", lambda *_: entry)
    download.main("mine")
    return pd.read_csv("data/raw/mine/manifest.csv")


def test_the_garden_is_drawn_with_its_splits(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = tables.Garden(kind="garden", size=32, train=2, val=1, test=1, seed=0)
    manifest = run(monkeypatch, entry)
    assert manifest.groupby("split").size().to_dict() == {"train": 56, "val": 28, "test": 28}
    assert manifest["class_name"].nunique() == 28
    with Image.open(project / "data/raw/mine" / manifest["path"][0]) as image:
        assert image.size == (32, 32)


def test_digits_are_scikit_learns_scans(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = run(monkeypatch, tables.Digits(kind="digits"))
    assert list(manifest.columns) == ["path", "class_name"]
    assert len(manifest) == 1797
    with Image.open("data/raw/mine/0/0000.png") as image:
        first = np.asarray(image)
    assert first[0].tolist() == [0, 0, 80, 207, 143, 16, 0, 0]  # 0, 0, 5, 13, 9, 1, 0, 0 sixteenths of 255


def jpeg(number: int) -> bytes:
    data = io.BytesIO()
    Image.new("RGB", (8, 8), (number, 0, 0)).save(data, "JPEG")
    return data.getvalue()


def archive(path: Path, files: dict[str, bytes]) -> str:
    """Write a tar.gz of the files; return its MD5."""
    with tarfile.open(path, "w:gz") as tar:
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    return hashlib.md5(path.read_bytes()).hexdigest()


@pytest.fixture
def mirror(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A folder and the address on this machine that serves it."""
    folder = tmp_path / "mirror"
    folder.mkdir()
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield folder, f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@pytest.fixture
def flowers(mirror: tuple[Path, str], monkeypatch: pytest.MonkeyPatch) -> Path:
    """A mirror with one image of every class in each split, in the official layout."""
    folder, address = mirror
    ids = np.arange(1, 307)
    savemat(folder / "imagelabels.mat", {"labels": ((ids - 1) % 102 + 1)[None]})
    savemat(folder / "setid.mat", {"trnid": ids[None, :102], "valid": ids[None, 102:204], "tstid": ids[None, 204:]})
    files = {
        "image": ("102flowers.tgz", archive(folder / "102flowers.tgz", {f"jpg/image_{i:05}.jpg": jpeg(i % 256) for i in ids.tolist()}))
    }
    for kind, name in (("label", "imagelabels.mat"), ("setid", "setid.mat")):
        files[kind] = (name, hashlib.md5((folder / name).read_bytes()).hexdigest())
    monkeypatch.setattr(torchvision.datasets.Flowers102, "_file_dict", files)
    monkeypatch.setattr(torchvision.datasets.Flowers102, "_download_url_prefix", address)
    monkeypatch.setitem(download.OFFICIAL, "flowers102", {"train": ("train", 102), "val": ("val", 102), "test": ("test", 102)})
    return folder


FLOWERS = tables.Official(kind="flowers102")


def test_flowers_keep_their_official_splits_labels_and_names(project: Path, flowers: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = run(monkeypatch, FLOWERS)
    assert manifest.groupby("split")["label"].apply(sorted).to_dict() == {split: list(range(102)) for split in ("test", "train", "val")}
    named = manifest.drop_duplicates("label").set_index("label")["class_name"]
    assert (named[0], named[76], named[101]) == ("pink primrose", "passion flower", "blackberry lily")
    assert manifest["path"][0] == "flowers-102/jpg/image_00001.jpg"
    assert (project / "data/raw/mine" / manifest["path"][305]).read_bytes() == jpeg(306 % 256)


def test_another_number_of_images_is_refused(project: Path, flowers: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(download.OFFICIAL, "flowers102", {"train": ("train", 1020)})
    with pytest.raises(InputError, match="data set flowers102, train: 102 images are listed; expected 1020"):
        run(monkeypatch, FLOWERS)
    assert not Path("data/raw/mine/manifest.csv").exists()


def test_a_half_extracted_archive_is_refused(project: Path, flowers: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(monkeypatch, FLOWERS)
    (project / "data/raw/mine/flowers-102/jpg/image_00250.jpg").unlink()
    with pytest.raises(InputError, match=r"data set flowers102, test: 1 images are missing, .*image_00250\.jpg first; expected 102"):
        run(monkeypatch, FLOWERS)


def test_another_checksum_or_no_network_is_one_line(project: Path, flowers: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (flowers / "102flowers.tgz").write_bytes(b"an error page")
    with pytest.raises(InputError, match="data set flowers102: cannot be fetched: "):
        run(monkeypatch, FLOWERS)
    (flowers / "102flowers.tgz").unlink()
    with pytest.raises(InputError, match="data set flowers102: cannot be fetched: "):
        run(monkeypatch, FLOWERS)


def test_pets_take_the_lists_not_the_folder(project: Path, mirror: tuple[Path, str], monkeypatch: pytest.MonkeyPatch) -> None:
    listed = {"trainval": ["Abyssinian_1", "american_bulldog_1"], "test": ["Abyssinian_2", "american_bulldog_2"]}
    images = {f"images/{name}.jpg": jpeg(1) for name in [*listed["trainval"], *listed["test"], "Abyssinian_9"]}
    lines = {
        f"annotations/{split}.txt": "".join(f"{name} {1 + (name[0] == 'a')} 1 1\n" for name in names) for split, names in listed.items()
    }
    resources = []
    for name, files in (("images", images), ("annotations", {path: text.encode() for path, text in lines.items()})):
        resources.append((f"{mirror[1]}{name}.tar.gz", archive(mirror[0] / f"{name}.tar.gz", files)))
    monkeypatch.setattr(torchvision.datasets.OxfordIIITPet, "_RESOURCES", resources)
    monkeypatch.setitem(download.OFFICIAL, "pets", {"train": ("trainval", 2), "test": ("test", 2)})
    manifest = run(monkeypatch, tables.Official(kind="pets"))
    assert manifest["class_name"].tolist() == ["Abyssinian", "American Bulldog"] * 2
    assert manifest["label"].tolist() == [0, 1, 0, 1]
    assert manifest["split"].tolist() == ["train", "train", "test", "test"]
