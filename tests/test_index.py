"""Folders and manifests become an index."""

import hashlib
from collections import Counter
from pathlib import Path

import pandas as pd
import pytest

from clipstore.core.errors import InputError
from clipstore.data import index
from stages import index as stage
from stages.index import Index, make
from tests import odd
from tests.synthetic import encoded, picture, put, use

SETTINGS = Index(seed=0, val=0.2, test=0.3, max_unusable=0.1)


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = Path("data/raw/toy")
    path.mkdir(parents=True)
    return path


def put_all(root: Path, names: list[str]) -> None:
    for seed, name in enumerate(names):
        put(root / name, seed)


def classes_of(root: Path, count: int, *names: str) -> None:
    put_all(root, [f"{name}/{at}.png" for name in names for at in range(count)])


def manifest(root: Path, text: str, images: bool = True) -> None:
    (root / "manifest.csv").write_text(text)
    if images:
        put_all(root, [line.split(",")[0] for line in text.splitlines()[1:]])


def message(root: Path, settings: Index = SETTINGS) -> str:
    with pytest.raises(InputError) as caught:
        make("toy", root, settings)
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


def split_of(made: index.Index) -> dict[str, str]:
    return dict(zip(made.rows["image_id"], made.rows["split"], strict=True))


def label_of(made: index.Index) -> dict[str, int]:
    return dict(zip(made.rows["class_name"], made.rows["label"], strict=True))


def test_class_folders(root: Path) -> None:
    classes_of(root, 10, "10", "2", "1")
    made = make("toy", root, SETTINGS)
    assert made.classes == ["1", "2", "10"]
    assert made.notes == {"split": "stratified, seed 0", "other_files": 0}
    assert Counter(zip(made.rows["class_name"], made.rows["split"], strict=True)) == {
        (name, split): count for name in ("1", "2", "10") for split, count in (("train", 5), ("val", 2), ("test", 3))
    }
    first = made.rows.iloc[0].to_dict()
    data = (root / "1/0.png").read_bytes()
    facts = {"sha256": hashlib.sha256(data).hexdigest(), "width": 6, "height": 4, "status": "ok"}
    assert first == facts | {
        "image_id": "1/0.png",
        "path": "data/raw/toy/1/0.png",
        "label": 0,
        "class_name": "1",
        "split": first["split"],
    }


def test_rows_come_by_label_then_id(root: Path) -> None:
    classes_of(root, 12, "b", "a")
    made = make("toy", root, SETTINGS)
    assert made.rows["image_id"].tolist() == sorted(made.rows["image_id"])
    assert made.rows["label"].tolist() == [0] * 12 + [1] * 12


def test_folders_inside_class_folders_belong_to_the_class(root: Path) -> None:
    put_all(root, ["a/x/1.png", "a/y/2.png", "a/3.png", "b/1.png", "b/2.png", "b/3.png"])
    assert label_of(make("toy", root, SETTINGS)) == {"a": 0, "b": 1}


def test_class_folder_that_is_a_link_is_not_left_out(root: Path, tmp_path: Path) -> None:
    classes_of(root, 3, "a")
    classes_of(tmp_path / "elsewhere", 3, "b")
    (root / "b").symlink_to(tmp_path / "elsewhere/b", target_is_directory=True)
    assert make("toy", root, SETTINGS).classes == ["a", "b"]


def test_folder_of_all_images_may_be_a_link(root: Path, tmp_path: Path) -> None:
    classes_of(tmp_path / "photographs", 3, "a", "b")
    root.rmdir()
    root.symlink_to(tmp_path / "photographs", target_is_directory=True)
    made = make("toy", root, SETTINGS)
    assert made.classes == ["a", "b"]
    assert set(made.rows["status"]) == {"ok"}


def test_split_folders(root: Path) -> None:
    names = ["train/a/1.png", "train/b/1.png", "val/a/1.png", "val/b/1.png", "test/a/1.png", "test/b/2.png"]
    put_all(root, names)
    made = make("toy", root, SETTINGS)
    assert split_of(made) == {name: name.split("/")[0] for name in names}
    assert made.classes == ["a", "b"]
    assert made.notes["split"] == "given"


