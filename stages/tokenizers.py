"""Train tokenizers on a corpus and compare them: `dvc repro -s tokenizers@CORPUS`.

Reads data/corpora/CORPUS. Writes data/tokenizers/CORPUS/NAME/tokenizer.json, which can be loaded with ``Tokenizer.from_file`` of Hugging
Face's tokenizers; metrics/tokenizers-CORPUS.json, measured on test; and plots/tokenizers/CORPUS: fertility by vocabulary size, token
lengths, frequency by rank, and sentences as encoded by each tokenizer.
"""

import time
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
from pydantic import Field
from tokenizers import Tokenizer
from tqdm import tqdm

from clipstore.core.errors import InputError
from clipstore.core.outputs import write_metrics, write_plot
from clipstore.core.params import Section, Slug, section
from clipstore.core.stage import run
from clipstore.text import texts, tokens
from clipstore.text.tokenizing import Entry

BATCH = 1000  # documents encoded at a time
Sentence = Annotated[str, Field(pattern=r"\S")]


class Tokenizers(Section):
    """Which tokenizers are trained, and which sentences show their tokens."""

    vocab_size: int = Field(ge=2, description="Tokens in each vocabulary.")
    curve_vocab_sizes: tuple[Annotated[int, Field(ge=2)], ...] = Field(
        description="Further vocabulary sizes, in tokens; used only for the plot of fertility."
    )
    entries: Mapping[Slug, Entry] = Field(min_length=1, description="Tokenizers to train and compare.")
    given: Sentence = Field(description="Example sentence, shown encoded in README and the report.")
    sentences: tuple[Sentence, ...] = Field(description="Your sentences to show encoded in the report.")


def encoded(tokenizer: Tokenizer, unknown: str | None, documents: Sequence[str], name: str) -> tuple[tokens.Tally, float]:
    """Encode the documents; return the counts over them and the seconds spent on encoding alone, with all cores."""
    tally = tokens.Tally(tokenizer, tokenizer.token_to_id(unknown) if unknown is not None else None)
    seconds = 0.0
    for first in tqdm(range(0, len(documents), BATCH), name, unit="batch", mininterval=1):
        batch = documents[first : first + BATCH]
        start = time.perf_counter()
        encodings = tokenizer.encode_batch(batch)
        seconds += time.perf_counter() - start
        tally.add(batch, encodings)
    return tally, seconds


def lengths(tokenizer: Tokenizer, tally: tokens.Tally) -> pd.DataFrame:
    """Return the share of the encoded tokens by length in characters, without spaces: columns length, share."""
    texts_of = tokens.surfaces(tokenizer)
    counts = pd.Series(list(tally.ids.values())).groupby([len(texts_of[number]) for number in tally.ids]).sum()
    return pd.DataFrame({"length": counts.index, "share": counts / counts.sum()})


def ranks(tally: tokens.Tally, points: int = 200) -> pd.DataFrame:
    """Return token frequencies by rank, the most frequent token first, at most ``points`` of them: columns rank, count."""
    counts = np.array(sorted(tally.ids.values(), reverse=True))
    selected = np.unique(np.geomspace(1, len(counts), points).round().astype(int))
    return pd.DataFrame({"rank": selected, "count": counts[selected - 1]})


def tokens_of(sentence: str, name: str, trained: Mapping[str, Tokenizer], settings: Tokenizers) -> pd.DataFrame:
    """Return a sentence's tokens from each tokenizer: columns sentence, tokenizer, position, token, id."""
    rows = []
    for entry, tokenizer in trained.items():
        encoding = tokenizer.encode(sentence)
        readable = [tokens.readable(token, settings.entries[entry].of_bytes) for token in encoding.tokens]
        rows += [(name, entry, position, *pair) for position, pair in enumerate(zip(readable, encoding.ids, strict=True))]
    return pd.DataFrame(rows, columns=["sentence", "tokenizer", "position", "token", "id"])


def sentences(documents: Sequence[str], trained: Mapping[str, Tokenizer], settings: Tokenizers) -> dict[str, tokens.Sentence]:
    """Return by name: the given sentence, the one in ``documents`` that is split most differently (if any), and the user's sentences."""
    compared = {"given": tokens.compared(settings.given, trained)}
    disputed = tokens.most_disputed(documents, trained)
    if disputed:
        compared["most disputed"] = disputed
    return compared | {f"own {number}": tokens.compared(sentence, trained) for number, sentence in enumerate(settings.sentences, 1)}


def main(corpus: str) -> dict[str, Any]:
    """Write the tokenizers, metrics and plots of one corpus."""
    settings = section(Tokenizers, "tokenizers")
    folder = Path("data/corpora") / corpus
    train, test = (texts.read(folder / f"{split}.txt") for split in ("train", "test"))
    trained: dict[str, Tokenizer] = {}
    measures: dict[str, dict[str, float | int]] = {}
    speeds: dict[str, dict[str, float]] = {}
    plots: dict[str, list[pd.DataFrame]] = {"fertility": [], "lengths": [], "ranks": []}
    for name, entry in settings.entries.items():
        alphabet = entry.alphabet(train)
        for size in sorted({*settings.curve_vocab_sizes, settings.vocab_size}):
            start = time.perf_counter()
            try:
                tokenizer = entry.trained(train, size, alphabet)
            except InputError as error:
                if size == settings.vocab_size:
                    raise InputError(f"params.yaml: tokenizers.vocab_size = {size}: {corpus}, {name}: {error}") from None
                print(f"tokenizers {corpus}: {name}: {error}: the fertility plot has no point at {size}")
                continue
            seconds = time.perf_counter() - start
            tally, encoding_seconds = encoded(tokenizer, entry.unknown, test, f"{name}, {size}")
            reached, figures = tokenizer.get_vocab_size(), tally.measures()
            plots["fertility"].append(pd.DataFrame({"series": [name], "vocab_size": [reached], "fertility": [figures["fertility"]]}))
            if reached < size:
                print(f"tokenizers {corpus}: {name} has {reached} tokens instead of {size}: the text does not give more")
            if size == settings.vocab_size:
                trained[name] = tokenizer
                measures[name] = figures | {"vocab_size": reached}
                speeds[name] = {"training_seconds": seconds, "megabytes_per_second": tally.bytes / 1e6 / encoding_seconds}
                plots["lengths"].append(lengths(tokenizer, tally).assign(series=name))
                plots["ranks"].append(ranks(tally).assign(series=name))
                path = Path("data/tokenizers") / corpus / name / "tokenizer.json"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(tokenizer.to_str(pretty=True).encode())
    compared = sentences(test, trained, settings)
    metrics = {
        "tokenizers": measures,
        "overlap": {f"{a} and {b}": tokens.overlap(trained[a], trained[b]) for a, b in combinations(trained, 2)},
        "sentences": {
            name: {
                "text": sentence.text,
                "words": len(sentence.words),
                "cut_differently": len(sentence.differing),
                "which": " ".join(sentence.differing),
            }
            for name, sentence in compared.items()
        },
    }
    write_metrics(Path("metrics") / f"tokenizers-{corpus}.json", metrics)
    target = Path("plots/tokenizers") / corpus
    for plot, curves in plots.items():
        write_plot(target / f"{plot}.csv", pd.concat(curves))
    frames = [tokens_of(sentence.text, name, trained, settings) for name, sentence in compared.items()]
    write_plot(target / "sentences.csv", pd.concat(frames))
    return {"documents": len(train) + len(test), "tokenizers": speeds}


if __name__ == "__main__":
    run(main)
