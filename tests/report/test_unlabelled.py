"""What the report shows about images without a class."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from clipstore.report import unlabelled
from clipstore.report.unlabelled import Sheet
from clipstore.store import embeddings


def answers(**counts: int) -> pd.DataFrame:
    """Return answers by class, "a0" the surest of class a."""
    names = [(name, number) for name, count in counts.items() for number in range(count)]
    return pd.DataFrame({"image_id": [f"{name}{number}" for name, number in names], "class": [name for name, _ in names]})


def shown(sheets: list[Sheet]) -> list[tuple[str, int, list[str], list[str]]]:
    """Return the sheets with the image_id of their images."""
    ids = [([image["image_id"] for image in sheet.surest], [image["image_id"] for image in sheet.least]) for sheet in sheets]
    return [(sheet.class_name, sheet.size, *images) for sheet, images in zip(sheets, ids, strict=True)]


def test_a_sheet_has_the_surest_and_the_least_sure_and_no_image_twice() -> None:
    assert shown(unlabelled.sheets(answers(b=5, a=3, c=1), 2, 100)) == [
        ("b", 5, ["b0", "b1"], ["b4", "b3"]),
        ("a", 3, ["a0", "a1"], ["a2"]),
        ("c", 1, ["c0"], []),
    ]


def test_many_classes_share_the_images_and_the_largest_keep_theirs() -> None:
    counts = {name: number for number, name in enumerate("abcdef", 3)}
    assert {len(sheet.surest) for sheet in unlabelled.sheets(answers(**counts), 6, 24)} == {2}
    assert [sheet.class_name for sheet in unlabelled.sheets(answers(**counts), 6, 6) if sheet.surest] == ["d", "e", "f"]
    assert [sheet.size for sheet in unlabelled.sheets(answers(**counts), 6, 0) if not sheet.surest] == [3, 4, 5, 6, 7, 8]


@pytest.mark.parametrize("most", [0, 1, 7, 24, 400])
def test_the_sheets_never_show_more_images_than_allowed(most: int) -> None:
    sheets = unlabelled.sheets(answers(a=9, b=1, c=30, d=2), 6, most)
    assert sum(len(sheet.surest) + len(sheet.least) for sheet in sheets) <= most


def test_without_answers_there_are_no_sheets() -> None:
    assert unlabelled.sheets(answers(), 6, 400) == []


def test_similar_names_use_the_ensemble_of_prompts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The mean of class a's two prompts is at 45 degrees, as is the only class b."""
    monkeypatch.chdir(tmp_path)
    vectors = np.array([[1, 0], [1, 1], [0, -1], [0, 1], [1, 1], [0, -1]], np.float32)
    texts = pd.DataFrame({"class_name": ["a", "b", "c"] * 2, "label": [0, 1, 2] * 2, "prompt": [0] * 3 + [1] * 3, "text": "text"})
    embeddings.write_texts(embeddings.folder("enc", "toy"), texts, vectors, {})
    (embeddings.folder("enc", "toy") / "texts_contract.json").write_text("{}")
    pairs = unlabelled.similar_names("toy", "enc")
    assert [(pair["a"], pair["b"]) for pair in pairs] == [("a", "b"), ("a", "c"), ("b", "c")]
    assert [pair["cosine"] for pair in pairs] == pytest.approx([1, -np.sqrt(0.5), -np.sqrt(0.5)], abs=1e-4)


def test_one_class_has_no_similar_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    texts = pd.DataFrame({"class_name": ["a"], "label": [0], "prompt": [0], "text": ["a"]})
    embeddings.write_texts(embeddings.folder("enc", "toy"), texts, np.ones((1, 2), np.float32), {})
    (embeddings.folder("enc", "toy") / "texts_contract.json").write_text("{}")
    assert unlabelled.similar_names("toy", "enc") == []
