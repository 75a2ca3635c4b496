"""Zero-shot: class embeddings from prompts, a softmax over classes."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from stages import zero_shot
from stages.lib import embeddings, predictions
from tests.synthetic import embed


def unit(vectors: list[list[float]]) -> zero_shot.Matrix:
    return embeddings.unit(np.array(vectors, np.float32))[0]


def test_class_embedding_is_the_mean_of_unit_embeddings_normalised_again() -> None:
    texts = np.array([[1, 0, 0], [0, 0, 1], [0, 1, 0], [0, 0.6, 0.8]], np.float32)  # two prompts of two classes
    found = zero_shot.class_embeddings(texts, np.array([0, 1, 0, 1]))
    by_hand = [[1 / np.sqrt(2), 1 / np.sqrt(2), 0], [0, 0.3 / np.sqrt(0.9), 0.9 / np.sqrt(0.9)]]
    np.testing.assert_allclose(found, by_hand, atol=1e-6)


def test_one_prompt_is_its_own_class_embedding() -> None:
    texts = unit([[3, 4], [1, -1]])
    np.testing.assert_allclose(zero_shot.class_embeddings(texts, np.array([1, 0])), texts[::-1], atol=1e-6)


def test_probabilities_are_torchs_softmax() -> None:
    random = np.random.default_rng(0)
    images, classes = unit(random.normal(size=(20, 8)).tolist()), unit(random.normal(size=(5, 8)).tolist())
    found = zero_shot.probabilities(images, classes, 100.0)
    expected = (100.0 * torch.from_numpy(images) @ torch.from_numpy(classes).T).softmax(dim=1).numpy()
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-5)
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-5)


def test_logit_scale_decides_how_sure_the_answer_is() -> None:
    images, classes = unit([[1, 0]]), unit([[1, 0], [0, 1]])
    found = [zero_shot.probabilities(images, classes, scale)[0, 0] for scale in (1.0, 14.29)]
    assert found == pytest.approx([1 / (1 + np.exp(-1)), 1 / (1 + np.exp(-14.29))], abs=1e-6)


LONG = [[10.0, 0.0], [0.0, 1.0]]  # of one class, as a text tower gives them


def test_main_normalises_before_it_averages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The image lies between the means of unit and of raw embeddings: with raw ones class 1 would win."""
    monkeypatch.chdir(tmp_path)
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

    made = predictions.read("toy", "zero_shot", "enc")
    cosines = np.array([np.cos(1.1 - np.pi / 4), np.cos(1.1 - 0.3)])
    expected = np.exp(10 * cosines) / np.exp(10 * cosines).sum()
    np.testing.assert_allclose(made.probabilities[1], expected, atol=1e-5)
    assert made.rows["split"].tolist() == ["val", "test"]
    assert made.chosen == {"prompts": 2, "logit_scale": 10.0}
    raw = np.array(LONG).mean(axis=0)
    by_raw_mean = np.array([np.cos(1.1 - np.arctan2(raw[1], raw[0])), cosines[1]])
    assert made.probabilities[1].argmax() == 0
    assert by_raw_mean.argmax() == 1
