"""Indexing manifests."""

from pathlib import Path

import pandas as pd
import pytest

from clipstore.core.errors import InputError
from tests.image_folder import label_of, make, manifest, message, put_all, split_of


def test_manifest_with_paths_and_class_names(root: Path) -> None:
    manifest(root, "class_name,path\n" + "".join(f"n{n},{n}-{i}.png\n" for n in (10, 9) for i in range(3)), images=False)
    put_all(root, [f"{n}-{i}.png" for n in (10, 9) for i in range(3)] + ["not listed.png"])
    index = make(root)
    assert label_of(index) == {"n9": 0, "n10": 1}
    assert len(index.rows) == 6
    assert set(index.rows["status"]) == {"ok"}
    assert index.notes["split"] == "stratified, seed 0"


def test_values_of_a_manifest_are_read_as_text(root: Path) -> None:
    manifest(root, "path,class_name,split\n" + "".join(f"{i}.png,{i:03},{split}\n" for i, split in enumerate(["train", "test"] * 2)))
    with pytest.raises(InputError, match=r"too few usable images to split in 2 classes: '000' \(1\), '002' \(1\)"):
        make(root)
    manifest(root, "path,class_name,split\n1.png,NA,train\n2.png,NA,test\n3.png,007,val\n")
    assert make(root).classes == ["007", "NA"]


def test_manifest_with_a_byte_order_mark(root: Path) -> None:
    text = "path,class_name,split\n1.png,a,train\n2.png,a,val\n3.png,a,test\n"
    manifest(root, text)
    (root / "manifest.csv").write_text(text, encoding="utf-8-sig")
    assert make(root).classes == ["a"]


def test_parquet_and_csv_manifests_give_the_same_index(root: Path) -> None:
    text = "path,class_name,split,label\n1.png,a,train,1\n2.png,a,test,1\n3.png,b,val,0\n"
    manifest(root, text)
    from_csv = make(root)
    (root / "manifest.csv").unlink()
    rows = [line.split(",") for line in text.splitlines()[1:]]
    table = pd.DataFrame(rows, columns=["path", "class_name", "split", "label"]).astype({"label": int})
    table.to_parquet(root / "manifest.parquet")
    from_parquet = make(root)
    assert from_parquet.rows.to_dict("list") == from_csv.rows.to_dict("list")
    assert from_parquet.digest == from_csv.digest


@pytest.mark.parametrize("column", ["path", "split", "label"])
def test_an_empty_cell_is_reported(root: Path, column: str) -> None:
    cells = {"path": "2.png", "class_name": "b", "split": "test", "label": "1"} | {column: ""}
    manifest(root, f"path,class_name,split,label\n1.png,a,train,0\n{','.join(cells.values())}\n", images=False)
    assert message(root) == f"data/raw/toy/manifest.csv: row 2 has no {column}"


@pytest.mark.parametrize("path", ["../out.png", "a/../../out.png", "/etc/out.png"])
def test_path_outside_the_folder(root: Path, path: str) -> None:
    manifest(root, f"path,class_name\n1.png,a\n{path},a\n", images=False)
    assert message(root) == f"data/raw/toy/manifest.csv: path {path!r} is outside data/raw/toy; expected a path relative to that folder"


def test_path_that_is_listed_twice(root: Path) -> None:
    manifest(root, "path,class_name\n1.png,a\n2.png,a\n1.png,b\n")
    assert message(root) == "data/raw/toy/manifest.csv: path '1.png' is listed twice"


def test_missing_column(root: Path) -> None:
    manifest(root, "path,name\n1.png,a\n")
    assert message(root) == "data/raw/toy/manifest.csv: column class_name is missing; the columns are path, name"
    manifest(root, "file;name\n1.png;a\n", images=False)
    expected = "column class_name and path is missing; the columns are file;name; expected commas between the columns"
    assert message(root) == f"data/raw/toy/manifest.csv: {expected}"


def test_blank_path(root: Path) -> None:
    manifest(root, "path,class_name\n1.png,a\n ,a\n", images=False)
    assert message(root) == "data/raw/toy/manifest.csv: row 2 has no path"


def test_null_path_in_a_parquet_manifest(root: Path) -> None:
    pd.DataFrame({"path": ["1.png", None], "class_name": ["a", "b"]}).to_parquet(root / "manifest.parquet")
    assert message(root) == "data/raw/toy/manifest.parquet: row 2 has no path"


def test_empty_manifest(root: Path) -> None:
    manifest(root, "path,class_name\n")
    assert message(root) == "data/raw/toy/manifest.csv: no rows"


def test_manifest_of_zero_bytes(root: Path) -> None:
    manifest(root, "")
    assert message(root).startswith("data/raw/toy/manifest.csv: ")


def test_manifest_in_another_encoding(root: Path) -> None:
    (root / "manifest.csv").write_bytes("path,class_name\n1.png,Blüte\n".encode("latin-1"))
    assert message(root).startswith("data/raw/toy/manifest.csv: ")


def test_an_unquoted_comma_is_named_with_its_line(root: Path) -> None:
    manifest(root, "path,class_name\n1.png,rose\n2.png,Lily, tiger\n3.png,Lily, white\n", images=False)
    assert message(root) == (
        "data/raw/toy/manifest.csv: line 3: 3 fields, expected 2 (path, class_name); put quotes around a value that contains a comma"
    )


