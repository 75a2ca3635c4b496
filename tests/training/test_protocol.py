"""The epoch is selected on val, test is measured once, a killed run resumes, and several processes give the same result as one."""

import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
import torch
from accelerate.state import AcceleratorState

from clipstore.core import caches
from clipstore.core.errors import InputError
from clipstore.core.nets import Training
from clipstore.data import index
from clipstore.store import predictions
from clipstore.training import loop, processes, protocol
from clipstore.training.classifier import TrainedNetwork
from clipstore.training.curve import Point
from clipstore.training.protocol import SeedResult
from tests.project import draw, make_index
from tests.supervised import (
    CLASSES,
    FAST,
    IN_SEVERAL,
    KilledError,
    epochs,
    images_of,
    make_data,
    network,
    probabilities_of_checkpoint,
    run_small,
    tolerance,
)
from tests.workspace import PROJECT


def settings(**fields: Any) -> Training:
    return Training.model_validate(FAST | fields)


def certain(labels: Sequence[int]) -> npt.NDArray[np.float32]:
    """Return logits that are highest for the labels."""
    return np.eye(CLASSES, dtype=np.float32)[list(labels)]


def point(epoch: int, split: str, accuracy: float, mean: float) -> Point:
    return {"epoch": epoch, "split": split, "loss": 1.0, "accuracy": accuracy, "mean_per_class": mean}


TIMEOUT = 900  # seconds after which two processes are considered stuck; a busy machine needs minutes to import torch
LABELS = {"val": np.array([0, 1]), "test": np.array([0, 0, 0, 1])}
ON_VAL = [point(1, "val", 0.5, 0.5), point(2, "val", 0.5, 0.05), point(3, "val", 0.5, 0.4)]
CURVE = [point(1, "train", 1, 1), point(1, "test", 0.5, 0.5), point(2, "test", 0.75, 0.9), point(3, "test", 0.8, 0.6)]


def result(test: Sequence[int], curve: Sequence[Point] = ()) -> SeedResult:
    trained = TrainedNetwork(network("plain"), ["even", "odd"], settings())
    return SeedResult(certain([0, 0]), certain(test), certain([1, 1, 1, 1]), 1, [*ON_VAL, *curve], trained, [])


def test_notes_by_hand() -> None:
    assert protocol.notes_of([result([0, 0, 0, 0])], LABELS, settings()) == {
        "train_only": {"top1": 0.25, "mean_per_class": 0.5},
        "val_mean_per_class": 0.5,
        "trained_on": "train + val",
        "epochs_trained": 3,
        "epochs_within_noise": 1,  # with 2 images the standard error is about 0.3
    }


def test_the_best_epoch_on_test_is_noted_only_if_test_has_a_curve() -> None:
    notes = protocol.notes_of([result([0, 0, 0, 0], CURVE)], LABELS, settings(refit=False))
    assert notes.pop("best_on_test") == {"mean_per_class": 0.9, "epoch": 2, "trained_on": "train"}
    assert set(notes) == {"train_only", "val_mean_per_class", "trained_on", "epochs_trained", "epochs_within_noise"}
    assert notes["trained_on"] == "train"


def test_spread_over_seeds_by_hand() -> None:
    notes = protocol.notes_of([result([0, 0, 0, 1]), result([0, 0, 0, 0]), result([0, 0, 1, 0])], LABELS, settings(seeds=[0, 1, 2]))
    assert notes["seeds"] == {
        "n": 3,
        "top1_mean": pytest.approx((1 + 0.75 + 0.5) / 3),
        "top1_std": pytest.approx(0.25),
        "mean_per_class_mean": pytest.approx((1 + 1 / 2 + 1 / 3) / 3),
        "mean_per_class_std": pytest.approx(np.std([1, 1 / 2, 1 / 3], ddof=1)),
    }


