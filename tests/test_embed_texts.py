"""embed_texts embeds every class name in every prompt."""

import dataclasses
import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from clipstore.data import index
from clipstore.encoders import encoder
from clipstore.encoders.info import read_info
from clipstore.encoders.open_clip import write_folder
from clipstore.encoders.tokenized import _length, tokenized
from clipstore.encoders.vision import open_clip
from clipstore.store import embeddings
from stages import embed_texts
from tests.project import TINY, embed_prompts, make_weights, prepare, unigram_tokenizer


def run(monkeypatch: pytest.MonkeyPatch, prompts: tuple[str, ...]) -> dict[str, Any]:
    """Run the stage; return what it records."""
    settings = embed_texts.EmbedTexts(batch_size=4, precision="float32")
    monkeypatch.setattr(embed_texts, "section", lambda _, name: settings if name == "embed_texts" else prompts)
    return embed_texts.main("tiny", "own")


def make_siglip(name: str) -> None:
    """Write a tiny random model with a tokenizer of transformers, which knows capitals."""
    shutil.rmtree(Path("data/weights") / name)
    text = TINY["text_cfg"] | {"vocab_size": 64, "hf_tokenizer_name": "none/such", "no_causal_mask": True, "pool_type": "last"}
    config = TINY | {"text_cfg": text, "custom_text": True}
    model = open_clip.model.CustomTextCLIP(**{key: value for key, value in config.items() if key != "custom_text"})
    open_clip.model.set_model_preprocess_cfg(model, dataclasses.asdict(open_clip.transform.PreprocessCfg(size=32)))
    write_folder(name, model, name, config, "random", unigram_tokenizer())


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


def test_the_same_encoder_under_another_name_computes_no_text(ready: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    embed_prompts(monkeypatch, PROMPTS)
    make_weights("renamed")
    assert embed_texts.main("renamed", "own")["texts"] == 0


def test_another_setting_of_the_tokenizer_recomputes_all_texts(ready: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    embed_prompts(monkeypatch, PROMPTS)
    shutil.rmtree(Path("data/weights/tiny"))
    make_weights(config=TINY | {"text_cfg": TINY["text_cfg"] | {"tokenizer_kwargs": {"clean": "canonicalize"}}})
    assert embed_prompts(monkeypatch, PROMPTS) == 4


def test_texts_have_a_separate_contract(ready: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    embed_prompts(monkeypatch, PROMPTS)
    contract = json.loads((ready / "data/embeddings/tiny-own/texts_contract.json").read_text())
    assert contract["vectors"] == {"embedding": 16}
    assert "preprocess" not in contract


@pytest.mark.parametrize("kind", ["clip", "siglip"])
def test_cut_texts_and_equal_classes_are_reported(
    ready: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    """With either kind of tokenizer; CLIP's lowers case. A second run, which computes nothing, reports the same."""
    common = "a type of flower " * 8
    classes = ["Rose", "rose", "iris", f"{common} lily", f"{common} orchid"]
    monkeypatch.setattr(index, "read", lambda _: SimpleNamespace(classes=classes))
    if kind == "siglip":
        make_siglip("tiny")
    expected = {"clip": (4, 4), "siglip": (4, 2)}[kind]
    for computed in (True, False):
        facts = run(monkeypatch, ("a {}.", "one {}"))
        assert (facts["cut_texts"], facts["equal_classes"]) == expected
        assert bool(facts["texts"]) == computed
        cut, equal = [line for line in capsys.readouterr().out.splitlines() if "warning" in line]
        assert cut.startswith(
            f"warning: embed_texts tiny-own: 4 texts are cut to 16 tokens, of 10: 'a {common} lily.', 'a {common} orchid.', "
        )
        assert cut.endswith(", ...")
        pairs = ("'Rose' = 'rose', " if kind == "clip" else "") + f"'{common} lily' = '{common} orchid'"
        assert equal == (
            f"warning: embed_texts tiny-own: {expected[1]} of 5 classes have the same tokens as another class in some prompt, "
            f"so zero-shot cannot distinguish them there: {pairs}"
        )
    vectors = embeddings.read_texts("tiny", "own")[1]
    assert np.array_equal(vectors[3], vectors[4])
    assert np.array_equal(vectors[0], vectors[1]) == (kind == "clip")


def test_texts_that_fit_and_differ_are_not_mentioned(
    ready: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    facts = run(monkeypatch, PROMPTS)
    assert (facts["cut_texts"], facts["equal_classes"]) == (0, 0)
    assert "warning" not in capsys.readouterr().out


@pytest.mark.parametrize(("words", "cut"), [(14, 0), (15, 1)])
def test_a_text_is_cut_from_one_token_too_many(ready: Path, words: int, cut: int) -> None:
    """CLIP's context of 16 has room for 14 words, a start and an end."""
    assert len(tokenized(read_info("tiny"), [" ".join(["rose"] * words), "a rose"]).cut) == cut


def test_exclamation_marks_are_tokens_although_their_number_is_that_of_padding(ready: Path) -> None:
    read = tokenized(read_info("tiny"), [" ".join(["!"] * 14), " ".join(["!"] * 20)])
    assert read.lengths == [16, 22]
    assert read.cut == [1]


@pytest.mark.parametrize(("mode", "length"), [("", 3), ("clips", 6)])
def test_length_of_both_modes_of_transformers_tokenizers(mode: str, length: int) -> None:
    """The second adds a start, an end and a class token itself."""
    words = SimpleNamespace(clean_fn=str.strip, tokenizer_mode=mode, tokenizer=lambda text, **_: SimpleNamespace(input_ids=text.split()))
    assert _length(words, " one two three ") == length


def test_a_group_of_classes_is_reported_once_for_all_prompts() -> None:
    rows = embed_texts.prompted(["a", "b", "c", "d"], ("{}", "the {}"))
    tokens = np.array([[1], [1], [2], [3], [4], [4], [5], [5]])
    assert embed_texts.equal_classes(rows, tokens) == [["a", "b"], ["c", "d"]]
