"""A corpus is three text files, created from any supported data set."""

from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from clipstore.core.errors import InputError
from stages import corpus
from tests.synthetic import use
from tests.workspace import PROJECT

WIKITEXT: dict[str, Any] = YAML(typ="safe").load(PROJECT / "params.yaml")["datasets"]["wikitext2"]
SPLITS = ("train", "val", "test")


def run(monkeypatch: pytest.MonkeyPatch, entry: dict[str, Any]) -> dict[str, Any]:
    """Run the stage on data/raw/toy."""
    use(monkeypatch, {"corpus": {"seed": 0, "val": 0.2, "test": 0.2}, "datasets": {"toy": entry}})
    return corpus.main("toy")


def put(**files: str) -> None:
    for name, text in files.items():
        path = Path("data/raw/toy") / f"{name}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode())


def written() -> dict[str, str]:
    """Return the text of every file that the stage wrote."""
    return {path.name: path.read_bytes().decode() for path in Path("data/corpora/toy").iterdir()}


def test_given_splits_are_written_with_one_document_per_line(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(train=" one \r\n\r\nzwei ü\r\n", val="three", test="four\n \n")
    facts = run(monkeypatch, {"kind": "text"})
    assert written() == {"train.txt": "one\nzwei ü\n", "val.txt": "three\n", "test.txt": "four\n"}
    assert facts == {
        "train_documents": 2,
        "train_bytes": 12,
        "val_documents": 1,
        "val_bytes": 6,
        "test_documents": 1,
        "test_bytes": 5,
    }


def test_text_without_splits_is_always_split_the_same_way(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [f"document {at}" for at in range(100)]
    put(all="\n".join(lines))
    facts = run(monkeypatch, {"kind": "text"})
    first = written()
    assert sorted("".join(first.values()).splitlines()) == sorted(lines)
    assert min(facts[f"{split}_documents"] for split in SPLITS) > 5
    run(monkeypatch, {"kind": "text"})
    assert written() == first


MARKED = " The well @-@ known <unk> , as it is called . \n"


@pytest.mark.parametrize(
    ("markup", "line"),
    [("keep", "The well @-@ known <unk> , as it is called .\n"), ("undo", "The well-known <unk>, as it is called.\n")],
)
def test_wikitexts_markup_is_kept_or_undone(project: Path, monkeypatch: pytest.MonkeyPatch, markup: str, line: str) -> None:
    put(train=MARKED, val=MARKED, test=MARKED)
    facts = run(monkeypatch, WIKITEXT | {"markup": markup})
    assert written() == {f"{split}.txt": line for split in SPLITS}
    assert facts["test_bytes"] == len(line)


def test_a_users_own_text_is_unchanged(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(train=MARKED, val=MARKED, test=MARKED)
    run(monkeypatch, {"kind": "text"})
    assert written()["train.txt"] == MARKED.strip() + "\n"


def test_no_text_is_one_line_and_writes_nothing(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(train=" \n", val="", test="\n")
    with pytest.raises(InputError, match=r"^data/raw/toy: no text for train, val, test in 3 files: .*$") as caught:
        run(monkeypatch, {"kind": "text"})
    assert "\n" not in str(caught.value)
    assert not Path("data/corpora").exists()


def test_text_that_is_not_utf8_is_one_line_and_writes_nothing(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(train="one", val="two", test="three")
    Path("data/raw/toy/val.txt").write_bytes(b"na\xefve\n")
    with pytest.raises(InputError, match=r"^data/raw/toy/val\.txt: byte 2 is not UTF-8"):
        run(monkeypatch, {"kind": "text"})
    assert not Path("data/corpora").exists()
