"""Compare the speed of this project's tokenizers with sentencepiece: python -m benchmarks.tokenizers TRAIN.txt TEST.txt [RUNS].

BPE and Unigram as configured in params.yaml, without determining their alphabet, are compared with sentencepiece's models of the same
names, in training and encoding, on the same documents, with 8,000 tokens and all cores. Runs alternate; medians and ratios are printed.
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
    """Train this project's tokenizer; return a function that encodes the test documents."""
    tokenizer = settings.entries[name].trained(train, settings.vocab_size, [])
    return lambda: tokenizer.encode_batch(test)


def theirs(settings: Tokenizers, name: str, train: list[str], test: list[str]) -> Encode:
    """Train sentencepiece's tokenizer; return a function that encodes the test documents."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(train),
        model_writer=model,
        vocab_size=settings.vocab_size,
        model_type=name,
        num_threads=2,
        minloglevel=2,
        max_sentence_length=1 << 20,  # so that no document is skipped because of its length
    )
    processor = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    return lambda: processor.encode(test, num_threads=2)


def main() -> None:
    """Print medians and ratios."""
    settings = check(Tokenizers, YAML(typ="safe").load(Path("params.yaml"))["tokenizers"], "tokenizers")
    train, test = (texts.read(Path(path)) for path in sys.argv[1:3])
    megabytes = sum(len(document.encode()) for document in test) / 1e6
    runs = int(sys.argv[3]) if len(sys.argv) > 3 else 3
    for name in ("bpe", "unigram"):
        measurements: dict[str, list[tuple[float, float]]] = {"ours": [], "sentencepiece": []}
        for _ in range(runs):
            for who, run in (("ours", ours), ("sentencepiece", theirs)):
                start = time.perf_counter()
                encode = run(settings, name, train, test)
                trained = time.perf_counter()
                encode()
                measurements[who].append((trained - start, megabytes / (time.perf_counter() - trained)))
        for at, what, unit in ((0, "training", "s"), (1, "encoding", "MB/s")):
            own, other = (statistics.median(pair[at] for pair in measurements[who]) for who in measurements)
            times = other / own if unit == "s" else own / other
            speeds = f"ours {own:.1f} {unit}, sentencepiece {other:.1f} {unit}"
            print(f"{name}, {what}, median of {runs}: {speeds}; ours is {times:.2f} times as fast")


if __name__ == "__main__":
    main()
