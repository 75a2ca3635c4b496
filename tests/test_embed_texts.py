"""embed_texts embeds every class name in every prompt."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from clipstore.encoders import encoder
from clipstore.encoders.vision import open_clip
from clipstore.store import embeddings
from tests.project import embed_prompts, prepare

PROMPTS = ("a {}.", "one {} of many")


@pytest.fixture
def ready(project: Path) -> Path:
    """Six indexed images of the classes even and odd, and the tiny encoder."""
    prepare(6)
    return project


def test_rows_are_prompts_times_classes_with_the_vectors_of_open_clip(ready: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert embed_prompts(monkeypatch, PROMPTS) == 4
    rows, vectors, contract = embeddings.read_texts("tiny", "own")
    assert rows["text"].tolist() == ["a even.", "a odd.", "one even of many", "one odd of many"]
    assert rows["label"].tolist() == [0, 1, 0, 1]
    model, _, _ = open_clip.create_model_and_transforms("local-dir:data/weights/tiny", require_pretrained=True)
    with torch.inference_mode():
        expected = model.eval().encode_text(open_clip.get_tokenizer("local-dir:data/weights/tiny")(rows["text"].tolist()), normalize=True)
    np.testing.assert_allclose(vectors, expected.numpy(), atol=1e-6)
    assert contract["logit_scale"] == pytest.approx(1 / 0.07, rel=1e-4)


def test_only_a_new_prompt_is_computed(ready: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    embed_prompts(monkeypatch, PROMPTS)
    assert embed_prompts(monkeypatch, (*PROMPTS, "no {}")) == 2
    monkeypatch.setattr(encoder, "Encoder", None)  # no model is loaded when nothing is missing
    assert embed_prompts(monkeypatch, PROMPTS) == 0


def test_texts_have_a_separate_contract(ready: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    embed_prompts(monkeypatch, PROMPTS)
    contract = json.loads((ready / "data/embeddings/tiny-own/texts_contract.json").read_text())
    assert contract["vectors"] == {"embedding": 16}
    assert "preprocess" not in contract
