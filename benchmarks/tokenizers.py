"""Training and encoding of our tokenizers against the sentencepiece package: python -m benchmarks.tokenizers TRAIN.txt TEST.txt [RUNS].

The same documents, the same 8,000 tokens, all cores: our BPE and Unigram as params.yaml has them, without the search for their alphabet,
against sentencepiece's of the same names. Runs alternate; medians and ratios are printed.
"""

import io
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import sentencepiece
from ruamel.yaml import YAML

from clipstore.core.params import check
from clipstore.text import texts
from stages.tokenizers import Tokenizers

Encode = Callable[[], object]


def ours(settings: Tokenizers, name: str, train: list[str], test: list[str]) -> Encode:
    """Train and return what encodes the test documents."""
    made = settings.entries[name].trained(train, settings.vocab_size, [])
    return lambda: made.encode_batch(test)


def theirs(settings: Tokenizers, name: str, train: list[str], test: list[str]) -> Encode:
    """Train and return what encodes the test documents."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(train),
        model_writer=model,
        vocab_size=settings.vocab_size,
        model_type=name,
        num_threads=2,
        minloglevel=2,
        max_sentence_length=1 << 20,  # no document is passed over for its length
    )
    made = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    return lambda: made.encode(test, num_threads=2)


def main() -> None:
    """Print medians and ratios."""
    settings = check(Tokenizers, YAML(typ="safe").load(Path("params.yaml"))["tokenizers"], "tokenizers")
    train, test = (texts.read(Path(path)) for path in sys.argv[1:3])
    megabytes = sum(len(document.encode()) for document in test) / 1e6
    runs = int(sys.argv[3]) if len(sys.argv) > 3 else 3
    for name in ("bpe", "unigram"):
        found: dict[str, list[tuple[float, float]]] = {"ours": [], "sentencepiece": []}
        for _ in range(runs):
            for who, run in (("ours", ours), ("sentencepiece", theirs)):
                start = time.perf_counter()
                encode = run(settings, name, train, test)
                trained = time.perf_counter()
                encode()
                found[who].append((trained - start, megabytes / (time.perf_counter() - trained)))
        for at, what, unit in ((0, "training", "s"), (1, "encoding", "MB/s")):
            own, other = (statistics.median(pair[at] for pair in found[who]) for who in found)
            times = other / own if unit == "s" else own / other
            print(f"{name}, {what}, median of {runs}: ours {own:.1f} {unit}, sentencepiece {other:.1f} {unit}: {times:.2f} times its speed")


if __name__ == "__main__":
    main()
