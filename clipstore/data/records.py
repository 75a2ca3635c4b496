"""CSV files that people write: every field is text, and a row with a missing or additional field is an error with its line number."""

import csv
import io
from pathlib import Path

from clipstore.core.errors import InputError


def read(path: Path) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """Return the header, [] for an empty file, and for each row the number of its last line and its fields; empty lines are left out.

    Raises:
        InputError: the file is not CSV in UTF-8, or a row has another number of fields than the header.
    """
    try:
        reader = csv.reader(io.StringIO(path.read_bytes().decode("utf-8-sig"), newline=""), strict=True)
        header = next(reader, [])
        rows = [(reader.line_num, record) for record in reader if record]
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: byte {error.start} is not UTF-8 ({error.reason}); save the table as CSV in UTF-8") from None
    except csv.Error as error:
        raise InputError(f"{path}: line {reader.line_num}: not CSV: {error}") from None
    for line, record in rows:
        if len(record) != len(header):
            raise InputError(
                f"{path}: line {line}: {len(record)} fields, expected {len(header)} ({', '.join(header)}); "
                "put quotes around a value that contains a comma"
            )
    return header, rows
