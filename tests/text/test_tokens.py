"""Measures by hand on tokenizers of a few tokens, and tokens as they are shown."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers

from clipstore.text.tokens import Tally, compared, most_disputed, overlap, prose, readable, segments, surfaces, words

UNKNOWN = "[UNK]"


def word_level(*vocabulary: str) -> Tokenizer:
    """Return a tokenizer that knows whole words; id 0 is the unknown one."""
    made = Tokenizer(models.WordLevel({token: at for at, token in enumerate((UNKNOWN, *vocabulary))}, unk_token=UNKNOWN))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.decoder = decoders.WordPiece()
    return made


def word_piece(*vocabulary: str) -> Tokenizer:
    """Return a tokenizer that takes the longest known pieces."""
    made = Tokenizer(models.WordPiece({token: at for at, token in enumerate((UNKNOWN, *vocabulary))}, unk_token=UNKNOWN))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.decoder = decoders.WordPiece()
    return made


def byte_level(*merges: tuple[str, str]) -> Tokenizer:
    """Return a tokenizer of bytes and what the merges make of them."""
    vocabulary = sorted(pre_tokenizers.ByteLevel.alphabet()) + [a + b for a, b in merges]
    made = Tokenizer(models.BPE({token: at for at, token in enumerate(vocabulary)}, list(merges)))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    return made


def measured(tokenizer: Tokenizer, *documents: str, unknown: int | None = 0) -> dict[str, float | int]:
    tally = Tally(tokenizer, unknown)
    for document in documents:
        tally.add([document], tokenizer.encode_batch([document]))
    return tally.measures()


SAILS = word_piece("the", "sail", "##s")


def test_measures_by_hand() -> None:
    """Tokens are the, sail, ##s; the, [UNK]; of 4 words the two "the" are whole; 9 and 8 bytes; the second comes back as "the [UNK]"."""
    assert measured(SAILS, "the sails", "the mast") == {
        "fertility": 5 / 4,
        "bytes_per_token": 17 / 5,
        "whole_words": 2 / 4,
        "unknown": 1 / 5,
        "round_trip": 1 / 2,
    }


def test_documents_in_one_batch_or_several_measure_the_same() -> None:
    tally = Tally(SAILS, 0)
    documents = ["the sails", "the mast"]
    tally.add(documents, SAILS.encode_batch(documents))
    assert tally.measures() == measured(SAILS, *documents)


def test_a_word_with_the_blank_before_it_in_one_token_is_whole() -> None:
    found = measured(byte_level(("Ġ", "a")), "b a", unknown=None)  # tokens b, Ġa
    assert found == {"fertility": 1, "bytes_per_token": 1.5, "whole_words": 1, "unknown": 0, "round_trip": 1}


def test_a_blank_of_its_own_token_cuts_no_word() -> None:
    found = measured(byte_level(("a", "a")), "aa aa", unknown=None)  # tokens aa, Ġ, aa
    assert (found["whole_words"], found["fertility"]) == (1, 3 / 2)


def test_a_token_over_two_words_keeps_each_whole() -> None:
    found = measured(byte_level(("'", "t")), "'t", unknown=None)
    assert (found["whole_words"], found["fertility"]) == (1, 1 / 2)


def test_characters_of_several_bytes_count_as_bytes() -> None:
    found = measured(byte_level(), "é漢😀", unknown=None)
    assert (found["bytes_per_token"], found["round_trip"], found["whole_words"]) == (1, 1, 0)
    assert measured(byte_level(), "é漢", unknown=None)["fertility"] == 5  # 2 + 3 bytes, one word


def test_an_empty_document_adds_no_word_and_comes_back() -> None:
    found = measured(SAILS, "", "the keel")
    assert (found["fertility"], found["whole_words"], found["round_trip"]) == (1, 1 / 2, 1 / 2)


def test_words_are_letters_or_other_marks() -> None:
    text = "They don't, e.g. snake_case: 3.5 % …!"
    expected = ["They", "don", "'", "t", ",", "e", ".", "g", ".", "snake_case", ":", "3", ".", "5", "%", "…!"]
    assert [text[a:b] for a, b in words(text)] == expected
    assert words(" \t") == []


