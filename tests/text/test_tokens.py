"""Measures computed by hand for tokenizers with a few tokens, and tokens in readable form."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers

from clipstore.text.tokens import Tally, compared, most_disputed, overlap, prose, readable, segments, surfaces, words

UNKNOWN = "[UNK]"


def word_level(*vocabulary: str) -> Tokenizer:
    """Return a tokenizer with a vocabulary of whole words; id 0 is the unknown token."""
    tokenizer = Tokenizer(models.WordLevel({token: at for at, token in enumerate((UNKNOWN, *vocabulary))}, unk_token=UNKNOWN))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.decoder = decoders.WordPiece()
    return tokenizer


def word_piece(*vocabulary: str) -> Tokenizer:
    """Return a tokenizer that splits words into the longest known pieces."""
    tokenizer = Tokenizer(models.WordPiece({token: at for at, token in enumerate((UNKNOWN, *vocabulary))}, unk_token=UNKNOWN))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.decoder = decoders.WordPiece()
    return tokenizer


def byte_level(*merges: tuple[str, str]) -> Tokenizer:
    """Return a tokenizer with all bytes and the given merges."""
    vocabulary = sorted(pre_tokenizers.ByteLevel.alphabet()) + [a + b for a, b in merges]
    tokenizer = Tokenizer(models.BPE({token: at for at, token in enumerate(vocabulary)}, list(merges)))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def measured(tokenizer: Tokenizer, *documents: str, unknown: int | None = 0) -> dict[str, float | int]:
    tally = Tally(tokenizer, unknown)
    for document in documents:
        tally.add([document], tokenizer.encode_batch([document]))
    return tally.measures()


SAILS = word_piece("the", "sail", "##s")


def test_measures_by_hand() -> None:
    """Tokens: the, sail, ##s; the, [UNK]. Of 4 words both "the" are whole; 9 and 8 bytes; the second text is decoded as "the [UNK]"."""
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


def test_a_word_in_one_token_with_the_space_before_it_is_whole() -> None:
    measures = measured(byte_level(("Ġ", "a")), "b a", unknown=None)  # tokens b, Ġa
    assert measures == {"fertility": 1, "bytes_per_token": 1.5, "whole_words": 1, "unknown": 0, "round_trip": 1}


def test_a_space_in_a_separate_token_does_not_split_a_word() -> None:
    measures = measured(byte_level(("a", "a")), "aa aa", unknown=None)  # tokens aa, Ġ, aa
    assert (measures["whole_words"], measures["fertility"]) == (1, 3 / 2)


def test_two_words_in_one_token_are_both_whole() -> None:
    measures = measured(byte_level(("'", "t")), "'t", unknown=None)
    assert (measures["whole_words"], measures["fertility"]) == (1, 1 / 2)


def test_characters_of_several_bytes_count_as_bytes() -> None:
    measures = measured(byte_level(), "é漢😀", unknown=None)
    assert (measures["bytes_per_token"], measures["round_trip"], measures["whole_words"]) == (1, 1, 0)
    assert measured(byte_level(), "é漢", unknown=None)["fertility"] == 5  # 2 + 3 bytes, one word


def test_an_empty_document_adds_no_words_and_is_reproduced() -> None:
    measures = measured(SAILS, "", "the keel")
    assert (measures["fertility"], measures["whole_words"], measures["round_trip"]) == (1, 1 / 2, 1 / 2)


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


def test_the_mark_before_the_first_word_is_not_a_piece_of_it() -> None:
    """Metaspace's "▁" stands for a space, but before the first word there is none: both words are one token and whole."""
    tokenizer = Tokenizer(models.Unigram([(UNKNOWN, 0.0), ("▁", -1.0), ("mast", -2.0)], unk_id=0))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    encoding = tokenizer.encode("mast mast")
    assert encoding.tokens == ["▁", "mast", "▁", "mast"]
    assert segments(encoding, [(0, 4), (5, 9)]) == [((0, 4),), ((5, 9),)]
    measures = measured(tokenizer, "mast mast")
    assert (measures["whole_words"], measures["fertility"]) == (1, 2)


def test_pieces_of_a_text_without_words() -> None:
    assert segments(SAILS.encode(""), []) == []


MODELS = {"bytes": byte_level(("Ġ", "a"), ("e", "r")), "pieces": word_piece("a", "##a", "##é", "é")}


def characters(pieces: tuple[tuple[int, int], ...]) -> set[int]:
    return {at for start, end in pieces for at in range(start, end)}


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.text() | st.text("aeér 👩\u200d\u0301'漢."))
@pytest.mark.parametrize("name", list(MODELS))
def test_pieces_cover_the_same_as_tokens_and_stay_inside_the_word(name: str, text: str) -> None:
    encoding, spans = MODELS[name].encode(text), words(text)
    covered = characters(tuple(encoding.offsets))
    for span, pieces in zip(spans, segments(encoding, spans), strict=True):
        assert all(span[0] <= start < end <= span[1] for start, end in pieces)
        assert characters(pieces) == characters((span,)) & covered
        assert name != "bytes" or characters(pieces) == characters((span,))


