"""Text as documents: one document or paragraph per line, in UTF-8, without empty lines."""

import hashlib
import re
from collections.abc import Iterable
from pathlib import Path

from clipstore.core.errors import InputError
from clipstore.data.index import SPLITS
from clipstore.data.tree import given_splits, walk

SUFFIXES = (".txt", ".parquet")
LONGEST_WORD = 50_000  # characters; at 130,000 Unigram's training crashes without a message

# Undo the changes that WikiText's authors made to running text (Merity et al. 2016, with the Moses tokeniser).
JOINED = re.compile(r" @([-,.])@ ")
BEFORE = re.compile(r" (?=(?:[,.;:!?%)\]]|'(?:s|re|ve|ll|d|m|t)\b|n't\b))")
AFTER = re.compile(r"(?<=[(\[$£€]) ")
QUOTED = re.compile(r'" ([^"]*?) "')


def plain(line: str) -> str:
    """Return a line of WikiText as normal text: without ``@-@``, spaces around punctuation and spaces inside pairs of quotes.

    This is an approximation: nested quotes, single quotes and ``<unk>`` are left unchanged.
    """
    return QUOTED.sub(r'"\1"', AFTER.sub("", BEFORE.sub("", JOINED.sub(r"\1", line))))


def documents(text: str) -> list[str]:
    """Return the lines that are not empty, without surrounding whitespace."""
    return [line for raw in text.split("\n") if (line := raw.strip())]


def read(path: Path) -> list[str]:
    """Return the documents of a .txt file, or of the column ``text`` of a .parquet file.

    Raises:
        InputError: the file is not UTF-8, is not a table, or has no such column of strings.
    """
    if path.suffix.lower() == ".txt":
        try:
            return documents(path.read_bytes().decode("utf-8-sig"))
        except UnicodeDecodeError as error:
            raise InputError(f"{path}: byte {error.start} is not UTF-8 ({error.reason}): expected text in UTF-8") from None
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path)
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{path}: cannot be read: {str(error).splitlines()[0]}") from None
    if "text" not in table.column_names or not (
        pa.types.is_string(kind := table.schema.field("text").type) or pa.types.is_large_string(kind)
    ):
        raise InputError(f"{path}: its columns are {', '.join(table.column_names)}; expected a string column named text")
    return [line for text in table["text"].to_pylist() for line in documents(text or "")]


def split_of(document: str, val: float, test: float, seed: int) -> str:
    """Return the split of a document. It depends only on the text: copies stay together, and a new document does not move others.

    Args:
        document: the text.
        val: share of the documents.
        test: share of the documents.
        seed: a different seed gives different splits.
    """
    place = int.from_bytes(hashlib.sha256(f"{seed} {document}".encode()).digest()[:8]) / 2**64
    return "test" if place < test else "val" if place < test + val else "train"


def folder(root: Path, val: float, test: float, seed: int) -> tuple[dict[str, list[str]], dict[str, int]]:
    """Return the documents below ``root`` by split, and the entries passed over by kind (see `Tree`).

    Files or folders named train, val and test, or as the Hugging Face hub names its shards, are the splits; without them all documents are
    split here.

    Raises:
        InputError: there is no text, some of the splits are named and others not, a word is too long, or a file is damaged.
    """
    tree = walk(root)
    files = [path for path in tree.files if path.suffix.lower() in SUFFIXES]
    split_by_name = given_splits(tree, files)
    documents_of: dict[str, list[str]] = {split: [] for split in SPLITS}
    for path in files:
        for number, document in enumerate(read(root / path), 1):
            check_words(document, f"{root / path}: document {number}")
            split = split_by_name[path.parts[0]] if split_by_name else split_of(document, val, test, seed)
            documents_of[split].append(document)
    empty = [split for split in SPLITS if not documents_of[split]]
    if empty:
        expected = "text in train, val and test each" if split_by_name else "documents, one on each line, in .txt or .parquet files"
        raise InputError(f"{root}: no text for {', '.join(empty)} in {len(files)} files: expected {expected}")
    return documents_of, tree.passed_over


def check_words(document: str, where: str) -> None:
    """Refuse a document with a word on which the tokenizers library crashes.

    Raises:
        InputError: a run of characters without a blank is longer than `LONGEST_WORD`.
    """
    if len(document) > LONGEST_WORD and (longest := max(map(len, document.split()))) > LONGEST_WORD:
        raise InputError(f"{where}: a word of {longest:,} characters; expected at most {LONGEST_WORD:,}: is it text? Remove or break it")


def write(path: Path, lines: Iterable[str]) -> None:
    """Write documents, one per line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes("".join(f"{line}\n" for line in lines).encode())
