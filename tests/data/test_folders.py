"""Indexing folders of images."""

import hashlib
from collections import Counter
from pathlib import Path

import pytest

from tests.image_folder import classes_of, label_of, make, message, put_all, split_of
from tests.synthetic import put


def test_class_folders(root: Path) -> None:
    classes_of(root, 10, "10", "2", "1")
    index = make(root)
    assert index.classes == ["1", "2", "10"]
    empty: dict[str, int] = {}
    counts = {"classes": ["1", "2", "10"], "turned": 0, "grey_bits": empty, "other_files": empty, "passed_over": empty}
    (warning,) = index.notes["warnings"]
    assert warning.startswith("1 of 3 class names look like identifiers, and zero-shot reads them as they are: 10; class_names in")
    assert index.notes == counts | {"split": "stratified, seed 0", "exif": "ignore", "warnings": [warning]}
    assert Counter(zip(index.rows["class_name"], index.rows["split"], strict=True)) == {
        (name, split): count for name in ("1", "2", "10") for split, count in (("train", 5), ("val", 2), ("test", 3))
    }
    first = index.rows.iloc[0].to_dict()
    data = (root / "1/0.png").read_bytes()
    facts = {"sha256": hashlib.sha256(data).hexdigest(), "width": 6, "height": 4, "status": "ok"}
    assert first == facts | {
        "image_id": "1/0.png",
        "path": "data/raw/toy/1/0.png",
        "label": 0,
        "class_name": "1",
        "split": first["split"],
        "purpose": "",
    }


def test_folders_inside_class_folders_belong_to_the_class(root: Path) -> None:
    put_all(root, ["a/x/1.png", "a/y/2.png", "a/3.png", "b/1.png", "b/2.png", "b/3.png"])
    assert label_of(make(root)) == {"a": 0, "b": 1}


def test_class_folder_may_be_a_link(root: Path, tmp_path: Path) -> None:
    classes_of(root, 3, "a")
    classes_of(tmp_path / "elsewhere", 3, "b")
    (root / "b").symlink_to(tmp_path / "elsewhere/b", target_is_directory=True)
    assert make(root).classes == ["a", "b"]


def test_root_folder_may_be_a_link(root: Path, tmp_path: Path) -> None:
    classes_of(tmp_path / "photographs", 3, "a", "b")
    root.rmdir()
    root.symlink_to(tmp_path / "photographs", target_is_directory=True)
    index = make(root)
    assert index.classes == ["a", "b"]
    assert set(index.rows["status"]) == {"ok"}


def test_split_folders(root: Path) -> None:
    names = ["train/a/1.png", "train/b/1.png", "val/a/1.png", "val/b/1.png", "test/a/1.png", "test/b/2.png"]
    put_all(root, names)
    index = make(root)
    assert split_of(index) == {name: name.split("/")[0] for name in names}
    assert index.classes == ["a", "b"]
    assert index.notes["split"] == "given"


def test_split_folders_without_val_take_it_from_train(root: Path) -> None:
    classes_of(root / "train", 10, "a", "b")
    classes_of(root / "test", 2, "a", "b")
    index = make(root)
    assert Counter(split_of(index).values()) == {"train": 16, "val": 4, "test": 4}
    assert {name for name, split in split_of(index).items() if split == "test"} == {
        f"test/{name}/{at}.png" for name in "ab" for at in (0, 1)
    }
    assert index.notes["split"] == "given; val cut from train, seed 0"


@pytest.mark.parametrize(("present", "absent"), [("train", "test"), ("test", "train")])
def test_split_folders_without_train_or_test(root: Path, present: str, absent: str) -> None:
    put_all(root, [f"{present}/a/1.png", "val/a/2.png"])
    assert message(root) == f"data/raw/toy: the given splits contain no {absent} images"


def test_hidden_files_are_ignored_and_other_files_counted(root: Path) -> None:
    classes_of(root, 3, "a", "b")
    put_all(root, [".thumbnails/1.png", "a/.mine/1.png", "a/.hidden.png", "a/._0.png", ".git/x/1.png"])
    (root / "README.md").write_text("mine")
    (root / "a/notes.txt").write_text("mine")
    (root / ".DS_Store").write_text("")
    index = make(root)
    assert len(index.rows) == 6
    assert index.notes["other_files"] == {".md": 1, ".txt": 1}
    assert index.notes["passed_over"] == {".thumbnails": 1, ".git": 1, "hidden": 4}