def test_split_folders_without_val_cut_it_from_train(root: Path) -> None:
    classes_of(root / "train", 10, "a", "b")
    classes_of(root / "test", 2, "a", "b")
    made = make("toy", root, SETTINGS)
    assert Counter(split_of(made).values()) == {"train": 16, "val": 4, "test": 4}
    assert {name for name, split in split_of(made).items() if split == "test"} == {
        f"test/{name}/{at}.png" for name in "ab" for at in (0, 1)
    }
    assert made.notes["split"] == "given; val cut from train, seed 0"


@pytest.mark.parametrize(("there", "absent"), [("train", "test"), ("test", "train")])
def test_split_folders_without_train_or_test(root: Path, there: str, absent: str) -> None:
    put_all(root, [f"{there}/a/1.png", "val/a/2.png"])
    assert message(root) == f"data/raw/toy: the given splits hold no {absent} images"


def test_class_named_like_a_split_is_a_class(root: Path) -> None:
    classes_of(root, 3, "test", "train")
    assert make("toy", root, SETTINGS).classes == ["test", "train"]


def test_manifest_of_paths_and_names(root: Path) -> None:
    manifest(root, "class_name,path\n" + "".join(f"n{n},{n}-{at}.png\n" for n in (10, 9) for at in range(3)), images=False)
    put_all(root, [f"{n}-{at}.png" for n in (10, 9) for at in range(3)] + ["not listed.png"])
    made = make("toy", root, SETTINGS)
    assert label_of(made) == {"n9": 0, "n10": 1}
    assert len(made.rows) == 6
    assert set(made.rows["status"]) == {"ok"}
    assert made.notes["split"] == "stratified, seed 0"


def test_values_of_a_manifest_stay_text(root: Path) -> None:
    manifest(root, "path,class_name,split\n" + "".join(f"{at}.png,{at:03},{split}\n" for at, split in enumerate(["train", "test"] * 2)))
    with pytest.raises(InputError, match="class '000' has 1 usable image"):
        make("toy", root, SETTINGS)
    manifest(root, "path,class_name,split\n1.png,NA,train\n2.png,NA,test\n3.png,007,val\n")
    assert make("toy", root, SETTINGS).classes == ["007", "NA"]


def test_manifest_with_a_byte_order_mark(root: Path) -> None:
    text = "path,class_name,split\n1.png,a,train\n2.png,a,val\n3.png,a,test\n"
    manifest(root, text)
    (root / "manifest.csv").write_text(text, encoding="utf-8-sig")
    assert make("toy", root, SETTINGS).classes == ["a"]


def test_manifest_in_parquet_reads_as_one_in_csv(root: Path) -> None:
    text = "path,class_name,split,label\n1.png,a,train,1\n2.png,a,test,1\n3.png,b,val,0\n"
    manifest(root, text)
    from_csv = make("toy", root, SETTINGS)
    (root / "manifest.csv").unlink()
    rows = [line.split(",") for line in text.splitlines()[1:]]
    table = pd.DataFrame(rows, columns=["path", "class_name", "split", "label"]).astype({"label": int})
    table.to_parquet(root / "manifest.parquet")
    from_parquet = make("toy", root, SETTINGS)
    assert from_parquet.rows.to_dict("list") == from_csv.rows.to_dict("list")
    assert from_parquet.digest == from_csv.digest


def test_labels_of_a_manifest_are_kept(root: Path) -> None:
    manifest(root, "path,class_name,label,split\n1.png,a,1,train\n2.png,b,0,test\n3.png,a,1,val\n")
    made = make("toy", root, SETTINGS)
    assert label_of(made) == {"a": 1, "b": 0}
    assert made.classes == ["b", "a"]


@pytest.mark.parametrize("labels", ["1 2 1", "0 2 0", "0 0 0", "0 1 1", "0 x 0", "-1 0 -1", "0.0 1.0 0.0"])
def test_labels_that_are_no_numbering_of_the_classes(root: Path, labels: str) -> None:
    one, two, three = labels.split(" ")
    manifest(root, f"path,class_name,label,split\n1.png,a,{one},train\n2.png,b,{two},test\n3.png,a,{three},val\n")
    assert message(root) == "data/raw/toy: the manifest's labels must be 0 .. classes - 1, one for each class_name"


