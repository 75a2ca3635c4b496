"""Measures of a tokenizer on text, and its tokens in readable form.

A word is a run of letters, digits and underscores or a run of other marks, as split by the tokenizers library's ``Whitespace``. This makes
text with spaces around punctuation (WikiText) comparable with text without them.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from tokenizers import Encoding, Tokenizer
from tokenizers.pre_tokenizers import Whitespace

WORDS = Whitespace()
BLANK = "▁"  # as a separate token at the start of a text, it is reported with the span of the first letter
SENTENCE = re.compile(r"(?<=[.!?])\s+")
SENTENCE_WORDS = range(8, 26)  # number of words in an example sentence
Span = tuple[int, int]  # start and end in characters
Places = npt.NDArray[np.intp]


def words(text: str) -> list[Span]:
    """Return the start and end of every word in ``text``."""
    return [span for _, span in WORDS.pre_tokenize_str(text)]


def pieces(encoding: Encoding) -> tuple[Places, Places]:
    """Return start and end (n, 2) in the text, and id (n,), of the tokens other than a single BLANK."""
    positions = [at for at, token in enumerate(encoding.tokens) if token != BLANK]
    return np.array(encoding.offsets, np.intp).reshape(-1, 2)[positions], np.array(encoding.ids, np.intp)[positions]


def reach(offsets: Places, spans: Sequence[Span]) -> tuple[Places, Places]:
    """Return, for each word, the index of the first piece that overlaps it and the index after the last; ``offsets`` is (n, 2)."""
    starts, ends = np.array(spans, np.intp).reshape(-1, 2).T
    return np.searchsorted(offsets[:, 1], starts, "right"), np.searchsorted(offsets[:, 0], ends, "left")


def segments(encoding: Encoding, spans: Sequence[Span]) -> list[tuple[Span, ...]]:
    """Return the spans of the pieces that each word is split into; tokens for parts of one character have equal spans."""
    offsets, _ = pieces(encoding)
    segments_of_words = []
    for (start, end), first, after in zip(spans, *reach(offsets, spans), strict=True):
        segments_of_words.append(tuple((max(a, start), min(b, end)) for a, b in offsets[first:after].tolist()))
    return segments_of_words


@dataclass
class Tally:
    """Counts over the documents that a tokenizer has encoded.

    Attributes:
        tokenizer: a trained tokenizer of the library.
        unknown: id of the unknown token, or None.
        words: number of words.
        whole: words that are one token other than the unknown one; the token may include the space before the word.
        bytes: length of the text in UTF-8.
        documents: number of documents.
        round_trips: documents that decoding reproduces exactly.
        ids: number of tokens by id.
    """

    tokenizer: Tokenizer
    unknown: int | None
    words: int = 0
    whole: int = 0
    bytes: int = 0
    documents: int = 0
    round_trips: int = 0
    ids: Counter[int] = field(default_factory=Counter)

    def add(self, documents: Sequence[str], encodings: Sequence[Encoding]) -> None:
        """Add documents and their encodings."""
        for document, encoding in zip(documents, encodings, strict=True):
            spans = words(document)
            offsets, ids = pieces(encoding)
            first, after = reach(offsets, spans)
            alone = after - first == 1
            self.words += len(spans)
            self.whole += int(np.sum(ids[first[alone]] != (-1 if self.unknown is None else self.unknown)))
            self.bytes += len(document.encode())
            self.ids.update(encoding.ids)
        self.documents += len(documents)
        decoded = self.tokenizer.decode_batch([encoding.ids for encoding in encodings])
        self.round_trips += sum(map(str.__eq__, decoded, documents))

    def measures(self) -> dict[str, float | int]:
        """Return the measures; fertility (tokens per word) and the share of whole words follow Rust et al. 2021, for words as above."""
        tokens = self.ids.total()
        return {
            "fertility": tokens / self.words,
            "bytes_per_token": self.bytes / tokens,
            "whole_words": self.whole / self.words,
            "unknown": self.ids[self.unknown] / tokens if self.unknown is not None else 0.0,
            "round_trip": self.round_trips / self.documents,
        }


def surfaces(tokenizer: Tokenizer) -> dict[int, str]:
    """Return the text of every token of the vocabulary, by id, without spaces and the marks of its position in a word.

    A token that is not text by itself, but part of a character's bytes, keeps its name in the vocabulary.
    """
    text_of = {}
    for token, number in tokenizer.get_vocab().items():
        text = tokenizer.decode([number], skip_special_tokens=False).strip().removeprefix("##")
        text_of[number] = token if "\ufffd" in text or not text else text
    return text_of


def overlap(first: Tokenizer, second: Tokenizer) -> float:
    """Return the number of token texts in both vocabularies divided by the number in either (Jaccard index)."""
    a, b = (set(surfaces(tokenizer).values()) for tokenizer in (first, second))
    return len(a & b) / len(a | b)


def readable(token: str, of_bytes: bool) -> str:
    """Return a token in readable form.

    Byte-level vocabularies write every byte as one visible character: "Ã©" for "é", "Ġ" for a space (Radford et al. 2019). Here the
    original characters are restored, except that a space remains "Ġ". Bytes that are not a complete character are written in hexadecimal,
    as <C3>.
    """
    if not of_bytes or any(letter not in _bytes() for letter in token):
        return token
    data = bytes(_bytes()[letter] for letter in token)
    text = data.decode(errors="surrogateescape").replace(" ", "Ġ")
    return "".join(f"<{ord(letter) - 0xDC00:02X}>" if 0xDC80 <= ord(letter) <= 0xDCFF else letter for letter in text)


@cache
def _bytes() -> dict[str, int]:
    visible = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    other = [byte for byte in range(256) if byte not in visible]
    return {chr(byte): byte for byte in visible} | {chr(256 + place): byte for place, byte in enumerate(other)}


class Sentence(NamedTuple):
    """A sentence, its words, and the words that the tokenizers split differently."""

    text: str
    words: list[str]
    differing: list[str]


def compared(text: str, tokenizers: Mapping[str, Tokenizer]) -> Sentence:
    """Return ``text`` with the words that the tokenizers split differently."""
    spans = words(text)
    splits = zip(*(segments(tokenizer.encode(text), spans) for tokenizer in tokenizers.values()), strict=True)
    differing = [text[slice(*span)] for span, pieces in zip(spans, splits, strict=True) if len(set(pieces)) > 1]
    return Sentence(text, [text[slice(*span)] for span in spans], differing)


def prose(sentence: str) -> bool:
    """Return whether a sentence can be an example: 8 to 25 words, three quarters of them only letters, an end mark, no WikiText <unk>."""
    parts = [sentence[slice(*span)] for span in words(sentence)]
    letters = sum(part.isalpha() for part in parts)
    return len(parts) in SENTENCE_WORDS and letters >= 0.75 * len(parts) and sentence[-1] in ".!?" and "<unk>" not in sentence


def most_disputed(documents: Sequence[str], tokenizers: Mapping[str, Tokenizer]) -> Sentence | None:
    """Return the sentence of prose with the largest share of words that are split differently, or None if there is no such sentence.

    Ties go to the longest, then to the first.
    """
    texts = [text for document in documents for text in SENTENCE.split(document) if prose(text)]
    sentences = [compared(text, tokenizers) for text in texts]
    return max(sentences, key=lambda sentence: (len(sentence.differing) / len(sentence.words), len(sentence.words)), default=None)
