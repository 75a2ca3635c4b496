"""The project's own network is trained only on the data set, and its size is limited."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from clipstore.core.errors import InputError
from clipstore.core.nets import Scratch
from clipstore.core.rows import NO_LABEL, UNLABELLED
from clipstore.store import predictions
from clipstore.training import network, protocol
from clipstore.training.classifier import Classifier, TrainedNetwork, read_facts
from stages import scratch
from tests.project import make_index
from tests.supervised import FAST, epochs, images_of, make_data, probabilities_of_checkpoint, run, tolerance

OWN: dict[str, Any] = {"widths": [8, 16], "depths": [1, 1], "stride": 2}


def untrained() -> Classifier:
    return Classifier(network.Backbone([8, 16], [1, 1], 2, 0.0), 16, 2, scratch.MEAN, scratch.STD, 0)


def test_the_checkpoint_is_the_network_that_predicted_test(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_data()
    run(monkeypatch, scratch, "own", **OWN, drop_path=0.2, mixup=0.2, cutmix=1, ema_decay=0.5)
    written = predictions.read("own", "scratch", "own")
    test = (written.rows["split"] == "test").to_numpy()
    expected = probabilities_of_checkpoint("scratch/own-own", untrained(), "test")
    np.testing.assert_allclose(written.probabilities[test], expected, atol=tolerance(1e-5))
    assert written.rows["split"].tolist() == ["val"] * (~test).sum() + ["test"] * test.sum()
    assert written.notes["trained_on"] == "train + val"


def test_a_checkpoint_contains_everything_to_rebuild_its_network(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_data(16)
    run(monkeypatch, scratch, "own", **OWN, epochs=1)
    folder = Path("data/checkpoints/scratch/own-own")
    facts = read_facts(folder)
    assert (facts["stage"], facts["net"], facts["dataset"], facts["classes"]) == ("scratch", "own", "own", ["even", "odd"])
    widths, depths, stride = (facts["settings"][key] for key in ("widths", "depths", "stride"))
    built = Classifier(network.Backbone(widths, depths, stride, 0.0), widths[-1], 2, facts["mean"], facts["std"], 0)
    loaded = TrainedNetwork.load(folder, built)
    assert loaded.settings == Scratch.model_validate(FAST | {"kind": "scratch", "epochs": 1} | OWN)
    written = predictions.read("own", "scratch", "own")
    test = (written.rows["split"] == "test").to_numpy()
    np.testing.assert_allclose(loaded.probabilities(images_of("test")), written.probabilities[test], atol=1e-6)


def test_the_printout_counts_its_parameters(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_data(16)
    run(monkeypatch, scratch, "own", **OWN, epochs=1)
    text = Path("data/checkpoints/scratch/own-own/network.txt").read_text()
    count = network.parameter_count(untrained())
    assert f"Total params: {count:,}" in text
    assert f"Input: RGB images of 32 x 32 pixels. Parameters: {count:,} in total; backbone: " in text
    assert text.endswith("Nothing was replaced: all weights are randomly initialised. 16 features in, 2 logits out, one per class.\n")


def test_results_depend_only_on_the_seed(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_data(16)
    probabilities = []
    for seeds in ([0], [0], [1]):
        run(monkeypatch, scratch, "own", **OWN, epochs=1, seeds=seeds)
        probabilities.append(predictions.read("own", "scratch", "own").probabilities)
    assert np.array_equal(probabilities[0], probabilities[1])
    assert not np.array_equal(probabilities[0], probabilities[2])


def move(*names: str) -> None:
    """Move images of data/raw/own into a folder for images without a class, and index them again."""
    target = Path("data/raw/own/unlabelled")
    target.mkdir()
    for name in names:
        (Path("data/raw/own") / name).rename(target / Path(name).name)
    make_index()


def test_images_without_a_class_are_answered_by_the_final_network(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_data(18)
    move("even/0.png", "odd/1.png", "odd/3.png")
    monkeypatch.setattr(protocol, "PART", 2)
    run(monkeypatch, scratch, "own", **OWN, epochs=1)
    written = predictions.read("own", "scratch", "own")
    rows = written.rows["split"] == UNLABELLED
    assert written.rows.loc[rows, "image_id"].tolist() == ["unlabelled/0.png", "unlabelled/1.png", "unlabelled/3.png"]
    assert set(written.rows.loc[rows, "label"]) == {NO_LABEL}
    expected = probabilities_of_checkpoint("scratch/own-own", untrained(), UNLABELLED)
    np.testing.assert_allclose(written.probabilities[rows.to_numpy()], expected, atol=tolerance(1e-5))


def test_a_network_waits_for_val_images_and_writes_its_files(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_data(6)
    move("even/0.png")
    run(monkeypatch, scratch, "own", **OWN, epochs=1)
    written = predictions.read("own", "scratch", "own")
    assert written.not_yet == "needs val images to choose the epoch: label at least 3 images of each class"
    assert len(written.rows) == 0
    assert list(Path("data/checkpoints/scratch/own-own").iterdir()) == []
    assert Path("plots/scratch/own-own").is_dir()


def test_a_network_beyond_the_limit_is_one_line(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_data(16)
    widths, depths = [512, 640], [1, 3]
    with torch.device("meta"):
        count = network.parameter_count(Classifier(network.Backbone(widths, depths, 2, 0.0), 640, 2, scratch.MEAN, scratch.STD, 0))
    assert count > 20_000_000
    with pytest.raises(InputError) as caught, epochs() as started:
        run(monkeypatch, scratch, "big", widths=widths, depths=depths, stride=2)
    assert str(caught.value) == f"params.yaml: nets.big: the network has {count:,} parameters; expected at most 20,000,000"
    assert started == []


def test_a_network_at_the_limit_is_trained(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_data(16)
    monkeypatch.setattr(network, "MAX_PARAMETERS", network.parameter_count(untrained()))
    run(monkeypatch, scratch, "own", **OWN, epochs=1)
    monkeypatch.setattr(network, "MAX_PARAMETERS", network.MAX_PARAMETERS - 1)
    with pytest.raises(InputError, match=r"^params\.yaml: nets\.own: "):
        run(monkeypatch, scratch, "own", **OWN, epochs=1)
