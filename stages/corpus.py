"""Create a corpus from a data set of texts: `dvc repro -s corpus@CORPUS`.

Reads data/raw/CORPUS: .txt files (one document per line) or .parquet files (a column text). Files or folders named train, val and test are
the splits; without these names the documents are split here. Writes data/corpora/CORPUS: train.txt, val.txt and test.txt, in UTF-8, one
document or paragraph per line.
"""

from pathlib import Path
from typing import Any

from pydantic import Field

from clipstore.core.datasets import Dataset, WikiText
from clipstore.core.params import Section, section
from clipstore.core.stage import run
from clipstore.data.tree import by_kind
from clipstore.text import texts


class Corpus(Section):
    """How texts without given splits are split."""

    seed: int = Field(ge=0, description="Seed of the split.")
    val: float = Field(gt=0, lt=0.5, description="Share of the documents that becomes val if no splits are given.")
    test: float = Field(gt=0, lt=0.5, description="Share of the documents that becomes test if no splits are given.")


def main(corpus: str) -> dict[str, Any]:
    """Write data/corpora/CORPUS; return the number of documents and bytes in each split."""
    settings = section(Corpus, "corpus")
    entry: Dataset = section(Dataset, f"datasets.{corpus}")
    documents_of, passed_over = texts.folder(Path("data/raw") / corpus, settings.val, settings.test, settings.seed)
    undo = isinstance(entry, WikiText) and entry.markup == "undo"
    facts: dict[str, Any] = {}
    for split, documents in documents_of.items():
        path = Path("data/corpora") / corpus / f"{split}.txt"
        texts.write(path, map(texts.plain, documents) if undo else documents)
        facts |= {f"{split}_documents": len(documents), f"{split}_bytes": path.stat().st_size}
    if passed_over:
        print(f"corpus {corpus}: passed over: {by_kind(passed_over)}")
    print(f"corpus {corpus}: " + ", ".join(f"{split} {facts[f'{split}_bytes'] / 1e6:.2f} MB" for split in documents_of))
    return facts


if __name__ == "__main__":
    run(main)