def test_pieces_after_normalisation_are_positions_in_the_original_text() -> None:
    tokenizer = word_piece("fi", "a", "##a")
    tokenizer.normalizer = normalizers.NFKC()  # which writes the ligature as two letters
    assert segments(tokenizer.encode("ﬁ aa"), [(0, 1), (2, 4)]) == [((0, 1),), ((2, 3), (3, 4))]


def test_surfaces_are_the_text_of_tokens() -> None:
    assert surfaces(SAILS) == {0: "[UNK]", 1: "the", 2: "sail", 3: "s"}
    tokenizer = byte_level(("Ġ", "a"), ("Ã", "©"))
    texts = surfaces(tokenizer)
    by_token = {token: texts[number] for token, number in tokenizer.get_vocab().items()}
    assert (by_token["Ġa"], by_token["Ã©"]) == ("a", "é")
    assert (by_token["Ã"], by_token["Ġ"]) == ("Ã", "Ġ")  # no text by themselves


def test_overlap_by_hand() -> None:
    """The texts are [UNK], the, mast and [UNK], the, mast, sail: marks of a token's position in a word do not count."""
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
        ("漢", "漢"),  # not a byte: an added token
    ],
)
def test_byte_level_tokens_are_readable(token: str, shown: str) -> None:
    assert readable(token, of_bytes=True) == shown


def test_tokens_of_characters_are_unchanged() -> None:
    assert [readable(token, of_bytes=False) for token in ("Ã©", "▁the", "##s", "Ġ")] == ["Ã©", "▁the", "##s", "Ġ"]


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.text(st.characters(max_codepoint=127)))
def test_readable_tokens_of_ascii_joined_are_the_text(text: str) -> None:
    assert "".join(readable(token, of_bytes=True) for token in MODELS["bytes"].encode(text).tokens) == text.replace(" ", "Ġ")


def test_every_byte_has_a_different_readable_form() -> None:
    assert len({readable(token, of_bytes=True) for token in pre_tokenizers.ByteLevel.alphabet()}) == 256


KNOWN = ["the", "mast", "and", "sails", "of", "a", "ship", "are"]
WORDS = word_level(*KNOWN, ".", "sail")
PIECES = word_piece("the", "mast", "and", "of", "a", "ship", "are", ".", "sail", "##s")
PAIR = {"words": WORDS, "pieces": PIECES}


def test_words_that_are_split_differently() -> None:
    sentence = compared("the sails of the ship.", PAIR)
    assert sentence == ("the sails of the ship.", ["the", "sails", "of", "the", "ship", "."], ["sails"])


def test_the_same_pieces_with_other_names_do_not_differ() -> None:
    names = {"one": word_piece("sh", "##ip"), "other": byte_level(("s", "h"), ("i", "p"))}
    assert compared("ship", names).differing == []


def test_a_single_tokenizer_has_no_differences() -> None:
    assert compared("the sails", {"words": WORDS}).differing == []


def test_an_emoji_split_into_bytes_differs_from_a_whole_one() -> None:
    assert compared("a 漢 👩", {"words": WORDS, "bytes": byte_level()}).differing == ["漢", "👩"]


LOW = "the mast of the ship and the sails."  # 9 words, including the full stop
HIGH = "the sails and the sails and the sails."
LONG = "the sails and the sails and the sails are of a mast and the sails."
PLAIN = "the mast and the mast and the mast."


def test_the_sentence_with_the_largest_share_is_the_most_disputed() -> None:
    sentence = most_disputed([LOW, f"{PLAIN} {HIGH}"], PAIR)
    assert sentence is not None
    assert sentence.text == HIGH
    assert sentence.differing == ["sails"] * 3


def test_ties_go_to_the_longest_then_to_the_first() -> None:
    other, longer = PLAIN.replace("and", "of"), "the mast and the mast and the mast and the mast."
    for documents, selected in (([PLAIN, other], PLAIN), ([other, PLAIN], other), ([PLAIN, longer, other], longer)):
        sentence = most_disputed(documents, PAIR)
        assert sentence is not None
        assert sentence.text == selected


def test_the_share_of_differing_words_counts_not_their_number() -> None:
    sentence = most_disputed([LONG, HIGH], PAIR)  # 4 of 15, 3 of 9
    assert sentence is not None
    assert sentence.text == HIGH


def test_without_prose_there_is_no_disputed_sentence() -> None:
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


def test_documents_are_split_into_sentences_at_end_marks() -> None:
    sentence = most_disputed([f"Oh! {HIGH} Is it? {LONG}"], PAIR)
    assert sentence is not None
    assert sentence.text == HIGH
