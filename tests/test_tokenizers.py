"""Tokenizers are trained, measured and compared."""

import contextlib
import io
import json
import math
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any

import pandas as pd
import pytest
from ruamel.yaml import YAML
from tokenizers import Tokenizer

from clipstore.core.errors import InputError
from clipstore.text import texts, tokens
from clipstore.text.docstrings import paragraphs
from stages import tokenizers
from tests.synthetic import use
from tests.workspace import PROJECT

SECTION: dict[str, Any] = YAML(typ="safe").load(PROJECT / "params.yaml")["tokenizers"]
NAMES = ["bpe", "wordpiece", "unigram"]
OWN = "Emoji 👩‍👩‍👧, 漢字 and e\u0301 don't trouble it."
SMALL = {"vocab_size": 400, "curve_vocab_sizes": [150, 600], "sentences": [OWN]}
TRAIN = paragraphs([topics[name] for name in ("assignment", "class", "execmodel", "import")])
TEST = paragraphs([topics[name] for name in ("numbers", "strings")])


def run(monkeypatch: pytest.MonkeyPatch, train: list[str] = TRAIN, test: list[str] = TEST, **fields: Any) -> dict[str, Any]:
    """Run the stage on a corpus of a few pages; return its result."""
    for split, lines in (("train", train), ("test", test)):
        texts.write(Path("data/corpora/toy") / f"{split}.txt", lines)
    use(monkeypatch, {"tokenizers": SECTION | SMALL | fields})
    return tokenizers.main("toy")


@pytest.fixture(scope="module")
def printed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The output of a run; its folder is the test's working folder."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.chdir(tmp_path_factory.mktemp("tokenizers"))
        with contextlib.redirect_stdout(io.StringIO()) as out:
            run(monkeypatch)
        yield out.getvalue()


def metrics() -> dict[str, Any]:
    content: dict[str, Any] = json.loads(Path("metrics/tokenizers-toy.json").read_text(encoding="utf-8"))
    return content


def plot(name: str) -> pd.DataFrame:
    return pd.read_csv(f"plots/tokenizers/toy/{name}.csv", keep_default_na=False)


def saved(name: str) -> Tokenizer:
    return Tokenizer.from_file(f"data/tokenizers/toy/{name}/tokenizer.json")