@pytest.mark.parametrize("column", ["path", "class_name", "split", "label"])
def test_a_cell_that_is_empty_is_named(root: Path, column: str) -> None:
    cells = {"path": "2.png", "class_name": "b", "split": "test", "label": "1"} | {column: ""}
    manifest(root, f"path,class_name,split,label\n1.png,a,train,0\n{','.join(cells.values())}\n", images=False)
    assert message(root) == f"data/raw/toy/manifest.csv: row 2 has no {column}"


def test_given_splits_are_kept(root: Path) -> None:
    manifest(root, "path,class_name,split\n1.png,a,test\n2.png,a,train\n3.png,a,val\n4.png,b,test\n")
    made = make("toy", root, SETTINGS)
    assert split_of(made) == {"1.png": "test", "2.png": "train", "3.png": "val", "4.png": "test"}


def test_given_splits_without_val_cut_it_from_train(root: Path) -> None:
    lines = [f"{at}.png,a,{'test' if at < 5 else 'train'}\n" for at in range(15)]
    manifest(root, "path,class_name,split\n" + "".join(lines))
    made = make("toy", root, SETTINGS)
    assert Counter(split_of(made).values()) == {"train": 8, "val": 2, "test": 5}
    assert {name for name, split in split_of(made).items() if split == "test"} == {f"{at}.png" for at in range(5)}


def test_given_splits_without_test(root: Path) -> None:
    manifest(root, "path,class_name,split\n1.png,a,train\n2.png,a,val\n")
    assert message(root) == "data/raw/toy: the given splits hold no test images"


@pytest.mark.parametrize("split", ["valid", "Train", " test"])
def test_unknown_split(root: Path, split: str) -> None:
    manifest(root, f"path,class_name,split\n1.png,a,train\n2.png,a,{split}\n")
    assert message(root) == f"data/raw/toy: split {split!r}: expected train, val or test"


@pytest.mark.parametrize("path", ["../out.png", "a/../../out.png", "/etc/out.png"])
def test_path_that_leads_outside(root: Path, path: str) -> None:
    manifest(root, f"path,class_name\n1.png,a\n{path},a\n", images=False)
    assert message(root) == f"data/raw/toy/manifest.csv: path {path!r} leads out of data/raw/toy; paths are relative to it"


def test_path_that_is_listed_twice(root: Path) -> None:
    manifest(root, "path,class_name\n1.png,a\n2.png,a\n1.png,b\n")
    assert message(root) == "data/raw/toy/manifest.csv: path '1.png' is listed twice"


def test_missing_column(root: Path) -> None:
    manifest(root, "path,name\n1.png,a\n")
    assert message(root) == "data/raw/toy/manifest.csv: column class_name is missing; it has path, name"
    manifest(root, "file;name\n1.png;a\n", images=False)
    assert message(root) == "data/raw/toy/manifest.csv: column class_name and path is missing; it has file;name"


@pytest.mark.parametrize(("row", "column"), [(" ,a", "path"), ("2.png,", "class_name")])
def test_empty_cell(root: Path, row: str, column: str) -> None:
    manifest(root, f"path,class_name\n1.png,a\n{row}\n", images=False)
    assert message(root) == f"data/raw/toy/manifest.csv: row 2 has no {column}"


@pytest.mark.parametrize("column", ["path", "class_name"])
def test_null_in_a_parquet_manifest(root: Path, column: str) -> None:
    table = pd.DataFrame({"path": ["1.png", "2.png"], "class_name": ["a", "b"]})
    table[column] = ["x", None]
    table.to_parquet(root / "manifest.parquet")
    assert message(root) == f"data/raw/toy/manifest.parquet: row 2 has no {column}"


def test_empty_manifest(root: Path) -> None:
    manifest(root, "path,class_name\n")
    assert message(root) == "data/raw/toy/manifest.csv: no rows"


def test_manifest_without_a_byte(root: Path) -> None:
    manifest(root, "")
    assert message(root).startswith("data/raw/toy/manifest.csv: ")


