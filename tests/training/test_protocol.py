"""The protocol: val chooses, test is measured once, notes say what else was seen, a killed run goes on, several processes are as one."""

import os
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest

from clipstore.core import caches
from clipstore.core.errors import InputError
from clipstore.core.nets import Training
from clipstore.data import index
from clipstore.store import predictions
from clipstore.training import loop, protocol
from clipstore.training.loop import Point
from clipstore.training.protocol import Outcome
from tests.supervised import CLASSES, FAST, IN_SEVERAL, KilledError, epochs, make_data, network, of_checkpoint, run_small
from tests.workspace import PROJECT


def settings(**fields: Any) -> Training:
    return Training.model_validate(FAST | fields)


def saying(labels: Sequence[int]) -> npt.NDArray[np.float32]:
    """Return probabilities that say so."""
    return np.eye(CLASSES, dtype=np.float32)[list(labels)]


def point(epoch: int, split: str, accuracy: float, mean: float) -> Point:
    return {"epoch": epoch, "split": split, "loss": 1.0, "accuracy": accuracy, "mean_per_class": mean}


LABELS = {"val": np.array([0, 1]), "test": np.array([0, 0, 0, 1])}
CURVE = [point(1, "train", 1, 1), point(1, "test", 0.5, 0.5), point(2, "test", 0.75, 0.9), point(3, "test", 0.8, 0.6)]


def outcome(test: Sequence[int], curve: Sequence[Point] = ()) -> Outcome:
    return Outcome(saying([0, 0]), saying(test), saying([1, 1, 1, 1]), 1, list(curve), {}, [])


def test_notes_by_hand() -> None:
    assert protocol.notes_of([outcome([0, 0, 0, 0])], LABELS, settings()) == {
        "train_only": {"top1": 0.25, "mean_per_class": 0.5},
        "val_mean_per_class": 0.5,
        "trained_on": "train + val",
    }


def test_the_best_epoch_on_test_is_called_so_and_is_there_with_a_curve_of_test_alone() -> None:
    found = protocol.notes_of([outcome([0, 0, 0, 0], CURVE)], LABELS, settings(refit=False))
    assert found.pop("best_on_test") == {"top1": 0.75, "epoch": 2}
    assert set(found) == {"train_only", "val_mean_per_class", "trained_on"}
    assert found["trained_on"] == "train"


def test_spread_over_seeds_by_hand() -> None:
    found = protocol.notes_of([outcome([0, 0, 0, 1]), outcome([0, 0, 0, 0]), outcome([0, 0, 1, 0])], LABELS, settings(seeds=[0, 1, 2]))
    assert found["seeds"] == {
        "n": 3,
        "top1_mean": pytest.approx((1 + 0.75 + 0.5) / 3),
        "top1_std": pytest.approx(0.25),
        "mean_per_class_mean": pytest.approx((1 + 1 / 2 + 1 / 3) / 3),
        "mean_per_class_std": pytest.approx(np.std([1, 1 / 2, 1 / 3], ddof=1)),
    }


def test_curves_have_a_row_an_epoch(tmp_path: Path) -> None:
    protocol.write_curve(tmp_path / "curves", CURVE)
    found = pd.read_csv(tmp_path / "curves/plots/metrics/test/accuracy.tsv", sep="\t")
    assert found.to_dict("list") == {"step": [1, 2, 3], "accuracy": [0.5, 0.75, 0.8]}
    assert {path.name for path in (tmp_path / "curves/plots/metrics").iterdir()} == {"train", "test"}
    protocol.write_curve(tmp_path / "curves", CURVE[:2])
    assert len(pd.read_csv(tmp_path / "curves/plots/metrics/test/loss.tsv", sep="\t")) == 1


def made(name: str = "plain") -> predictions.Predictions:
    return predictions.read("own", "small", name)


def of(split: str, name: str = "plain") -> npt.NDArray[np.float32]:
    """Return the predicted probabilities of a split."""
    found = made(name)
    return found.probabilities[(found.rows["split"] == split).to_numpy()]


def test_rows_are_those_of_val_and_then_of_test_each_once(project: Path) -> None:
    make_data()
    run_small("plain")
    rows = index.read("own").usable
    expected = pd.concat([rows[rows["split"] == split] for split in ("val", "test")])
    for column in ("image_id", "split", "label"):
        assert made().rows[column].tolist() == expected[column].tolist()
    assert (made().stage, made().name, made().classes, made().index) == ("small", "plain", ["even", "odd"], index.read("own").digest)


