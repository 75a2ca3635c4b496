"""Fine-tuning starts from the weights folder, adds a new last layer, and writes checkpoint, printout and curves."""

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
from clipstore.core.nets import FineTune
from clipstore.encoders import info
from clipstore.encoders.libraries import MODULES
from clipstore.encoders.vision import torchvision
from clipstore.store import predictions
from clipstore.training import network
from clipstore.training.classifier import Classifier, TrainedNetwork, read_facts
from stages import finetune
from tests.project import make_weights, save_timm
from tests.supervised import FAST, KilledError, epochs, images_of, make_data, probabilities_of_checkpoint, run, tolerance

WEIGHTS = Path("data/checkpoints/finetune/tiny-own/model.safetensors")


@pytest.fixture
def tiny(project: Path) -> info.EncoderInfo:
    """A small data set and the tiny CLIP."""
    make_data()
    make_weights("tiny")
    return info.read_info("tiny")


def untrained(card: info.EncoderInfo) -> Classifier:
    """Return an untrained two-class classifier on the image tower of ``card``."""
    backbone, width = MODULES[card.library].backbone(card)
    return Classifier(backbone, width, 2, card.preprocess["mean"], card.preprocess["std"], 0)


def test_the_checkpoint_is_the_network_that_predicted_test(tiny: info.EncoderInfo, monkeypatch: pytest.MonkeyPatch) -> None:
    facts = run(monkeypatch, finetune, "tiny", ema_decay=0.5)
    written = predictions.read("own", "finetune", "tiny")
    test = (written.rows["split"] == "test").to_numpy()
    expected = probabilities_of_checkpoint("finetune/tiny-own", untrained(tiny), "test")
    np.testing.assert_allclose(written.probabilities[test], expected, atol=tolerance(1e-5))
    assert written.rows["split"].tolist() == ["val"] * (~test).sum() + ["test"] * test.sum()
    assert written.rows["image_id"].is_unique
    assert (written.stage, written.name, list(written.selected)) == ("finetune", "tiny", ["epoch"])
    assert facts["processes"] == 1
    assert list((caches.root() / "training").iterdir()) == []


def test_it_starts_from_the_weights(tiny: info.EncoderInfo, monkeypatch: pytest.MonkeyPatch) -> None:
    run(monkeypatch, finetune, "tiny", epochs=1, freeze_backbone_epochs=1)
    saved, given = load_file(WEIGHTS), MODULES[tiny.library].backbone(tiny)[0].state_dict()
    assert {key for key in saved if not key.startswith("head.")} == {f"backbone.{key}" for key in given}
    assert all(torch.equal(saved[f"backbone.{key}"], value) for key, value in given.items())
    assert saved["head.weight"].shape == (2, 16)


def test_all_weights_learn_once_they_are_not_frozen(tiny: info.EncoderInfo, monkeypatch: pytest.MonkeyPatch) -> None:
    run(monkeypatch, finetune, "tiny", epochs=2, freeze_backbone_epochs=1, refit=False)
    with epochs() as started:
        run(monkeypatch, finetune, "tiny", epochs=1, refit=False)
    assert len(started) == 1
    saved, given = load_file(WEIGHTS), MODULES[tiny.library].backbone(tiny)[0].state_dict()
    assert not any(torch.equal(saved[f"backbone.{key}"], value) for key, value in given.items())


def test_settings_and_classes_are_saved_with_the_weights(tiny: info.EncoderInfo, monkeypatch: pytest.MonkeyPatch) -> None:
    run(monkeypatch, finetune, "tiny", epochs=1)
    facts = json.loads(WEIGHTS.with_name("net.json").read_text())
    assert (facts["stage"], facts["net"], facts["dataset"]) == ("finetune", "tiny", "own")
    assert facts["classes"] == ["even", "odd"]
    assert facts["settings"].items() >= (FAST | {"kind": "finetune", "epochs": 1}).items()
    assert {path.name for path in WEIGHTS.parent.iterdir()} == {"model.safetensors", "network.txt", "net.json"}


