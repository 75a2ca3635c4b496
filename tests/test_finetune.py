"""Fine-tuning starts from the folder of weights, gives it a new last layer, and writes what it did in words and numbers."""

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file, save_file

from clipstore.core import caches
from clipstore.core.errors import InputError
from clipstore.encoders import info
from clipstore.encoders.libraries import MODULES
from clipstore.encoders.vision import torchvision
from clipstore.store import predictions
from clipstore.training import loop, network
from stages import finetune
from tests.project import make_weights
from tests.supervised import FAST, KilledError, epochs, make_data, of_checkpoint, run

WEIGHTS = Path("data/checkpoints/finetune/tiny-own/model.safetensors")


@pytest.fixture
def tiny(project: Path) -> info.EncoderInfo:
    """A small data set and the tiny CLIP."""
    make_data()
    make_weights("tiny")
    return info.read_info("tiny")


def fresh(card: info.EncoderInfo) -> loop.Classifier:
    """Return the untrained classifier of two classes on the tower of ``card``."""
    tower, length = MODULES[card.library].backbone(card)
    return loop.Classifier(tower, length, 2, card.preprocess["mean"], card.preprocess["std"], 0)


def test_the_checkpoint_is_the_network_that_spoke_of_test(tiny: info.EncoderInfo, monkeypatch: pytest.MonkeyPatch) -> None:
    facts = run(monkeypatch, finetune, "tiny", ema_decay=0.5)
    made = predictions.read("own", "finetune", "tiny")
    test = (made.rows["split"] == "test").to_numpy()
    np.testing.assert_allclose(made.probabilities[test], of_checkpoint("finetune/tiny-own", fresh(tiny), "test"), atol=1e-5)
    assert made.rows["split"].tolist() == ["val"] * (~test).sum() + ["test"] * test.sum()
    assert made.rows["image_id"].is_unique
    assert (made.stage, made.name, list(made.selected)) == ("finetune", "tiny", ["epoch"])
    assert facts["processes"] == 1
    assert list((caches.root() / "training").iterdir()) == []


def test_it_starts_from_the_weights(tiny: info.EncoderInfo, monkeypatch: pytest.MonkeyPatch) -> None:
    run(monkeypatch, finetune, "tiny", epochs=1, freeze_backbone_epochs=1)
    saved, given = load_file(WEIGHTS), MODULES[tiny.library].backbone(tiny)[0].state_dict()
    assert {key for key in saved if not key.startswith("head.")} == {f"body.{key}" for key in given}
    assert all(torch.equal(saved[f"body.{key}"], value) for key, value in given.items())
    assert saved["head.weight"].shape == (2, 16)


def test_all_of_it_learns_once_it_is_not_frozen(tiny: info.EncoderInfo, monkeypatch: pytest.MonkeyPatch) -> None:
    run(monkeypatch, finetune, "tiny", epochs=2, freeze_backbone_epochs=1, refit=False)
    with epochs() as seen:
        run(monkeypatch, finetune, "tiny", epochs=1, refit=False)
    assert len(seen) == 1
    saved, given = load_file(WEIGHTS), MODULES[tiny.library].backbone(tiny)[0].state_dict()
    assert not any(torch.equal(saved[f"body.{key}"], value) for key, value in given.items())


def test_settings_and_classes_are_kept_beside_the_weights(tiny: info.EncoderInfo, monkeypatch: pytest.MonkeyPatch) -> None:
    run(monkeypatch, finetune, "tiny", epochs=1)
    kept = json.loads(WEIGHTS.with_name("net.json").read_text())
    assert kept["classes"] == ["even", "odd"]
    assert kept["settings"].items() >= (FAST | {"kind": "finetune", "epochs": 1}).items()
    assert {path.name for path in WEIGHTS.parent.iterdir()} == {"model.safetensors", "network.txt", "net.json"}