def test_manifest_in_another_encoding(root: Path) -> None:
    (root / "manifest.csv").write_bytes("path,class_name\n1.png,Blüte\n".encode("latin-1"))
    assert message(root).startswith("data/raw/toy/manifest.csv: ")


def test_hidden_files_are_passed_over_and_others_counted(root: Path) -> None:
    classes_of(root, 3, "a", "b")
    put_all(root, [".thumbnails/1.png", "a/.hidden.png", "a/._0.png", ".git/x/1.png"])
    (root / "README.md").write_text("mine")
    (root / "a/notes.txt").write_text("mine")
    (root / ".DS_Store").write_text("")
    made = make("toy", root, SETTINGS)
    assert len(made.rows) == 6
    assert made.notes["other_files"] == 2


def test_suffix_counts_in_any_case(root: Path) -> None:
    put_all(root, ["a/1.PNG", "a/2.JpEg", "a/3.WEBP"])
    assert len(make("toy", root, SETTINGS).rows) == 3


def test_folder_without_images(root: Path) -> None:
    (root / "readme.txt").write_text("none yet")
    expected = "expected class folders of images, or a manifest.csv with the columns path and class_name"
    assert message(root) == f"data/raw/toy: no images; {expected}"


def test_image_outside_the_class_folders(root: Path) -> None:
    classes_of(root, 3, "a")
    put(root / "stray.png", 9)
    assert message(root).startswith("data/raw/toy: image stray.png lies in no class folder; expected class folders")


def test_class_with_too_few_images(root: Path) -> None:
    classes_of(root, 3, "many")
    classes_of(root, 2, "few")
    assert message(root) == ("data/raw/toy: class 'few' has 2 usable image(s), too few for a split: add some or leave it out")


def test_unreadable_image_stays_with_the_reason_and_takes_no_usable_ones_place(root: Path) -> None:
    classes_of(root, 5, "a")
    (root / "a/1.png").write_bytes(b"")
    (root / "a/2.png").write_text("text")
    made = make("toy", root, SETTINGS)
    assert made.rows["status"].tolist() == ["ok", "empty file", "not an image", "ok", "ok"]
    assert made.usable["image_id"].tolist() == ["a/0.png", "a/3.png", "a/4.png"]
    assert sorted(made.usable["split"]) == ["test", "train", "val"]


@pytest.mark.parametrize("names", [("train", "valid", "test"), ("Train", "Test")])
def test_split_folders_of_other_names_are_not_taken_for_classes(root: Path, names: tuple[str, ...]) -> None:
    for name in names:
        classes_of(root / name, 3, "a")
    assert message(root) == f"data/raw/toy: folders {', '.join(sorted(names))}: name split folders train, val and test"


def test_a_link_back_to_its_own_folder_ends(root: Path) -> None:
    classes_of(root, 3, "a")
    (root / "a/again").symlink_to(root.resolve())
    assert len(make("toy", root, SETTINGS).rows) == 3


def test_listed_image_that_is_not_there_stays_with_the_reason(root: Path) -> None:
    manifest(root, "path,class_name,split\n1.png,a,train\n2.png,a,test\n3.png,a,val\n")
    (root / "2.png").unlink()
    assert make("toy", root, SETTINGS).rows["status"].tolist() == ["ok", "No such file or directory", "ok"]


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
        "data/raw/toy: 2 of 10 images cannot be used (data/raw/toy/a/4.png: not an image), more than index.max_unusable = 0.19"
    )
    assert not Path("data/index").exists()


def test_as_many_unusable_images_as_allowed_pass_and_are_named(
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


def test_no_usable_image_fails_whatever_is_allowed(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    classes_of(root, 10, "a")
    for at in range(10):
        (root / f"a/{at}.png").write_text(f"text {at}")
    with pytest.raises(InputError, match="10 of 10 images cannot be used"):
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
    assert "warning: index toy: 2 val or test image(s) have the very bytes of a training image" in capsys.readouterr().out


def test_every_odd_image_stays_in_the_index_with_its_status(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Odd ones are used and damaged ones are kept with the reason: the number of rows is the number of files, whatever is in them."""
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
