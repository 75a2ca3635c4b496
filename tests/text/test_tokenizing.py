"""Tokenizers are built and trained as configured, with identical results each time; errors are one line."""

import json
import os
import subprocess
import sys
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML
from tokenizers import Tokenizer

from clipstore.core.errors import InputError
from clipstore.core.params import check
from clipstore.text.docstrings import paragraphs
from clipstore.text.tokenizing import Entry
from tests.workspace import PROJECT

TABLE: dict[str, Any] = YAML(typ="safe").load(PROJECT / "params.yaml")["tokenizers"]["entries"]
TEXT = paragraphs([topics[name] for name in ("assignment", "class", "execmodel", "import", "numbers", "strings")])
SIZE = 700
FURTHER: dict[str, Any] = {
    "word_level": {"model": "WordLevel", "pre_tokenizer": [{"type": "Whitespace"}], "decoder": {"type": "WordPiece"}, "unknown": "[UNK]"},
    "unigram_of_bytes": {"model": "Unigram", "pre_tokenizer": [{"type": "ByteLevel"}], "decoder": {"type": "ByteLevel"}},
    "bpe_with_a_prefix": {
        "model": "BPE",
        "pre_tokenizer": [{"type": "Whitespace"}],
        "decoder": {"type": "WordPiece"},
        "unknown": "[UNK]",
        "trainer": {"continuing_subword_prefix": "##"},
    },
    "bpe_with_a_suffix": {
        "model": "BPE",
        "pre_tokenizer": [{"type": "Whitespace"}],
        "decoder": {"type": "BPEDecoder"},
        "unknown": "[UNK]",
        "trainer": {"end_of_word_suffix": "</w>"},
    },
}


def entry(name: str, **fields: Any) -> Entry:
    """Return an entry of params.yaml with other fields."""
    checked: Entry = check(Entry, (TABLE | FURTHER)[name] | fields, f"tokenizers.entries.{name}")
    return checked


def message(name: str, **fields: Any) -> str:
    with pytest.raises(InputError) as caught:
        entry(name, **fields)
    return str(caught.value)


TRAIN = """
import sys
from tests.text.test_tokenizing import FURTHER, SIZE, TABLE, TEXT, entry
import json
json.dump({name: entry(name).trained(TEXT, SIZE).to_str(pretty=True) for name in TABLE | FURTHER}, sys.stdout)
"""


@pytest.fixture(scope="module")
def trained_twice() -> list[dict[str, str]]:
    """Every tokenizer's file, written by two processes with different hash seeds and numbers of threads."""
    files = []
    for threads in ("1", "3"):
        environment = os.environ | {"RAYON_NUM_THREADS": threads}
        process = subprocess.run([sys.executable, "-c", TRAIN], cwd=PROJECT, env=environment, capture_output=True, text=True, check=True)
        files.append(json.loads(process.stdout))
    return files


@pytest.mark.slow
@pytest.mark.parametrize("name", [*TABLE, *FURTHER])
def test_two_processes_train_the_same_tokenizer(trained_twice: list[dict[str, str]], name: str) -> None:
    one, other = (json.loads(run[name])["model"]["vocab"] for run in trained_twice)
    assert len(one) == SIZE
    assert one == other
    assert trained_twice[0][name] == trained_twice[1][name]