def test_a_row_with_too_few_fields_is_named_with_its_line(root: Path) -> None:
    manifest(root, "path,class_name,split\n1.png,rose,train\n\n2.png,rose\n", images=False)
    assert message(root).startswith("data/raw/toy/manifest.csv: line 4: 2 fields, expected 3 (path, class_name, split)")


def test_quoted_commas_and_quotes_are_read(root: Path) -> None:
    put_all(root, ["1.png", "2.png", "3.png"])
    lines = ['1.png,"Lily, tiger",train', '2.png,"Lily, ""white""",test', '3.png,"Lily, tiger",val']
    manifest(root, "path,class_name,split\n" + "\n".join(lines), images=False)
    assert make(root).classes == ['Lily, "white"', "Lily, tiger"]


def test_an_open_quote_is_named_with_its_line(root: Path) -> None:
    manifest(root, 'path,class_name\n1.png,"rose\n2.png,rose\n', images=False)
    assert message(root).startswith("data/raw/toy/manifest.csv: line 3: not CSV: ")


@pytest.mark.parametrize("name", ["two\nlines", "bell\x07", "line\u2028separator"])
@pytest.mark.parametrize("column", ["path", "class_name"])
def test_control_characters_are_refused(root: Path, name: str, column: str) -> None:
    pd.DataFrame([{"path": "1.png", "class_name": "a"} | {column: name}]).to_parquet(root / "manifest.parquet")
    expected = f"row 1: {column} {name!r} contains a line break or control character"
    assert message(root) == f"data/raw/toy/manifest.parquet: {expected}"


@pytest.mark.parametrize("values", [[1, None, 2], ["a", None, "b"], [True, None, False], [1.5, float("nan"), 2.5]])
@pytest.mark.parametrize("categorical", [False, True])
def test_a_missing_class_name_is_an_image_without_a_class_whatever_the_type(root: Path, values: list[object], categorical: bool) -> None:
    put_all(root, ["1.png", "2.png", "3.png"])
    table = pd.DataFrame({"path": ["1.png", "2.png", "3.png"], "class_name": pd.Series(values)})
    if categorical:
        table["class_name"] = table["class_name"].astype("category")
    table.to_parquet(root / "manifest.parquet")
    index = make(root)
    assert index.rows.loc[index.rows["split"] == "unlabelled", "image_id"].tolist() == ["2.png"]
    assert len(index.classes) == 2


@pytest.mark.parametrize(("cells", "problem"), [("test,", "split 'test'"), (",1", "label '1'")])
def test_a_row_without_a_class_has_no_split_and_no_label(root: Path, cells: str, problem: str) -> None:
    manifest(root, f"path,class_name,split,label\n1.png,a,train,0\n2.png,,{cells}\n", images=False)
    assert message(root) == f"data/raw/toy/manifest.csv: row 2: {problem} without class_name; expected both, or neither"


def test_rows_without_a_class_beside_given_splits_and_labels(root: Path) -> None:
    rows = "1.png,a,train,1\n2.png,b,test,0\n3.png,a,val,1\n4.png, ,,\n5.png,,unlabelled,\n"
    manifest(root, f"path,class_name,split,label\n{rows}")
    index = make(root)
    assert index.classes == ["b", "a"]
    assert index.rows["split"].tolist() == ["test", "train", "val", "unlabelled", "unlabelled"]
    assert index.rows["label"].tolist() == [0, 1, 1, -1, -1]


def test_numbers_are_class_names(root: Path) -> None:
    put_all(root, [f"{i}.png" for i in range(6)])
    pd.DataFrame({"path": [f"{i}.png" for i in range(6)], "class_name": [1, 2] * 3}).to_parquet(root / "manifest.parquet")
    assert make(root).classes == ["1", "2"]


def test_a_column_that_occurs_twice_is_refused(root: Path) -> None:
    manifest(root, "path,class_name,class_name\n1.png,a,b\n", images=False)
    assert message(root) == "data/raw/toy/manifest.csv: column class_name occurs 2 times; expected once"


def test_paths_are_found_in_either_unicode_form_and_unlisted_images_counted(root: Path) -> None:
    composed, decomposed = "Blüte", "Blu\u0308te"
    put_all(root, [f"{decomposed}/{i}.png" for i in range(3)] + ["extra.png"])
    manifest(root, "path,class_name\n" + "".join(f"{composed}/{i}.png,a\n" for i in range(3)), images=False)
    index = make(root)
    assert set(index.rows["status"]) == {"ok"}
    assert index.notes["not_listed"] == 1


def test_images_of_a_group_share_a_split(root: Path) -> None:
    rows = [(f"{kind}{i}.png", kind, f"session {i // 3}" if i < 12 else "") for kind in "ab" for i in range(20)]
    manifest(root, "path,class_name,group\n" + "".join(",".join(row) + "\n" for row in rows))
    splits = split_of(make(root))
    by_group: dict[str, set[str]] = {}
    for path, _, group in rows:
        by_group.setdefault(group or path, set()).add(splits[path])
    assert all(len(found) == 1 for found in by_group.values())
    assert set(splits.values()) == {"train", "val", "test"}
