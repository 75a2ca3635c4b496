"""The WikiText-2 that is written is the text that its authors published."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from clipstore.core.datasets import WikiText
from clipstore.core.errors import InputError
from clipstore.data import fetching, hub
from clipstore.data.index import SPLITS
from clipstore.text import wikitext
from tests.mirror import WIKITEXT, Mirror, at_hub, parquet, serving, text_sha256, use_as_hub

LINES = {
    "train": [" \n", " = Lobster = \n", " \n", " A well @-@ known <unk> , blue . \n"],
    "validation": [" \n", " Zwei ü \n"],
    "test": [" Three \n", " \n"],
}
ROWS = {hub_split: [line if line.strip() else "" for line in lines] for hub_split, lines in LINES.items()}  # as stored on the hub


@pytest.fixture
def wiki(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Mirror]:
    """A hub with an eight-line WikiText-2."""
    monkeypatch.setattr(fetching, "WAITS", (0.0, 0.0))
    with serving(tmp_path / "mirror") as mirror:
        use_as_hub(mirror, tmp_path / "hf", monkeypatch)
        for hub_split, rows in ROWS.items():
            mirror.put(at_hub(hub_split), parquet(rows))
        yield mirror


def write(version: str = "raw") -> int:
    """Write the entry of params.yaml with the digests of LINES."""
    digests = {hub_split.removesuffix("idation"): text_sha256(lines) for hub_split, lines in LINES.items()}
    versions = {name: facts | digests for name, facts in WIKITEXT["versions"].items()}
    root = Path("data/raw/wiki")
    root.mkdir(parents=True, exist_ok=True)
    return wikitext.write(WikiText.model_validate(WIKITEXT | {"version": version, "versions": versions}), root)


def test_wikitext_is_written_as_its_authors_published_it(wiki: Mirror) -> None:
    assert write() == 8
    texts = {path.name: path.read_bytes().decode() for path in Path("data/raw/wiki").iterdir()}
    assert texts == {f"{split}.txt": "".join(LINES[hub_split]) for split, hub_split in zip(SPLITS, LINES, strict=True)}


def test_wikitext_is_fetched_once(wiki: Mirror) -> None:
    write()
    shutil.rmtree("data/raw/wiki")
    assert write() == 8
    assert wiki.asked(at_hub("train")) == [0]


def test_version_is_a_folder_on_the_hub(wiki: Mirror) -> None:
    for hub_split, rows in ROWS.items():
        wiki.put(at_hub(hub_split, "tokenised"), parquet(rows))
    write("tokenised")
    assert wiki.asked(at_hub("test", "tokenised")) == [0]
    assert not wiki.asked(at_hub("test", "raw"))


def test_text_that_is_not_the_published_one_is_refused(wiki: Mirror) -> None:
    changed = [row.replace("Zwei", "Zwej") for row in ROWS["validation"]]
    wiki.put(at_hub("validation"), parquet(changed))
    digest, expected = text_sha256([row or " \n" for row in changed]), text_sha256(LINES["validation"])
    message = (
        rf"validation-00000-of-00001\.parquet: the SHA-256 of its text is {digest}, expected {expected}: it is not the published WikiText-2"
    )
    with pytest.raises(InputError, match=message):
        write()
    assert not Path("data/raw/wiki/val.txt").exists()


@pytest.mark.parametrize("data", [b"<html>an error page</html>", b"", parquet(["a"], "content")], ids=["page", "empty", "column"])
def test_file_that_is_not_a_table_with_text_is_refused(wiki: Mirror, data: bytes) -> None:
    wiki.put(at_hub("test"), data)
    with pytest.raises(InputError, match=r"test-00000-of-00001\.parquet: expected a Parquet file with a column text: .") as caught:
        write()
    assert "\n" not in str(caught.value)


def test_wikitext_without_a_network_names_the_missing_file_and_can_be_copied_by_hand(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(tmp_path / "mirror") as mirror:
        use_as_hub(mirror, tmp_path / "hf", monkeypatch)
    file = f"{WIKITEXT['versions']['raw']['folder']}/train-00000-of-00001.parquet"
    with pytest.raises(InputError) as caught:
        write()
    assert str(caught.value).startswith(f"{WIKITEXT['repository']}: {file} is not cached, and {mirror.address} cannot be reached ")
    by_hand = hub.folder(WIKITEXT["repository"]) / WIKITEXT["versions"]["raw"]["folder"]
    by_hand.mkdir(parents=True)
    for hub_split, rows in ROWS.items():
        (by_hand / f"{hub_split}-00000-of-00001.parquet").write_bytes(parquet(rows))
    assert write() == 8
