"""The stage writes the index, or fails with an error of one line."""

from pathlib import Path

import pytest

from clipstore.core.errors import InputError
from clipstore.data import index
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
    return path


def run(monkeypatch: pytest.MonkeyPatch, max_unusable: float, images: int = 10) -> None:
    use(monkeypatch, {"index": SETTINGS.model_dump() | {"max_unusable": max_unusable}, "datasets": {"toy": {"kind": "folder"}}})
    assert stage.main("toy") == {"images": images}


def test_too_many_unusable_images_fail_and_nothing_is_written(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    classes_of(root, 10, "a")
    (root / "a/4.png").write_text("text")
    (root / "a/7.png").write_bytes(b"")
    with pytest.raises(InputError) as caught:
        run(monkeypatch, max_unusable=0.19)
    assert str(caught.value) == (
        "data/raw/toy: 2 of 10 images are unusable (data/raw/toy/a/4.png: not an image), more than index.max_unusable = 0.19"
    )
    assert not Path("data/index").exists()


def test_unusable_images_up_to_the_limit_pass_and_are_named(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    classes_of(root, 10, "a")
    (root / "a/4.png").write_text("text")
    (root / "a/notes.txt").write_text("mine")
    run(monkeypatch, max_unusable=0.1)
    printed = capsys.readouterr().out.splitlines()
    assert "data/raw/toy/a/4.png: not an image" in printed
    (counted,) = [line for line in printed if line.startswith("index toy: 10 images of 1 classes")]
    assert "1 unusable" in counted
    assert "train 5, val 2, test 3" in counted
    assert (index.read("toy").rows["status"] == "ok").sum() == 9


def test_no_usable_image_is_an_error_whatever_the_limit(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    classes_of(root, 10, "a")
    for at in range(10):
        (root / f"a/{at}.png").write_text(f"text {at}")
    with pytest.raises(InputError, match="10 of 10 images are unusable"):
        run(monkeypatch, max_unusable=1)


def test_second_run_writes_the_same_bytes(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    classes_of(root, 10, "a")
    run(monkeypatch, max_unusable=0)
    first = Path("data/index/toy.parquet").read_bytes()
    run(monkeypatch, max_unusable=0)
    assert Path("data/index/toy.parquet").read_bytes() == first


def test_test_images_that_are_in_train_are_counted(root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    manifest(root, "path,class_name,split\n1.png,a,train\n2.png,a,val\n3.png,b,test\n4.png,b,test\n")
    for copy in ("3.png", "4.png"):
        (root / copy).write_bytes((root / "1.png").read_bytes())
    run(monkeypatch, max_unusable=0, images=4)
    assert "warning: index toy: 2 val or test image(s) are byte-identical to a training image" in capsys.readouterr().out


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
        "text in truth.jpg": (b"I am not an image.", "not an image"),
        "bomb.png": (odd.blank(30_000, 30_000), "Image size (900000000 pixels) exceeds limit of 178956970 pixels"),
    }
    (root / "odd").mkdir()
    for name, data in (usable | {name: data for name, (data, _) in unusable.items()}).items():
        (root / "odd" / name).write_bytes(data)
    run(monkeypatch, max_unusable=0.3, images=16)
    rows = index.read("toy").rows
    status = {name.removeprefix("odd/"): status for name, status in zip(rows["image_id"], rows["status"], strict=True)}
    assert {name for name, what in status.items() if what == "ok"} == set(usable)
    assert set(status) == set(usable) | set(unusable)
    assert all(status[name].startswith(reason) for name, (_, reason) in unusable.items())
    printed = capsys.readouterr().out
    assert "16 images of 1 classes" in printed and "4 unusable" in printed
    assert all(f"data/raw/toy/odd/{name}: {status[name]}" in printed for name in unusable)
