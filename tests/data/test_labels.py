"""The labels file keeps what was written, and a wrong value is named with its line."""

from pathlib import Path

import pandas as pd
import pytest

from clipstore.core.errors import InputError
from clipstore.data import labels
from tests.synthetic import sha256

HEADER = ",".join(labels.COLUMNS) + "\n"
A, B = sha256("a"), sha256("b")


@pytest.mark.usefixtures("project")
def test_what_is_written_is_read() -> None:
    rows = pd.DataFrame(
        [(A, 'rose, "wild"', "train", "NA", 1), (B, "", "test", "clipstore label sample, seed 0", 2)], columns=list(labels.COLUMNS)
    )
    path = labels.path_of("own")
    labels.write(path, rows)
    pd.testing.assert_frame_equal(labels.read(path), rows, check_dtype=False)
    assert [file.name for file in path.parent.iterdir()] == ["own.csv"]


@pytest.mark.usefixtures("project")
def test_a_missing_file_is_created_and_another_one_is_kept() -> None:
    assert labels.create("own")
    path = labels.path_of("own")
    assert path.read_text() == HEADER
    assert labels.read(path).empty
    assert labels.next_round(labels.read(path)) == 1
    path.write_text(f"{HEADER}{A},rose,train,me,3\n")
    assert not labels.create("own")
    assert labels.next_round(labels.read(path)) == 4


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "line 1: the columns are missing; expected sha256, "),
        ("sha256;class_name\n", "line 1: the columns are sha256;class_name; expected sha256, "),
        (f"{HEADER}{A},rose,train,me\n", "line 2: 4 fields, expected 5 "),
        (f"{HEADER}{A[:63]},rose,train,me,1\n", "line 2: sha256 = '[0-9a-f]+': expected 64 digits"),
        (f"{HEADER}{A},rose,val,me,1\n", "line 2: purpose = 'val': expected train, or test"),
        (f"{HEADER}{A}, ,train,me,1\n", "line 2: no class_name; "),
        (f"{HEADER}{A},rose,train,me,0\n", "line 2: round = '0': expected a whole number from 1"),
        (f"{HEADER}{A},rose,train,me,1\n{A},rose,train,me,1\n", "line 3: the image of line 2 again; "),
    ],
)
def test_a_wrong_file_is_refused_in_one_line(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "own.csv"
    path.write_text(content)
    with pytest.raises(InputError, match=message) as caught:
        labels.read(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert len(str(caught.value).splitlines()) == 1


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"own\.csv: no such file; expected labels, or the header sha256,"):
        labels.read(tmp_path / "own.csv")
