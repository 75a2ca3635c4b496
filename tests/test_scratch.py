"""Our own network is trained on nothing but the data set, and kept within its limit."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from clipstore.core.errors import InputError
from clipstore.store import predictions
from clipstore.training import loop, network
from stages import scratch
from tests.supervised import epochs, make_data, of_checkpoint, run

OWN: dict[str, Any] = {"widths": [8, 16], "depths": [1, 1], "stride": 2}


def fresh() -> loop.Classifier:
    return loop.Classifier(network.Body([8, 16], [1, 1], 2, 0.0), 16, 2, scratch.MEAN, scratch.STD, 0)


def test_the_checkpoint_is_the_network_that_spoke_of_test(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_data()
    run(monkeypatch, scratch, "own", **OWN, drop_path=0.2, mixup=0.2, cutmix=1, ema_decay=0.5)
    made = predictions.read("own", "scratch", "own")
    test = (made.rows["split"] == "test").to_numpy()
    np.testing.assert_allclose(made.probabilities[test], of_checkpoint("scratch/own-own", fresh(), "test"), atol=1e-5)
    assert made.rows["split"].tolist() == ["val"] * (~test).sum() + ["test"] * test.sum()
    assert made.notes["trained_on"] == "train + val"


def test_the_printout_counts_its_parameters(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_data(16)
    run(monkeypatch, scratch, "own", **OWN, epochs=1)
    text = Path("data/checkpoints/scratch/own-own/network.txt").read_text()
    count = network.parameters(fresh())
    assert f"Total params: {count:,}" in text
    assert f"Input: RGB images of 32 x 32 pixels. Parameters: {count:,}; " in text
    assert text.endswith("Nothing was replaced: all of it starts from random numbers. 16 features in, 2 logits out, one a class.\n")


def test_the_seed_decides_everything(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_data(16)
    found = []
    for seeds in ([0], [0], [1]):
        run(monkeypatch, scratch, "own", **OWN, epochs=1, seeds=seeds)
        found.append(predictions.read("own", "scratch", "own").probabilities)
    assert np.array_equal(found[0], found[1])
    assert not np.array_equal(found[0], found[2])


def test_a_network_beyond_the_limit_is_one_line(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_data(16)
    widths, depths = [512, 640], [1, 3]
    with torch.device("meta"):
        count = network.parameters(loop.Classifier(network.Body(widths, depths, 2, 0.0), 640, 2, scratch.MEAN, scratch.STD, 0))
    assert count > 20_000_000
    with pytest.raises(InputError) as caught, epochs() as seen:
        run(monkeypatch, scratch, "big", widths=widths, depths=depths, stride=2)
    assert str(caught.value) == f"params.yaml: nets.big: a network of {count:,} parameters; expected at most 20,000,000"
    assert seen == []


def test_a_network_at_the_limit_is_trained(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_data(16)
    monkeypatch.setattr(network, "LIMIT", network.parameters(fresh()))
    run(monkeypatch, scratch, "own", **OWN, epochs=1)
    monkeypatch.setattr(network, "LIMIT", network.LIMIT - 1)
    with pytest.raises(InputError, match=r"^params\.yaml: nets\.own: "):
        run(monkeypatch, scratch, "own", **OWN, epochs=1)
