"""The hub's WikiText-2 is written as its authors published it, and a tokenizer learns from it."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from ruamel.yaml import YAML

from clipstore.core.datasets import WikiText
from clipstore.core.params import check
from clipstore.text import texts
from clipstore.text.tokenizing import Entry
from stages import download
from tests.mirror import serving, use_as_hub
from tests.workspace import PROJECT

FILES = {"train": "train", "validation": "valid", "test": "test"}


def test_tokenised_wikitext_is_the_published_one(real_data: Path, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    params = YAML(typ="safe").load(PROJECT / "params.yaml")
    entry = check(WikiText, params["datasets"]["wikitext2"] | {"version": "tokenised"})
    version = entry.versions["tokenised"]
    with serving(tmp_path / "mirror") as mirror:
        use_as_hub(mirror, tmp_path / "hf", monkeypatch)
        for theirs, name in FILES.items():
            published = (real_data / f"wikitext-2/{name}.txt").read_bytes().decode()
            rows = [line if line.strip() else "" for line in published.splitlines(keepends=True)]
            table = tmp_path / f"{theirs}.parquet"
            pq.write_table(pa.table({"text": rows}), table)
            path = f"datasets/{entry.repository}/resolve/{entry.revision}/{version.folder}/{theirs}-00000-of-00001.parquet"
            mirror.put(path, table.read_bytes())
        monkeypatch.setattr(download, "section", lambda *_: entry)
        assert download.main("wikitext2") == {"lines": 44836}
    for theirs, split in (("train", "train"), ("validation", "val"), ("test", "test")):
        original = (real_data / f"wikitext-2/{FILES[theirs]}.txt").read_bytes()
        assert (project / f"data/raw/wikitext2/{split}.txt").read_bytes() == original


def test_byte_level_bpe_learns_8000_tokens_from_it(real_data: Path) -> None:
    """It is trained only on the validation split, for speed."""
    entry = check(Entry, YAML(typ="safe").load(PROJECT / "params.yaml")["tokenizers"]["entries"]["bpe"])
    documents = texts.read(real_data / "wikitext-2/valid.txt")
    tokenizer = entry.trained(documents, 8000)
    assert tokenizer.get_vocab_size() == 8000
    for document in texts.read(real_data / "wikitext-2/test.txt")[:500]:
        assert tokenizer.decode(tokenizer.encode(document).ids) == document
