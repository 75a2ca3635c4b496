"""Images without a class: where they may lie, which classes there are, and which splits the labelled ones get."""

import hashlib
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import pandas as pd
import pytest

from clipstore.core.errors import InputError
from clipstore.data import index, indexing, labels
from tests.image_folder import classes_of, manifest, put_all


def make(root: Path, names: Mapping[str, str] | tuple[str, ...] = (), *given: tuple[str, str, str]) -> index.Index:
    """Return the index, with labels given to images: image_id, class name, purpose."""
    records = [(hashlib.sha256((root / name).read_bytes()).hexdigest(), label, purpose, "me", 1) for name, label, purpose in given]
    table = pd.DataFrame(records, columns=list(labels.COLUMNS))
    return indexing.make("toy", root, 0.2, 0.3, 0, names=names, given=table)


def splits(made: index.Index) -> dict[str, str]:
    return dict(zip(made.rows["image_id"], made.rows["split"], strict=True))


@pytest.mark.parametrize("folder", ["unlabelled", "unlabeled", "Unlabelled", "_unlabeled"])
def test_a_folder_unlabelled_beside_class_folders(root: Path, folder: str) -> None:
    classes_of(root, 10, "a", "b")
    put_all(root, [f"{folder}/{i}.png" for i in range(4)] + [f"{folder}/2024/5.png"])
    made = make(root)
    assert made.classes == ["a", "b"]
    assert Counter(splits(made).values()) == {"train": 10, "val": 4, "test": 6, "unlabelled": 5}
    last = made.rows.tail(5)
    assert set(last["split"]) == {"unlabelled"}
    assert set(last["label"]) == {-1}
    assert set(last["class_name"]) == {""}


def test_the_file_has_nulls_and_the_memory_has_none(root: Path) -> None:
    classes_of(root, 3, "a", "b")
    put_all(root, ["unlabelled/1.png"])
    made = make(root)
    index.write(made)
    stored = pd.read_parquet("data/index/toy.parquet")
    assert stored.loc[stored["split"] == "unlabelled", ["label", "class_name"]].isna().all(axis=None)
    restored = index.read("toy")
    assert restored.digest == made.digest
    assert restored.rows.to_dict("list") == made.rows.to_dict("list")


@pytest.mark.parametrize(
    "places", [["1.png", "2.png"], ["2024/05/1.png", "2025/2.png"], ["unlabelled/1.png", "2.png"], ["unlabelled/1.png"]]
)
def test_no_image_has_a_class(root: Path, places: list[str]) -> None:
    put_all(root, places)
    made = make(root, ("lily", "rose", "aster"))
    assert made.classes == ["lily", "rose", "aster"]
    assert set(made.rows["split"]) == {"unlabelled"}


def test_folders_of_other_names_are_reported(root: Path) -> None:
    put_all(root, ["2024/05/1.png", "2025/2.png"])
    assert make(root, ("lily", "rose")).notes["warnings"] == ["no folder is named like a class (2024, 2025), so 2 images have no class"]


def test_a_folder_spelt_differently_from_its_class(root: Path) -> None:
    classes_of(root, 3, "blue_tit", "wren")
    expected = "the folder 'blue_tit' is spelt differently from the class 'Blue tit' of class_names; spell them alike, or use a map"
    with pytest.raises(InputError, match=expected):
        make(root, ("Blue tit", "Wren"))


def test_the_list_has_to_name_every_class_folder(root: Path) -> None:
    classes_of(root, 3, "a", "b", "c")
    expected = r"^params.yaml: datasets.toy.class_names: the list lacks 'b', 'c', classes of images; expected all classes$"
    with pytest.raises(InputError, match=expected):
        make(root, ("a", "x"))


def test_the_list_gives_the_order_and_classes_without_images(root: Path) -> None:
    classes_of(root, 3, "a", "b")
    put_all(root, ["unlabelled/1.png"])
    made = make(root, ("c", "b", "a"))
    assert made.classes == ["c", "b", "a"]
    assert set(made.rows.loc[made.rows["class_name"] == "a", "label"]) == {2}


def test_a_map_names_classes_for_images_without_one(root: Path) -> None:
    put_all(root, ["unlabelled/1.png"])
    assert make(root, {"blue_tit": "blue tit", "wren": "wren"}).classes == ["blue tit", "wren"]


def test_neither_labels_nor_class_names(root: Path) -> None:
    put_all(root, ["unlabelled/1.png"])
    expected = r"^data/raw/toy: no image has a class, and the data set's entry in params.yaml names none; expected class_names: \[first"
    with pytest.raises(InputError, match=expected):
        make(root)


def test_images_beside_class_folders_are_refused(root: Path) -> None:
    classes_of(root, 3, "a", "b")
    put_all(root, ["1.png"])
    with pytest.raises(InputError, match=r"1 image outside the class folders \(1.png\); expected class folders, a folder unlabelled/"):
        make(root, ("a", "b"))


def test_unlabelled_beside_split_folders(root: Path) -> None:
    put_all(root, ["train/a/1.png", "train/b/2.png", "test/a/3.png", "test/b/4.png", "unlabelled/5.png", "train/unlabelled/6.png"])
    made = splits(make(root))
    assert [made[f"{name}.png"] for name in ("train/a/1", "test/b/4", "unlabelled/5", "train/unlabelled/6")] == [
        "train",
        "test",
        "unlabelled",
        "unlabelled",
    ]