def leaves(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return [leaf for inner in value.values() for leaf in leaves(inner)]
    return [value]


def test_metrics_are_numbers_and_strings(printed: str) -> None:
    """`dvc metrics` and `dvc exp show` cannot show lists, null or NaN."""
    values = leaves(metrics())
    assert all(isinstance(leaf, bool | int | float | str) for leaf in values)
    assert all(math.isfinite(leaf) for leaf in values if isinstance(leaf, float))


def test_every_measure_of_every_tokenizer_is_present(printed: str) -> None:
    figures = metrics()
    assert list(figures["tokenizers"]) == NAMES
    for name in NAMES:
        of_test = figures["tokenizers"][name]
        assert set(of_test) == {
            "fertility",
            "bytes_per_token",
            "whole_words",
            "unknown",
            "round_trip",
            "vocab_size",
        }
        assert of_test["vocab_size"] == 400 == saved(name).get_vocab_size()
        assert 1 < of_test["fertility"] < 5
    assert figures["tokenizers"]["bpe"]["round_trip"] == 1
    assert figures["tokenizers"]["bpe"]["unknown"] == 0


def test_measures_are_those_of_the_saved_tokenizers_on_test(printed: str) -> None:
    for name in NAMES:
        tokenizer = saved(name)
        encodings = tokenizer.encode_batch(TEST)
        count = sum(len(encoding.ids) for encoding in encodings)
        of_test = metrics()["tokenizers"][name]
        assert of_test["bytes_per_token"] == pytest.approx(sum(len(line.encode()) for line in TEST) / count, abs=1e-6)
        back = sum(tokenizer.decode(encoding.ids) == line for encoding, line in zip(encodings, TEST, strict=True))
        assert of_test["round_trip"] == pytest.approx(back / len(TEST), abs=1e-6)


def test_every_pair_has_an_overlap(printed: str) -> None:
    overlaps = metrics()["overlap"]
    assert list(overlaps) == ["bpe and wordpiece", "bpe and unigram", "wordpiece and unigram"]
    assert overlaps["bpe and unigram"] == pytest.approx(tokens.overlap(saved("unigram"), saved("bpe")), abs=1e-6)


def test_sentences_are_the_given_the_most_disputed_and_the_users(printed: str) -> None:
    facts_of = metrics()["sentences"]
    assert list(facts_of) == ["given", "most disputed", "own 1"]
    assert facts_of["given"]["text"] == SECTION["given"]
    assert facts_of["own 1"]["text"] == OWN
    disputed = facts_of["most disputed"]
    assert any(disputed["text"] in line for line in TEST)
    expected = tokens.compared(disputed["text"], {name: saved(name) for name in NAMES})
    assert disputed["which"] == " ".join(expected.differing)
    assert (disputed["words"], disputed["cut_differently"]) == (len(expected.words), len(expected.differing))


def test_sentences_are_shown_as_the_saved_tokenizers_encode_them(printed: str) -> None:
    table = plot("sentences")
    assert list(table) == ["sentence", "tokenizer", "position", "token", "id"]
    for sentence, facts in metrics()["sentences"].items():
        for name in NAMES:
            rows = table[(table["sentence"] == sentence) & (table["tokenizer"] == name)]
            encoding = saved(name).encode(facts["text"])
            assert rows["id"].tolist() == encoding.ids
            assert rows["token"].tolist() == [tokens.readable(token, name == "bpe") for token in encoding.tokens]
            assert rows["position"].tolist() == list(range(len(rows)))
    assert len(table) == sum(len(saved(name).encode(facts["text"]).ids) for name in NAMES for facts in metrics()["sentences"].values())


def test_an_emoji_in_a_sentence_is_shown_in_bytes(printed: str) -> None:
    shown = "".join(plot("sentences").query("sentence == 'own 1' and tokenizer == 'bpe'")["token"])
    assert "<F0>" in shown
    assert shown.startswith("EmojiĠ")


def test_fertility_falls_with_the_vocabulary(printed: str) -> None:
    table = plot("fertility")
    for name in ("wordpiece", "unigram"):
        series = table.query("series == @name")
        assert series["vocab_size"].tolist() == [150, 400, 600]
        assert series["fertility"].is_monotonic_decreasing
        at_400 = series.query("vocab_size == 400")["fertility"].item()
        assert at_400 == metrics()["tokenizers"][name]["fertility"]


def test_an_impossible_size_is_reported_and_omitted_from_the_plot(printed: str) -> None:
    line = "tokenizers toy: bpe: a vocabulary of 150 is too small: the characters alone need 256: the fertility plot has no point at 150"
    assert line in printed.splitlines()
    assert plot("fertility").query("series == 'bpe'")["vocab_size"].tolist() == [400, 600]


def test_shares_of_lengths_add_up_and_ranks_fall(printed: str) -> None:
    lengths, ranks = plot("lengths"), plot("ranks")
    for name in NAMES:
        assert lengths.query("series == @name")["share"].sum() == pytest.approx(1, abs=1e-4)
        assert lengths.query("series == @name")["length"].min() >= 1
        counts = ranks.query("series == @name")
        assert counts["count"].is_monotonic_decreasing
        assert counts["rank"].iloc[0] == 1
        assert counts["rank"].is_unique
        ids = Counter(number for encoding in saved(name).encode_batch(TEST) for number in encoding.ids)
        assert counts["count"].iloc[0] == ids.most_common(1)[0][1]


ONE: dict[str, Any] = {"entries": {"wordpiece": SECTION["entries"]["wordpiece"]}, "curve_vocab_sizes": []}


def test_two_runs_write_the_same_bytes_and_return_their_times(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = []
    for _ in range(2):
        speeds = run(monkeypatch, **ONE)["tokenizers"]
        assert speeds.keys() == {"wordpiece"}
        assert speeds["wordpiece"]["training_seconds"] > 0 < speeds["wordpiece"]["megabytes_per_second"]
        written.append({path: path.read_bytes() for root in ("data/tokenizers", "metrics", "plots") for path in Path(root).rglob("*.*")})
    assert Path("metrics/tokenizers-toy.json") in written[0] and written[0] == written[1]


def test_the_error_for_an_impossible_vocabulary_size_names_its_parameter(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(
        InputError, match=r"^params\.yaml: tokenizers\.vocab_size = 100: toy, bpe: a vocabulary of 100 is too small: "
    ) as caught:
        run(monkeypatch, vocab_size=100, curve_vocab_sizes=[])
    assert "\n" not in str(caught.value)
    assert not Path("metrics").exists()


def test_empty_corpus_is_one_line(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match=r"^.*toy, bpe: there is no text to learn from$"):
        run(monkeypatch, train=[])


def test_a_vocabulary_is_smaller_than_requested_if_the_text_does_not_give_more(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run(monkeypatch, train=["the mast and the sail"], test=["the mast"], vocab_size=5000, **ONE)
    reached = saved("wordpiece").get_vocab_size()
    assert reached < 100
    assert metrics()["tokenizers"]["wordpiece"]["vocab_size"] == reached
    assert f"tokenizers toy: wordpiece has {reached} tokens instead of 5000: the text does not give more" in capsys.readouterr().out


def test_a_test_split_without_prose_has_no_most_disputed_sentence(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(monkeypatch, test=["= = Title = ="], sentences=[], **ONE)
    assert list(metrics()["sentences"]) == ["given"]
    assert metrics()["overlap"] == {}


def test_further_entry_is_trained_and_compared(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = {"model": "WordLevel", "pre_tokenizer": [{"type": "Whitespace"}], "decoder": {"type": "WordPiece"}, "unknown": "[UNK]"}
    run(monkeypatch, entries=ONE["entries"] | {"words": words}, curve_vocab_sizes=[])
    assert list(metrics()["overlap"]) == ["wordpiece and words"]
    assert metrics()["tokenizers"]["words"]["fertility"] == 1
    assert metrics()["tokenizers"]["words"]["unknown"] == pytest.approx(1 - metrics()["tokenizers"]["words"]["whole_words"], abs=1e-6)


@pytest.mark.parametrize(
    ("fields", "line"),
    [
        ({"given": " "}, r"tokenizers\.given = ' ': "),
        ({"sentences": [""]}, r"tokenizers\.sentences\.0 = '': "),
        ({"vocab_size": 1}, r"tokenizers\.vocab_size = 1: "),
        ({"entries": {}}, r"tokenizers\.entries: "),
        ({"entries": {"my-bpe": SECTION["entries"]["bpe"]}}, r"tokenizers\.entries\.my-bpe = 'my-bpe': "),
    ],
)
def test_wrong_value_is_named(project: Path, monkeypatch: pytest.MonkeyPatch, fields: dict[str, Any], line: str) -> None:
    with pytest.raises(InputError, match=rf"^params\.yaml: {line}"):
        run(monkeypatch, **fields)
