"""CSV that people write is read as text, or refused with the line."""

from pathlib import Path

import pytest

from clipstore.core.errors import InputError
from clipstore.data import records


def test_every_field_is_text_and_empty_lines_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes('\ufeffname,number\r\nNA,007\r\n\r\n"two\r\nlines",""\r\n'.encode())
    assert records.read(path) == (["name", "number"], [(2, ["NA", "007"]), (5, ["two\r\nlines", ""])])
    path.write_bytes(b"")
    assert records.read(path) == ([], [])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a,b\n1,2,3\n", r": line 2: 3 fields, expected 2 \(a, b\); put quotes around a value that contains a comma$"),
        (b"a,b\n1,\xe4\n", ": byte 6 is not UTF-8 "),
        (b'a,b\n1,"2\n', ": line 2: not CSV: "),
    ],
)
def test_damage_is_named(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message):
        records.read(path)