@pytest.mark.parametrize("fields", [{}, {"ema_decay": 0.5}, {"refit": False, "seeds": [0, 1]}])
def test_probabilities_of_test_are_the_checkpoints(project: Path, fields: dict[str, Any]) -> None:
    make_data()
    run_small("normed", **fields)
    np.testing.assert_allclose(of("test", "normed"), of_checkpoint("small/normed-own", network("normed"), "test"), atol=1e-6)
    val = of_checkpoint("small/normed-own", network("normed"), "val")
    assert np.allclose(of("val", "normed"), val, atol=1e-6) == (not fields.get("refit", True))


def test_without_a_refit_the_headline_is_that_of_train_only(project: Path) -> None:
    make_data()
    run_small("plain", refit=False)
    found = made()
    test = (found.rows["split"] == "test").to_numpy()
    hits = found.probabilities[test].argmax(1) == found.rows["label"][test]
    assert found.notes["train_only"]["top1"] == pytest.approx(hits.mean())
    assert found.notes["trained_on"] == "train"


def test_a_refit_leaves_what_is_said_of_val_as_it_was(project: Path) -> None:
    make_data()
    run_small("plain", refit=False)
    before, train_only = of("val"), made().notes["train_only"]
    run_small("plain")
    assert np.array_equal(of("val"), before)
    assert made().notes["train_only"] == train_only


def judge(monkeypatch: pytest.MonkeyPatch, **scores: list[float]) -> None:
    """Let the network score so on val and test, epoch after epoch."""

    def scored(_: object, __: object, epoch: int, split: str) -> Point:
        return point(epoch, split, scores[split][epoch - 1], scores[split][epoch - 1])

    monkeypatch.setattr(loop, "judged", scored)


