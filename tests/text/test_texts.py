"""Text files and tables become documents, one per line; WikiText's markup is undone."""

from collections import Counter
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clipstore.core.errors import InputError
from clipstore.text import texts


@pytest.mark.parametrize(
    ("line", "plain"),
    [
        ("a well @-@ known ship of 1 @,@ 200 tons and 3 @.@ 5 m", "a well-known ship of 1,200 tons and 3.5 m"),
        ("a two @-@ to @-@ one vote", "a two-to-one vote"),
        ("He came , saw ; and won : yes ! no ?", "He came, saw; and won: yes! no?"),
        ("a length of 60 cm ( 24 in ) [ note ]", "a length of 60 cm (24 in) [note]"),
        ('becoming " lobster red " or " blue , " as " they " say', 'becoming "lobster red" or "blue," as "they" say'),
        ('one " quote is no pair', 'one " quote is no pair'),
        ("the ship 's mast did n't fall and they 'll see", "the ship's mast didn't fall and they'll see"),
        ("$ 5 , £ 6 and 7 %", "$5, £6 and 7%"),
        ("a <unk> , so", "a <unk>, so"),
        ("= = Title = =", "= = Title = ="),
        ("nothing to undo.", "nothing to undo."),
        ("", ""),
    ],
)
def test_wikitexts_markup_is_undone(line: str, plain: str) -> None:
    assert texts.plain(line) == plain


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.text() | st.text("ab @-,.\"'()[]$%ns <unk>"))
def test_undoing_removes_only_spaces_and_joins(line: str) -> None:
    letters = [letter for letter in line if letter not in " @"]
    assert [letter for letter in texts.plain(line) if letter not in " @"] == letters


def test_documents_are_lines_without_surrounding_whitespace() -> None:
    assert texts.documents(" one \n\n \ntwo\n") == ["one", "two"]


def test_windows_line_ends_are_not_part_of_documents() -> None:
    assert texts.documents("one\r\n\r\ntwo\r\n") == ["one", "two"]


@pytest.mark.parametrize("mark", ["\x00", "\u2028", "\u0085", "\x0c"])
def test_only_a_line_feed_ends_a_line(mark: str, tmp_path: Path) -> None:
    assert texts.documents(f"one{mark}more\ntwo") == [f"one{mark}more", "two"]
    texts.write(tmp_path / "a.txt", [f"one{mark}more", "two"])
    assert texts.read(tmp_path / "a.txt") == [f"one{mark}more", "two"]


def test_text_file_is_read_and_written_as_utf8(tmp_path: Path) -> None:
    texts.write(tmp_path / "new/a.txt", ["é 漢 😀", "two"])
    assert (tmp_path / "new/a.txt").read_bytes() == "é 漢 😀\ntwo\n".encode()
    assert texts.read(tmp_path / "new/a.txt") == ["é 漢 😀", "two"]


def test_byte_order_mark_is_not_part_of_the_text(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"\xef\xbb\xbfone\r\ntwo\r\n")
    assert texts.read(tmp_path / "a.txt") == ["one", "two"]


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string()])
def test_parquet_is_read_from_its_column_text(tmp_path: Path, kind: pa.DataType) -> None:
    table = pa.table({"id": [1, 2, 3], "text": pa.array(["one\ntwo", None, " three "], kind)})
    pq.write_table(table, tmp_path / "a.parquet")
    assert texts.read(tmp_path / "a.parquet") == ["one", "two", "three"]


