"""Train a network on a data set by the protocol that all approaches share, and write what it says of val and test.

The epoch is selected on val, and the network of that epoch gives val's predictions. Refitted on train + val for as many epochs, it gives
test's, measured once. Every seed does all of it; predictions and checkpoint are the first one's.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from accelerate import PartialState
from dvclive import Live
from safetensors.torch import save_file
from scipy.special import softmax

from clipstore.core.caches import root
from clipstore.core.digests import file_sha256, json_sha256
from clipstore.core.errors import InputError
from clipstore.core.nets import Training
from clipstore.data import index
from clipstore.measure import metrics
from clipstore.store import predictions
from clipstore.training import image_set
from clipstore.training import loop as training
from clipstore.training.loop import Classifier

Matrix = npt.NDArray[np.float32]
CODE = (training, image_set)  # modules that a state of training depends on besides its parameters


class Outcome(NamedTuple):
    """What one seed gave.

    Attributes:
        val: probabilities by the network trained on train, float32 (n, classes).
        test: probabilities by the final network.
        train_only: probabilities of test by the network trained on train.
        epoch: the selected one.
        curve: of the training on train.
        state: weights of the final network.
        saved: files of the training's states, of no use once everything is written.
    """

    val: Matrix
    test: Matrix
    train_only: Matrix
    epoch: int
    curve: list[training.Point]
    state: training.State
    saved: list[Path]


def run_seed(
    build: Callable[[], Classifier], shown: dict[str, image_set.ImageSet], settings: Training, seed: int, key: str, name: str
) -> Outcome:
    """Choose the epoch on val, refit if the settings say so, and return what comes of it.

    Args:
        build: makes the network from torch's global generator.
        shown: pictures of train, val and test.
        settings: of training.
        seed: of everything random.
        key: digest of all that the network depends on besides settings and seed.
        name: for progress bars and errors.
    """
    saved: list[Path] = []

    def fit(train: image_set.ImageSet, watched: list[str], stop: int, phase: str) -> tuple[training.Loop, training.Fitted]:
        torch.manual_seed(seed)
        loop = training.Loop(build(), settings, seed)
        what = {"key": key, "settings": settings.model_dump(mode="json"), "seed": seed, "phase": phase, "stop": stop}
        saved.append(root() / "training" / f"{json_sha256(what)}.pt")
        fitted = training.fit(loop, train, {split: shown[split] for split in watched}, stop, saved[-1], f"{name}, {phase}")
        loop.judged.load_state_dict(fitted.state)
        return loop, fitted

    loop, selected = fit(shown["train"], ["val", "test"] if settings.test_curve else ["val"], settings.epochs, "train")
    val, train_only = (softmax(loop.logits(shown[split]), axis=1) for split in ("val", "test"))
    test, final = train_only, selected
    if settings.refit:
        loop, final = fit(shown["train"] + shown["val"], [], selected.epoch, "train + val")
        test = softmax(loop.logits(shown["test"]), axis=1)
    return Outcome(val, test, train_only, selected.epoch, selected.curve, final.state, saved)


def notes_of(outcomes: list[Outcome], labels: dict[str, npt.NDArray[np.int64]], settings: Training) -> dict[str, Any]:
    """Return what stands beside the headline: train alone, val, best epoch on test, and the spread over seeds where there are several."""

    def measured(probabilities: Matrix, split: str) -> dict[str, float]:
        return metrics.accuracies(probabilities.argmax(axis=1), labels[split])

    first = outcomes[0]
    notes: dict[str, Any] = {
        "train_only": measured(first.train_only, "test"),
        "val_mean_per_class": measured(first.val, "val")["mean_per_class"],
        "trained_on": "train + val" if settings.refit else "train",
    }
    on_test = [point for point in first.curve if point["split"] == "test"]
    if on_test:
        best = max(on_test, key=lambda point: point["mean_per_class"])
        notes["best_on_test"] = {"top1": best["accuracy"], "epoch": best["epoch"]}
    if len(outcomes) > 1:
        figures = [measured(outcome.test, "test") for outcome in outcomes]
        notes["seeds"] = {"n": len(outcomes)}
        for name in figures[0]:
            values = [figure[name] for figure in figures]
            notes["seeds"] |= {f"{name}_mean": float(np.mean(values)), f"{name}_std": float(np.std(values, ddof=1))}
    return notes


def write_curve(folder: Path, curve: list[training.Point]) -> None:
    """Write loss and accuracy of every split and epoch through DVCLive below ``folder``."""
    with Live(str(folder), dvcyaml=None, save_dvc_exp=False, report=None) as live:
        for epoch in range(1, max(point["epoch"] for point in curve) + 1):
            live.step = epoch
            for point in curve:
                if point["epoch"] == epoch:
                    for measure in ("loss", "accuracy"):
                        live.log_metric(f"{point['split']}/{measure}", round(point[measure], 6))
    (folder / "metrics.json").unlink()  # the last epoch's figures, which are no result


def check(network: Classifier, size: int, name: str) -> None:
    """Let one blank image through, before any real one is decoded.

    Raises:
        InputError: the network does not take images of this size.
    """
    try:
        with torch.no_grad():
            network.eval()(torch.zeros(1, 3, size, size, dtype=torch.uint8))
    except (RuntimeError, AssertionError, ValueError) as error:
        problem = (str(error) or type(error).__name__).splitlines()[0]
        raise InputError(f"params.yaml: nets.{name}.image_size = {size}: the network takes no such images: {problem}") from None


def run_cell(
    stage: str,
    name: str,
    dataset: str,
    settings: Training,
    seed: int,
    build: Callable[[int], Classifier],
    printout: Callable[[Classifier], str],
    start: str,
) -> dict[str, Any]:
    """Train ``name`` on ``dataset`` and write predictions, checkpoint, printout and curves.

    Args:
        stage: "finetune" or "scratch".
        name: of the net.
        dataset: whose index is read.
        settings: of the net.
        seed: added to each of the settings' seeds.
        build: makes the network for so many classes from torch's global generator.
        printout: says in words what such a network is.
        start: digest of what ``build`` starts from.

    Returns:
        Facts for data/runs.jsonl.
    """
    listed = index.read(dataset)
    classes, rows = listed.classes, listed.usable
    by_split = {split: rows[rows["split"] == split] for split in index.SPLITS}
    check(build(len(classes)), settings.image_size, name)
    shown = {split: image_set.decode(some, settings, f"{dataset} {split}") for split, some in by_split.items()}
    code = [file_sha256(Path(module.__file__)) for module in CODE if module.__file__]
    key = json_sha256({"start": start, "index": listed.digest, "code": code, "torch": torch.__version__, "device": training.device_type()})
    cell = f"{stage} {name}-{dataset}"
    outcomes = []
    for number in (seed + more for more in settings.seeds):
        told = f"{cell}, seed {number}" if len(settings.seeds) > 1 else cell
        outcomes.append(run_seed(lambda: build(len(classes)), shown, settings, number, key, told))
    state = PartialState()
    first = outcomes[0]
    if state.is_main_process:
        labels = {split: shown[split].labels for split in ("val", "test")}
        notes = notes_of(outcomes, labels, settings)
        folder = Path("data/checkpoints") / stage / f"{name}-{dataset}"
        folder.mkdir(parents=True, exist_ok=True)
        save_file({key: value.contiguous() for key, value in first.state.items()}, folder / "model.safetensors")
        torch.manual_seed(seed + settings.seeds[0])
        (folder / "network.txt").write_text(printout(build(len(classes))))
        (folder / "net.json").write_text(json.dumps({"classes": classes, "settings": settings.model_dump(mode="json")}, indent=2) + "\n")
        made = predictions.Predictions(
            stage,
            name,
            rows=pd.concat([by_split["val"], by_split["test"]], ignore_index=True),
            probabilities=np.concatenate([first.val, first.test]),
            classes=classes,
            failed=len(listed.rows) - len(rows),
            index=listed.digest,
            contract=key,
            selected={"epoch": first.epoch},
            notes=notes,
            curve=first.curve,
        )
        predictions.write(dataset, made)
        write_curve(Path("plots") / stage / f"{name}-{dataset}", first.curve)
        for outcome in outcomes:
            for path in outcome.saved:
                path.unlink(missing_ok=True)
        print(f"{cell}: epoch {first.epoch} of {settings.epochs}, val {100 * notes['val_mean_per_class']:.1f} mean per class")
    return {"device": state.device.type, "processes": state.num_processes}


def launched(processes: int, module: str, values: list[str]) -> bool:
    """Run the stage in several processes by torchrun, if it was asked for and this is not one of them; say whether that was done.

    Raises:
        InputError: a process failed; what it said stands above.
    """
    if processes == 1 or "RANK" in os.environ:
        return False
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}", "-m", module, *values]
    threads = {"OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // processes))} if training.device_type() == "cpu" else {}
    if subprocess.run(command, env=os.environ | threads, check=False).returncode:
        raise InputError(f"{' '.join(values)}: one of {processes} processes failed")
    return True