@pytest.mark.parametrize("name", [*TABLE, *FURTHER])
def test_a_loaded_file_is_the_tokenizer_that_was_saved(trained_twice: list[dict[str, str]], name: str, tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_text(trained_twice[0][name], encoding="utf-8")
    loaded, tokenizer = Tokenizer.from_file(str(path)), Tokenizer.from_str(trained_twice[1][name])
    assert loaded.get_vocab() == tokenizer.get_vocab()
    assert loaded.encode(TEXT[1]).ids == tokenizer.encode(TEXT[1]).ids
    assert loaded.decode(loaded.encode("class objects").ids).strip() == "class objects"


@pytest.mark.parametrize(
    ("name", "tokens"), [("bpe", ["the", "Ġclass"]), ("wordpiece", ["the", "class"]), ("unigram", ["▁the", "▁class"])], ids=list(TABLE)
)
def test_common_words_become_single_tokens_with_the_models_marks(name: str, tokens: list[str]) -> None:
    assert entry(name).trained(TEXT, SIZE).encode("the class").tokens == tokens


def test_an_entry_for_another_model_needs_no_code() -> None:
    tokenizer = entry("word_level").trained(["the mast", "the sail"], 10)
    assert tokenizer.get_vocab() == {"[UNK]": 0, "the": 1, "mast": 2, "sail": 3}
    assert tokenizer.encode("the keel").tokens == ["the", "[UNK]"]


@pytest.mark.parametrize("name", list(TABLE))
def test_a_vocabulary_is_smaller_than_requested_if_the_text_has_no_more(name: str) -> None:
    tokenizer = entry(name).trained(["ab ab abc"], 5000)
    assert 4 <= tokenizer.get_vocab_size() < 270  # at least the letters and a mark; at most 256 bytes and all pieces of the text
    assert tokenizer.decode(tokenizer.encode("ab abc").ids) == "ab abc"


@pytest.mark.parametrize(("name", "size"), [("bpe", 255), ("wordpiece", 20), ("unigram", 20)])
def test_vocabulary_too_small_for_the_characters_is_one_line(name: str, size: int) -> None:
    with pytest.raises(InputError, match=rf"^a vocabulary of {size} (is too small: |cannot be learnt: .*not large enough)") as caught:
        entry(name).trained(TEXT, size)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", list(TABLE))
def test_no_vocabulary_is_larger_than_requested(name: str) -> None:
    with pytest.raises(InputError) as caught:
        entry(name).trained(TEXT, 20)
    characters = int(str(caught.value).split()[-1])
    for size in (characters - 1, characters, characters + 1, characters + 2):
        try:
            assert entry(name).trained(TEXT, size).get_vocab_size() == size
        except InputError:
            assert size <= characters  # Unigram needs one more


@pytest.mark.parametrize(("text", "size"), [("a", 2), ("abcd", 5), ("hello world hello", 8)])
def test_small_unigram_is_an_error_where_the_library_would_not_terminate(text: str, size: int) -> None:
    with pytest.raises(InputError, match=f"a vocabulary of {size} "):
        entry("unigram").trained([text], size)


@pytest.mark.parametrize("name", list(TABLE))
@pytest.mark.parametrize("documents", [[], ["", " "]])
def test_no_text_is_one_line(name: str, documents: list[str]) -> None:
    with pytest.raises(InputError, match=r"^there is no text to learn from$"):
        entry(name).trained(documents, 300)


def test_smallest_byte_level_vocabulary_is_all_bytes() -> None:
    assert entry("bpe").trained(["abc abc"], 256).encode("abc").tokens == ["a", "b", "c"]


@pytest.mark.parametrize("name", ["wordpiece", "unigram"])
def test_unknown_token_is_the_first(name: str) -> None:
    tokenizer = entry(name, unknown="<?>").trained(TEXT, SIZE)
    assert tokenizer.token_to_id("<?>") == 0
    assert 0 in tokenizer.encode("class 漢").ids


def test_further_options_are_passed_to_the_trainer() -> None:
    text = ["the the the mast mast sail"]
    assert set(entry("word_level", trainer={"min_frequency": 2}).trained(text, 10).get_vocab()) == {"[UNK]", "the", "mast"}


WRONG = "params.yaml: tokenizers.entries."


@pytest.mark.parametrize(
    ("name", "fields", "start"),
    [
        ("bpe", {"model": "Bpe"}, "bpe.model = 'Bpe': input should be 'BPE', 'WordPiece', "),
        ("bpe", {"pre_tokenizer": []}, "bpe.pre_tokenizer = []: "),
        ("bpe", {"pre_tokenizer": [{"type": "Bytelevel"}]}, "bpe.pre_tokenizer.0: expected one of the library's pre_tokenizers ("),
        (
            "bpe",
            {"pre_tokenizer": [{"type": "ByteLevel", "prefix": True}]},
            "bpe.pre_tokenizer.0: type ByteLevel: unexpected argument prefix",
        ),
        ("bpe", {"decoder": {"type": "Wordpiece"}}, "bpe.decoder: expected one of the library's decoders ("),
        ("bpe", {"decoder": {"type": "WordPiece", "prefx": "@"}}, "bpe.decoder: type WordPiece: "),
        ("bpe", {"decoder": {"type": "DecodeStream"}}, "bpe.decoder: expected one of the library's decoders ("),
        ("bpe", {"decoder": {}}, "bpe.decoder.type is missing"),
        ("bpe", {"trainer": {"min_freq": 3}}, "bpe: trainer.min_freq: expected one of min_frequency, limit_alphabet"),
        ("bpe", {"trainer": {"min_frequency": "three"}}, "bpe: trainer: "),
        ("bpe", {"trainer": {"min_frequency": -3}}, "bpe: trainer: "),
        ("bpe", {"trainer": {"vocab_size": 3}}, "bpe: trainer"),
        ("bpe", {"colour": 1}, "bpe.colour = 1: extra inputs are not permitted"),
        (
            "unigram",
            {"normalizer": [{"type": "NFC"}, {"type": "NFK"}]},
            "unigram.normalizer.1: expected one of the library's normalizers",
        ),
        ("unigram", {"pre_tokenizer": [{"type": "Metaspace", "replacement": "__"}]}, "unigram.pre_tokenizer.0: type Metaspace: "),
        ("unigram", {"unknown": None}, "unigram: unknown is missing: "),
        ("wordpiece", {"unknown": None}, "wordpiece: unknown is missing: "),
    ],
)
def test_wrong_entry_is_one_line_that_names_the_key(name: str, fields: dict[str, Any], start: str) -> None:
    line = message(name, **fields)
    assert line.startswith(WRONG + start)
    assert "\n" not in line


def test_the_error_for_an_unknown_type_lists_the_known_ones() -> None:
    line = message("unigram", pre_tokenizer=[{"type": "Metaspce"}])
    assert "Metaspace" in line
    assert line.endswith("found Metaspce")


BYTE_LEVEL = entry("bpe").trained(TEXT, SIZE)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.text())
def test_byte_level_tokens_reproduce_any_text(text: str) -> None:
    assert BYTE_LEVEL.decode(BYTE_LEVEL.encode(text).ids) == text


@pytest.mark.parametrize("text", [" the  mast ", "e\u0301 é", "👩‍👩‍👧 漢字 हिन्दी", "a\r\n\tb\x00", "don't [UNK] ##s ▁", "\u2028\ufeff"])
def test_byte_level_tokens_reproduce_odd_text(text: str) -> None:
    assert BYTE_LEVEL.decode(BYTE_LEVEL.encode(text).ids) == text