def message(path: Path) -> str:
    with pytest.raises(InputError) as caught:
        texts.read(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_invalid_utf8_names_the_file_and_the_byte(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes("é\n".encode() + b"caf\xe9\n")
    assert message(tmp_path / "a.txt").startswith(f"{tmp_path}/a.txt: byte 6 is not UTF-8 (")


@pytest.mark.parametrize(("column", "values"), [("content", ["one"]), ("text", [1])])
def test_parquet_without_text_is_an_error_that_names_its_columns(tmp_path: Path, column: str, values: list[object]) -> None:
    pq.write_table(pa.table({"id": [1], column: values}), tmp_path / "a.parquet")
    assert message(tmp_path / "a.parquet") == f"{tmp_path}/a.parquet: its columns are id, {column}; expected a string column named text"


def test_damaged_parquet_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(b"<html>an error page</html>")
    assert message(tmp_path / "a.parquet").startswith(f"{tmp_path}/a.parquet: cannot be read: ")


def put(root: Path, **files: str) -> None:
    """Write text files; __ in a name separates folder and file."""
    for name, text in files.items():
        path = root / f"{name.replace('__', '/')}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def folder(root: Path, seed: int = 0) -> dict[str, list[str]]:
    return texts.folder(root, val=0.2, test=0.3, seed=seed)[0]


def refusal(root: Path) -> str:
    with pytest.raises(InputError) as caught:
        folder(root)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_splits_by_the_names_of_files(tmp_path: Path) -> None:
    put(tmp_path, train="a\nb", test="c")
    pq.write_table(pa.table({"text": ["d"]}), tmp_path / "val.parquet")
    assert folder(tmp_path) == {"train": ["a", "b"], "val": ["d"], "test": ["c"]}


def test_splits_by_the_names_of_folders(tmp_path: Path) -> None:
    put(tmp_path, train__one="a", train__deep__two="b", val__test="c", test__three="d")
    assert folder(tmp_path) == {"train": ["b", "a"], "val": ["c"], "test": ["d"]}  # in the order of paths


def test_folders_are_not_read_as_files_and_suffixes_may_be_upper_case(tmp_path: Path) -> None:
    put(tmp_path, train="a", val="b")
    (tmp_path / "test/more.txt").mkdir(parents=True)
    (tmp_path / "test/ONE.TXT").write_text("c")
    assert folder(tmp_path) == {"train": ["a"], "val": ["b"], "test": ["c"]}


MANY = [f"document {at}" for at in range(2000)]


def test_files_with_other_names_are_split_by_the_configured_shares(tmp_path: Path) -> None:
    put(tmp_path, one="\n".join(MANY[:1000]), more__train="\n".join(MANY[1000:]))
    (tmp_path / "readme.md").write_text("not part of the corpus")
    documents = folder(tmp_path)
    assert sorted(line for lines in documents.values() for line in lines) == sorted(MANY)
    shares = {split: len(lines) / len(MANY) for split, lines in documents.items()}
    assert shares == pytest.approx({"train": 0.5, "val": 0.2, "test": 0.3}, abs=0.035)  # 3 standard deviations


def test_copies_stay_together_and_new_documents_do_not_move_others(tmp_path: Path) -> None:
    put(tmp_path / "one", a="\n".join(MANY[:100]))
    put(tmp_path / "two", b="\n".join(["new", *MANY[50:150]]), c="\n".join(MANY[:100]))
    one, two = folder(tmp_path / "one"), folder(tmp_path / "two")
    for split, lines in one.items():
        assert set(lines) <= set(two[split])
    copies = Counter(line for lines in two.values() for line in set(lines))
    assert set(copies.values()) == {1}
    assert sum(map(len, two.values())) == 201


def test_another_seed_gives_other_splits(tmp_path: Path) -> None:
    put(tmp_path, a="\n".join(MANY[:100]))
    assert folder(tmp_path) == folder(tmp_path)
    assert folder(tmp_path, seed=1) != folder(tmp_path)


def test_split_of_a_text_is_the_same_on_every_machine() -> None:
    """The SHA-256 of "0 a" starts with cf6d9263; its place is this number divided by 2^32."""
    place = 0xCF6D9263 / 2**32
    assert texts.split_of("a", 0.1, place + 1e-6, 0) == "test"
    assert texts.split_of("a", 0.1, place - 1e-6, 0) == "val"
    assert texts.split_of("a", 0.1, place - 0.1 - 1e-6, 0) == "train"


@pytest.mark.parametrize(
    ("files", "problem"),
    [
        ({"train": "a", "test": "b"}, "no text for val in 2 files: expected text in train, val and test each"),
        ({"train": "a", "val": "b", "test": " \n"}, "no text for test in 3 files: expected text in train, val and test each"),
        ({"train": "a", "val": "b", "test": "c", "more": "d"}, "more.txt beside test.txt, train.txt, val.txt: where names of splits occur"),
        ({"train": "a", "valid": "b", "val": "b", "test": "c"}, "val, valid all stand for the split val; expected one of them"),
    ],
)
def test_half_named_splits_are_refused(tmp_path: Path, files: dict[str, str], problem: str) -> None:
    put(tmp_path, **files)
    assert refusal(tmp_path).startswith(f"{tmp_path}: {problem}")


def test_shards_of_the_hub_are_splits(tmp_path: Path) -> None:
    for shard, text in (
        ("train-00000-of-00002", "a"),
        ("train-00001-of-00002", "b"),
        ("validation-00000-of-00001-0a1b", "c"),
        ("test", "d"),
    ):
        pd.DataFrame({"text": [text]}).to_parquet(tmp_path / f"{shard}.parquet")
    assert folder(tmp_path) == {"train": ["a", "b"], "val": ["c"], "test": ["d"]}


def test_hidden_folders_are_not_read_and_links_are_followed(tmp_path: Path) -> None:
    put(tmp_path / "corpus", a="\n".join(MANY[:50]))
    put(tmp_path / "corpus/.ipynb_checkpoints", a="draft")
    put(tmp_path / "elsewhere", b="\n".join(MANY[50:100]))
    (tmp_path / "corpus/more").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    documents_of, passed_over = texts.folder(tmp_path / "corpus", 0.2, 0.3, 0)
    assert sorted(line for lines in documents_of.values() for line in lines) == sorted(MANY[:100])
    assert passed_over == {".ipynb_checkpoints": 1}


def test_a_word_on_which_the_tokenizers_would_crash_is_refused(tmp_path: Path) -> None:
    put(tmp_path, train="a\n" + "x" * 50_000 + "\ndata:image/png;base64," + "QUJD" * 37_500, val="b", test="c")
    assert refusal(tmp_path).startswith(f"{tmp_path}/train.txt: document 3: a word of 150,022 characters; expected at most 50,000: ")


def test_no_text_is_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path).startswith(f"{tmp_path}: no text for train, val, test in 0 files: expected documents")
    put(tmp_path, empty="\n \n")
    assert refusal(tmp_path).startswith(f"{tmp_path}: no text for train, val, test in 1 files: ")


def test_a_split_without_text_is_refused(tmp_path: Path) -> None:
    put(tmp_path, one="only one")
    assert refusal(tmp_path).startswith(f"{tmp_path}: no text for ")
