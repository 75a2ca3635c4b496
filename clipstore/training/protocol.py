"""Train a network on a data set by the protocol that all approaches share, and write its predictions on val, test and unlabelled images.

The epoch is selected on val, and the network of that epoch predicts val. A network refitted on train + val for as many steps predicts test
and unlabelled images. With ``test_curve``, every epoch of the first network is measured on test too, which selects nothing. This is
repeated for every seed; predictions and checkpoint come from the first seed.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from dvclive import Live

from clipstore.core.caches import root
from clipstore.core.digests import file_sha256, json_sha256
from clipstore.core.errors import InputError
from clipstore.core.nets import Training
from clipstore.core.rows import UNLABELLED
from clipstore.data import images, index
from clipstore.encoders.precision import hardware
from clipstore.measure import metrics
from clipstore.measure.intervals import effective_images
from clipstore.measure.selection import within_noise
from clipstore.store import predictions
from clipstore.training import augmentation, classifier, curve, image_set, loop, optimizer
from clipstore.training.classifier import Classifier, TrainedNetwork
from clipstore.training.image_set import ImageSet
from clipstore.training.loop import Fitted, Loop
from clipstore.training.processes import process_state

Matrix = npt.NDArray[np.float32]
PART = 1000  # unlabelled images in memory at a time
CODE = (loop, curve, image_set, augmentation, classifier, optimizer)  # modules that a saved state of training depends on


class SeedResult(NamedTuple):
    """The result of one seed.

    Attributes:
        val: logits on val from the network trained on train, float32 (n, classes).
        test: logits on test from the final network.
        train_only: logits on test from the network trained on train.
        epoch: the selected epoch.
        curve: curve of the training on train.
        network: the final network.
        state_paths: files of training states, no longer needed once everything is written.
    """

    val: Matrix
    test: Matrix
    train_only: Matrix
    epoch: int
    curve: list[curve.Point]
    network: TrainedNetwork
    state_paths: Sequence[Path]


def run_seed(
    build: Callable[[int], Classifier],
    classes: Sequence[str],
    image_sets: Mapping[str, ImageSet],
    settings: Training,
    seed: int,
    key: str,
    name: str,
) -> SeedResult:
    """Select the epoch on val, and refit if the settings request it.

    Args:
        build: builds the network for a number of classes, from torch's global generator.
        classes: class names.
        image_sets: image sets of train, val and test.
        settings: training settings.
        seed: seed of all random numbers.
        key: digest of everything that the network depends on, except settings and seed.
        name: title in progress bars and errors.
    """
    state_paths: list[Path] = []

    epoch_steps = loop.steps_per_epoch(len(image_sets["train"]), settings)

    def trained(train: ImageSet, evaluated: Sequence[str], epochs: int, phase: str) -> tuple[TrainedNetwork, Fitted]:
        torch.manual_seed(seed)
        training = Loop(build(len(classes)), settings, seed, epoch_steps)
        facts = {"key": key, "settings": settings.model_dump(mode="json"), "seed": seed, "phase": phase, "epochs": epochs}
        state_paths.append(root() / "training" / f"{json_sha256(facts)}.pt")
        evaluated_sets = {split: image_sets[split] for split in evaluated}
        fitted = loop.fit(training, train, evaluated_sets, epochs * epoch_steps, state_paths[-1], f"{name}, {phase}")
        training.evaluated_network.load_state_dict(fitted.state)
        return TrainedNetwork(training.evaluated_network, classes, settings), fitted

    network, fitted = trained(
        image_sets["train"], ["val", "test"] if settings.test_curve and len(image_sets["test"]) else ["val"], settings.epochs, "train"
    )
    val, train_only = (network.logits(image_sets[split]) for split in ("val", "test"))
    test = train_only
    if settings.refit:
        network, _ = trained(image_sets["train"] + image_sets["val"], [], fitted.epoch, "train + val")
        test = network.logits(image_sets["test"])
    return SeedResult(val, test, train_only, fitted.epoch, fitted.curve, network, state_paths)


def notes_of(results: Sequence[SeedResult], labels: Mapping[str, npt.NDArray[np.int64]], settings: Training) -> dict[str, Any]:
    """Return further figures: training on train only, accuracy on val, the best epoch on test, the spread over several seeds.

    ``epochs_within_noise`` counts the epochs, other than the selected one, that val cannot distinguish from it; see `within_noise`.
    """

    def accuracies(logits: Matrix, split: str) -> dict[str, float]:
        return metrics.accuracies(logits.argmax(axis=1), labels[split])

    first = results[0]
    notes: dict[str, Any] = {
        "val_mean_per_class": accuracies(first.val, "val")["mean_per_class"],
        "trained_on": "train + val" if settings.refit else "train",
    }
    on_val = [point["mean_per_class"] for point in first.curve if point["split"] == "val"]
    _, sizes = np.unique(labels["val"], return_counts=True)
    notes |= {"epochs_trained": len(on_val), "epochs_within_noise": within_noise(on_val, effective_images(sizes))}
    if not len(labels["test"]):
        return notes
    notes["train_only"] = accuracies(first.train_only, "test")
    test_points = [point for point in first.curve if point["split"] == "test"]
    if test_points:
        best = max(test_points, key=lambda point: point["mean_per_class"])
        notes["best_on_test"] = {"mean_per_class": best["mean_per_class"], "epoch": best["epoch"], "trained_on": "train"}
    if len(results) > 1:
        by_seed = [accuracies(result.test, "test") for result in results]
        notes["seeds"] = {"n": len(results)}
        for name in by_seed[0]:
            values = [measures[name] for measures in by_seed]
            notes["seeds"] |= {f"{name}_mean": float(np.mean(values)), f"{name}_std": float(np.std(values, ddof=1))}
    return notes


def write_curve(folder: Path, points: Sequence[curve.Point]) -> None:
    """Write loss and accuracy of every split and epoch through DVCLive below ``folder``."""
    with Live(str(folder), dvcyaml=None, save_dvc_exp=False, report=None) as live:
        for epoch in range(1, max((point["epoch"] for point in points), default=0) + 1):
            live.step = epoch
            for point in points:
                if point["epoch"] == epoch:
                    live.log_metric(f"{point['split']}/loss", round(point["loss"], 6))
                    live.log_metric(f"{point['split']}/accuracy", round(point["accuracy"], 6))
    (folder / "metrics.json").unlink(missing_ok=True)  # its figures are those of the last epoch, which are not the result


def check_image_size(network: Classifier, size: int, name: str) -> None:
    """Run the network on one blank image before any real image is decoded.

    Raises:
        InputError: the network does not accept images of this size.
    """
    try:
        with torch.no_grad():
            network.eval()(torch.zeros(1, 3, size, size, dtype=torch.uint8))
    except (RuntimeError, AssertionError, ValueError) as error:
        problem = (str(error) or type(error).__name__).splitlines()[0]
        raise InputError(f"params.yaml: nets.{name}.image_size = {size}: the network does not accept this size: {problem}") from None


def not_yet(by_split: Mapping[str, pd.DataFrame]) -> str:
    """Return why no network can be trained on the rows of train and val; "" if one can."""
    reason = predictions.too_few_labels(by_split["train"]["label"].to_numpy(np.int64))
    return reason or ("" if len(by_split["val"]) else "needs val images to choose the epoch: label at least 3 images of each class")


def run_cell(
    stage: str,
    name: str,
    dataset: str,
    settings: Training,
    seed: int,
    build: Callable[[int], Classifier],
    printout: Callable[[Classifier], str],
    origin: Mapping[str, object],
    facts: Mapping[str, object],
) -> dict[str, Any]:
    """Train ``name`` on ``dataset`` and write predictions, checkpoint, printout and curves.

    Args:
        stage: "finetune" or "scratch".
        name: name of the net.
        dataset: name of the data set.
        settings: training settings of the net.
        seed: added to each of the settings' seeds.
        build: builds the network for a number of classes, from torch's global generator.
        printout: describes such a network as text.
        origin: everything that decides what ``build`` returns, other than the settings.
        facts: what the network can be built from again; saved with the checkpoint.

    Returns:
        Facts for data/runs.jsonl.
    """
    state = process_state()
    listed = index.read(dataset)
    classes, rows = listed.classes, listed.usable
    by_split = {split: rows[rows["split"] == split] for split in (*index.SPLITS, UNLABELLED)}
    predicted = predictions.Predictions(
        stage,
        name,
        rows=rows.iloc[:0],
        logits=np.empty((0, len(classes)), np.float32),
        classes=classes,
        failed=len(listed.rows) - len(rows),
        index=listed.digest,
        contract="",
    )
    reason = not_yet(by_split)
    if reason:
        if state.is_main_process:
            (Path("data/checkpoints") / stage / f"{name}-{dataset}").mkdir(parents=True, exist_ok=True)
            write_curve(Path("plots") / stage / f"{name}-{dataset}", [])
            predictions.write(dataset, dataclasses.replace(predicted, not_yet=reason))
            print(f"{stage} {name}-{dataset}: not yet: {reason}")
        return {}
    check_image_size(build(len(classes)), settings.image_size, name)
    image_sets = {split: image_set.decode(by_split[split], settings, f"{dataset} {split}", listed.exif) for split in index.SPLITS}
    code = [file_sha256(Path(module.__file__)) for module in CODE if module.__file__]
    terms = {
        "origin": origin,
        "index": listed.digest,
        "decoding": images.decoding(listed.exif),
        "code": code,
        "versions": {name: version(name) for name in ("torch", "torchvision", "accelerate", "timm", "open_clip_torch")},
        "device": hardware(),
    }
    key = json_sha256(terms)
    cell = f"{stage} {name}-{dataset}"
    results = []
    for number in (seed + offset for offset in settings.seeds):
        title = f"{cell}, seed {number}" if len(settings.seeds) > 1 else cell
        results.append(run_seed(build, classes, image_sets, settings, number, key, title))
    first = results[0]
    unlabelled = [  # part by part: there may be more images than memory
        first.network.logits(image_set.decode(part, settings, f"{dataset} {UNLABELLED}", listed.exif))
        for part in (by_split[UNLABELLED][start : start + PART] for start in range(0, len(by_split[UNLABELLED]), PART))
    ]
    if state.is_main_process:
        notes = notes_of(results, {split: image_sets[split].labels for split in ("val", "test")}, settings)
        checkpoint = Path("data/checkpoints") / stage / f"{name}-{dataset}"
        first.network.save(checkpoint, stage=stage, net=name, dataset=dataset, **facts)
        torch.manual_seed(seed + settings.seeds[0])
        (checkpoint / "network.txt").write_text(printout(build(len(classes))))
        predicted = dataclasses.replace(
            predicted,
            rows=pd.concat([by_split[split] for split in ("val", "test", UNLABELLED)], ignore_index=True),
            logits=np.concatenate([first.val, first.test, *unlabelled]),
            contract=key,
            selected={"epoch": first.epoch},
            notes=notes,
            curve=first.curve,
        )
        predictions.write(dataset, predicted)
        write_curve(Path("plots") / stage / f"{name}-{dataset}", first.curve)
        for path in (path for result in results for path in result.state_paths):
            path.unlink(missing_ok=True)
        print(f"{cell}: epoch {first.epoch} of {notes['epochs_trained']}, val {100 * notes['val_mean_per_class']:.1f} mean per class")
        if notes["epochs_within_noise"]:
            others = f"{notes['epochs_within_noise']} of the {notes['epochs_trained'] - 1} other epochs"
            print(f"{cell}: the choice of epoch {first.epoch} is within noise of {others} (val has {len(image_sets['val'])} images)")
    return {"device": state.device.type, "processes": state.num_processes}