def test_curves_have_one_row_per_epoch(tmp_path: Path) -> None:
    protocol.write_curve(tmp_path / "curves", CURVE)
    table = pd.read_csv(tmp_path / "curves/plots/metrics/test/accuracy.tsv", sep="\t")
    assert table.to_dict("list") == {"step": [1, 2, 3], "accuracy": [0.5, 0.75, 0.8]}
    assert {path.name for path in (tmp_path / "curves/plots/metrics").iterdir()} == {"train", "test"}
    protocol.write_curve(tmp_path / "curves", CURVE[:2])
    assert len(pd.read_csv(tmp_path / "curves/plots/metrics/test/loss.tsv", sep="\t")) == 1


def written(name: str = "plain") -> predictions.Predictions:
    return predictions.read("own", "small", name)


def probabilities_of(split: str, name: str = "plain") -> npt.NDArray[np.float32]:
    """Return the predicted probabilities of a split."""
    predicted = written(name)
    return predicted.probabilities[(predicted.rows["split"] == split).to_numpy()]


def test_rows_are_those_of_val_followed_by_those_of_test(project: Path) -> None:
    make_data()
    run_small("plain")
    rows = index.read("own").usable
    expected = pd.concat([rows[rows["split"] == split] for split in ("val", "test")])
    for column in ("image_id", "split", "label"):
        assert written().rows[column].tolist() == expected[column].tolist()
    assert (written().stage, written().name, written().classes, written().index) == (
        "small",
        "plain",
        ["even", "odd"],
        index.read("own").digest,
    )


@pytest.mark.parametrize("fields", [{}, {"ema_decay": 0.5}, {"refit": False, "seeds": [0, 1]}])
def test_probabilities_of_test_are_the_checkpoints(project: Path, fields: dict[str, Any]) -> None:
    make_data()
    run_small("normed", **fields)
    test = probabilities_of_checkpoint("small/normed-own", network("normed"), "test")
    np.testing.assert_allclose(probabilities_of("test", "normed"), test, atol=tolerance(1e-6))
    val = probabilities_of_checkpoint("small/normed-own", network("normed"), "val")
    assert np.allclose(probabilities_of("val", "normed"), val, atol=tolerance(1e-6)) == (not fields.get("refit", True))


@pytest.fixture
def any_precision() -> Iterator[None]:
    """Allow a test to use a different precision from the tests before it: Accelerate remembers the first one in a process."""
    AcceleratorState._reset_state()
    yield
    AcceleratorState._reset_state()


@pytest.mark.parametrize("fields", [{}, {"ema_decay": 0.5}, {"precision": "bfloat16"}])
def test_a_loaded_checkpoint_gives_the_probabilities_of_test(project: Path, any_precision: None, fields: dict[str, Any]) -> None:
    make_data()
    run_small("normed", **fields)
    loaded = TrainedNetwork.load(Path("data/checkpoints/small/normed-own"), network("normed"))
    np.testing.assert_allclose(loaded.probabilities(images_of("test")), probabilities_of("test", "normed"), atol=1e-6)


def test_without_a_refit_the_main_result_is_the_one_of_train_only(project: Path) -> None:
    make_data()
    run_small("plain", refit=False)
    predicted = written()
    test = (predicted.rows["split"] == "test").to_numpy()
    hits = predicted.probabilities[test].argmax(1) == predicted.rows["label"][test]
    assert predicted.notes["train_only"]["top1"] == pytest.approx(hits.mean())
    assert predicted.notes["trained_on"] == "train"


def test_a_refit_does_not_change_the_results_on_val(project: Path) -> None:
    make_data()
    run_small("plain", refit=False)
    before, train_only = probabilities_of("val"), written().notes["train_only"]
    run_small("plain")
    assert np.array_equal(probabilities_of("val"), before)
    assert written().notes["train_only"] == train_only


def set_scores(monkeypatch: pytest.MonkeyPatch, **scores: list[float]) -> None:
    """Set the scores of the epochs on val and test."""

    def scored(_: object, __: object, epoch: int, split: str) -> Point:
        return point(epoch, split, scores[split][epoch - 1], scores[split][epoch - 1])

    monkeypatch.setattr(loop, "evaluate", scored)


