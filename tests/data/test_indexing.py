"""Labels, splits and unusable images of an index."""

from collections import Counter
from pathlib import Path

import pytest

from tests.image_folder import classes_of, label_of, make, manifest, message, split_of


def test_rows_are_sorted_by_label_then_id(root: Path) -> None:
    classes_of(root, 12, "b", "a")
    index = make(root)
    assert index.rows["image_id"].tolist() == sorted(index.rows["image_id"])
    assert index.rows["label"].tolist() == [0] * 12 + [1] * 12


def test_labels_of_a_manifest_are_kept(root: Path) -> None:
    manifest(root, "path,class_name,label,split\n1.png,a,1,train\n2.png,b,0,test\n3.png,a,1,val\n")
    index = make(root)
    assert label_of(index) == {"a": 1, "b": 0}
    assert index.classes == ["b", "a"]


@pytest.mark.parametrize("labels", ["1 2 1", "0 2 0", "0 0 0", "0 1 1", "0 x 0", "-1 0 -1", "0.0 1.0 0.0"])
def test_labels_that_do_not_number_the_classes(root: Path, labels: str) -> None:
    first, second, third = labels.split(" ")
    manifest(root, f"path,class_name,label,split\n1.png,a,{first},train\n2.png,b,{second},test\n3.png,a,{third},val\n")
    assert message(root) == "data/raw/toy: the manifest's labels must be 0 .. classes - 1, one per class_name"


def test_given_splits_are_kept(root: Path) -> None:
    manifest(root, "path,class_name,split\n1.png,a,test\n2.png,a,train\n3.png,a,val\n4.png,b,test\n")
    index = make(root)
    assert split_of(index) == {"1.png": "test", "2.png": "train", "3.png": "val", "4.png": "test"}


def test_given_splits_without_val_take_it_from_train(root: Path) -> None:
    lines = [f"{i}.png,a,{'test' if i < 5 else 'train'}\n" for i in range(15)]
    manifest(root, "path,class_name,split\n" + "".join(lines))
    index = make(root)
    assert Counter(split_of(index).values()) == {"train": 8, "val": 2, "test": 5}
    assert {name for name, split in split_of(index).items() if split == "test"} == {f"{i}.png" for i in range(5)}


def test_given_splits_without_test(root: Path) -> None:
    manifest(root, "path,class_name,split\n1.png,a,train\n2.png,a,val\n")
    assert message(root) == "data/raw/toy: the given splits contain no test images"


@pytest.mark.parametrize("split", ["valid", "Train", " test"])
def test_unknown_split(root: Path, split: str) -> None:
    manifest(root, f"path,class_name,split\n1.png,a,train\n2.png,a,{split}\n")
    assert message(root) == f"data/raw/toy: split {split!r}: expected train, val or test"


def test_class_with_too_few_images(root: Path) -> None:
    classes_of(root, 3, "many")
    classes_of(root, 2, "few")
    classes_of(root, 1, "fewer")
    expected = "expected at least 3, neither copies nor of one group: add images, or remove the class"
    assert message(root) == f"data/raw/toy: too few usable images to split in 2 classes: 'few' (2), 'fewer' (1); {expected}"


def test_unreadable_images_have_a_status_and_do_not_count_for_the_splits(root: Path) -> None:
    classes_of(root, 5, "a")
    (root / "a/1.png").write_bytes(b"")
    (root / "a/2.png").write_text("text")
    index = make(root)
    assert index.rows["status"].tolist() == ["ok", "empty file", "not an image but text", "ok", "ok"]
    assert index.usable["image_id"].tolist() == ["a/0.png", "a/3.png", "a/4.png"]
    assert sorted(index.usable["split"]) == ["test", "train", "val"]


def test_missing_listed_image_has_a_status(root: Path) -> None:
    manifest(root, "path,class_name,split\n1.png,a,train\n2.png,a,test\n3.png,a,val\n")
    (root / "2.png").unlink()
    assert make(root).rows["status"].tolist() == ["ok", "No such file or directory", "ok"]
