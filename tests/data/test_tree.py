"""Walking a data set's folder: what is listed, passed over and refused, and which names are splits."""

import os
from pathlib import Path

import pytest

from clipstore.core.errors import InputError
from clipstore.data.tree import given_splits, listed, split_of, walk


def put(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)


def refusal(root: Path) -> str:
    with pytest.raises(InputError) as caught:
        walk(root)
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


@pytest.mark.parametrize(
    "folder",
    [
        "@eaDir",
        "#recycle",
        "@Recycle",
        ".@__thumb",
        "$RECYCLE.BIN",
        "System Volume Information",
        "lost+found",
        "__MACOSX",
        ".AppleDouble",
        ".Spotlight-V100",
        ".Trash-1000",
        ".ipynb_checkpoints",
        "__pycache__",
        ".git",
    ],
)
def test_system_folders_are_passed_over_at_any_depth_and_their_files_counted(tmp_path: Path, folder: str) -> None:
    put(tmp_path, "rose/1.jpg", f"rose/{folder}/1.jpg/thumb.jpg", f"{folder}/2.jpg", f"{folder}/3.jpg")
    tree = walk(tmp_path)
    assert tree.files == [Path("rose/1.jpg")]
    assert tree.folders == [Path("rose")]
    assert tree.passed_over == {folder: 3}


def test_hidden_files_and_folders_are_passed_over_and_counted(tmp_path: Path) -> None:
    put(tmp_path, "a/1.jpg", "a/._1.jpg", "a/.mine/2.jpg", ".DS_Store")
    tree = walk(tmp_path)
    assert tree.files == [Path("a/1.jpg")]
    assert tree.hidden == [Path("a/.mine")]
    assert tree.passed_over == {"hidden": 3}


def test_a_broken_link_is_named_with_its_target(tmp_path: Path) -> None:
    put(tmp_path, "rose/1.jpg")
    (tmp_path / "rose/gone.jpg").symlink_to("nowhere.jpg")
    assert refusal(tmp_path).startswith(f"{tmp_path}/rose/gone.jpg: broken link to nowhere.jpg; ")


def test_a_broken_link_to_a_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "rose").symlink_to("elsewhere", target_is_directory=True)
    assert refusal(tmp_path).startswith(f"{tmp_path}/rose: broken link to elsewhere; ")


@pytest.mark.parametrize(("link", "target"), [("test/a/1.jpg", "../../train/a/1.jpg"), ("test/b", "../train/a"), ("test", "train")])
def test_a_link_from_one_split_to_another_is_refused(tmp_path: Path, link: str, target: str) -> None:
    put(tmp_path, "train/a/1.jpg", "val/a/1.jpg")
    (tmp_path / link).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / link).symlink_to(target)
    assert refusal(tmp_path).startswith(f"{tmp_path}/{link}: a link from the split test to train")


def test_links_out_of_the_folder_are_followed_and_within_it_listed_once(tmp_path: Path) -> None:
    put(tmp_path / "photos", "1.jpg")
    put(tmp_path / "root", "a/1.jpg")
    (tmp_path / "root/b").symlink_to(tmp_path / "photos", target_is_directory=True)
    (tmp_path / "root/a/again").symlink_to(tmp_path / "root", target_is_directory=True)
    tree = walk(tmp_path / "root")
    assert tree.files == [Path("a/1.jpg"), Path("b/1.jpg")]
    assert tree.passed_over == {"repeated links": 1}


def test_a_name_that_is_not_utf8_is_named(tmp_path: Path) -> None:
    put(tmp_path, "rose/1.jpg")
    (tmp_path / "rose/1.jpg").rename(os.fsdecode(os.fsencode(tmp_path / "rose") + b"/bl\xfcte.jpg"))
    assert refusal(tmp_path) == f"{tmp_path}/rose: the file name 'bl\\\\xfcte.jpg' is not UTF-8; rename it"


@pytest.mark.parametrize("name", ["two\nlines", "tab\there", "line\u2028separator"])
def test_a_name_with_a_control_character_is_refused(tmp_path: Path, name: str) -> None:
    put(tmp_path, f"{name}/1.jpg")
    assert refusal(tmp_path) == f"{tmp_path}: the file name {name!r} contains control characters; rename it"


@pytest.mark.parametrize("name", ["Screenshot 10.12\u202fAM.jpg", "a\xa0b.jpg", "\u3000.jpg", "👩\u200d🌾.jpg", "soft\xadhyphen.jpg"])
def test_unusual_blanks_and_joiners_are_allowed(tmp_path: Path, name: str) -> None:
    put(tmp_path, f"rose/{name}")
    assert walk(tmp_path).files == [Path("rose") / name]


def test_another_dvc_repository_is_refused(tmp_path: Path) -> None:
    put(tmp_path, "photos/rose/1.jpg", "photos/.dvc/config")
    assert refusal(tmp_path).startswith(f"{tmp_path}/photos: is another DVC repository")
    put(tmp_path / "other", "rose/1.jpg", ".dvcignore")
    assert refusal(tmp_path / "other").startswith(f"{tmp_path}/other/.dvcignore: DVC refuses")


@pytest.mark.skipif(os.getuid() == 0, reason="root reads everything")
def test_a_folder_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    put(tmp_path, "rose/1.jpg")
    (tmp_path / "rose").chmod(0)
    assert refusal(tmp_path).startswith(f"{tmp_path}/rose: Permission denied")


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("train", "train"),
        ("Training", "train"),
        ("valid", "val"),
        ("validation", "val"),
        ("dev", "val"),
        ("TEST", "test"),
        ("train-00000-of-00001", "train"),
        ("validation-00001-of-00002-0a1b2c", "val"),
        ("trainers", None),
        ("latest", None),
        ("rose", None),
    ],
)
def test_names_of_splits(name: str, split: str | None) -> None:
    assert split_of(name) == split


@pytest.mark.parametrize("other", ["rose/1.jpg", "contact sheet.jpg", "annotations/list.txt"])
def test_whatever_is_beside_splits_is_named(tmp_path: Path, other: str) -> None:
    put(tmp_path, "train/a/1.jpg", "test/a/1.jpg", other)
    tree = walk(tmp_path)
    with pytest.raises(InputError) as caught:
        given_splits(tree, [path for path in tree.files if path.suffix == ".jpg"])
    assert str(caught.value).startswith(f"{tmp_path}: {other.split('/')[0]} beside test, train: where names of splits occur")


def test_two_names_of_one_split_are_refused_but_not_two_shards(tmp_path: Path) -> None:
    put(tmp_path, "train/1.txt", "val/1.txt", "valid/1.txt")
    tree = walk(tmp_path)
    with pytest.raises(InputError, match="val, valid all stand for the split val; expected one of them"):
        given_splits(tree, tree.files)
    put(tmp_path / "shards", "train-00000-of-00002.txt", "train-00001-of-00002.txt")
    tree = walk(tmp_path / "shards")
    assert set(given_splits(tree, tree.files).values()) == {"train"}


def test_long_lists_are_shortened() -> None:
    assert listed("abc") == "a, b, c"
    assert listed("abcdefg") == "a, b, c, d, e and 2 more"