def test_the_epoch_is_chosen_on_val_whatever_test_says(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make_data()
    set_scores(monkeypatch, val=[0.2, 0.9, 0.9], test=[0.9, 0.1, 0.3])
    with epochs() as started:
        run_small("plain")
    out = capsys.readouterr().out
    assert "small plain-own: the choice of epoch 2 is within noise of 1 of the 2 other epochs (val has 6 images)\n" in out
    assert written().selected == {"epoch": 2}
    assert written().notes["best_on_test"] == {"mean_per_class": 0.9, "epoch": 1, "trained_on": "train"}
    assert [name.rpartition(", ")[2] for name in started] == [
        *("train: epoch 1 of 3", "train: epoch 2 of 3", "train: epoch 3 of 3"),
        *("train + val: epoch 1 of 2", "train + val: epoch 2 of 2"),
    ]


def test_without_a_test_curve_only_the_curve_and_its_note_change(project: Path) -> None:
    make_data()
    run_small("plain")
    before = written()
    run_small("plain", test_curve=False)
    assert np.array_equal(written().probabilities, before.probabilities)
    assert written().notes == {key: value for key, value in before.notes.items() if key != "best_on_test"}
    assert written().curve == [entry for entry in before.curve if entry["split"] != "test"]
    assert "best_on_test" in before.notes


def test_with_several_seeds_the_predictions_are_those_of_the_first(project: Path) -> None:
    make_data()
    figures = []
    for seed in (3, 5):
        run_small("plain", seeds=[seed])
        figures.append((probabilities_of("test").argmax(1) == written().rows["label"][written().rows["split"] == "test"]).mean())
    single = written().probabilities
    run_small("plain", seeds=[5, 3])
    assert np.array_equal(written().probabilities, single)
    assert written().notes["seeds"]["top1_mean"] == pytest.approx(np.mean(figures))
    assert written().notes["seeds"]["top1_std"] == pytest.approx(np.std(figures, ddof=1))


@pytest.mark.parametrize("patience", [0, 1])
def test_a_refit_has_as_many_steps_as_the_selected_epoch(project: Path, monkeypatch: pytest.MonkeyPatch, patience: int) -> None:
    make_data()  # 18 images in train, 6 in val: 4 and 6 steps per epoch
    set_scores(monkeypatch, val=[0.2, 0.9, 0.3], test=[0.1, 0.2, 0.3])
    steps, step = [], torch.optim.AdamW.step
    monkeypatch.setattr(torch.optim.AdamW, "step", lambda *arguments: steps.append(step(*arguments)))
    run_small("plain", patience=patience)
    assert len(steps) == 3 * 4 + 2 * 4
    steps.clear()
    run_small("plain", patience=patience, refit=False)
    assert len(steps) == 3 * 4
    assert written().notes["epochs_trained"] == 3


@pytest.mark.parametrize("fields", [{}, {"mixup": 0.2, "cutmix": 1.0}, {"refit": False, "seeds": [0, 1], "patience": 1}])
def test_a_class_with_one_image_is_trained_on(project: Path, fields: dict[str, Any]) -> None:
    places = ["train/rare", *(f"{split}/{name}" for split in index.SPLITS for name in ("even", "odd") for _ in range(4))]
    for number, place in enumerate(places):
        draw(Path(f"data/raw/own/{place}/{number}.png"), number)
    make_index()
    assert index.read("own").usable.query("label == 2")["split"].tolist() == ["train"]
    run_small("normed", **fields)
    assert written("normed").probabilities.shape[1] == 3


def test_a_loss_of_nan_is_one_line(project: Path) -> None:
    make_data()
    with pytest.raises(InputError, match=r"^small plain-own, train: epoch 1 of 3: the loss is \w+ at step \d: a lower lr [^\n]* may help$"):
        run_small("plain", lr=1e30, warmup_epochs=0)


def states() -> list[Path]:
    return list((caches.root() / "training").glob("*"))


@pytest.mark.parametrize("killed_after", [2, 4])  # of 3 epochs on train and 2 on train + val
def test_a_killed_run_resumes_to_the_same_bits_and_leaves_no_state(
    project: Path, monkeypatch: pytest.MonkeyPatch, killed_after: int
) -> None:
    make_data()
    set_scores(monkeypatch, val=[0.1, 0.2, 0.3], test=[0.1, 0.2, 0.3])
    run_small("normed", mixup=0.2, ema_decay=0.5, hflip_prob=0.5)
    whole, weights = written("normed"), Path("data/checkpoints/small/normed-own/model.safetensors").read_bytes()
    assert states() == []
    with pytest.raises(KilledError), epochs(killed_after) as before:
        run_small("normed", mixup=0.2, ema_decay=0.5, hflip_prob=0.5)
    assert len(states()) == (2 if killed_after > 3 else 1)
    with epochs() as after:
        run_small("normed", mixup=0.2, ema_decay=0.5, hflip_prob=0.5)
    assert (len(before), len(before) + len(after)) == (killed_after, 5)
    resumed = written("normed")
    assert np.array_equal(resumed.probabilities, whole.probabilities)
    assert (resumed.curve, resumed.notes, resumed.selected) == (whole.curve, whole.notes, whole.selected)
    assert Path("data/checkpoints/small/normed-own/model.safetensors").read_bytes() == weights
    assert states() == []


@pytest.mark.parametrize("fields", [{"lr": 0.02}, {"seeds": [1]}, {"image_size": 24}])
def test_a_killed_run_with_other_settings_is_not_resumed(project: Path, fields: dict[str, Any]) -> None:
    make_data()
    run_small("plain", refit=False, **fields)
    whole = written().probabilities
    with pytest.raises(KilledError), epochs(2):
        run_small("plain", refit=False)
    with epochs() as started:
        run_small("plain", refit=False, **fields)
    assert len(started) == 3
    assert np.array_equal(written().probabilities, whole)


def test_a_killed_run_with_another_index_is_not_resumed(project: Path) -> None:
    make_data(30)
    with pytest.raises(KilledError), epochs(2):
        run_small("plain", refit=False)
    make_data(31)
    with epochs() as started:
        run_small("plain", refit=False)
    assert len(started) == 3


def run_and_reap(command: list[str], env: dict[str, str], check: bool) -> subprocess.CompletedProcess[bytes]:
    """Run a command in place of subprocess.run and make sure that none of its processes survives."""
    with subprocess.Popen(command, env=env | {"PYTHONPATH": str(PROJECT), "OMP_NUM_THREADS": "1"}) as process:
        try:
            return subprocess.CompletedProcess(command, process.wait(TIMEOUT))
        finally:
            process.terminate()  # torchrun then ends its own processes, and kills them after 30 seconds
            try:
                process.wait(90)
            except subprocess.TimeoutExpired:
                process.kill()


@pytest.mark.slow
@pytest.mark.timeout(TIMEOUT + 300)
def test_two_processes_give_the_same_result_as_one(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_data(40)
    run_small("plain", **IN_SEVERAL)
    single = written()
    Path("data/predictions/own/small-plain.parquet").unlink()
    monkeypatch.setattr("subprocess.run", run_and_reap)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)  # both processes use the CPU, since a machine may have only one GPU
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert processes.launched(2, "tests.supervised", ["2", "plain", "normed"])
    double = written()
    assert double.rows["image_id"].tolist() == single.rows["image_id"].tolist()
    np.testing.assert_allclose(double.probabilities, single.probabilities, atol=1e-3)
    assert [(entry["epoch"], entry["split"]) for entry in double.curve] == [(entry["epoch"], entry["split"]) for entry in single.curve]
    np.testing.assert_allclose([entry["loss"] for entry in double.curve], [entry["loss"] for entry in single.curve], atol=1e-3)
    test = probabilities_of_checkpoint("small/normed-own", network("normed"), "test")
    np.testing.assert_allclose(probabilities_of("test", "normed"), test, atol=1e-5)
    assert states() == []