def test_the_epoch_is_chosen_on_val_whatever_test_says(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_data()
    judge(monkeypatch, val=[0.2, 0.9, 0.9], test=[0.9, 0.1, 0.3])
    with epochs() as seen:
        run_small("plain")
    assert made().selected == {"epoch": 2}
    assert made().notes["best_on_test"] == {"top1": 0.9, "epoch": 1}
    assert [name.rpartition(", ")[2] for name in seen] == [
        *("train: epoch 1 of 3", "train: epoch 2 of 3", "train: epoch 3 of 3"),
        *("train + val: epoch 1 of 2", "train + val: epoch 2 of 2"),
    ]


def test_without_a_curve_of_test_nothing_but_the_curve_and_its_note_changes(project: Path) -> None:
    make_data()
    run_small("plain")
    before = made()
    run_small("plain", test_curve=False)
    assert np.array_equal(made().probabilities, before.probabilities)
    assert made().notes == {key: value for key, value in before.notes.items() if key != "best_on_test"}
    assert made().curve == [each for each in before.curve if each["split"] != "test"]
    assert "best_on_test" in before.notes


def test_of_several_seeds_the_predictions_are_the_first_ones(project: Path) -> None:
    make_data()
    figures = []
    for seed in (3, 5):
        run_small("plain", seeds=[seed])
        figures.append((of("test").argmax(1) == made().rows["label"][made().rows["split"] == "test"]).mean())
    single = made().probabilities
    run_small("plain", seeds=[5, 3])
    assert np.array_equal(made().probabilities, single)
    assert made().notes["seeds"]["top1_mean"] == pytest.approx(np.mean(figures))
    assert made().notes["seeds"]["top1_std"] == pytest.approx(np.std(figures, ddof=1))


def states() -> list[Path]:
    return list((caches.root() / "training").glob("*"))


@pytest.mark.parametrize("killed_after", [2, 4])  # of 3 epochs on train and 3 on train + val
def test_a_killed_run_goes_on_to_the_same_bits_and_leaves_no_state(
    project: Path, monkeypatch: pytest.MonkeyPatch, killed_after: int
) -> None:
    make_data()
    judge(monkeypatch, val=[0.1, 0.2, 0.3], test=[0.1, 0.2, 0.3])
    run_small("normed", mixup=0.2, ema_decay=0.5, hflip_prob=0.5)
    whole, weights = made("normed"), Path("data/checkpoints/small/normed-own/model.safetensors").read_bytes()
    assert states() == []
    with pytest.raises(KilledError), epochs(killed_after) as before:
        run_small("normed", mixup=0.2, ema_decay=0.5, hflip_prob=0.5)
    assert len(states()) == (2 if killed_after > 3 else 1)
    with epochs() as after:
        run_small("normed", mixup=0.2, ema_decay=0.5, hflip_prob=0.5)
    assert (len(before), len(before) + len(after)) == (killed_after, 6)
    found = made("normed")
    assert np.array_equal(found.probabilities, whole.probabilities)
    assert (found.curve, found.notes, found.selected) == (whole.curve, whole.notes, whole.selected)
    assert Path("data/checkpoints/small/normed-own/model.safetensors").read_bytes() == weights
    assert states() == []


@pytest.mark.parametrize("fields", [{"lr": 0.02}, {"seeds": [1]}, {"image_size": 24}])
def test_other_settings_do_not_go_on_with_a_killed_run(project: Path, fields: dict[str, Any]) -> None:
    make_data()
    run_small("plain", refit=False, **fields)
    whole = made().probabilities
    with pytest.raises(KilledError), epochs(2):
        run_small("plain", refit=False)
    with epochs() as seen:
        run_small("plain", refit=False, **fields)
    assert len(seen) == 3
    assert np.array_equal(made().probabilities, whole)


def test_another_index_does_not_go_on_with_a_killed_run(project: Path) -> None:
    make_data(30)
    with pytest.raises(KilledError), epochs(2):
        run_small("plain", refit=False)
    make_data(31)
    with epochs() as seen:
        run_small("plain", refit=False)
    assert len(seen) == 3


def reaped(command: list[str], env: dict[str, str], check: bool) -> subprocess.CompletedProcess[bytes]:
    """Run a command for a minute at most; whatever happens, none of its processes is left."""
    with subprocess.Popen(command, env=env | {"PYTHONPATH": str(PROJECT), "OMP_NUM_THREADS": "1"}) as process:
        try:
            return subprocess.CompletedProcess(command, process.wait(60))
        finally:
            process.send_signal(signal.SIGTERM)  # torchrun ends its processes before itself


@pytest.mark.timeout(90)
def test_two_processes_are_as_one(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_data(40)
    run_small("plain", **IN_SEVERAL)
    one = made()
    Path("data/predictions/own/small-plain.parquet").unlink()
    monkeypatch.setattr("subprocess.run", reaped)
    assert protocol.launched(2, "tests.supervised", ["2", "plain", "normed"])
    two = made()
    assert two.rows["image_id"].tolist() == one.rows["image_id"].tolist()
    np.testing.assert_allclose(two.probabilities, one.probabilities, atol=1e-3)
    assert [(each["epoch"], each["split"]) for each in two.curve] == [(each["epoch"], each["split"]) for each in one.curve]
    np.testing.assert_allclose([each["loss"] for each in two.curve], [each["loss"] for each in one.curve], atol=1e-3)
    np.testing.assert_allclose(of("test", "normed"), of_checkpoint("small/normed-own", network("normed"), "test"), atol=1e-5)
    assert states() == []


def test_one_process_is_not_launched_and_neither_is_one_of_several(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("subprocess.run", None)
    monkeypatch.delenv("RANK", raising=False)
    assert not protocol.launched(1, "stages.finetune", ["tiny", "own"])
    monkeypatch.setenv("RANK", "0")
    assert not protocol.launched(2, "stages.finetune", ["tiny", "own"])


def test_a_process_that_fails_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[str]] = []

    def failing(command: list[str], env: dict[str, str], check: bool) -> subprocess.CompletedProcess[bytes]:
        asked.append(command)
        assert env["OMP_NUM_THREADS"] == str(max(1, (os.cpu_count() or 1) // 3))
        return subprocess.CompletedProcess(command, 1)

    monkeypatch.setattr("subprocess.run", failing)
    monkeypatch.setattr(loop, "device_type", lambda: "cpu")
    with pytest.raises(InputError, match=r"^tiny own: one of 3 processes failed$"):
        protocol.launched(3, "stages.finetune", ["tiny", "own"])
    assert asked[0][1:] == [*("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=3", "-m", "stages.finetune", "tiny", "own")]