@pytest.mark.parametrize("text", ["e\u0301a", "हिन्दी", "ไทย", "x\u200dy"])
def test_combining_marks_and_joiners_are_part_of_their_word(text: str) -> None:
    assert words(f"a {text}.") == [(0, 1), (2, 2 + len(text)), (2 + len(text), 3 + len(text))]


def test_ideographs_marks_and_an_emoji_with_its_tone_are_each_a_word() -> None:
    text = "漢字 👍🏽 नमस्ते naïve"
    assert [text[a:b] for a, b in words(text)] == text.split()


def test_pieces_of_words() -> None:
    assert segments(SAILS.encode("the sails"), [(0, 3), (4, 9)]) == [((0, 3),), ((4, 8), (8, 9))]
    assert segments(byte_level().encode("é a"), [(0, 1), (2, 3)]) == [((0, 1), (0, 1)), ((2, 3),)]
    assert segments(byte_level(("Ġ", "a")).encode("b a"), [(0, 1), (2, 3)]) == [((0, 1),), ((2, 3),)]


def test_the_mark_before_the_first_word_is_no_piece_of_it() -> None:
    """Metaspace's "▁" stands for a blank, and there for none: both words are one token and whole."""
    made = Tokenizer(models.Unigram([(UNKNOWN, 0.0), ("▁", -1.0), ("mast", -2.0)], unk_id=0))
    made.pre_tokenizer = pre_tokenizers.Metaspace()
    made.decoder = decoders.Metaspace()
    encoding = made.encode("mast mast")
    assert encoding.tokens == ["▁", "mast", "▁", "mast"]
    assert segments(encoding, [(0, 4), (5, 9)]) == [((0, 4),), ((5, 9),)]
    found = measured(made, "mast mast")
    assert (found["whole_words"], found["fertility"]) == (1, 2)


def test_pieces_where_nothing_is_a_word() -> None:
    assert segments(SAILS.encode(""), []) == []


MODELS = {"bytes": byte_level(("Ġ", "a"), ("e", "r")), "pieces": word_piece("a", "##a", "##é", "é")}


def characters(pieces: tuple[tuple[int, int], ...]) -> set[int]:
    return {at for start, end in pieces for at in range(start, end)}


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.text() | st.text("aeér 👩\u200d\u0301'漢."))
@pytest.mark.parametrize("name", list(MODELS))
def test_pieces_cover_what_tokens_cover_and_lie_inside_the_word(name: str, text: str) -> None:
    encoding, spans = MODELS[name].encode(text), words(text)
    covered = characters(tuple(encoding.offsets))
    for span, pieces in zip(spans, segments(encoding, spans), strict=True):
        assert all(span[0] <= start < end <= span[1] for start, end in pieces)
        assert characters(pieces) == characters((span,)) & covered
        assert name != "bytes" or characters(pieces) == characters((span,))


def test_pieces_after_a_normaliser_are_places_in_the_text_as_it_is_written() -> None:
    made = word_piece("fi", "a", "##a")
    made.normalizer = normalizers.NFKC()  # which writes the ligature as two letters
    assert segments(made.encode("ﬁ aa"), [(0, 1), (2, 4)]) == [((0, 1),), ((2, 3), (3, 4))]


def test_surfaces_are_the_text_of_tokens() -> None:
    assert surfaces(SAILS) == {0: "[UNK]", 1: "the", 2: "sail", 3: "s"}
    made = byte_level(("Ġ", "a"), ("Ã", "©"))
    found = surfaces(made)
    by_token = {token: found[number] for token, number in made.get_vocab().items()}
    assert (by_token["Ġa"], by_token["Ã©"]) == ("a", "é")
    assert (by_token["Ã"], by_token["Ġ"]) == ("Ã", "Ġ")  # no text by themselves


def test_overlap_by_hand() -> None:
    """[UNK], the, mast and [UNK], the, mast, sail: however a tokenizer marks its place in a word."""
    assert overlap(word_level("the", "mast"), word_piece("the", "##mast", "sail")) == 3 / 4
    assert overlap(SAILS, SAILS) == 1


@pytest.mark.parametrize(
    ("token", "shown"),
    [
        ("Ġthe", "Ġthe"),
        ("Ã©", "é"),
        ("ðŁĺĢ", "😀"),
        ("ðŁ", "<F0><9F>"),
        ("ĠðŁ", "Ġ<F0><9F>"),
        ("Ģ", "<80>"),
        ("ĊĊ", "\n\n"),
        ("漢", "漢"),  # no byte: a token that was added
    ],
)
def test_byte_level_tokens_are_readable(token: str, shown: str) -> None:
    assert readable(token, of_bytes=True) == shown