def test_a_checkpoint_contains_everything_to_rebuild_its_network(tiny: info.EncoderInfo, monkeypatch: pytest.MonkeyPatch) -> None:
    run(monkeypatch, finetune, "tiny", epochs=1)
    card = info.EncoderInfo(**read_facts(WEIGHTS.parent)["encoder"])
    assert card == tiny
    loaded = TrainedNetwork.load(WEIGHTS.parent, untrained(card))
    assert loaded.classes == ["even", "odd"]
    assert loaded.settings == FineTune.model_validate(FAST | {"kind": "finetune", "epochs": 1})
    written = predictions.read("own", "finetune", "tiny")
    test = (written.rows["split"] == "test").to_numpy()
    np.testing.assert_allclose(loaded.probabilities(images_of("test")), written.probabilities[test], atol=1e-6)


def test_the_printout_has_the_layers_before_and_after_and_what_was_added(tiny: info.EncoderInfo, monkeypatch: pytest.MonkeyPatch) -> None:
    run(monkeypatch, finetune, "tiny", epochs=1)
    before, after = WEIGHTS.with_name("network.txt").read_text().split("\nAfter\n")
    count = network.parameter_count(untrained(tiny))
    assert before.startswith("Before\n")
    assert f"Total params: {count - 34:,}" in before
    assert f"Total params: {count:,}" in after
    assert f"Parameters: {count:,} in total; backbone: " in after
    assert after.endswith(
        "; last layer: 34. Added: a classifier on the features of tiny, which has none. 16 features in, 2 logits out, one per class.\n"
    )


def test_the_printout_of_a_torchvision_network_has_its_old_classifier(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_data(16)
    info.folder("mobile").mkdir(parents=True)
    save_file(torchvision.models.mobilenet_v3_small().state_dict(), info.folder("mobile") / "model.safetensors")
    preprocess = {"size": 224, "resize": 256, "mean": [0.5] * 3, "std": [0.25] * 3, "interpolation": "bilinear"}
    facts: dict[str, Any] = {
        "image_vectors": {"embedding": 1024},
        "text_vectors": {},
        "logit_scale": None,
        "origin": "random",
        "packages": {"images": ["torchvision"]},
    }
    info.write_info(info.EncoderInfo("mobile", "torchvision", "mobilenet_v3_small", None, preprocess, **facts))
    run(monkeypatch, finetune, "mobile", epochs=1, refit=False)
    before, after = Path("data/checkpoints/finetune/mobile-own/network.txt").read_text().split("\nAfter\n")
    assert "Total params: 2,542,856" in before  # torchvision's own count
    assert "[1, 1000]" in before
    assert "Total params: 1,519,906" in after  # 1024 x 1000 + 1000 fewer, and 1024 x 2 + 2 more
    assert "[1, 1000]" not in after
    assert "Replaced: the classifier of mobilenet_v3_small. 1024 features in, 2 logits out" in after
    card = info.read_info("mobile")
    written = predictions.read("own", "finetune", "mobile")
    expected = probabilities_of_checkpoint("finetune/mobile-own", untrained(card), "test")
    assert np.allclose(written.probabilities[(written.rows["split"] == "test").to_numpy()], expected, atol=tolerance(1e-5))


@pytest.mark.parametrize("test_curve", [True, False])
def test_curves_have_one_row_per_epoch_and_split(tiny: info.EncoderInfo, monkeypatch: pytest.MonkeyPatch, test_curve: bool) -> None:
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
def test_a_killed_run_from_other_weights_is_not_resumed(
    tiny: info.EncoderInfo, monkeypatch: pytest.MonkeyPatch, change: Callable[[info.EncoderInfo], None]
) -> None:
    with pytest.raises(KilledError), epochs(2):
        run(monkeypatch, finetune, "tiny", refit=False)
    change(tiny)
    with epochs() as started:
        run(monkeypatch, finetune, "tiny", refit=False)
    assert len(started) == 3


@pytest.mark.parametrize(("activation", "remaining"), [("gelu", 1), ("relu", 3)])
def test_a_killed_run_is_resumed_only_with_the_same_arguments_of_timm(
    tiny: info.EncoderInfo, monkeypatch: pytest.MonkeyPatch, activation: str, remaining: int
) -> None:
    save_timm("tiny", act_layer="gelu")
    with pytest.raises(KilledError), epochs(2):
        run(monkeypatch, finetune, "tiny", refit=False)
    save_timm("tiny", act_layer=activation)
    with epochs() as started:
        run(monkeypatch, finetune, "tiny", refit=False)
    assert len(started) == remaining


def test_an_image_size_that_the_tower_does_not_accept_is_one_line(tiny: info.EncoderInfo, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match=r"^params\.yaml: nets\.tiny\.image_size = 48: "):
        run(monkeypatch, finetune, "tiny", image_size=48)