def test_the_printout_says_what_was_before_what_is_after_and_what_was_added(
    tiny: info.EncoderInfo, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(monkeypatch, finetune, "tiny", epochs=1)
    before, after = WEIGHTS.with_name("network.txt").read_text().split("\nAfter\n")
    count = network.parameters(fresh(tiny))
    assert before.startswith("Before\n")
    assert f"Total params: {count - 34:,}" in before
    assert f"Total params: {count:,}" in after
    assert f"Parameters: {count:,}; " in after
    assert after.endswith(
        "of the last layer 34. Added: a classifier on the features of tiny, which came without one. "
        "16 features in, 2 logits out, one a class.\n"
    )


def test_the_printout_of_a_torchvision_network_has_its_old_classifier(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_data(16)
    info.folder("mobile").mkdir(parents=True)
    save_file(torchvision.models.mobilenet_v3_small().state_dict(), info.folder("mobile") / "model.safetensors")
    preprocess = {"size": 224, "resize": 256, "mean": [0.5] * 3, "std": [0.25] * 3, "interpolation": "bilinear"}
    facts: dict[str, Any] = {"image_vectors": {"embedding": 1024}, "text_vectors": {}, "logit_scale": None, "origin": "random"}
    info.write_info(info.EncoderInfo("mobile", "torchvision", "mobilenet_v3_small", None, preprocess, **facts))
    run(monkeypatch, finetune, "mobile", epochs=1, refit=False)
    before, after = Path("data/checkpoints/finetune/mobile-own/network.txt").read_text().split("\nAfter\n")
    assert "Total params: 2,542,856" in before  # torchvision's own count
    assert "[1, 1000]" in before
    assert "Total params: 1,519,906" in after  # less 1024 x 1000 + 1000, and 1024 x 2 + 2 more
    assert "[1, 1000]" not in after
    assert "Replaced: the classifier of mobilenet_v3_small. 1024 features in, 2 logits out" in after
    card = info.read_info("mobile")
    made = predictions.read("own", "finetune", "mobile")
    assert np.allclose(
        made.probabilities[(made.rows["split"] == "test").to_numpy()], of_checkpoint("finetune/mobile-own", fresh(card), "test"), atol=1e-5
    )


@pytest.mark.parametrize("test_curve", [True, False])
def test_curves_have_a_row_an_epoch_of_every_split(tiny: info.EncoderInfo, monkeypatch: pytest.MonkeyPatch, test_curve: bool) -> None:
    run(monkeypatch, finetune, "tiny", test_curve=test_curve)
    curve = pd.DataFrame(predictions.read("own", "finetune", "tiny").curve)
    folder = Path("plots/finetune/tiny-own/plots/metrics")
    assert {path.name for path in folder.iterdir()} == {"train", "val"} | ({"test"} if test_curve else set())
    for split in folder.iterdir():
        for measure in ("loss", "accuracy"):
            table = pd.read_csv(split / f"{measure}.tsv", sep="\t")
            assert table["step"].tolist() == [1, 2, 3]
            assert table[measure].tolist() == pytest.approx(curve[curve["split"] == split.name][measure].tolist(), abs=1e-6)


def other_weights(card: info.EncoderInfo) -> None:
    shutil.rmtree(info.folder(card.name))
    make_weights(card.name, seed=1)


def other_preprocessing(card: info.EncoderInfo) -> None:
    info.write_info(dataclasses.replace(card, preprocess=card.preprocess | {"mean": [0.1, 0.2, 0.3]}))


@pytest.mark.parametrize("change", [other_weights, other_preprocessing])
def test_a_killed_run_of_another_start_is_not_gone_on_with(
    tiny: info.EncoderInfo, monkeypatch: pytest.MonkeyPatch, change: Callable[[info.EncoderInfo], None]
) -> None:
    with pytest.raises(KilledError), epochs(2):
        run(monkeypatch, finetune, "tiny", refit=False)
    change(tiny)
    with epochs() as seen:
        run(monkeypatch, finetune, "tiny", refit=False)
    assert len(seen) == 3


def test_an_image_size_that_the_tower_does_not_take_is_one_line(tiny: info.EncoderInfo, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match=r"^params\.yaml: nets\.tiny\.size = 48: "):
        run(monkeypatch, finetune, "tiny", image_size=48)
