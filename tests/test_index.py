"""The stage writes the index, or fails with an error of one line."""

import hashlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from clipstore.core.errors import InputError
from clipstore.data import images, index, labels
from stages import index as stage
from stages.index import Index
from tests import odd
from tests.image_folder import classes_of, manifest
from tests.synthetic import encoded, picture, use

SETTINGS = Index(seed=0, val=0.2, test=0.3, max_unusable=0.1)


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = Path("data/raw/toy")
    path.mkdir(parents=True)
    labelled()
    return path


def labelled(*records: tuple[str, str, str]) -> None:
    """Write labels: image (path below data/raw/toy), class name, purpose."""
    rows = [
        (hashlib.sha256(Path("data/raw/toy", name).read_bytes()).hexdigest(), label, purpose, "me", 1) for name, label, purpose in records
    ]
    labels.write(labels.path_of("toy"), pd.DataFrame(rows, columns=list(labels.COLUMNS)))


def run(monkeypatch: pytest.MonkeyPatch, max_unusable: float, images: int = 10) -> None:
    use(monkeypatch, {"index": SETTINGS.model_dump() | {"max_unusable": max_unusable}, "datasets": {"toy": {"kind": "folder"}}})
    assert stage.main("toy") == {"images": images}


def test_too_many_unusable_images_fail_and_nothing_is_written(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    classes_of(root, 5, "a", "b")
    (root / "a/4.png").write_text("text")
    (root / "b/3.png").write_bytes(b"")
    with pytest.raises(InputError) as caught:
        run(monkeypatch, max_unusable=0.19)
    assert str(caught.value) == (
        "data/raw/toy: 2 of 10 images are unusable (data/raw/toy/a/4.png: not an image but text), more than index.max_unusable = 0.19"
    )
    assert not Path("data/index").exists()


def test_unusable_images_up_to_the_limit_pass_and_are_named(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    classes_of(root, 5, "a", "b")
    (root / "a/4.png").write_text("text")
    (root / "a/notes.txt").write_text("mine")
    run(monkeypatch, max_unusable=0.1)
    printed = capsys.readouterr().out.splitlines()
    assert "data/raw/toy/a/4.png: not an image but text" in printed
    (counted,) = [line for line in printed if line.startswith("index toy: 10 images of 2 classes")]
    assert "1 unusable" in counted
    assert "train 5, val 2, test 3" in counted
    assert (index.read("toy").rows["status"] == "ok").sum() == 9


def test_no_usable_image_fails_whatever_is_allowed(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    classes_of(root, 5, "a", "b")
    for number in range(10):
        (root / f"{'ab'[number % 2]}/{number // 2}.png").write_text(f"text {number}")
    with pytest.raises(InputError, match="10 of 10 images are unusable"):
        run(monkeypatch, max_unusable=1)


def test_second_run_writes_the_same_bytes(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    classes_of(root, 5, "a", "b")
    run(monkeypatch, max_unusable=0)
    first = Path("data/index/toy.parquet").read_bytes()
    run(monkeypatch, max_unusable=0)
    assert Path("data/index/toy.parquet").read_bytes() == first


def test_doubts_are_printed_and_kept(root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    manifest(root, "path,class_name,split\n1.png,a,train\n2.png,a,val\n3.png,b,test\n4.png,b,test\n")
    for copy in ("3.png", "4.png"):
        (root / copy).write_bytes((root / "1.png").read_bytes())
    run(monkeypatch, max_unusable=0, images=4)
    assert "warning: index toy: 2 test images with the same bytes as an image of train or val" in capsys.readouterr().out
    assert "2 test images with the same bytes as an image of train or val" in index.read("toy").notes["warnings"]


def test_what_was_left_out_is_printed_with_counts(root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    classes_of(root, 5, "a", "b")
    classes_of(root / "a", 3, "@eaDir")
    (root / "a/notes.txt").write_text("mine")
    (root / "b/raw.CR2").write_text("raw")
    grey = Image.fromarray(np.full((9, 8), 1000, np.uint16))
    exif = Image.Exif()
    exif[images.ORIENTATION] = 6
    (root / "b/0.png").write_bytes(encoded(grey, "PNG", exif=exif))
    run(monkeypatch, max_unusable=0)
    printed = capsys.readouterr().out.splitlines()
    assert "index toy: other files left out: 1 .cr2, 1 .txt" in printed
    assert "index toy: passed over: 3 @eaDir" in printed
    assert "index toy: 1 image(s) with an EXIF orientation, which is applied" in printed
    assert "index toy: 16-bit grey scaled: 1 image(s) of 10 bits" in printed
    written = index.read("toy")
    assert written.exif == "apply"
    (row,) = written.rows[written.rows["image_id"] == "b/0.png"].to_dict("records")
    assert (row["width"], row["height"]) == (9, 8)


def test_the_entry_decides_on_exif_and_the_digest_tells_the_two_apart(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    classes_of(root, 5, "a", "b")
    digests = {}
    for exif in ("apply", "ignore"):
        use(monkeypatch, {"index": SETTINGS.model_dump(), "datasets": {"toy": {"kind": "folder", "exif": exif}}})
        stage.main("toy")
        digests[index.read("toy").exif] = index.read("toy").digest
    assert set(digests) == {"apply", "ignore"} and len(set(digests.values())) == 2


def test_a_wrapping_folder_is_named(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    classes_of(root / "My Photos 2024", 5, "lily", "rose")
    with pytest.raises(InputError) as caught:
        run(monkeypatch, max_unusable=0)
    question = "are its folders lily, rose the classes? Move them up by one level"
    assert str(caught.value) == f"data/raw/toy: only one class, 'My Photos 2024', expected at least two; {question}"
    assert not Path("data/index").exists()


def test_one_class_is_refused(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    classes_of(root, 10, "a")
    with pytest.raises(InputError, match=r"only one class, 'a', expected at least two$"):
        run(monkeypatch, max_unusable=0)


def test_every_odd_image_stays_in_the_index_with_its_status(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Odd images are used and damaged ones are listed with the reason: there is one row per file, whatever its content."""
    usable = odd.in_every_mode((48, 32)) | {
        "grey of 16 bits.png": odd.deep_grey(),
        "Hibiskus blüte 花.png": encoded(picture(0), "PNG"),
        "a PNG in truth.jpg": encoded(picture(1), "PNG"),
    }
    unusable = {
        "truncated.jpg": (odd.truncated(), "image file is truncated"),
        "zero bytes.png": (b"", "empty file"),
        "text in truth.jpg": (b"I am not an image.", "not an image but text"),
        "bomb.png": (odd.blank(30_000, 30_000), "Image size (900000000 pixels) exceeds limit of 178956970 pixels"),
    }
    (root / "odd").mkdir()
    for name, data in (usable | {name: data for name, (data, _) in unusable.items()}).items():
        (root / "odd" / name).write_bytes(data)
    classes_of(root, 5, "plain")
    run(monkeypatch, max_unusable=0.3, images=21)
    rows = index.read("toy").rows.query("class_name == 'odd'")
    status = {name.removeprefix("odd/"): status for name, status in zip(rows["image_id"], rows["status"], strict=True)}
    assert {name for name, what in status.items() if what == "ok"} == set(usable)
    assert set(status) == set(usable) | set(unusable)
    assert all(status[name].startswith(reason) for name, (_, reason) in unusable.items())
    printed = capsys.readouterr().out
    assert "21 images of 2 classes" in printed and "4 unusable" in printed
    assert all(f"data/raw/toy/odd/{name}: {status[name]}" in printed for name in unusable)
