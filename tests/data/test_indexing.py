"""Labels, splits and unusable images of an index."""

from collections import Counter
from pathlib import Path

import pytest

from clipstore.core.errors import InputError
from clipstore.data import indexing
from tests.image_folder import classes_of, label_of, make, manifest, message, put_all, split_of


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


def test_class_names_are_compared_in_composed_form_without_outer_blanks(root: Path) -> None:
    spellings = (("train", "Küchenschelle"), ("val", "Ku\u0308chenschelle"), ("test", " Ku\u0308chenschelle "))
    put_all(root, [f"{split}/{name}/{i}.png" for split, flower in spellings for name in (flower, "rose") for i in range(3)])
    index = make(root)
    assert index.classes == ["Küchenschelle", "rose"]
    assert index.notes["warnings"] == []


def test_names_that_differ_in_case_or_blanks_are_doubted(root: Path) -> None:
    classes_of(root, 3, "Blue tit", "blue  tit", "bluetit", "rose")
    (warning,) = make(root).notes["warnings"]
    assert warning.startswith("1 group of class names differ only in case, blanks or hyphens, and are separate classes: ")
    assert all(repr(name) in warning for name in ("Blue tit", "blue  tit", "bluetit")) and "rose" not in warning


def test_classes_that_train_lacks_are_doubted_with_counts(root: Path) -> None:
    manifest(root, "path,class_name,split\n1.png,a,train\n2.png,a,val\n3.png,a,test\n4.png,b,test\n5.png,b,test\n6.png,c,val\n")
    assert make(root).notes["warnings"] == [
        "1 class of val (1 image) not in train: c",
        "1 class of test (2 images) not in train: b",
    ]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("blue_tit", True),
        ("BlueTit", True),
        ("class_07", True),
        ("n01440764", True),
        ("042", True),
        ("blue tit", False),
        ("Blue Tit", False),
        ("7", False),
        ("McDonald's", True),
        ("blue-tit", False),
    ],
)
def test_identifiers(name: str, expected: bool) -> None:
    assert indexing.identifier(name) is expected


def test_class_names_of_the_entry_replace_those_of_the_folders(root: Path) -> None:
    classes_of(root, 3, "blue_tit", "rose")
    (warning,) = make(root).notes["warnings"]
    assert warning.startswith("1 of 2 class names look like identifiers, and zero-shot reads them as they are: blue_tit; class_names in")
    index = indexing.make("toy", root, 0.2, 0.3, 0, names={"blue_tit": "blue tit"})
    assert index.classes == ["blue tit", "rose"]
    assert index.notes["warnings"] == []
    with pytest.raises(
        InputError, match=r"^params.yaml: datasets.toy.class_names: 'tit': no such class; expected names of blue_tit, rose$"
    ):
        indexing.make("toy", root, 0.2, 0.3, 0, names={"tit": "blue tit"})


def test_copies_that_given_splits_leave_are_counted_against_train_and_val(root: Path) -> None:
    splits = ["train", "val", "test", "test", "val", "train"]
    manifest(root, "path,class_name,split\n" + "".join(f"{i}.png,{'ab'[i % 2]},{split}\n" for i, split in enumerate(splits)))
    for copy, original in (("2.png", "0.png"), ("3.png", "1.png"), ("4.png", "0.png")):
        (root / copy).write_bytes((root / original).read_bytes())
    assert make(root).notes["warnings"] == [
        "2 test images with the same bytes as an image of train or val",
        "1 val image with the same bytes as an image of train",
    ]


def test_pictures_in_two_classes_share_a_split_and_are_counted(root: Path) -> None:
    classes_of(root, 10, "a", "b")
    for i in range(4):
        (root / f"b/{i}.png").write_bytes((root / f"a/{i}.png").read_bytes())
    index = make(root)
    splits = split_of(index)
    assert all(splits[f"a/{i}.png"] == splits[f"b/{i}.png"] for i in range(4))
    assert index.notes["warnings"] == ["4 pictures in more than one class, byte for byte"]


def test_groups_that_given_splits_divide_are_counted(root: Path) -> None:
    rows = ["1.png,a,train,x", "2.png,a,val,", "3.png,a,test,x", "4.png,b,train,y", "5.png,b,train,y", "6.png,b,test,"]
    manifest(root, "path,class_name,split,group\n" + "\n".join(rows))
    assert make(root).notes["warnings"] == ["1 group in more than one of the given splits"]
