"""Zero-shot classification: the output for the ensemble of prompts and for each prompt."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from clipstore.core.vectors import unit
from clipstore.store import embeddings, predictions
from stages import zero_shot
from tests.synthetic import embed, use


def unit_rows(vectors: list[list[float]]) -> zero_shot.Matrix:
    return unit(np.array(vectors, np.float32))[0]


LONG = [[10.0, 0.0], [0.0, 1.0]]  # two texts of one class, not normalised, like the output of a text tower


def test_main_normalises_before_it_averages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The image is between the means of the unit and of the raw embeddings: with raw ones class 1 would win."""
    monkeypatch.chdir(tmp_path)
    use(monkeypatch, {"prompts": {"toy": ["a {}", "the {}"]}})
    embed(["train", "val", "test"], [0, 0, 0], 2, embedding=[[1, 0], [1, 0], [np.cos(1.1), np.sin(1.1)]])
    rows = pd.DataFrame(
        {
            "class_name": ["class 0", "class 1", "class 0", "class 1"],
            "label": [0, 1, 0, 1],
            "prompt": [0, 0, 1, 1],
            "text": ["a 0", "a 1", "the 0", "the 1"],
        }
    )
    other = [np.cos(0.3), np.sin(0.3)]
    texts = np.array([LONG[0], other, LONG[1], other], np.float32)
    folder = embeddings.folder("enc", "toy")
    embeddings.write_texts(folder, rows, texts, {})
    (folder / "texts_contract.json").write_text('{"logit_scale": 10.0}')

    zero_shot.main("enc", "toy")

    written = predictions.read("toy", "zero_shot", "enc")
    cosines = np.array([np.cos(1.1 - np.pi / 4), np.cos(1.1 - 0.3)])
    expected = np.exp(10 * cosines) / np.exp(10 * cosines).sum()
    np.testing.assert_allclose(written.probabilities[1], expected, atol=1e-5)
    assert written.rows["split"].tolist() == ["val", "test"]
    assert written.selected == {"prompts": 2, "logit_scale": 10.0}
    raw = np.array(LONG).mean(axis=0)
    by_raw_mean = np.array([np.cos(1.1 - np.arctan2(raw[1], raw[0])), cosines[1]])
    assert written.probabilities[1].argmax() == 0
    assert by_raw_mean.argmax() == 1


def test_every_prompt_alone_and_the_ensemble(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Prompt 0 is right only on val, prompt 1 only on test, the ensemble on both; the result is always that of the ensemble."""
    monkeypatch.chdir(tmp_path)
    use(monkeypatch, {"prompts": {"toy": ["a {}", "the {}"]}})
    degrees = np.deg2rad([0, 10, 80, 40])
    embed(["train", "val", "val", "test"], [0, 0, 1, 0], 2, embedding=np.column_stack([np.cos(degrees), np.sin(degrees)]))
    angles = np.deg2rad([0, 60, 50, 120])  # a 0, a 1, the 0, the 1: boundaries at 30 and 85 degrees; of the ensembles (25, 90) at 57.5
    rows = pd.DataFrame({"class_name": ["class 0", "class 1"] * 2, "label": [0, 1] * 2, "prompt": [0, 0, 1, 1], "text": list("abcd")})
    folder = embeddings.folder("enc", "toy")
    embeddings.write_texts(folder, rows, np.column_stack([np.cos(angles), np.sin(angles)]).astype(np.float32), {})
    (folder / "texts_contract.json").write_text('{"logit_scale": 10.0}')

    zero_shot.main("enc", "toy")

    table = pd.read_csv("plots/zero_shot/enc-toy.csv")
    assert table.to_dict("list") == {
        "template": ["a {}", "a {}", "the {}", "the {}", "ensemble", "ensemble"],
        "split": ["val", "test"] * 3,
        "top1": [1, 0, 0.5, 1, 1, 1],
        "mean_per_class": [1, 0, 0.5, 1, 1, 1],
    }
    assert predictions.read("toy", "zero_shot", "enc").probabilities.argmax(axis=1).tolist() == [0, 1, 0]


def test_a_single_prompt_is_the_ensemble(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    embed(["train", "val", "test"], [0, 0, 1], 2, embedding=np.array([[1, 0], [1, 0.1], [1, 2]]))
    rows = pd.DataFrame({"label": [0, 1], "prompt": [0, 0]})
    table = zero_shot.wordings(embeddings.read_images("enc", "toy"), unit_rows([[1, 0], [0, 1]]), rows, ("a {}",))
    assert table["mean_per_class"].tolist() == [1, 1, 1, 1]
    assert table["template"].tolist() == ["a {}", "a {}", "ensemble", "ensemble"]