def test_suffixes_are_recognised_in_any_case(root: Path) -> None:
    put_all(root, ["a/1.PNG", "a/2.JpEg", "a/3.WEBP"])
    assert len(make(root).rows) == 3


def test_folder_without_images(root: Path) -> None:
    (root / "readme.txt").write_text("none yet")
    expected = (
        "expected class folders, a folder unlabelled/ for images without a class, or a manifest.csv with the columns path and class_name"
    )
    assert message(root).startswith(f"data/raw/toy: no images, but 1 .txt; {expected}. Images have the suffixes .apng .avif .bmp ")


def test_image_outside_the_class_folders(root: Path) -> None:
    classes_of(root, 3, "a")
    put(root / "stray.png", 9)
    assert message(root).startswith("data/raw/toy: 1 image outside the class folders (stray.png); expected class folders")


def test_a_link_to_its_parent_does_not_loop(root: Path) -> None:
    classes_of(root, 3, "a")
    (root / "a/again").symlink_to(root.resolve())
    assert len(make(root).rows) == 3


def test_a_stray_image_in_a_split_folder_does_not_turn_the_splits_into_classes(root: Path) -> None:
    for split in ("train", "val", "test"):
        classes_of(root / split, 3, "rose", "lily")
    put(root / "train/contact sheet.png", 9)
    assert message(root).startswith("data/raw/toy: 1 image outside the class folders (train/contact sheet.png); expected class folders")


def test_class_folders_beside_split_folders_are_named(root: Path) -> None:
    for split in ("train", "test"):
        classes_of(root / split, 3, "rose", "lily")
    classes_of(root, 3, "tulip")
    assert message(root).startswith(
        "data/raw/toy: tulip beside test, train: where names of splits occur, expected nothing but train, val, test"
    )


@pytest.mark.parametrize("names", [("train", "valid", "test"), ("Train", "Validation", "Testing")])
def test_usual_names_of_splits_are_understood(root: Path, names: tuple[str, ...]) -> None:
    for name in names:
        classes_of(root / name, 3, "a", "b")
    expected = dict(zip(names, ("train", "val", "test"), strict=True))
    assert {image.split("/")[0]: split for image, split in split_of(make(root)).items()} == expected


@pytest.mark.parametrize("name", ["tulip", "_tulip", "@tulip", "#tulip", "None"])
def test_a_class_folder_without_images_is_an_error_that_names_it(root: Path, name: str) -> None:
    classes_of(root, 3, "a", "b")
    (root / name).mkdir()
    (root / name / "1.cr2").write_bytes(b"raw")
    (root / name / "2.CR2").write_bytes(b"raw")
    assert message(root).startswith(f"data/raw/toy: no image in 1 class folder: {name} (2 .cr2); add images, or remove the folder")


def test_a_hidden_class_folder_is_an_error(root: Path) -> None:
    classes_of(root, 3, "a", "b", ".c")
    assert message(root).startswith("data/raw/toy: no image in 1 class folder: .c (hidden, since its name begins with a dot)")


def test_an_empty_class_folder_of_a_split_is_named(root: Path) -> None:
    for split in ("train", "test"):
        classes_of(root / split, 3, "a", "b")
    (root / "train/c").mkdir()
    assert message(root).startswith("data/raw/toy: no image in 1 class folder: train/c (no file)")


def test_folders_named_like_splits_below_class_folders_are_doubted(root: Path) -> None:
    put_all(root, [f"{name}/{split}/{i}.png" for name in "ab" for split in ("train", "test") for i in range(3)])
    assert make(root).notes["warnings"] == ["12 images in folders test, train below class folders, which are not taken as splits"]


def test_class_folders_that_contain_the_same_folders_are_doubted(root: Path) -> None:
    put_all(root, [f"{year}/{name}/{i}.png" for year in ("2023 spring", "2024 spring") for name in ("lily", "rose") for i in range(3)])
    (warning,) = make(root).notes["warnings"]
    assert warning.startswith("the class folders 2023 spring, 2024 spring contain folders of the same names (lily, rose)")