def test_tokens_of_characters_stay_as_they_are() -> None:
    assert [readable(token, of_bytes=False) for token in ("Ã©", "▁the", "##s", "Ġ")] == ["Ã©", "▁the", "##s", "Ġ"]


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.text(st.characters(max_codepoint=127)))
def test_readable_tokens_of_ascii_joined_are_the_text(text: str) -> None:
    assert "".join(readable(token, of_bytes=True) for token in MODELS["bytes"].encode(text).tokens) == text.replace(" ", "Ġ")


def test_every_byte_is_shown_as_something_of_its_own() -> None:
    assert len({readable(token, of_bytes=True) for token in pre_tokenizers.ByteLevel.alphabet()}) == 256


KNOWN = ["the", "mast", "and", "sails", "of", "a", "ship", "are"]
WORDS = word_level(*KNOWN, ".", "sail")
PIECES = word_piece("the", "mast", "and", "of", "a", "ship", "are", ".", "sail", "##s")
PAIR = {"words": WORDS, "pieces": PIECES}


def test_words_that_are_cut_differently() -> None:
    found = compared("the sails of the ship.", PAIR)
    assert found == ("the sails of the ship.", ["the", "sails", "of", "the", "ship", "."], ["sails"])


def test_same_pieces_of_other_names_are_no_difference() -> None:
    names = {"one": word_piece("sh", "##ip"), "other": byte_level(("s", "h"), ("i", "p"))}
    assert compared("ship", names).differing == []


def test_one_tokenizer_differs_from_none() -> None:
    assert compared("the sails", {"words": WORDS}).differing == []


def test_an_emoji_cut_into_bytes_differs_from_one_that_is_whole() -> None:
    assert compared("a 漢 👩", {"words": WORDS, "bytes": byte_level()}).differing == ["漢", "👩"]


LOW = "the mast of the ship and the sails."  # 9 words, the stop among them
HIGH = "the sails and the sails and the sails."
LONG = "the sails and the sails and the sails are of a mast and the sails."
PLAIN = "the mast and the mast and the mast."


def test_sentence_with_the_greatest_share_is_the_most_disputed() -> None:
    found = most_disputed([LOW, f"{PLAIN} {HIGH}"], PAIR)
    assert found is not None
    assert found.text == HIGH
    assert found.differing == ["sails"] * 3


def test_of_equals_the_longest_then_the_first() -> None:
    other, longer = PLAIN.replace("and", "of"), "the mast and the mast and the mast and the mast."
    for documents, selected in (([PLAIN, other], PLAIN), ([other, PLAIN], other), ([PLAIN, longer, other], longer)):
        found = most_disputed(documents, PAIR)
        assert found is not None
        assert found.text == selected


def test_a_share_counts_not_a_number() -> None:
    found = most_disputed([LONG, HIGH], PAIR)  # 4 of 15, 3 of 9
    assert found is not None
    assert found.text == HIGH


def test_without_prose_nothing_is_disputed() -> None:
    assert most_disputed(["= = Sails = =", "", "the sails."], PAIR) is None
    assert most_disputed([], PAIR) is None


@pytest.mark.parametrize(
    ("sentence", "shown"),
    [
        ("one two three four five six seven.", True),
        ("one two three four five six.", False),  # 7 words
        (" ".join(["word"] * 24) + ".", True),
        (" ".join(["word"] * 25) + ".", False),
        ("one two three four five six seven eight", False),  # no end
        ("one two three four five six seven?", True),
        ("one two three four five six 7 8!", False),  # 6 of 9
        ("one two three four five six 7.", True),  # 6 of 8
        ("one two three <unk> five six seven eight nine ten eleven twelve.", False),
        ("", False),
    ],
)
def test_prose(sentence: str, shown: bool) -> None:
    assert prose(sentence) is shown


def test_documents_are_cut_into_sentences_at_their_ends() -> None:
    found = most_disputed([f"Oh! {HIGH} Is it? {LONG}"], PAIR)
    assert found is not None
    assert found.text == HIGH