def test_a_class_named_like_the_label_of_no_class(root: Path) -> None:
    classes_of(root, 3, "a", "None of these")
    with pytest.raises(InputError, match="a class is named 'none of these', the label of images that show no class"):
        make(root)


def test_few_labels_are_all_train(root: Path) -> None:
    put_all(root, [f"{i}.png" for i in range(9)])
    made = make(root, ("a", "b"), ("0.png", "a", "train"), ("1.png", "a", "train"), ("2.png", "b", "train"))
    assert Counter(splits(made).values()) == {"train": 3, "unlabelled": 6}
    assert set(made.rows.loc[made.rows["split"] == "train", "purpose"]) == {"train"}


def test_val_is_cut_where_every_labelled_class_has_three(root: Path) -> None:
    put_all(root, [f"{i}.png" for i in range(12)])
    given = [(f"{i}.png", "ab"[i % 2], "train") for i in range(6)]
    assert Counter(splits(make(root, ("a", "b", "c"), *given)).values()) == {"train": 4, "val": 2, "unlabelled": 6}


def test_labels_drawn_at_random_are_test_and_no_others(root: Path) -> None:
    put_all(root, [f"{i}.png" for i in range(20)])
    chosen = [(f"{i}.png", "ab"[i % 2], "train") for i in range(6)]
    drawn = [("10.png", "a", "test"), ("11.png", "none of these", "test"), ("12.png", "", "test"), ("13.png", "none of these", "train")]
    made = make(root, ("a", "b"), *chosen, *drawn)
    assert [image for image, split in splits(made).items() if split == "test"] == ["10.png"]
    purpose = dict(zip(made.rows["image_id"], made.rows["purpose"], strict=True))
    assert [purpose[f"{i}.png"] for i in (0, 10, 11, 12, 13, 14)] == ["train", "test", "test", "drawn", "train", ""]
    assert {splits(made)[f"{i}.png"] for i in (11, 12, 13)} == {"unlabelled"}


def test_class_folders_give_test_images_until_labels_are_drawn_at_random(root: Path) -> None:
    put_all(root, [f"{name}/{i}.png" for name in ("a", "b") for i in range(10)] + [f"unlabelled/{i}.png" for i in range(100, 110)])
    chosen = ("unlabelled/100.png", "a", "train")
    made = splits(make(root, (), chosen))
    assert Counter(made.values()) == {"train": 11, "val": 4, "test": 6, "unlabelled": 9}
    assert made["unlabelled/100.png"] == "train"
    made = splits(make(root, (), chosen, ("unlabelled/101.png", "b", "test")))
    assert [image for image, split in made.items() if split == "test"] == ["unlabelled/101.png"]


def test_given_splits_stay(root: Path) -> None:
    rows = "1.png,a,train\n2.png,b,test\n3.png,b,train\n4.png,,\n5.png,,\n"
    manifest(root, f"path,class_name,split\n{rows}")
    made = splits(make(root, (), ("4.png", "a", "train"), ("5.png", "b", "test")))
    assert made == {"1.png": "train", "2.png": "test", "3.png": "train", "4.png": "train", "5.png": "test"}


def test_copies_of_a_labelled_image_get_its_label(root: Path) -> None:
    put_all(root, ["1.png", "2.png"])
    (root / "copy.png").write_bytes((root / "1.png").read_bytes())
    assert splits(make(root, ("a", "b"), ("1.png", "a", "train"))) == {"1.png": "train", "copy.png": "train", "2.png": "unlabelled"}


def test_a_label_contrary_to_the_folder(root: Path) -> None:
    classes_of(root, 3, "a", "b")
    expected = "1 label contrary to the folder or manifest, first a/0.png: 'b' instead of 'a'; remove the label, or move the image"
    with pytest.raises(InputError, match=expected):
        make(root, (), ("a/0.png", "b", "train"))


def test_a_label_that_is_no_class(root: Path) -> None:
    put_all(root, ["1.png"])
    with pytest.raises(InputError, match=r"^data/labels/toy.csv: 'x': no such class; expected a, b$"):
        make(root, ("a", "b"), ("1.png", "x", "train"))


def test_labels_of_images_that_are_gone(root: Path) -> None:
    put_all(root, ["1.png", "2.png", "3.png"])
    table = pd.DataFrame([("0" * 64, "a", "train", "me", 1)], columns=list(labels.COLUMNS))
    with pytest.raises(InputError, match="none of its 1 images is in data/raw/toy; are they labels of another data set"):
        indexing.make("toy", root, 0.2, 0.3, 0, names=("a", "b"), given=table)
    here = hashlib.sha256((root / "1.png").read_bytes()).hexdigest()
    table = pd.concat([table, pd.DataFrame([(here, "b", "train", "me", 1)], columns=list(labels.COLUMNS))])
    made = indexing.make("toy", root, 0.2, 0.3, 0, names=("a", "b"), given=table)
    assert made.notes["warnings"] == ["1 label in data/labels/toy.csv of images that are gone or have changed"]
